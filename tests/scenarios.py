"""Problems with known posteriors, small networks and statistics, shared by the tests."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.posterior import Mixture, Samples
from bnnrl.problem import Problem


class LinearRegression(NamedTuple):
    """y = x w + b + N(0, noise²) with w, b ~ N(0, prior²): the posterior of θ = (w, b) is normal."""

    problem: Problem
    x: np.ndarray  # [N, F]
    y: np.ndarray  # [N, 1]
    noise: float
    prior: float
    mean: np.ndarray  # [D]
    cov: np.ndarray  # [D, D]

    @property
    def data(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(self.x), tf.constant(self.y)

    def grad(self, theta: np.ndarray, rows=slice(None)) -> np.ndarray:
        """Return −∇ log p(θ, batch) / N by hand, for θ [D] and the batch of `rows`."""
        design = np.c_[self.x, np.ones(len(self.x))].astype(np.float64)[rows]
        residual = design @ theta - self.y[rows, 0]
        return design.T @ residual / self.noise**2 / len(design) + theta / self.prior**2 / len(self.x)


def linear_regression(num_data=24, num_features=2, noise=0.5, prior=1.5) -> LinearRegression:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_data, num_features)).astype(np.float32)
    y = x @ rng.normal(size=(num_features, 1)) + 0.7 + noise * rng.normal(size=(num_data, 1))
    model = keras.Sequential([keras.Input((num_features,)), keras.layers.Dense(1)])
    problem = Problem(model, likelihoods.Gaussian(noise), tfd.Normal(0.0, prior), num_data)
    design = np.c_[x, np.ones(num_data)].astype(np.float64)
    cov = np.linalg.inv(design.T @ design / noise**2 + np.eye(num_features + 1) / prior**2)
    mean = cov @ design.T @ y[:, 0] / noise**2
    return LinearRegression(problem, x, y.astype(np.float32), noise, prior, mean, cov)


def mlp(num_inputs=3, num_outputs=2, hidden=(5, 4)) -> keras.Sequential:
    """Return a network of Dense layers, one of them without a bias."""
    inner = [keras.layers.Dense(h, activation="tanh", use_bias=i > 0) for i, h in enumerate(hidden)]
    return keras.Sequential([keras.Input((num_inputs,)), *inner, keras.layers.Dense(num_outputs)])


def two_inputs() -> keras.Model:
    """Return a network of the inputs [a, b]."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4, activation="relu")(a), b])
    return keras.Model([a, b], keras.layers.Dense(2)(joined))


def draws(*shape: int, seed=0) -> np.ndarray:
    """Return standard normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def trained_network() -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a Keras model trained on 80 rows of a noisy sine, and their inputs and targets."""
    keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 80, dtype=np.float32)[:, np.newaxis]
    y = np.sin(3 * x) + 0.1 * draws(80, 1)
    network: Any = keras.Sequential([keras.Input((1,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=False)
    network.fit(x, y, epochs=60, verbose=0)
    return network, x, y


class Subclassed(keras.Model):
    """A network written as a class."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm = keras.layers.Dense(4, "tanh"), keras.layers.LayerNormalization()
        self.head = keras.layers.Dense(2)

    def call(self, x):
        return self.head(self.norm(self.hidden(x)))


def networks() -> dict[str, keras.Model]:
    """Return a small network of each kind, with 2 outputs."""
    L = keras.layers
    subclassed = Subclassed()
    subclassed(tf.zeros([1, 3]))
    sequence = keras.Input((4, 3))
    attended = L.MultiHeadAttention(num_heads=2, key_dim=2)(sequence, sequence)
    a, b = keras.Input((3,)), keras.Input((2,))
    return {
        "dense": mlp(),
        "conv": keras.Sequential([keras.Input((5, 5, 1)), L.Conv2D(2, 3), L.Conv2D(2, 2), L.Flatten(), L.Dense(2)]),
        "batch norm": keras.Sequential([keras.Input((3,)), L.Dense(4), L.BatchNormalization(), L.Dense(2)]),
        "LSTM": keras.Sequential([keras.Input((4, 3)), L.LSTM(3), L.Dense(2)]),
        "attention": keras.Model(sequence, L.Dense(2)(L.GlobalAveragePooling1D()(attended))),
        "two inputs": keras.Model([a, b], L.Dense(2)(L.Concatenate()([L.Dense(3, "tanh")(a), b]))),
        "subclassed": subclassed,
    }


def inputs_of(model: keras.Model, rows: int):
    """Return random inputs [rows, ...] in the structure that a network of `networks` takes."""
    shapes = [tuple(t.shape[1:]) for t in model.inputs] if getattr(model, "inputs", None) else [(3,)]
    tensors = [tf.constant(draws(rows, *shape, seed=i)) for i, shape in enumerate(shapes)]
    return tensors if len(tensors) > 1 else tensors[0]


def z_scores(statistic: np.ndarray, expected) -> np.ndarray:
    """Return (mean over independent chains of `statistic` [C, ...] − expected) / its standard error, [...]."""
    chains = len(statistic)
    return (statistic.mean(axis=0) - expected) / (statistic.std(axis=0, ddof=1) / np.sqrt(chains))


def chains_of(posterior) -> np.ndarray:
    """Return the draws of a mixture of C chains, [C, K, D]."""
    assert isinstance(posterior, Mixture)
    return np.stack([c.draws for c in posterior.components if isinstance(c, Samples)])


def moments(chains: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return each chain's average of θ − mean and of the products of its entries, [C, D + D (D + 1) / 2].

    If `mean` is the mean of the distribution, their expectations are 0 and the entries of the covariance.

    Args:
        chains: draws, [C, K, D].
        mean: [D].
    """
    centred = chains.astype(np.float64) - mean
    products = np.einsum("cki,ckj->cij", centred, centred) / chains.shape[1]
    return np.concatenate([centred.mean(axis=1), products[:, *np.triu_indices(len(mean))]], axis=1)


def expected_moments(cov: np.ndarray) -> np.ndarray:
    """Return the expectation of `moments` for draws with covariance `cov`."""
    return np.concatenate([np.zeros(len(cov)), cov[np.triu_indices(len(cov))]])


def gaussian_target(dim=5, seed=0) -> LinearRegression:
    """Return a linear regression without bias, under a nearly flat prior, whose posterior has a random covariance."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dim + 2, dim))
    x = np.linalg.cholesky(root.T @ root).T.astype(np.float32)  # the posterior's precision is xᵀ x
    mean = rng.normal(size=dim)
    y = (x @ mean)[:, np.newaxis].astype(np.float32)
    model = keras.Sequential([keras.Input((dim,)), keras.layers.Dense(1, use_bias=False)])
    problem = Problem(model, likelihoods.Gaussian(1.0), tfd.Normal(0.0, 1e3), dim)
    cov = np.linalg.inv(x.T.astype(np.float64) @ x + 1e-6 * np.eye(dim))
    return LinearRegression(problem, x, y, 1.0, 1e3, mean, cov)
