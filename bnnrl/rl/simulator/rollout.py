"""Particles through the learned simulator: a compiled loop over the horizon, with gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Shapes: S draws of the model, R policies, Q particles of each draw and policy, O observation, A action, H horizon.
StepFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
PolicyFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class SimulatedEnv(NamedTuple):
    """A simulated environment, as rollouts take it."""

    step: StepFunction  # (obs, action, noise) -> next_obs
    cost: Callable  # (obs, action, next_obs) -> [S, P]
    termination_prob: Callable | None = None  # (obs, action, next_obs) -> [S, P], in [0, 1]; None: it never ends
    cost_after_end: float = 0.0  # of each step after termination
    step_size: tf.Tensor | float = 1.0  # how far a typical step goes, [O]
    cost_range: tf.Tensor | None = None  # [2] lowest and highest cost that was observed; None for one within 0 and 1


def rollout_cost(
    world: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor, horizon: tf.Tensor | None = None
) -> tf.Tensor:
    """Return each particle's mean cost over the horizon, [S, P].

    Where an environment may terminate, a step costs what it would, times the probability that the episode still goes
    on, and `cost_after_end` otherwise: the expectation, with a gradient.

    The horizon is a while_loop: its body is a barrier, without which XLA fuses across time steps and recomputes.

    Args:
        world: the simulated environment.
        policy: obs [S, P, O] and time [] int32 -> action [S, P, A].
        start: initial observations, [S, P, O].
        noise: standard normal draws, [H, S, P, columns that the world's step takes].
        horizon: how many of the H steps to take, int32 [], at least 1; all if None.
    """
    steps = int(noise.shape[0])
    horizon = tf.constant(steps) if horizon is None else horizon

    def body(t, obs, alive, total):
        _, next_obs, alive, cost = _advance(world, policy, t, obs, alive, noise[t])
        return t + 1, next_obs, alive, total + cost

    begin = tf.constant(0), start, _all_alive(world, start), tf.zeros(start.shape[:-1], start.dtype)
    *_, total = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=steps)
    return total / tf.cast(horizon, total.dtype)


class Trajectories(NamedTuple):
    """What a rollout saw and did, of P particles for each of S draws."""

    obs: tf.Tensor  # [H + 1, S, P, O], start included
    actions: tf.Tensor  # [H, S, P, A]
    costs: tf.Tensor  # [H, S, P]


def trajectories(world: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor) -> Trajectories:
    """Return the particles' trajectories; what has surely ended stays where it did. No gradient."""
    horizon = int(noise.shape[0])

    def body(t, obs, alive, seen, done, costs):
        action, next_obs, alive_next, cost = _advance(world, policy, t, obs, alive, noise[t])
        return t + 1, next_obs, alive_next, _put(seen, t + 1, next_obs), _put(done, t, action), _put(costs, t, cost)

    first = policy(start, tf.constant(0))
    empty = (tf.zeros([horizon, *shape], start.dtype) for shape in (start.shape, first.shape, start.shape[:-1]))
    seen, done, costs = empty
    seen = tf.concat([start[tf.newaxis], seen], axis=0)
    begin = tf.constant(0), start, _all_alive(world, start), seen, done, costs
    *_, seen, done, costs = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=horizon)
    return Trajectories(seen, done, costs)


def _advance(world: SimulatedEnv, policy: PolicyFunction, t, obs, alive, noise):
    """Return the action, the next observations, who is alive there, and the expected cost of a step."""
    action = policy(obs, t)
    next_obs = world.step(obs, action, noise)
    if world.termination_prob is not None:  # what has surely ended stays where it is: further on, a model may overflow
        next_obs = tf.where(alive[..., tf.newaxis] > 0, next_obs, obs)
    cost = world.cost(obs, action, next_obs)
    if world.termination_prob is not None:
        cost = world.cost_after_end + alive * (cost - world.cost_after_end)
        alive *= 1.0 - world.termination_prob(obs, action, next_obs)
    return action, next_obs, alive, cost


def _all_alive(world: SimulatedEnv, start: tf.Tensor) -> tf.Tensor:
    """Return ones, [S, P]; one alone where nothing ends."""
    return tf.ones([] if world.termination_prob is None else start.shape[:-1], start.dtype)


def _put(array: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(array, [[index]], value[tf.newaxis])
