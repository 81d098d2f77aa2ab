"""Tasks of some of Gymnasium's own environments.

Termination rules, and the costs of Pendulum and Reacher, are those of Gymnasium's source; the other costs are
saturating distances from the goal, since most rewards there are constant or sparse. `solved_return` is Gymnasium's
reward threshold, or a little less, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnrl._tensorflow import import_tensorflow
from bnnrl.rl.tasks.task import SaturatingCost, Task


def _tensorflow():
    """Import TensorFlow when a task is made, so that the command line can list tasks quickly."""
    import_tensorflow()
    import tensorflow as tf

    return tf


def _pendulum(**env_kwargs) -> Task:
    tf = _tensorflow()

    def cost(obs, action, next_obs):  # minus the reward, which is of the state before the step
        angle = tf.atan2(obs[..., 1], obs[..., 0])
        return tf.square(angle) + 0.1 * tf.square(obs[..., 2]) + 0.001 * tf.square(action[..., 0])

    return Task(
        "Pendulum-v1",
        cost,
        env_kwargs=env_kwargs,
        dt=0.05,
        labels=("cos θ", "sin θ", "θ′, rad/s"),
        solved_return=-200.0,
        horizon=40,
    )


def _cartpole(**env_kwargs) -> Task:
    tf = _tensorflow()

    def imbalance(next_obs):
        return tf.square(next_obs[..., 0] / 1.2) + tf.square(next_obs[..., 2] / 0.1)

    def falls(obs, action, next_obs):
        return (tf.abs(next_obs[..., 0]) > 2.4) | (tf.abs(next_obs[..., 2]) > 12 * np.pi / 180)

    return Task(
        "CartPole-v1",
        SaturatingCost(imbalance),
        invariant=(0,),
        env_kwargs=env_kwargs,
        dt=0.02,
        labels=("x, m", "x′, m/s", "θ, rad", "θ′, rad/s"),
        termination=falls,
        solved_return=475.0,
        horizon=50,
    )


def _mountain_car(**env_kwargs) -> Task:
    tf = _tensorflow()

    def distance(next_obs):  # the goal is from 0.45 on; 0.55 lies safely inside
        return tf.square((next_obs[..., 0] - 0.55) / 0.5)

    def arrives(obs, action, next_obs):
        return (next_obs[..., 0] >= 0.45) & (next_obs[..., 1] >= env_kwargs.get("goal_velocity", 0.0))

    return Task(
        "MountainCarContinuous-v0",
        SaturatingCost(distance),
        env_kwargs=env_kwargs,
        labels=("x", "x′"),
        termination=arrives,
        terminal_cost=0.0,
        solved_return=90.0,
        horizon=40,
        starts="initial",
        action_repeat=5,
    )


def _acrobot(**env_kwargs) -> Task:
    tf = _tensorflow()

    def height(obs):  # of the tip above the base, in lengths of a link: −cos θ₁ − cos(θ₁ + θ₂)
        cos_1, sin_1, cos_2, sin_2 = tf.unstack(obs[..., :4], axis=-1)
        return -cos_1 - (cos_1 * cos_2 - sin_1 * sin_2)

    return Task(
        "Acrobot-v1",
        SaturatingCost(lambda next_obs: tf.square(tf.maximum(0.0, 1.2 - height(next_obs)) / 1.5)),
        env_kwargs=env_kwargs,
        dt=0.2,
        labels=("cos θ₁", "sin θ₁", "cos θ₂", "sin θ₂", "θ₁′, rad/s", "θ₂′, rad/s"),
        termination=lambda obs, action, next_obs: height(next_obs) > 1.0,
        terminal_cost=0.0,
        solved_return=-100.0,
        horizon=50,
        starts="initial",
    )


def _inverted_pendulum(**env_kwargs) -> Task:
    tf = _tensorflow()
    return Task(
        "InvertedPendulum-v5",
        SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] / 0.5) + tf.square(next_obs[..., 1] / 0.1)),
        invariant=(0,),
        env_kwargs=env_kwargs,
        dt=0.04,
        labels=("x, m", "θ, rad", "x′, m/s", "θ′, rad/s"),
        termination=lambda obs, action, next_obs: tf.abs(next_obs[..., 1]) > 0.2,
        solved_return=950.0,
        horizon=40,
    )


def _inverted_double_pendulum(**env_kwargs) -> Task:
    tf = _tensorflow()

    def tip(obs):  # position and height of the upper pole's end, in m; each pole is 0.6 m long
        sin_1, sin_2, cos_1, cos_2 = tf.unstack(obs[..., 1:5], axis=-1)
        sin_12, cos_12 = sin_1 * cos_2 + cos_1 * sin_2, cos_1 * cos_2 - sin_1 * sin_2
        return obs[..., 0] + 0.6 * (sin_1 + sin_12), 0.6 * (cos_1 + cos_12)

    def imbalance(next_obs):
        x, y = tip(next_obs)
        return tf.square(x / 0.5) + tf.square((y - 1.2) / 0.1)

    return Task(
        "InvertedDoublePendulum-v5",
        SaturatingCost(imbalance),
        invariant=(0,),
        env_kwargs=env_kwargs,
        dt=0.05,
        labels=("x, m", "sin θ₁", "sin θ₂", "cos θ₁", "cos θ₂", "x′, m/s", "θ₁′, rad/s", "θ₂′, rad/s", "constraint"),
        termination=lambda obs, action, next_obs: tip(next_obs)[1] <= 1.0,
        solved_return=9100.0,
        horizon=30,
    )


def _reacher(**env_kwargs) -> Task:
    tf = _tensorflow()
    # Gymnasium 1.4 documents a default of 0.1 for the control weight; its code has 1.
    distance_weight, control_weight = (env_kwargs.get(f"reward_{name}_weight", 1.0) for name in ("dist", "control"))

    def cost(obs, action, next_obs):  # minus the reward; 1e-8 keeps the gradient of the root finite at the goal
        distance = tf.sqrt(tf.reduce_sum(tf.square(next_obs[..., 8:10]), axis=-1) + 1e-8)
        return distance_weight * distance + control_weight * tf.reduce_sum(tf.square(action), axis=-1)

    return Task(
        "Reacher-v5",
        cost,
        invariant=(4, 5, 8, 9),
        env_kwargs=env_kwargs,
        dt=0.02,
        labels=(
            *("cos θ₁", "cos θ₂", "sin θ₁", "sin θ₂", "goal x, m", "goal y, m"),
            *("θ₁′, rad/s", "θ₂′, rad/s", "to goal x, m", "to goal y, m"),
        ),
        solved_return=-5.0,
    )


# Environment id -> function from keyword arguments of the environment to its task.
TASKS: dict[str, Callable[..., Task]] = {
    "Pendulum-v1": _pendulum,
    "CartPole-v1": _cartpole,
    "MountainCarContinuous-v0": _mountain_car,
    "Acrobot-v1": _acrobot,
    "InvertedPendulum-v5": _inverted_pendulum,
    "InvertedDoublePendulum-v5": _inverted_double_pendulum,
    "Reacher-v5": _reacher,
}
