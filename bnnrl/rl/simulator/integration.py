"""How a learned change becomes the next observation: positions from velocities, and the implicit midpoint rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

_ITERATIONS = 3  # evaluations of the network that find the middle of a step, all but the last one roughly

# (where the network is evaluated, noise or None for a rough mean) -> obs + the network's change
Move = Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]


def integrate_positions(
    obs: tf.Tensor, next_obs: tf.Tensor, velocities: Mapping[int, int], dt: float | None
) -> tf.Tensor:
    """Return next observations [..., O] whose positions follow from velocities: x' = x + dt (v + v') / 2.

    Args:
        obs: [..., O].
        next_obs: [..., O], predicted.
        velocities: the velocity entry of each position entry; all other entries of `next_obs` stay.
        dt: seconds between the two observations, or None where time has no meaning.
    """
    if not velocities or dt is None:
        return next_obs
    entries = tf.unstack(next_obs, axis=-1)
    for position, velocity in velocities.items():
        mean_velocity = (obs[..., velocity] + next_obs[..., velocity]) / 2
        entries[position] = obs[..., position] + dt * mean_velocity
    return tf.stack(entries, axis=-1)


@dataclass(frozen=True)
class Explicit:
    """The change follows from the observation before the step: next_obs = obs + f(obs, action).

    Positions follow from velocities by the trapezoidal rule.

    Args:
        velocities: the velocity entry of each position entry.
        dt: seconds between two observations.
    """

    velocities: Mapping[int, int]
    dt: float

    def regression(self, obs: np.ndarray, next_obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the observation that the network sees and the change that it is to predict, [N, O] each."""
        return obs, next_obs - obs

    def next_obs(self, move: Move, obs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return the next observation [..., O], given standard normal noise [..., O]."""
        return integrate_positions(obs, move(obs, noise), self.velocities, self.dt)


@dataclass(frozen=True)
class Midpoint(Explicit):
    """The change follows from the middle of the step: next_obs = obs + f((obs + next_obs) / 2, action).

    The network thus learns a rate of change at one point instead of the integral of it over a step, which is a much
    simpler function, and the rule is exact for a constant acceleration. Fixed-point iterations solve the equation;
    they converge where a step changes the change by less than twice the state's own change.

    Where `velocities` are known, a position in the middle takes the acceleration into account, and the network predicts
    the rest of a position's change that the trapezoidal rule leaves.

    Source: the implicit midpoint rule, Hairer, Lubich & Wanner, "Geometric Numerical Integration", 2006, section II.1.
    """

    def regression(self, obs: np.ndarray, next_obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the observation that the network sees and the change that it is to predict, [N, O] each."""
        rest = next_obs - obs
        for position, velocity in self.velocities.items():
            rest[:, position] -= self.dt / 2 * (obs[:, velocity] + next_obs[:, velocity])
        return np.asarray(self._middle(obs, next_obs)), rest

    def next_obs(self, move: Move, obs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return the next observation [..., O], given standard normal noise [..., O]."""
        at = obs
        for i in range(_ITERATIONS):
            last = i == _ITERATIONS - 1
            at = self._middle(obs, self._complete(obs, move(at, tf.zeros_like(noise) if last else None)))
        return self._complete(obs, move(at, noise))

    def _complete(self, obs: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the next observation, of which `moved` lacks what velocities add to positions."""
        entries = tf.unstack(moved, axis=-1)
        for position, velocity in self.velocities.items():
            entries[position] += self.dt / 2 * (obs[..., velocity] + moved[..., velocity])
        return tf.stack(entries, axis=-1)

    def _middle(self, obs, next_obs) -> tf.Tensor:
        """Return the observation in the middle of the step: of a position, by Hermite's cubic interpolation."""
        entries = tf.unstack((obs + next_obs) / 2, axis=-1)
        for position, velocity in self.velocities.items():
            entries[position] -= self.dt / 8 * (next_obs[..., velocity] - obs[..., velocity])
        return tf.stack(entries, axis=-1)
