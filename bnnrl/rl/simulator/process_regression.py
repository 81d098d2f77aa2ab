"""Gaussian processes as the regression model of the dynamics, in the place of a Bayesian network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf
from numpy.polynomial import Chebyshev, Polynomial
from tensorflow_probability import distributions as tfd

from bnnrl.checks import available_bytes
from bnnrl.data import Scaler, pad_rows
from bnnrl.rl.simulator.fitted import Scalers, first_capacity, not_fitted, to_arrays
from bnnrl.rl.simulator.gaussian_process import FunctionDraws, ProcessPosterior
from bnnrl.seeds import host_seed
from bnnrl.storage.arrays import select

# Coefficients of cos(2π √s), s in [0, 1/4], for `tf.math.polyval`; the error is below float32's rounding.
_COSINE = Chebyshev.interpolate(lambda s: np.cos(2 * np.pi * np.sqrt(s)), 8, [0, 0.25]).convert(kind=Polynomial).coef
_MATRICES = 8  # of float64 [N, N], in memory during a fit: K, its factor, its inverse, and what gradients add


class SubsetWarning(UserWarning):
    """A Gaussian process is fitted to a random subset of the rows, because all of them are too many."""


class ProcessDraws(NamedTuple):
    """Draws of fitted Gaussian processes, and the scalers.

    All fields are tensors, so that a compiled rollout takes the draws of any trial without being traced again. Data are
    padded to the capacity C of the data buffer by rows whose weights are 0.
    """

    functions: FunctionDraws  # S draws, with weights [S, T, C]
    mean: FunctionDraws  # their mean, as one draw without features
    rows: tf.Tensor  # [C, I] standardised inputs of the data
    lengths: tf.Tensor  # [T, I] length-scales
    noise: tf.Tensor  # [T] standard deviations of the standardised targets' noise
    input_mean: tf.Tensor  # [I]
    input_std: tf.Tensor  # [I]
    target_mean: tf.Tensor  # [T]
    target_std: tf.Tensor  # [T]


class ProcessRegression:
    """Exact Gaussian processes from inputs [N, I] to targets [N, T], one for each target.

    The interface is that of `bnnrl.rl.simulator.regression.RegressionModel`.

    Args:
        max_rows: the largest number of rows to fit to. Of more, a random subset is taken.
        capacity: rows of the data buffer, which doubles whenever data outgrow it, up to `max_rows`. What is compiled
            for rollouts is then compiled once more.

    Attributes:
        posterior: the posterior of the functions; None before the first fit.
        scalers: the scalers of inputs and of targets; None before the first fit.
    """

    def __init__(self, max_rows: int, capacity: int):
        self._max_rows, self._capacity = max_rows, min(first_capacity(capacity), max_rows)
        self.posterior: ProcessPosterior | None = None
        self.scalers: Scalers | None = None

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function that calls `predictive`, beside the shapes of the draws."""
        return ProcessRegression

    def unfitted(self) -> Self:
        """Return a copy without posterior and scalers, whose `predictive` is the same."""
        other = copy(self)
        other.posterior = other.scalers = None
        return other

    def fit(self, inputs: np.ndarray, targets: np.ndarray, seed: int) -> None:
        """Infer the posterior anew, with hyper-parameters by evidence.

        Args:
            inputs: [N, I].
            targets: [N, T].
            seed: seed of the subset that is taken of too many rows.

        Warns:
            SubsetWarning: if N is above `max_rows`, or the memory does not suffice for N rows.
        """
        self.scalers = Scalers(Scaler.fit(inputs), Scaler.fit(targets))
        chosen = _subset(len(inputs), self._max_rows, seed)
        x, y = (scaler.transform(rows)[chosen] for scaler, rows in zip(self.scalers, (inputs, targets), strict=True))
        self.posterior = ProcessPosterior.fit(x, y)
        self._grow(len(x))

    def _grow(self, count: int) -> None:
        while self._capacity < count:
            self._capacity = min(2 * self._capacity, self._max_rows)

    def sample(self, num_draws: int, seed) -> ProcessDraws:
        """Return `num_draws` draws of functions, with the scalers.

        Raises:
            ValueError: if the model is not fitted.
        """
        if self.posterior is None or self.scalers is None:
            raise not_fitted()
        kernels, (inputs, targets) = self.posterior.kernels, self.scalers
        numbers = (
            np.stack([kernel.lengths for kernel in kernels]),
            np.sqrt([kernel.noise_variance for kernel in kernels]),
            *(inputs.mean, inputs.std, targets.mean, targets.std),
        )
        return ProcessDraws(
            self._padded(self.posterior.sample(num_draws, seed)),
            self._padded(self.posterior.mean()),
            pad_rows(self.posterior.x, self._capacity),
            *(tf.constant(array, tf.float32) for array in numbers),
        )

    def _padded(self, draws: FunctionDraws) -> FunctionDraws:
        """Return draws as float32 tensors, with weights of 0 for the rows that the data buffer has beyond the data."""
        missing = self._capacity - draws.weights.shape[-1]
        padded = draws._replace(weights=np.pad(draws.weights, [(0, 0), (0, 0), (0, missing)]))
        return FunctionDraws(*(tf.constant(array, tf.float32) for array in padded))

    def predictive(self, draws: ProcessDraws, rough: bool = False) -> Callable[[tf.Tensor], tfd.Distribution]:
        """Return a function from inputs [S, P, I] to the distribution of standardised targets [S, P, T].

        Args:
            draws: from `sample`.
            rough: whether the mean of the draws takes their place, which needs no features: a third of the time.
        """
        functions = draws.mean if rough else draws.functions

        def distribution(inputs: tf.Tensor) -> tfd.Distribution:
            values = _recomputed(partial(_values, functions, draws), (inputs - draws.input_mean) / draws.input_std)
            return tfd.Normal(values, tf.broadcast_to(draws.noise, values.shape))

        return distribution

    def to_arrays(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
        """Return the posterior's JSON-able description and the arrays of posterior and scalers; (None, {}) unfitted."""
        return to_arrays(self.posterior, self.scalers)

    def from_arrays(self, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what `to_arrays` returned."""
        self.posterior = ProcessPosterior.from_arrays(select(arrays, "posterior"))
        self.scalers = Scalers.from_arrays(arrays)
        self._grow(len(self.posterior.x))


def _values(functions: FunctionDraws, draws: ProcessDraws, z: tf.Tensor) -> tf.Tensor:
    """Return the values of functions at standardised inputs z [S, P, I], [S, P, T]."""
    stacked = z[:, tf.newaxis]  # [S, 1, P, I]
    linear = tf.reduce_sum(stacked * functions.slopes[:, :, tf.newaxis], axis=-1) + functions.offsets[..., tf.newaxis]
    # Differences of the entries one by one: the square of a difference by a matrix product would lose its digits.
    lengths = tf.unstack(draws.lengths[:, tf.newaxis, tf.newaxis], axis=-1)  # [T, 1, 1] each
    pairs = zip(tf.unstack(stacked, axis=-1), tf.unstack(draws.rows, axis=-1), lengths, strict=True)
    squares = [tf.square((a[..., tf.newaxis] - b) / length) for a, b, length in pairs]
    near = tf.exp(-0.5 * tf.add_n(squares))  # [S, T, P, C]
    values = linear + tf.reduce_sum(near * functions.weights[:, :, tf.newaxis], axis=-1)
    if functions.phases.shape[-1]:
        waves = _cosine(tf.matmul(stacked, functions.frequencies) + functions.phases[:, :, tf.newaxis])
        values += tf.reduce_sum(waves * functions.amplitudes[:, :, tf.newaxis], axis=-1)
    return tf.transpose(values, [0, 2, 1])


def _recomputed(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Return function(x). Its gradient evaluates it again, so that a rollout keeps no kernel values of any step."""

    @tf.custom_gradient
    def evaluate(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def grad(upstream: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                again = function(x)
            return tape.gradient(again, x, upstream)

        return function(x), grad

    return evaluate(x)


def _cosine(x: tf.Tensor) -> tf.Tensor:
    """Return cos(x) by a polynomial, which XLA evaluates with vector instructions; it calls a function for `tf.cos`."""
    turns = x / (2 * np.pi)
    square = tf.square(turns - tf.stop_gradient(tf.round(turns)))
    return tf.math.polyval([tf.constant(c, tf.float32) for c in _COSINE[::-1]], square)


def _subset(count: int, max_rows: int, seed: int) -> np.ndarray:
    """Return the indices of the rows that a process is fitted to: all, or a sorted random subset of too many.

    Warns:
        SubsetWarning: for a subset.
    """
    available = available_bytes()
    fitting = max_rows if available is None else min(max_rows, int((available / (8 * _MATRICES)) ** 0.5))
    if count <= fitting:
        return np.arange(count)
    gigabytes = 8 * _MATRICES * count**2 / 2**30
    warnings.warn(
        f"A Gaussian process takes at most {fitting} rows (`max_rows` is {max_rows}). Received: {count} rows, whose "
        f"covariance matrices take {gigabytes:.2f} GiB. The process is fitted to {fitting} of them at random. Raise "
        "`max_rows`, or use a network, such as method='gauss_newton'.",
        SubsetWarning,
        stacklevel=2,
    )
    return np.sort(np.random.default_rng(host_seed(seed, 1)).choice(count, fitting, replace=False))
