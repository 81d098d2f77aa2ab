"""Bayesian regression networks whose data grow from trial to trial: of dynamics, reward and termination."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import posterior
from bnnrl.compiled import num_threads
from bnnrl.data import Scaler, pad_rows
from bnnrl.inference import Driver, innermost
from bnnrl.likelihoods import Bernoulli, Gaussian
from bnnrl.linearised import LinearisedProblem, expanded
from bnnrl.posterior import Posterior
from bnnrl.problem import Batch, Problem
from bnnrl.rl.simulator.fitted import (
    MAX_FULL_BATCH,
    Scalers,
    close_capacity,
    first_capacity,
    not_fitted,
    to_arrays,
)
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import host_seed
from bnnrl.storage.arrays import select
from bnnrl.structure import numbers, structure


class NetworkDraws(NamedTuple):
    """Draws of a fitted network's weights, and its scalers.

    All fields are tensors, so that a compiled rollout takes the draws of any trial without being traced again.
    """

    theta: tf.Tensor  # [S, D]; [S, 2D] for a linearised network, see `bnnrl.linearised`
    input_mean: tf.Tensor  # [I]
    input_std: tf.Tensor  # [I]
    target_mean: tf.Tensor  # [T]
    target_std: tf.Tensor  # [T]


class RegressionModel:
    """A Bayesian neural network from inputs [N, I] to targets [N, T].

    Inputs are standardised. Targets are, too, unless the likelihood is Bernoulli, whose targets are 0 or 1.

    Args:
        settings: the network and its inference.
        num_inputs: I.
        num_targets: T.
        likelihood: distribution of the standardised targets given the network's output.
        capacity: rows of the data buffer. The capacity doubles whenever data outgrow it, and the training step is
            then compiled once more. Methods that train on all rows begin with fewer rows, see `first_capacity`; of a
            method that XLA does not compile, the buffer follows the data, see `close_capacity`.

    Attributes:
        problem: the log joint of the network's weights.
        driver: the compiled training loop.
        posterior: the posterior over weights; None before the first fit.
        scalers: the scalers of inputs and of targets; None before the first fit.
    """

    def __init__(
        self, settings: Dynamics, num_inputs: int, num_targets: int, likelihood: Gaussian | Bernoulli, capacity: int
    ):
        self._settings, self._capacity = settings, capacity
        predicts_scale = isinstance(likelihood, Gaussian) and likelihood.scale == "heteroscedastic"
        # With separate outputs there are as many networks of one output as targets, each with a θ of its own. They
        # share one problem and one driver.
        num_outputs = 1 if settings.separate_outputs else num_targets
        network = keras.Sequential(
            [
                keras.Input((num_inputs,)),
                *[keras.layers.Dense(width, settings.activation) for width in settings.hidden],
                keras.layers.Dense(num_outputs * (2 if predicts_scale else 1)),
            ]
        )
        self._method = settings.resolve_method()
        prior = "learned" if settings.prior == "learned" else tfd.Normal(0.0, settings.prior_std)
        self.problem = Problem(network, likelihood, prior, capacity)
        self._predictive_problem = LinearisedProblem(self.problem) if self._is_linearised else self.problem
        minibatch_rows = self._minibatch_rows()
        if minibatch_rows is None:
            self._capacity = first_capacity(capacity)
        self.driver = Driver(self.problem, self._method, minibatch_rows)
        self.posterior: Posterior | None = None
        self.scalers: Scalers | None = None

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function that calls `predictive`.

        Raises:
            NotShareable: if network or likelihood hold what cannot be compared.
        """
        likelihood = self.problem.likelihood
        # `predictive` takes the likelihood's numbers as constants, so that they belong to the key.
        return (
            self._predictive_problem.structure,
            structure(likelihood),
            tuple(float(n) for n in numbers(likelihood)),
            self._settings.separate_outputs,
        )

    def unfitted(self) -> Self:
        """Return a copy without posterior and scalers, whose `predictive` is the same."""
        other = copy(self)
        other.posterior = other.scalers = None
        return other

    @property
    def _is_linearised(self) -> bool:
        return innermost(self._method).linearised

    def _minibatch_rows(self) -> int | None:
        needs_all = self._method.full_batch_only
        if self._settings.rows is None and self._capacity > MAX_FULL_BATCH and not needs_all:
            return MAX_FULL_BATCH // 2
        return self._settings.rows

    def fit(self, inputs: np.ndarray, targets: np.ndarray, seed: int) -> None:
        """Infer the posterior anew from all data.

        Args:
            inputs: [N, I].
            targets: [N, T].
            seed: seed of the initial weights, the order of the data and the method's noise.
        """
        if innermost(self._method).uses_xla:
            while self._capacity < len(inputs):
                self._capacity *= 2
        else:
            self._capacity = close_capacity(len(inputs))
        self.scalers = Scalers(Scaler.fit(inputs), self._fit_target_scaler(targets))
        x, y = (
            pad_rows(scaler.transform(rows), self._capacity)
            for scaler, rows in zip(self.scalers, (inputs, targets), strict=True)
        )
        if not self._settings.separate_outputs:
            self.posterior = self._infer((x, y), len(inputs), seed)
            return
        infer = lambda i: self._infer((x, y[:, i : i + 1]), len(inputs), host_seed(seed, 3, i))
        with ThreadPoolExecutor(num_threads()) as threads:
            self.posterior = posterior.Product(tuple(threads.map(infer, range(y.shape[1]))))

    def _infer(self, data: Batch, num_data: int, seed: int) -> Posterior:
        """Return the posterior of a network given padded, standardised data."""
        problem = self.problem.with_num_data(num_data)
        state = self._method.init(problem, host_seed(seed, 1))
        state, _ = self.driver.run(state, data, self._settings.num_steps, host_seed(seed, 2), num_data=num_data)
        return self._method.posterior(problem, state)

    def _fit_target_scaler(self, targets: np.ndarray) -> Scaler:
        if isinstance(self.problem.likelihood, Bernoulli):
            return Scaler(np.zeros(targets.shape[1], np.float32), np.ones(targets.shape[1], np.float32))
        return Scaler.fit(targets)

    def sample(self, num_draws: int, seed) -> NetworkDraws:
        """Return `num_draws` posterior samples of the weights, with the scalers.

        Raises:
            ValueError: if the model is not fitted.
        """
        if self.posterior is None or self.scalers is None:
            raise not_fitted()
        inputs, targets = self.scalers
        scales = (tf.constant(a, tf.float32) for a in (inputs.mean, inputs.std, targets.mean, targets.std))
        source = expanded(self.posterior) if self._is_linearised else self.posterior
        return NetworkDraws(source.sample(num_draws, seed), *scales)

    def predictive(self, draws: NetworkDraws, rough: bool = False) -> Callable[[tf.Tensor], tfd.Distribution]:
        """Return a function from inputs [S, P, I] to the distribution of standardised targets [S, P, T].

        Whatever is the same in every call of the function is computed here, outside a rollout's loop.

        Args:
            draws: from `sample`.
            rough: whether a linearised network may leave out the deviations of the draws, a third of the time.
        """
        problem, likelihood = self._predictive_problem, self.problem.likelihood
        size = problem.num_params
        separate = draws.theta.shape[-1] // size if self._settings.separate_outputs else 1
        # Of T separate networks, the S draws of the first come first, [T S, D].
        each = tf.concat(tf.split(draws.theta, separate, axis=-1), axis=0)
        if rough and self._is_linearised:
            problem, each = self.problem, tf.split(each, 2, axis=-1)[0]
        network = problem.network
        theta, likelihood_params = problem.split(each)
        weights = network.stack(theta)
        # What separate networks return side by side, as one network returns it: all means, then all scales.
        side_by_side = lambda a: tf.concat(
            [part for column in tf.split(a, a.shape[-1], axis=-1) for part in tf.split(column, separate, axis=0)]
            if a.shape[-1]
            else tf.split(a, separate, axis=0)[:1],
            axis=-1,
        )

        def distribution(inputs: tf.Tensor) -> tfd.Distribution:
            z = tf.tile((inputs - draws.input_mean) / draws.input_std, [separate, 1, 1])
            return likelihood(side_by_side(network.forward(weights, z)), side_by_side(likelihood_params))

        return distribution

    def to_arrays(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
        """Return the posterior's JSON-able description and the arrays of posterior and scalers; (None, {}) unfitted."""
        return to_arrays(self.posterior, self.scalers)

    def from_arrays(self, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what `to_arrays` returned."""
        self.posterior = posterior.from_arrays(described, select(arrays, "posterior"))
        self.scalers = Scalers.from_arrays(arrays)
