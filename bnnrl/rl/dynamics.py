"""The dynamics model: a Bayesian neural network from observation and action to the next observation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from bnnrl.rl.features import Features
from bnnrl.rl.regression import Draws, Dynamics, Regressor


class DynamicsModel(Regressor):
    """The model that `dynamics` describes, for one environment's sizes.

    Args:
        dynamics: the description.
        features: from observations to the model's inputs.
        num_actions: A.
        capacity: room for rows; doubled, at the price of compiling once more, whenever data outgrow it.
        velocities: of a Task.
        dt: seconds of a step, for them.
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
        self._features, self._velocities, self._dt = features, dict(velocities or {}), dt
        super().__init__(dynamics, features.size + num_actions, features.num_obs, dynamics.likelihood, capacity)

    def fit(self, obs: np.ndarray, actions: np.ndarray, next_obs: np.ndarray, seed: int) -> None:
        """Infer the posterior from transitions.

        Args:
            obs: [N, O].
            actions: [N, A].
            next_obs: [N, O].
            seed: of the initial weights, the order of the data and the method's noise.
        """
        inputs = np.concatenate([self._features(tf.constant(obs, tf.float32)), actions], axis=-1)
        self.infer(inputs, next_obs - obs, seed)

    def stacked(self, draws: Draws):
        """Return the step function (obs [S, P, O], action [S, P, A], noise [S, P, O]) -> next_obs of draws."""
        given = self.conditional(draws)

        def step(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            distribution = given(tf.concat([self._features(obs), action], axis=-1))
            delta = distribution.mean() + distribution.stddev() * noise
            return integrated(obs, obs + draws.target_mean + draws.target_std * delta, self._velocities, self._dt)

        return step


def integrated(obs: tf.Tensor, next_obs: tf.Tensor, velocities: Mapping[int, int], dt: float | None) -> tf.Tensor:
    """Return the next observations [..., O] with positions that follow from their velocities; see bnnrl.Task."""
    if not velocities or dt is None:
        return next_obs
    entries = tf.unstack(next_obs, axis=-1)
    for position, velocity in velocities.items():
        mean_velocity = (obs[..., velocity] + next_obs[..., velocity]) / 2
        entries[position] = obs[..., position] + dt * mean_velocity
    return tf.stack(entries, axis=-1)
