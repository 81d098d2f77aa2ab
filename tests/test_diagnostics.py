"""Diagnostics: known values, chains that agree or not, and what they advise."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm, rankdata

from bnnrl import diagnostics
from bnnrl.diagnostics import SamplingWarning, bulk_ess, diagnose, split_rhat
from bnnrl.inference import HMC, Driver, Info, WarmStart
from bnnrl.posterior import Mixture, Point, Samples
from tests.scenarios import linear_regression


def autoregressive(phi, chains=4, draws=2000, seed=0):
    """Return chains [C, K] of x' = φ x + N(0, 1 − φ²), started at equilibrium."""
    rng = np.random.default_rng(seed)
    x = np.empty((chains, draws))
    x[:, 0] = rng.normal(size=chains)
    for k in range(1, draws):
        x[:, k] = phi * x[:, k - 1] + np.sqrt(1 - phi**2) * rng.normal(size=chains)
    return x


def posterior(values):
    return Mixture(tuple(Samples(tf.constant(chain, tf.float32)) for chain in values))


def test_rhat_by_hand():
    values = np.random.default_rng(0).normal(size=(3, 7)).round(1)  # with ties
    halves = np.concatenate([values[:, :3], values[:, -3:]])
    found = []
    for x in (halves, np.abs(halves - np.median(halves))):
        z = norm.ppf((rankdata(x).reshape(x.shape) - 3 / 8) / (x.size + 1 / 4))
        within, between = z.var(axis=1, ddof=1).mean(), 3 * z.mean(axis=1).var(ddof=1)
        found.append(np.sqrt((2 / 3 * within + between / 3) / within))
    assert split_rhat(values) == pytest.approx(max(found), rel=1e-6)
    several = split_rhat(np.stack([values, values[::-1], -values], axis=-1))
    np.testing.assert_allclose(several[[0, 2]], max(found), rtol=1e-6)


def test_rhat_sees_chains_of_another_place_spread_or_half():
    same = np.random.default_rng(0).normal(size=(4, 1000))
    assert split_rhat(same) < 1.01
    assert split_rhat(same + [[0], [0], [0], [1]]) > 1.05
    assert split_rhat(same * [[1], [1], [1], [3]]) > 1.05
    assert split_rhat(same + np.linspace(0, 2, 1000)) > 1.05
    heavy = np.random.default_rng(1).standard_cauchy(size=(4, 1000))
    assert split_rhat(heavy) < 1.01  # ranks need no variance
    assert np.isnan(split_rhat(np.ones((2, 8)))) and split_rhat(np.ones((2, 8)) * [[1], [2]]) == np.inf


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_ess_of_an_autoregression(phi):
    """(1 − φ) / (1 + φ) of the draws, in the limit of many."""
    found = [bulk_ess(autoregressive(phi, seed=seed)) for seed in range(5)]
    assert np.mean(found) == pytest.approx(8000 * (1 - phi) / (1 + phi), rel=0.12)


@pytest.mark.parametrize(
    ("phi", "rhat", "ess"), [(0.0, 1.000505, 1833.476), (0.9, 1.037326, 127.0108), (-0.5, 0.999083, 5926.937)]
)
def test_what_arviz_says(phi, rhat, ess):
    """The numbers are those of ArviZ 0.23.4."""
    values = autoregressive(phi)[:, :501]
    assert split_rhat(values) == pytest.approx(rhat, abs=1e-6)
    assert bulk_ess(values) == pytest.approx(ess, rel=1e-5)


def test_a_function_of_the_draws():
    """Two chains in mirrored modes: the weight's sign differs, what is predicted from its square does not."""
    x = np.random.default_rng(0).normal(3.0, 0.1, size=(2, 500, 1))
    mirrored = posterior(x * [[[1.0]], [[-1.0]]])
    with pytest.warns(SamplingWarning, match=r"R-hat is .*1 of 1 quantities.*give a `function` of them") as caught:
        found = diagnose(mirrored)
    assert caught[0].filename == __file__ and found.rhat.shape == (1,) and found.rhat > 1.5 and found.ess < 10
    found = diagnose(mirrored, lambda theta: tf.concat([theta**2, tf.abs(theta)], axis=-1))
    assert (found.rhat < 1.01).all() and (found.ess > 500).all() and found.rhat.shape == (2,)
    assert found[2:] == (None, None, None)
    with pytest.warns(SamplingWarning) as caught:
        diagnose(mirrored, lambda theta: theta)
    assert "function" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("accept", "divergent", "text"),
    [
        (0.2, 0.0, r"Acceptance is 0.20, below 0.4.*Lower `step_size`"),
        (0.99, 0.0, r"Acceptance is 0.99, above 0.95.*Raise `step_size`"),
        (0.7, 0.25, r"25.0% of the transitions diverged.*raise `target_accept`"),
    ],
)
def test_warnings_say_what_to_do(accept, divergent, text):
    info = Info(*[tf.fill([4], v) for v in (-3.0, 1.0, accept, divergent)])
    with pytest.warns(SamplingWarning, match=text) as caught:
        diagnose(posterior(autoregressive(0.0)[..., np.newaxis]), info=info)
    assert len(caught) == 1


def test_a_good_run_is_quiet():
    line = linear_regression()
    for method in (HMC(chains=4, max_draws=500), WarmStart(HMC(chains=4, max_draws=500), steps=100)):
        driver, burn_in = Driver(line.problem, method, None), method.min_steps - 1
        state, _ = driver.run(method.init(line.problem, 0), line.data, burn_in, seed=0)
        state, info = driver.run(state, line.data, 500, seed=0, start=burn_in)
        found = diagnose(method.posterior(line.problem, state), info=info, state=state)
        assert (found.rhat < 1.02).all() and (found.ess > 300).all()
        assert found.accept == pytest.approx(0.8, abs=0.1) and found.divergent == 0
        assert found.step_size == pytest.approx(0.08, rel=0.5)


def test_what_is_no_chain():
    point, chain = Point(tf.zeros(2)), Samples(tf.zeros([5, 2]))
    for bad in (point, Mixture((point, chain)), Mixture((chain, Samples(tf.zeros([6, 2]))))):
        with pytest.raises(ValueError, match="expected chains of equal length.*Received"):
            diagnose(bad)
    with pytest.raises(ValueError, match="at least four draws.*Received: 3"):
        diagnose(Samples(tf.zeros([3, 2])))
    assert diagnostics.chains(chain).shape == (1, 5, 2)


@pytest.mark.parametrize("version", ["0.22.0", "1.3.0"])
def test_to_arviz(monkeypatch, version):
    fake = types.ModuleType("arviz")
    new = lambda data: data["posterior"]
    old = lambda posterior: posterior
    fake.__dict__.update(__version__=version, from_dict=new if version[0] == "1" else old)
    monkeypatch.setitem(sys.modules, "arviz", fake)
    values = autoregressive(0.0, draws=9)[..., np.newaxis].astype(np.float32)
    found = diagnostics.to_arviz(posterior(values))
    assert list(found) == ["theta"]
    np.testing.assert_array_equal(found["theta"], values)
    found = diagnostics.to_arviz(
        posterior(values), {"square": lambda theta: theta**2, "one": lambda theta: theta[:, 0]}
    )
    np.testing.assert_allclose(found["square"], values**2, rtol=1e-6)
    assert found["one"].shape == (4, 9)


def test_without_arviz(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        diagnostics.to_arviz(posterior(autoregressive(0.0)))


def test_with_the_real_arviz():
    arviz = pytest.importorskip("arviz")
    values = autoregressive(0.5)[..., np.newaxis]
    found = diagnostics.to_arviz(posterior(values))
    assert float(arviz.rhat(found)["theta"][0]) == pytest.approx(split_rhat(values)[0], abs=1e-3)
