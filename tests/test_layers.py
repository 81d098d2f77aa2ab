"""Random Fourier features: their kernel, and the Gaussian process of a distribution over the last layer."""

import subprocess
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.inference import VBLL, Laplace
from bnnrl.layers import RandomFeatures, SpectralDense
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


@pytest.mark.parametrize(("shape", "norm_bound"), [((8, 16), 0.95), ((64, 64), 2.0), ((200, 30), 0.5), ((3, 1), 1.0)])
def test_the_spectral_norm_is_bounded_and_barely_below(shape, norm_bound):
    layer = SpectralDense(shape[1], norm_bound=norm_bound)
    layer.build((None, shape[0]))
    layer.set_weights([kernel := 3 * draws(*shape), np.zeros(shape[1])])
    bounded = np.asarray(layer.bounded_kernel())
    norm = np.linalg.norm(bounded, 2)
    assert 0.98 * norm_bound < norm < norm_bound * (1 + 1e-5)
    np.testing.assert_allclose(bounded / norm, kernel / np.linalg.norm(kernel, 2), atol=1e-5)


def test_a_kernel_within_the_bound_is_that_of_dense():
    x, kernel = draws(5, 3), 0.1 * draws(3, 4)
    dense, spectral = keras.layers.Dense(4, "tanh"), SpectralDense(4, "tanh")
    for layer in (dense, spectral):
        layer.build((None, 3))
        layer.set_weights([kernel, draws(4)])
    np.testing.assert_allclose(spectral(x), dense(x), rtol=1e-6)


def test_the_gradient_of_a_divided_kernel_is_that_of_the_exact_norm():
    """σ of well separated singular values is s₁, with the gradient u₁ v₁ᵀ; a kernel of zeros has a finite one."""
    u, _ = np.linalg.qr(draws(6, 4))
    v, _ = np.linalg.qr(draws(4, 4, seed=1))
    kernel, weight = (u * [4.0, 2.0, 1.0, 0.5]) @ v.T, draws(6, 4, seed=2)
    layer: Any = SpectralDense(4, norm_bound=0.9)
    layer.build((None, 6))
    found = []
    for value in (kernel, np.zeros([6, 4])):
        layer.set_weights([value, np.zeros(4)])
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(weight * layer.bounded_kernel())
        found.append(np.asarray(tape.gradient(total, layer.kernel.value)))
    along = np.sum(weight * kernel) / 4.0
    np.testing.assert_allclose(found[0], 0.9 / 4.0 * (weight - along * np.outer(u[:, 0], v[:, 0])), atol=1e-4)
    np.testing.assert_allclose(found[1], weight, rtol=1e-6)


def test_sngp_keeps_its_bound_in_training_and_is_saved_and_loaded(tmp_path):
    hidden = [SpectralDense(8, "relu", norm_bound=0.8), RandomFeatures(20)]
    network = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", method=VBLL(0.05))
    x = draws(32, 2)
    before = np.asarray(hidden[0].kernel)
    model.fit(x, 5 * x[:, :1], epochs=20, verbose=0)
    layer = model.keras_model.layers[0]
    weights, _ = model._problem.split(model.posterior.mean())
    kernel = np.asarray(model._problem.network.unflatten(weights)[0])
    assert np.abs(kernel - before).max() > 0.05
    layer.kernel.assign(kernel)
    assert np.linalg.norm(layer.bounded_kernel(), 2) < 0.8 * (1 + 1e-5)
    model.save(tmp_path / "m")
    loaded = bnnrl.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(x, 7, seed=1), model.predict(x, 7, seed=1))
    assert loaded.keras_model.layers[0].get_config() == layer.get_config()


@pytest.mark.parametrize("bad", [{"units": 0}, {"norm_bound": 0.0}])
def test_arguments_of_spectral_dense_are_checked(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
        SpectralDense(**{"units": 3, **bad})


@pytest.mark.parametrize("bad", [{"units": 0}, {"length_scale": 0.0}, {"seed": -1}])
def test_arguments_are_checked(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
        RandomFeatures(**{"units": 3, **bad})
