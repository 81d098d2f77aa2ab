"""Rollouts: particles through a simulated environment, as a compiled and differentiable loop over the horizon."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Shapes: S draws of the models, P particles of each draw, O observation, A action, H horizon.
StepFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
PolicyFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class SimulatedEnv(NamedTuple):
    """A simulated environment: the functions that a rollout calls, and the scales of steps and costs."""

    step: StepFunction  # (obs, action, noise) -> next_obs
    cost: Callable  # (obs, action, next_obs) -> [S, P]
    termination_prob: Callable | None = None  # (obs, action, next_obs) -> [S, P] in [0, 1]; None: it never terminates
    cost_after_end: float = 0.0  # cost of each step after termination
    step_size: tf.Tensor | float = 1.0  # [O] standard deviation of next_obs - obs in the data: a typical step
    cost_range: tf.Tensor | None = None  # [2] lowest and highest cost observed; None for a cost within 0 and 1
    obs_range: tf.Tensor | None = None  # [2, O] lowest and highest value observed; None if nothing was observed


def rollout_cost(
    env: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor, horizon: tf.Tensor | None = None
) -> tf.Tensor:
    """Return each particle's mean cost over the horizon, [S, P], with a gradient.

    In an environment that may terminate, the cost of a step is an expectation: the step's cost, weighted by the
    probability that the episode has not terminated before it, plus `cost_after_end` weighted by the rest.

    Args:
        env: the simulated environment.
        policy: (obs [S, P, O], time [] int32) -> action [S, P, A].
        start: initial observations, [S, P, O].
        noise: standard normal noise, [H, S, P, columns that `env.step` takes].
        horizon: number of the H steps to take, int32 [], at least 1; None takes all.
    """
    steps = int(noise.shape[0])
    horizon = tf.constant(steps) if horizon is None else horizon

    def body(t, obs, alive, total):
        _, next_obs, alive, cost = _advance(env, policy, t, obs, alive, noise[t])
        return t + 1, next_obs, alive, total + cost

    begin = tf.constant(0), start, _all_alive(env, start), tf.zeros(start.shape[:-1], start.dtype)
    # A while_loop, because its body is a barrier: of an unrolled horizon, XLA fuses across time steps and recomputes.
    *_, total = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=steps)
    return total / tf.cast(horizon, total.dtype)


class Trajectories(NamedTuple):
    """Observations, actions and costs of a rollout."""

    obs: tf.Tensor  # [H + 1, S, P, O] initial observations included
    actions: tf.Tensor  # [H, S, P, A]
    costs: tf.Tensor  # [H, S, P]


def trajectories(env: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor) -> Trajectories:
    """Return the particles' trajectories over the whole horizon, without a gradient.

    A particle that has terminated with probability 1 stays where it terminated.

    Args:
        env: the simulated environment.
        policy: (obs [S, P, O], time [] int32) -> action [S, P, A].
        start: initial observations, [S, P, O].
        noise: standard normal noise, [H, S, P, columns that `env.step` takes].
    """
    horizon = int(noise.shape[0])

    def body(t, obs, alive, seen, done, costs):
        action, next_obs, alive, cost = _advance(env, policy, t, obs, alive, noise[t])
        seen, done = _write_slot(seen, t + 1, next_obs), _write_slot(done, t, action)
        return t + 1, next_obs, alive, seen, done, _write_slot(costs, t, cost)

    first = policy(start, tf.constant(0))
    empty = (tf.zeros([horizon, *shape], start.dtype) for shape in (start.shape, first.shape, start.shape[:-1]))
    seen, done, costs = empty
    seen = tf.concat([start[tf.newaxis], seen], axis=0)
    begin = tf.constant(0), start, _all_alive(env, start), seen, done, costs
    *_, seen, done, costs = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=horizon)
    return Trajectories(seen, done, costs)


def _advance(env: SimulatedEnv, policy: PolicyFunction, t, obs, alive, noise):
    """Return a step's action, next observations, probability of being alive after it, and expected cost."""
    action = policy(obs, t)
    next_obs = env.step(obs, action, noise)
    if (
        env.termination_prob is not None
    ):  # a particle that has surely terminated stays: further on, a model may overflow
        next_obs = tf.where(alive[..., tf.newaxis] > 0, next_obs, obs)
    cost = env.cost(obs, action, next_obs)
    if env.termination_prob is not None:
        cost = env.cost_after_end + alive * (cost - env.cost_after_end)
        alive *= 1.0 - env.termination_prob(obs, action, next_obs)
    return action, next_obs, alive, cost


def _all_alive(env: SimulatedEnv, start: tf.Tensor) -> tf.Tensor:
    """Return the probability of being alive at the start: ones [S, P], or a scalar where nothing terminates."""
    return tf.ones([] if env.termination_prob is None else start.shape[:-1], start.dtype)


def _write_slot(array: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(array, [[index]], value[tf.newaxis])
