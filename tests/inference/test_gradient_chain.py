"""The step size from the curvature: the curvature itself, the rule, and the chains that take it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnnrl import seeds
from bnnrl.inference import PSGLD, SGHMC, SGLD, CurvatureStep, CyclicalSGLD, Driver, Ensemble
from bnnrl.inference.gradient_chain import _SEED, expected_squares, largest_curvature
from bnnrl.storage import config
from tests.battery import Case, check_members, check_runs
from tests.scenarios import chains_of, draws, linear_regression, mlp

LINE = linear_regression()
PRECISION = np.linalg.inv(LINE.cov)
CHAINS: dict[str, Any] = {
    "sgld": SGLD(CurvatureStep(), burn_in=1, thin=1, max_draws=4),
    "psgld": PSGLD(CurvatureStep(), burn_in=1, thin=1, max_draws=4),
    "csgld": CyclicalSGLD(CurvatureStep(), cycle=4, exploration=0.5, thin=1, max_draws=4),
    "sghmc": SGHMC(CurvatureStep(), burn_in=1, thin=1, max_draws=4),
}


def curvature(seed: Any = 0, shape=(3,), matrix=PRECISION):
    """Return the curvature of LINE after ten power iterations, from the vectors that the chains start with."""
    v = seeds.normal(shape, seed).numpy().astype(np.float64)
    for _ in range(10):
        v = v / np.linalg.norm(v, axis=-1, keepdims=True) @ matrix
    return np.linalg.norm(v, axis=-1, keepdims=True)


def test_the_curvature_is_that_of_power_iterations():
    theta = tf.constant(draws(2, 3))
    stacked = tuple(tf.stack([a, a]) for a in LINE.data)
    found = largest_curvature(LINE.problem, theta, stacked, 0)
    np.testing.assert_allclose(found, curvature(shape=(2, 3)), rtol=1e-3)
    padded = tuple(tf.concat([a, a], 0) for a in LINE.data) + (tf.constant([1.0] * 24 + [0.0] * 24),)
    np.testing.assert_allclose(largest_curvature(LINE.problem, theta[0], padded, 0), curvature(), rtol=1e-3)


def test_the_curvature_in_a_metric_is_the_largest_eigenvalue():
    root = np.array([1.0, 0.3, 2.0])  # the second eigenvalue is far below the first
    scaled = np.linalg.eigvalsh(root[:, np.newaxis] * PRECISION * root)
    assert scaled[-2] < 0.4 * scaled[-1]
    found = largest_curvature(LINE.problem, tf.constant(draws(3)), LINE.data, 0, tf.constant(root, tf.float32))
    np.testing.assert_allclose(found, scaled[-1:], rtol=1e-3)


def power_iterations(scale):
    """Return the curvature of LINE with scaled inputs, from the vector that a step of seed 0 starts with."""
    design = np.column_stack([scale * LINE.x, np.ones(24)])
    matrix = design.T @ design / LINE.noise**2 + np.eye(3) / LINE.prior**2
    return curvature(seeds.fold_in(0, _SEED), matrix=matrix)


def first_eta(method, rows=24, num_data=24) -> float:
    problem = LINE.problem.with_num_data(num_data)
    state, _ = method.step(problem, method.init(problem, 0), tuple(a[:rows] for a in LINE.data), 0)
    return float(state.found.eta[0])


def test_the_step_follows_from_curvature_rows_and_kind_of_chain():
    found = curvature(seeds.fold_in(0, _SEED))[0]
    safe = 0.4 / found
    assert first_eta(CHAINS["sgld"]) == pytest.approx(safe, rel=1e-3)
    assert first_eta(CHAINS["csgld"]) == pytest.approx(2 * safe, rel=1e-3)
    assert first_eta(CHAINS["sghmc"]) == pytest.approx(0.05 * safe, rel=1e-3)
    # Ten times as many rows have ten times the curvature; ten batches an epoch allow (3 / 10)^1.5 of a step.
    prior = np.eye(3) / LINE.prior**2
    more = curvature(seeds.fold_in(0, _SEED), matrix=10 * (PRECISION - prior) + prior)[0]
    assert first_eta(CHAINS["sgld"], num_data=240) == pytest.approx(0.4 / more * 0.3**1.5, rel=1e-3)
    assert first_eta(replace(CHAINS["sgld"], step_size=CurvatureStep(1.1 * safe))) == pytest.approx(1.1 * safe)
    assert first_eta(replace(CHAINS["sghmc"], step_size=CurvatureStep(1.0))) == pytest.approx(3 / found, rel=1e-3)


@pytest.mark.parametrize("found", [np.nan, np.inf, 0.0])
def test_without_a_curvature_the_step_is_small(found):
    eta = CHAINS["sgld"]._from_curvature(LINE.problem, tf.constant([found], tf.float32), tf.constant(24.0), 0.0)
    np.testing.assert_allclose(eta, [2e-3 / 24], rtol=1e-6)


def test_psgld_is_preconditioned_by_the_squares_of_single_rows():
    theta = draws(3)
    rows = np.array([-24 * LINE.grad(theta, slice(i, i + 1)) for i in range(24)])
    rows = (rows + theta / LINE.prior**2) / 24  # without the prior
    expected = ((rows**2).mean(axis=0) + 1 / LINE.prior**2 / 24) / 24
    np.testing.assert_allclose(expected_squares(LINE.problem, tf.constant(theta), LINE.data), expected, rtol=1e-4)
    stacked = tuple(tf.stack([a, a]) for a in LINE.data) + (tf.ones([2, 24]),)
    found = expected_squares(LINE.problem, tf.constant([theta, theta]), stacked)
    np.testing.assert_allclose(found, [expected] * 2, rtol=1e-4)


def test_the_smallest_step_of_the_burn_in_is_kept():
    """Estimates are due at steps 0, 1, 2, 4 and 5, from rows that are scaled so that the curvature is known."""
    method = SGLD(CurvatureStep(), burn_in=5, thin=1, max_draws=4)
    state: Any = method.init(LINE.problem, 0)
    etas, scales = [], [1.0, 0.9, 1.2, 3.0, 1.1, 1.3, 5.0]
    for scale in scales:
        state, _ = method.step(LINE.problem, state, (scale * LINE.x, LINE.y), 0)
        etas.append(float(state.found.eta[0]))
    alone = [0.4 / power_iterations(scale)[0] for scale in scales]
    expected = np.minimum.accumulate([alone[t] if t in (0, 1, 2, 4, 5) else np.inf for t in range(len(scales))])
    np.testing.assert_allclose(etas, expected, rtol=1e-3)


@pytest.mark.parametrize("name", CHAINS)
def test_runs_repeat_and_may_be_cut_and_have_members(name):
    check_runs(Case(CHAINS[name]), jit_compile=False)
    check_members(Case(CHAINS[name]), mlp())


def test_a_given_step_size_adds_nothing_to_the_state():
    assert len(tf.nest.flatten(SGLD(1e-5).init(LINE.problem, 0))) == 4
    assert config.decode(config.encode(CHAINS["psgld"])) == CHAINS["psgld"]
    assert CHAINS["sgld"].current_rate(0) is None and SGLD(1e-5).current_rate(0) == ("step_size", pytest.approx(1e-5))


def test_invalid_steps_are_refused():
    with pytest.raises(ValueError, match="Invalid `least`: .* Received: .*-1"):
        CurvatureStep(-1)
    with pytest.raises(ValueError, match="Invalid `step_size`"):
        SGLD("curvature")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 8, 2])
@pytest.mark.parametrize("name", ["sgld", "psgld", "sghmc"])
def test_chains_have_the_posteriors_mean_and_nearly_its_width(name, batch_size):
    alpha = {"alpha": 0.9999} if name == "psgld" else {}
    method = Ensemble(replace(CHAINS[name], burn_in=200, thin=10, max_draws=200, **alpha), 200)
    exact = np.random.default_rng(0).multivariate_normal(LINE.mean, LINE.cov, 200)
    start = method.init(LINE.problem, 0, tf.constant(exact))
    state, _ = Driver(LINE.problem, method, batch_size).run(start, LINE.data, 2200, seed=1)
    found = chains_of(method.posterior(LINE.problem, state))
    means = found.mean(axis=1)
    assert np.abs((means.mean(axis=0) - LINE.mean) / (means.std(axis=0) / np.sqrt(200))).max() < 3
    ratio = found.reshape(-1, 3).var(axis=0) / np.diag(LINE.cov)
    assert (ratio > 0.97).all() and (ratio < 1.25).all()
