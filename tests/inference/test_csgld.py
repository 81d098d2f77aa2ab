"""Cyclical SGLD against its equations in NumPy: the step size, the stages, and which steps give draws."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl import seeds
from bnnrl.inference import CyclicalSGLD, Driver, Ensemble
from bnnrl.posterior import Samples
from tests.scenarios import chains_of, draws, linear_regression, moments, z_scores

LINE = linear_regression()


def test_golden_steps_over_two_cycles():
    method, theta, kept = CyclicalSGLD(0.01, cycle=5, exploration=0.5, thin=1), draws(3).astype(np.float64), []
    state = method.init(LINE.problem, seed=0, theta=tf.constant(theta))
    for t in range(10):
        rows, r = slice(t, t + 8), (t % 5) / 5
        eta = 0.01 / 2 * (np.cos(np.pi * r) + 1)
        noise = np.sqrt(eta) * seeds.fast_normal([3], t).numpy() if r >= 0.5 else 0.0
        theta = theta - eta / 2 * 24 * LINE.grad(theta, rows) + noise
        state, _ = method.step(LINE.problem, state, (tf.constant(LINE.x[rows]), tf.constant(LINE.y[rows])), seed=t)
        np.testing.assert_allclose(state.theta, theta, rtol=2e-5)
        if r >= 0.5:
            kept.append(theta)
    assert len(kept) == 4 and method.min_steps == 4
    posterior = method.posterior(LINE.problem, state)
    assert isinstance(posterior, Samples)
    np.testing.assert_allclose(posterior.draws, kept, rtol=2e-5)


@pytest.mark.slow
def test_samples_from_the_posterior_for_small_steps():
    """After a short exploration, steps are long enough to forget its end, and short enough for a bias below 5 %."""
    eta = 0.2 / np.linalg.eigvalsh(np.linalg.inv(LINE.cov))[-1]
    method = Ensemble(CyclicalSGLD(eta, cycle=4000, exploration=0.01, thin=4, max_draws=2000), 100)
    start = method.init(LINE.problem, 0)
    state, _ = Driver(LINE.problem, method, None).run(start, LINE.data, 12_000, seed=1)
    found = moments(chains_of(method.posterior(LINE.problem, state)), LINE.mean)
    assert np.abs(z_scores(found, np.zeros(9)))[:3].max() < 3
    np.testing.assert_allclose(found.mean(0)[[3, 6, 8]], np.diag(LINE.cov), rtol=0.08)


def test_draws_come_from_every_cycle():
    method = CyclicalSGLD(1e-3, cycle=20, exploration=0.9, thin=1, max_draws=10)
    state, _ = Driver(LINE.problem, method, 8, jit_compile=False).run(
        method.init(LINE.problem, 0), LINE.data, 100, seed=0
    )
    assert method.posterior(LINE.problem, state).num_distinct == 10 == state.draws.seen
    with pytest.raises(ValueError, match="Received: a run that ended before its first draw"):
        method.posterior(LINE.problem, method.init(LINE.problem, 0))


@pytest.mark.parametrize(
    "bad", [{"step_size": 0.0}, {"cycle": 0}, {"exploration": 1.0}, {"exploration": 0.95, "cycle": 10}], ids=str
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        CyclicalSGLD(**bad)
