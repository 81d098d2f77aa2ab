"""Random Fourier features: their kernel, and the Gaussian process of a distribution over the last layer."""

import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.inference import VBLL, Laplace
from bnnrl.layers import RandomFeatures
from bnnrl.likelihoods import Gaussian
from bnnrl.network import Network
from bnnrl.problem import Problem
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


def kernel(x: np.ndarray, z: np.ndarray, length_scale: float) -> np.ndarray:
    return np.exp(-np.square(x[:, np.newaxis] - z).sum(-1) / (2 * length_scale**2))


@pytest.mark.parametrize("length_scale", [0.5, 2.0])
def test_products_of_features_are_the_squared_exponential_kernel(length_scale):
    x = draws(20, 3)
    features = np.asarray(RandomFeatures(40_000, length_scale)(tf.constant(x)))
    np.testing.assert_allclose(features @ features.T, kernel(x, x, length_scale), atol=0.03)


def test_frequencies_follow_the_seed_and_are_not_in_theta():
    layer = lambda seed: RandomFeatures(6, seed=seed)
    first, same, other = (layer(seed)(tf.constant(draws(4, 2))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.any(np.asarray(first) != np.asarray(other))
    network = keras.Sequential([keras.Input((2,)), layer(0), keras.layers.Dense(1)])
    assert Network(network).num_params == 7


def test_laplace_of_the_last_layer_is_the_gaussian_process_of_the_features():
    """Mean and deviation are those of Gaussian process regression, and nearly those of the prior far away."""
    x, at = np.linspace(-1, 1, 30, dtype=np.float32)[:, np.newaxis], np.array([[-0.3], [0.8], [6.0]], np.float32)
    y = np.sin(4 * x) + 0.1 * draws(30, 1)
    network = keras.Sequential([keras.Input((1,)), RandomFeatures(2000, 0.5), keras.layers.Dense(1, use_bias=False)])
    problem = Problem(network, Gaussian(0.1), tfd.Normal(0.0, 1.0), 30)
    features = np.asarray(network.layers[0](x), np.float64)
    mode = features.T @ np.linalg.solve(features @ features.T + 0.01 * np.eye(30), y)
    state = Laplace(start=1).at(problem, tf.constant(mode[:, 0], tf.float32), [(x, y, tf.ones([30]))])
    theta = Laplace(start=1).posterior(problem, state).sample(4000, 0)
    outputs = np.asarray(problem.apply(theta, tf.constant(np.tile(at, [4000, 1, 1]))))[..., 0]
    cross = kernel(at, x, 0.5)
    solved = np.linalg.solve(kernel(x, x, 0.5) + 0.01 * np.eye(30), np.c_[y, cross.T])
    np.testing.assert_allclose(outputs.mean(axis=0), cross @ solved[:, 0], atol=0.15)
    std = np.sqrt(1 - np.sum(cross * solved[:, 1:].T, axis=1))
    np.testing.assert_allclose(outputs.std(axis=0), std, rtol=0.15)
    assert std[0] < 0.06 and std[2] > 0.999


@pytest.mark.parametrize("method", [VBLL(0.01), Laplace(start=4)], ids=["vbll", "laplace"])
def test_a_deep_kernel_is_saved_and_loaded(method, tmp_path):
    hidden = [keras.layers.Dense(8, "tanh"), RandomFeatures(20, 0.7, seed=3)]
    network = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", method=method)
    x = draws(32, 2)
    model.fit(x, draws(32, 1, seed=1), epochs=6, verbose=0)
    model.save(tmp_path / "m")
    loaded = bnnrl.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(x, 7, seed=1), model.predict(x, 7, seed=1))
    assert loaded.keras_model.layers[1].get_config() == hidden[1].get_config()


def test_a_new_process_loads_a_deep_kernel(fresh_python, tmp_path):
    network = keras.Sequential([keras.Input((2,)), RandomFeatures(5), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, Gaussian(0.5), method=VBLL(0.01))
    x = draws(16, 2)
    model.fit(x, draws(16, 1, seed=1), epochs=2, verbose=0)
    model.save(tmp_path / "m")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, bnnrl, numpy as np; print(bnnrl.load(sys.argv[1]).predict(np.load(sys.argv[2]), 7, seed=1).sum())"
    )
    command = (*fresh_python, "-c", code, str(tmp_path / "m"), str(tmp_path / "x.npy"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(float(model.predict(x, 7, seed=1).sum()), rel=1e-5)


@pytest.mark.parametrize("bad", [{"units": 0}, {"length_scale": 0.0}, {"seed": -1}])
def test_arguments_are_checked(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
        RandomFeatures(**{"units": 3, **bad})
