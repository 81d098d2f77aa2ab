"""The battery that every inference method passes, over the registry. What each converges to is in test_conjugate."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import posterior
from bnnrl.diagnostics import SamplingWarning
from bnnrl.inference import REGISTRY, SVGD, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from bnnrl.storage.load import load
from tests.battery import CASES
from tests.scenarios import draws, inputs_of, linear_regression, networks

N = 24
METHODS = pytest.mark.parametrize("name", CASES)
BATCH = {True: None, False: 8}  # by whether a method takes all rows


def test_every_method_of_the_registry_is_here():
    assert set(CASES) == set(REGISTRY)
    for name, case in CASES.items():
        assert type(case.method) is REGISTRY[name]


@METHODS
@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_runs_repeat_bit_by_bit_and_may_be_cut_and_never_retrace(name, jit_compile):
    line, method, batch_size = linear_regression(N), CASES[name].method, BATCH[CASES[name].full_batch]
    driver, start = Driver(line.problem, method, batch_size, jit_compile), method.init(line.problem, 3)
    whole, info = driver.run(start, line.data, 9, seed=5)
    again, _ = driver.run(start, line.data, 9, seed=5)
    half, _ = driver.run(start, line.data, 4, seed=5)
    pieces, _ = driver.run(half, line.data, 5, seed=5, start=4)
    for a, b, c in zip(*map(tf.nest.flatten, (whole, again, pieces)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    other, _ = driver.run(start, line.data, 9, seed=6)
    assert batch_size is None or np.any(whole.theta.numpy() != other.theta.numpy())
    driver.run(start, line.data, 3, seed=0, num_data=13)  # N is a tensor
    assert driver.num_traces == 1
    assert np.isfinite(info.log_joint).all() and (info.grad_norm.numpy() > 0).all()
    assert info.log_joint.shape == info.grad_norm.shape == start.theta.shape[:-1]


_CHILD = """
import sys
import numpy as np, tensorflow as tf
from bnnrl.inference import Driver
from tests.battery import CASES
from tests.inference.test_battery import BATCH, N
from tests.scenarios import linear_regression
line, found = linear_regression(N), {}
saved = np.load(sys.argv[1])
for name, case in CASES.items():
    template = case.method.init(line.problem, 0)
    leaves = [tf.constant(saved[f"{name}/{i}"]) for i in range(len(tf.nest.flatten(template)))]
    state = tf.nest.pack_sequence_as(template, leaves)
    driver = Driver(line.problem, case.method, BATCH[case.full_batch], jit_compile=False)
    state, _ = driver.run(state, line.data, 5, seed=5, start=4)
    found |= {f"{name}/{i}": a.numpy() for i, a in enumerate(tf.nest.flatten(state))}
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow  # some 20 s, most of it the other process's start
def test_saved_after_half_and_gone_on_with_in_a_new_process_bit_by_bit(tmp_path):
    line, halves, wholes = linear_regression(N), {}, {}
    for name, case in CASES.items():
        driver = Driver(line.problem, case.method, BATCH[case.full_batch], jit_compile=False)
        start = case.method.init(line.problem, 3)
        for steps, arrays in [(4, halves), (9, wholes)]:
            state, _ = driver.run(start, line.data, steps, seed=5)
            arrays |= {f"{name}/{i}": a.numpy() for i, a in enumerate(tf.nest.flatten(state))}
    np.savez(tmp_path / "half.npz", **halves)
    child = [sys.executable, "-c", _CHILD, str(tmp_path / "half.npz"), str(tmp_path / "whole.npz")]
    done = subprocess.run(child, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "whole.npz")
    assert set(found) == set(wholes)
    for key, array in wholes.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def gradient(name, problem, batch):
    """Return −∇ log p(θ, data) / N as a step of the method has it, at θ = 0.3 + 0.1 i."""
    case = CASES[name]
    method = case.linear or case.method
    theta = 0.3 + 0.1 * tf.range(problem.num_params, dtype=tf.float32)
    if isinstance(method, Ensemble | SVGD):
        theta, batch = tf.stack([theta] * method.size), tuple(tf.stack([a] * method.size) for a in batch)
    state, _ = method.step(problem, method.init(problem, 0, theta), batch, as_seed(0))
    assert case.gradient is not None
    found = case.gradient(state).numpy().reshape(-1, problem.num_params)
    np.testing.assert_array_equal(found[0], found[-1])
    return found[0]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.gradient])
def test_batches_of_any_size_have_the_same_expected_gradient_and_the_prior_counts_once(name):
    line = linear_regression(64)
    theta = 0.3 + 0.1 * np.arange(3)
    # IVON keeps the likelihood's gradient apart from the prior's, which enters its step.
    prior = 0 if name == "ivon" else theta / line.prior**2 / 64
    likelihood = line.grad(theta) - theta / line.prior**2 / 64
    of = lambda rows, problem=line.problem: gradient(name, problem, tuple(a[rows] for a in line.data))
    for size in (8, 64):
        mean = np.mean([of(slice(i, i + size)) for i in range(0, 64, size)], axis=0)
        np.testing.assert_allclose(mean, likelihood + prior, rtol=1e-4)
    half_the_data = of(slice(0, 64), line.problem.with_num_data(32))  # the prior weighs twice as much for a row
    np.testing.assert_allclose(half_the_data, likelihood + 2 * prior, rtol=1e-4)


NETWORKS = networks()


def _on_networks():
    """Every method on one network and, of those that see no more than a flat θ, Adam alone on all."""
    looks_at_shapes = ("adam", "dropout", "laplace")
    for network in NETWORKS:
        for name in CASES:
            marks = () if network == "dense" or name in looks_at_shapes else pytest.mark.slow
            yield pytest.param(name, network, marks=marks, id=f"{name}-{network}")


@pytest.mark.parametrize(("name", "network"), list(_on_networks()))
def test_any_network(name, network):
    """A few steps change θ, and what comes of them draws, predicts and comes back from its arrays."""
    model, case = NETWORKS[network], CASES[name]
    # A subclass need not tell its output's shape, from which a learned scale has its size.
    problem = Problem(model, Gaussian(0.5 if network == "subclassed" else "learned"), tfd.Normal(0.0, 1.0), 12)
    batch = inputs_of(model, 12), tf.constant(draws(12, 2, seed=9))
    method = case.method
    state = start = method.init(problem, 0)
    if start.theta.shape.rank == 2:
        batch = tf.nest.map_structure(lambda a: tf.stack([a] * start.theta.shape[0]), batch)
    step = tf.function(lambda state, seed: method.step(problem, state, batch, seed), autograph=False)
    for i in range(4):
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("ensemble", "svgd", "hmc", "nuts")])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_network_with_members(name, network):
    """Two members, and two draws of each where a method has them, side by side in the compiled driver."""
    model, one = NETWORKS[network], cast(Any, CASES[name].method)
    method = Ensemble(replace(one, draws=2) if hasattr(one, "draws") else one, 2)
    problem = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1.0), 12)
    data = inputs_of(model, 12), tf.constant(draws(12, 2, seed=9))
    batch_size = BATCH[CASES[name].full_batch]
    driver = Driver(problem, method, batch_size, jit_compile=False)
    state, info = driver.run(method.init(problem, 0), data, 4, seed=0)
    assert info.log_joint.shape == (2,) and np.isfinite(info.log_joint).all()
    theta = method.posterior(problem, state).sample(2, 0)
    assert np.isfinite(theta).all() and np.any(theta[0].numpy() != theta[1].numpy())


@pytest.mark.slow
@METHODS
def test_a_bayesian_model_fits_predicts_and_comes_back(name, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(64, 1)).astype(np.float32)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=x.shape)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    method: Any = CASES[name].method
    if CASES[name].full_batch:
        method = replace(method, step_size=3e-3, target_accept=None)  # a burn-in of one step adapts nothing
    model = BayesianModel(network, Gaussian(0.1), method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # 30 epochs are no time for chains to mix
        history = model.fit(x, y, None if CASES[name].full_batch else 16, epochs=30, validation_data=(x, y), verbose=0)
    loss = history.history["val_nll"]
    assert np.isfinite(loss).all() and loss[-1] < loss[0]
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(x, 7, seed=1), model.predict(x, 7, seed=1))


def test_a_networks_own_weights_are_left_alone():
    """Perturbed weights, masks and members live in θ; the Keras model is as it was."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    problem, before = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1.0), 12), [w.copy() for w in model.get_weights()]
    batch = tf.constant(draws(12, 3)), tf.constant(draws(12, 2))
    for case in CASES.values():
        state = case.method.init(problem, 0)
        own = tuple(tf.broadcast_to(a, [*state.theta.shape[:-1], *a.shape]) for a in batch)
        case.method.step(problem, state, own, as_seed(0))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
