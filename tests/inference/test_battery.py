"""The battery of checks in `tests/battery.py`, over the registry. test_conjugate has what each method converges to."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.inference import REGISTRY, Driver
from bnnrl.likelihoods import Gaussian
from bnnrl.network import Network
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from tests.battery import (
    CASES,
    N,
    check_bayesian_model,
    check_gradient,
    check_members,
    check_network,
    check_runs,
)
from tests.scenarios import draws, linear_regression, networks

METHODS = pytest.mark.parametrize("name", CASES)
NETWORKS = networks()


def test_every_method_of_the_registry_is_here():
    assert set(CASES) == set(REGISTRY)
    for name, case in CASES.items():
        assert type(case.method) is REGISTRY[name]


@METHODS
@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_runs_repeat_bit_by_bit_and_may_be_cut_and_never_retrace(name, jit_compile):
    check_runs(CASES[name], jit_compile)


_CHILD = """
import sys
import numpy as np, tensorflow as tf
from bnnrl.inference import Driver
from tests.battery import CASES, N
from tests.scenarios import linear_regression
line, found = linear_regression(N), {}
saved = np.load(sys.argv[1])
for name, case in CASES.items():
    template = case.method.init(line.problem, 0)
    leaves = [tf.constant(saved[f"{name}/{i}"]) for i in range(len(tf.nest.flatten(template)))]
    state = tf.nest.pack_sequence_as(template, leaves)
    driver = Driver(line.problem, case.method, case.batch_size, jit_compile=False)
    state, _ = driver.run(state, line.data, 5, seed=5, start=4)
    found |= {f"{name}/{i}": a.numpy() for i, a in enumerate(tf.nest.flatten(state))}
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow  # about 20 s, most of them for starting the other process
def test_saved_after_half_and_gone_on_with_in_a_new_process_bit_by_bit(tmp_path):
    line, halves, wholes = linear_regression(N), {}, {}
    for name, case in CASES.items():
        driver = Driver(line.problem, case.method, case.batch_size, jit_compile=False)
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


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.gradient])
def test_batches_of_any_size_have_the_same_expected_gradient_and_the_prior_counts_once(name):
    check_gradient(CASES[name])


def _on_networks():
    """Yield all methods on one network; Adam and the methods that look at the shapes of weights on all networks."""
    looks_at_shapes = ("adam", "dropout", "laplace")
    for network, model in NETWORKS.items():
        for name in (name for name in CASES if CASES[name].takes_statistics or not Network(model).has_statistics):
            marks = () if network == "dense" or name in looks_at_shapes else pytest.mark.slow
            yield pytest.param(name, network, marks=marks, id=f"{name}-{network}")


@pytest.mark.parametrize(("name", "network"), list(_on_networks()))
def test_any_network(name, network):
    # The shape of a subclassed model's output may be unknown, and a learned scale takes its size from that shape.
    check_network(CASES[name], NETWORKS[network], 0.5 if network == "subclassed" else "learned")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.method.has_members])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_network_with_members(name, network):
    if Network(NETWORKS[network]).has_statistics and not CASES[name].takes_statistics:
        pytest.skip("The method refuses batch normalisation.")
    check_members(CASES[name], NETWORKS[network])


@pytest.mark.slow
@METHODS
def test_a_bayesian_model_fits_predicts_and_comes_back(name, tmp_path):
    check_bayesian_model(CASES[name], tmp_path)


def test_a_networks_own_weights_are_left_alone():
    """Perturbed weights, masks and members are copies of θ; the weights of the Keras model do not change."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    problem, before = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1.0), 12), [w.copy() for w in model.get_weights()]
    batch = tf.constant(draws(12, 3)), tf.constant(draws(12, 2))
    for case in CASES.values():
        state = case.method.init(problem, 0)
        own = tuple(tf.broadcast_to(a, [*state.theta.shape[:-1], *a.shape]) for a in batch)
        case.method.step(problem, state, own, as_seed(0))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
