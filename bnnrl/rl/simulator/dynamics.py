"""The dynamics model, which predicts the next observation from observation and action: a network, or processes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from typing import Any, Self, cast

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.data import Scaler
from bnnrl.inference import Driver
from bnnrl.posterior import Posterior
from bnnrl.problem import Problem
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.gaussian_process import ProcessPosterior
from bnnrl.rl.simulator.integration import Explicit, Midpoint
from bnnrl.rl.simulator.process_regression import ProcessDraws, ProcessRegression
from bnnrl.rl.simulator.regression import NetworkDraws, RegressionModel
from bnnrl.rl.simulator.rollout import StepFunction
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.structure import structure

_FARTHEST = 6.0  # standard deviations of the data, from their mean, of what the model of linked rods sees


class DynamicsModel:
    """A regression on transitions, from (features(obs), action) to next_obs - obs: a network or Gaussian processes.

    With `Dynamics.midpoint` the regression sees the middle of each step, see `bnnrl.rl.simulator.integration`.

    Args:
        dynamics: settings of the regression.
        features: the map from observations to the regression's inputs.
        num_actions: A, entries of an action.
        capacity: rows of the data buffer, see `RegressionModel`.
        velocities: the velocity entry of each position entry, see `bnnrl.Task`.
        dt: seconds between two observations, which `velocities` need.

    Attributes:
        regression: the regression network, or the Gaussian processes.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        features: Features,
        num_actions: int,
        capacity: int = 256,
        velocities: Mapping[int, int] | None = None,
        dt: float | None = None,
    ):
        self._features = features
        known = {} if dt is None else dict(velocities or {})
        self._rule = (Midpoint if dynamics.sees_midpoint(known, features.rates) else Explicit)(known, dt or 0.0)
        num_inputs = features.size + num_actions
        self.regression: RegressionModel | ProcessRegression
        if dynamics.is_gaussian_process:
            self.regression = ProcessRegression(cast(int, dynamics.max_rows), capacity)
        else:
            self.regression = RegressionModel(dynamics, num_inputs, features.num_obs, dynamics.likelihood, capacity)

    @property
    def problem(self) -> Problem:
        """The log joint of the network's weights.

        Raises:
            ValueError: if the model is a Gaussian process.
        """
        return self._network.problem

    @property
    def driver(self) -> Driver:
        """The compiled training loop.

        Raises:
            ValueError: if the model is a Gaussian process.
        """
        return self._network.driver

    @property
    def _network(self) -> RegressionModel:
        if isinstance(self.regression, ProcessRegression):
            raise ValueError("Invalid model: expected one with a network. Received: a Gaussian process (method='gp').")
        return self.regression

    @property
    def posterior(self) -> Posterior | ProcessPosterior | None:
        """The posterior over the network's weights, or over functions; None before the first fit."""
        return self.regression.posterior

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function that calls `make_step`.

        Raises:
            NotShareable: if network or likelihood hold what cannot be compared.
        """
        return self.regression.structure, structure([self._features, self._rule])

    def unfitted(self) -> Self:
        """Return a copy without posterior and scalers, whose `make_step` is the same."""
        other = copy(self)
        other.regression = self.regression.unfitted()
        return other

    @property
    def scalers(self) -> tuple[Scaler, Scaler] | None:
        """The scalers of inputs and of differences; None before the first fit."""
        return self.regression.scalers

    def fit(self, obs: np.ndarray, actions: np.ndarray, next_obs: np.ndarray, seed: int) -> None:
        """Infer the posterior anew from transitions.

        Args:
            obs: [N, O].
            actions: [N, A].
            next_obs: [N, O].
            seed: seed of the initial weights, the order of the data and the method's noise.
        """
        memory = self._features.memory
        before, change = self._rule.regression(memory.newest(obs), memory.newest(next_obs))
        if not memory.is_empty:
            before = np.concatenate([before, memory.past(obs)], axis=-1)
        inputs = np.concatenate([self._features(tf.constant(before, tf.float32)), actions], axis=-1)
        self.regression.fit(inputs, change, seed)

    def sample(self, num_draws: int, seed) -> NetworkDraws | ProcessDraws:
        """Return `num_draws` posterior samples of the weights or functions, with the scalers.

        Raises:
            ValueError: if the model is not fitted.
        """
        return self.regression.sample(num_draws, seed)

    def predictive(self, draws: NetworkDraws | ProcessDraws) -> Callable[[tf.Tensor], tfd.Distribution]:
        """Return a function from inputs [S, P, I] to the distribution of standardised differences [S, P, O]."""
        return cast(Any, self.regression).predictive(draws)  # the draws are its own

    def make_step(self, draws: NetworkDraws | ProcessDraws) -> StepFunction:
        """Return the step function of draws: (obs [S, P, O], action [S, P, A], noise [S, P, O]) -> next_obs.

        Of observations with memory, the model predicts the newest one, and the step shifts the past.
        """
        memory = self._features.memory
        exact = self.predictive(draws)
        rough = cast(Any, self.regression).predictive(draws, rough=True) if isinstance(self._rule, Midpoint) else exact

        # Products of rates would grow doubly exponentially in a rollout that leaves the data.
        reach = _FARTHEST * draws.input_std
        bounds = (draws.input_mean - reach, draws.input_mean + reach) if self._features.rates else None

        def step(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            newest = memory.newest(obs)

            def move(at: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
                at = at if memory.is_empty else tf.concat([at, memory.past(obs)], axis=-1)
                inputs = tf.concat([self._features(at), action], axis=-1)
                if bounds is not None:
                    inputs = tf.clip_by_value(inputs, *bounds)
                if noise is None:
                    delta = rough(inputs).mean()
                else:
                    distribution = exact(inputs)
                    delta = distribution.mean() + distribution.stddev() * noise
                return newest + draws.target_mean + draws.target_std * delta

            found = self._rule.next_obs(move, newest, memory.newest(noise))
            return found if memory.is_empty else tf.concat(memory.after(obs, action, found), axis=-1)

        return step
