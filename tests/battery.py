"""The checks that every inference method must pass, and the methods with the settings under which they run.

A new method joins by its line in CASES; `tests/inference/test_battery.py` runs the checks over all of them. A method
outside of the package can be checked too: see `docs/guides/own_method.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import posterior
from bnnrl.diagnostics import SamplingWarning
from bnnrl.inference import (
    BBB,
    BSAM,
    HMC,
    IVON,
    MCLMC,
    NUTS,
    PSGLD,
    SGD,
    SGHMC,
    SGLD,
    SVGD,
    SWAG,
    VADAM,
    VBLL,
    Adam,
    CyclicalSGLD,
    Driver,
    Ensemble,
    GaussNewton,
    Laplace,
    MCDropout,
    Method,
)
from bnnrl.likelihoods import Gaussian
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from bnnrl.storage.load import load
from tests.scenarios import draws, inputs_of, linear_regression, mlp

N = 24


@dataclass(frozen=True)
class Case:
    """A method, and what the checks need to know about it."""

    method: Method
    """With settings under which a few steps do all that the method ever does."""
    gradient: Callable[[Any], tf.Tensor] | None = None
    """From the state after one step, −∇ log p(θ, data) / N at its start; None for a method that keeps no gradient."""
    linear: Method | None = None
    """The method without its own noise, so that `gradient` is that at θ; `method` itself if None."""
    prior_in_gradient: bool = True
    """Whether `gradient` includes the prior's."""
    takes_statistics: bool = True
    """Whether the method takes networks with batch normalisation."""

    @property
    def batch_size(self) -> int | None:
        """Rows in a minibatch, or None for all."""
        return None if self.method.full_batch_only else 8


CASES: dict[str, Case] = {
    "sgd": Case(SGD(), lambda state: state.v),
    "adam": Case(Adam(0.01), lambda state: 10 * state.m),
    "ensemble": Case(Ensemble(Adam(0.01), 2), lambda state: 10 * state.m),
    "dropout": Case(MCDropout(0.01, input_rate=0.2), lambda state: 10 * state.m, MCDropout(rate=0.0)),
    "swag": Case(SWAG(Adam(0.01), start=2, every=1, rank=3), lambda state: 10 * state.inner.m),
    "vbll": Case(VBLL(0.01), lambda state: 10 * state.mu.m),
    "bbb": Case(BBB(0.01), lambda state: 10 * state.mu.m, BBB(std_init=1e-12)),
    "vadam": Case(VADAM(0.01), lambda state: 10 * state.m, VADAM(temperature=1e-24)),
    "bsam": Case(BSAM(0.01, s_init=100.0), lambda state: 10 * state.gm, BSAM(rho=0.0)),
    "laplace": Case(Laplace(Adam(0.01), start=2), lambda state: 10 * state.inner.m),
    "gauss_newton": Case(GaussNewton(steps=8), takes_statistics=False),
    "svgd": Case(SVGD(0.01, size=2), lambda state: 10 * state.m, SVGD(size=1)),
    "ivon": Case(IVON(), lambda state: 10 * state.g, IVON(temperature=1e-24), prior_in_gradient=False),
    "sgld": Case(SGLD(1e-5, burn_in=1, thin=1, max_draws=4)),
    "psgld": Case(PSGLD(1e-5, burn_in=1, thin=1, max_draws=4)),
    "csgld": Case(CyclicalSGLD(1e-5, cycle=4, exploration=0.5, thin=1, max_draws=4)),
    "sghmc": Case(SGHMC(1e-5, burn_in=1, thin=1, max_draws=4)),
    "hmc": Case(HMC(0.01, 3, chains=2, burn_in=1, max_draws=4)),
    "nuts": Case(NUTS(0.01, 3, chains=2, burn_in=1, max_draws=4)),
    "mclmc": Case(MCLMC(0.3, max_leapfrog=3, chains=2, burn_in=1, max_draws=4)),
}


def check_case(case: Case, folder: Path) -> None:
    """Check one method as `tests/inference/test_battery.py` does, on a network of Dense layers."""
    check_runs(case)
    check_network(case, mlp())
    if not case.method.has_members:
        check_members(case, mlp())
    if case.gradient:
        check_gradient(case)
    check_bayesian_model(case, folder)


def check_runs(case: Case, jit_compile: bool | None = None) -> None:
    """Check that runs repeat bit by bit, may be cut in two, and never retrace, and that Info has the members' shape."""
    line, method = linear_regression(N), case.method
    driver, start = Driver(line.problem, method, case.batch_size, jit_compile), method.init(line.problem, 3)
    whole, info = driver.run(start, line.data, 9, seed=5)
    again, _ = driver.run(start, line.data, 9, seed=5)
    half, _ = driver.run(start, line.data, 4, seed=5)
    pieces, _ = driver.run(half, line.data, 5, seed=5, start=4)
    for a, b, c in zip(*map(tf.nest.flatten, (whole, again, pieces)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    other, _ = driver.run(start, line.data, 9, seed=6)
    assert case.batch_size is None or np.any(whole.theta.numpy() != other.theta.numpy())
    driver.run(start, line.data, 3, seed=0, num_data=13)  # N is a tensor
    assert driver.num_traces == 1
    assert np.isfinite(info.log_joint).all() and (info.grad_norm.numpy() > 0).all()
    assert info.log_joint.shape == info.grad_norm.shape == start.theta.shape[:-1]


def check_gradient(case: Case) -> None:
    """Check that batches of any size have the same expected gradient, in which the prior counts once."""
    line = linear_regression(64)
    theta = 0.3 + 0.1 * np.arange(3)
    prior = theta / line.prior**2 / 64 if case.prior_in_gradient else 0
    likelihood = line.grad(theta) - theta / line.prior**2 / 64
    of = lambda rows, problem=line.problem: _gradient(case, problem, tuple(a[rows] for a in line.data))
    for size in (8, 64):
        mean = np.mean([of(slice(i, i + size)) for i in range(0, 64, size)], axis=0)
        np.testing.assert_allclose(mean, likelihood + prior, rtol=1e-4)
    half_the_data = of(slice(0, 64), line.problem.with_num_data(32))  # the prior weighs twice as much for a row
    np.testing.assert_allclose(half_the_data, likelihood + 2 * prior, rtol=1e-4)


def _gradient(case: Case, problem: Problem, batch) -> np.ndarray:
    """Return −∇ log p(θ, data) / N as a step of the method has it, at θ = 0.3 + 0.1 i."""
    method = case.linear or case.method
    theta = 0.3 + 0.1 * tf.range(problem.num_params, dtype=tf.float32)
    if isinstance(method, Ensemble | SVGD):
        theta, batch = tf.stack([theta] * method.size), tuple(tf.stack([a] * method.size) for a in batch)
    state, _ = method.step(problem, method.init(problem, 0, theta), batch, as_seed(0))
    assert case.gradient is not None
    found = case.gradient(state).numpy().reshape(-1, problem.num_params)
    np.testing.assert_array_equal(found[0], found[-1])
    return found[0]


def check_network(case: Case, model: keras.Model, likelihood_scale: float | str = "learned") -> None:
    """Check that a few steps change θ, and that the posterior draws, predicts and is rebuilt from its arrays."""
    problem = Problem(model, Gaussian(likelihood_scale), tfd.Normal(0.0, 1.0), 12)
    batch = inputs_of(model, 12), tf.constant(draws(12, 2, seed=9))
    method = case.method
    state = start = method.init(problem, 0)
    if start.theta.shape.rank == 2:
        batch = tf.nest.map_structure(lambda a: tf.stack([a] * start.theta.shape[0]), batch)
    step = tf.function(lambda state, seed: method.step(problem, state, batch, seed), autograph=False)
    for i in range(max(4, method.min_steps)):
        state, info = step(state, as_seed(i))
        assert np.isfinite(info.log_joint).all() and np.isfinite(info.grad_norm).all()
    assert info.log_joint.shape == start.theta.shape[:-1]
    moved = (state.theta.numpy() != start.theta.numpy()).mean()
    assert moved > 0.9  # nearly every parameter takes part
    found = method.posterior(problem, state)
    theta = found.sample(3, 1)
    x = tf.nest.map_structure(lambda a: tf.stack([a] * 3), inputs_of(model, 5))
    outputs = problem.apply(theta, x)
    assert outputs.shape == (3, 5, 2) and np.isfinite(outputs).all()
    np.testing.assert_array_equal(posterior.from_arrays(*found.to_arrays()).sample(3, 1), theta)


def check_members(case: Case, model: keras.Model) -> None:
    """Check two members, and two draws of each if the method has them, side by side in the compiled driver."""
    one = cast(Any, case.method)
    method = Ensemble(replace(one, draws=2) if hasattr(one, "draws") else one, 2)
    problem = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1.0), 12)
    data = inputs_of(model, 12), tf.constant(draws(12, 2, seed=9))
    driver = Driver(problem, method, case.batch_size, jit_compile=False)
    state, info = driver.run(method.init(problem, 0), data, 4, seed=0)
    assert info.log_joint.shape == (2,) and np.isfinite(info.log_joint).all()
    theta = method.posterior(problem, state).sample(2, 0)
    assert np.isfinite(theta).all() and np.any(theta[0].numpy() != theta[1].numpy())


def check_bayesian_model(case: Case, folder: Path) -> None:
    """Check that a BayesianModel fits, predicts, and is loaded from its folder."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(64, 1)).astype(np.float32)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=x.shape)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    method: Any = case.method
    if isinstance(method, HMC | NUTS):
        method = replace(method, step_size=3e-3, target_accept=None)  # a burn-in of one step adapts nothing
    if isinstance(method, MCLMC):
        method = replace(method, step_size=3e-3, burn_in=0)
    model = BayesianModel(network, Gaussian(0.1), method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # 30 epochs are no time for chains to mix
        history = model.fit(x, y, case.batch_size and 16, epochs=30, validation_data=(x, y), verbose=0)
    loss = history.history["val_nll"]
    # Some methods are done at their first posterior, which has to beat the best constant prediction.
    constant = float(np.mean(-tfd.Normal(y.mean(), 0.1).log_prob(y)))
    assert np.isfinite(loss).all() and loss[-1] < (loss[0] if loss[-1] != loss[0] else constant)
    model.save(folder / "model")
    loaded = load(folder / "model")
    np.testing.assert_array_equal(loaded.predict(x, 7, seed=1), model.predict(x, 7, seed=1))
