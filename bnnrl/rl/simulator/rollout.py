"""Rollouts: particles through a simulated environment, as a compiled and differentiable loop over the horizon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

# Shapes: S draws of the models, P particles of each draw, O observation, A action, H horizon, C constraints.
StepFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
PolicyFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_VIOLATION = 1e6  # more than costs of single steps are, in the units that tasks use


class Constraints(NamedTuple):
    """C functions of a step that are to stay below 0, and their scales; none by default."""

    count: int = 0  # C
    values: Callable = lambda obs, action, next_obs: tf.zeros([*obs.shape[:-1], 0], obs.dtype)  # -> [S, P, C]
    scale: tf.Tensor | float = 1.0  # [C] standard deviation of each function in the data


def is_violated(worst: tf.Tensor) -> tf.Tensor:
    """Return whether constraints with the largest values `worst` are violated, as they are by NaN."""
    return tf.logical_not(worst < 0)


def violation_penalty(violated: tf.Tensor, allowed: Sequence[float]) -> tf.Tensor:
    """Return what is added to costs [N] to rank policies or plans that violate constraints behind all others, [N].

    Args:
        violated: share of rollouts that violate each constraint, [N, C].
        allowed: the largest share that may, [C].
    """
    beyond = tf.reduce_sum(tf.nn.relu(violated - tf.constant(allowed, tf.float32)), axis=-1)
    return tf.where(beyond > 0, _VIOLATION * (1.0 + beyond), 0.0)


class SimulatedEnv(NamedTuple):
    """A simulated environment: the functions that a rollout calls, and the scales of steps and costs."""

    step: StepFunction  # (obs, action, noise) -> next_obs
    cost: Callable  # (obs, action, next_obs) -> [S, P]
    termination_prob: Callable | None = None  # (obs, action, next_obs) -> [S, P] in [0, 1]; None: it never terminates
    cost_after_end: float = 0.0  # cost of each step after termination
    step_size: tf.Tensor | float = 1.0  # [O] standard deviation of next_obs - obs in the data: a typical step
    cost_range: tf.Tensor | None = None  # [2] lowest and highest cost observed; None for a cost within 0 and 1
    obs_range: tf.Tensor | None = None  # [2, O] lowest and highest value observed; None if nothing was observed
    constraints: Constraints = Constraints()


class Outcome(NamedTuple):
    """What a rollout amounts to, for each particle."""

    cost: tf.Tensor  # [S, P] mean cost over the horizon
    worst: tf.Tensor  # [S, P, C] largest value of each constraint; above 0 or 0 where it was violated


def rollout_cost(
    env: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor, horizon: tf.Tensor | None = None
) -> tf.Tensor:
    """Return each particle's mean cost over the horizon, [S, P], with a gradient; see `rollout`."""
    return rollout(env, policy, start, noise, horizon).cost


def rollout(
    env: SimulatedEnv, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor, horizon: tf.Tensor | None = None
) -> Outcome:
    """Return each particle's mean cost over the horizon and largest values of constraints, with a gradient.

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

    def body(t, particles, total):
        _, particles, cost = _advance(env, policy, t, particles, noise[t])
        return t + 1, particles, total + cost

    begin = tf.constant(0), _begin(env, start), tf.zeros(start.shape[:-1], start.dtype)
    # A while_loop, because its body is a barrier: of an unrolled horizon, XLA fuses across time steps and recomputes.
    _, particles, total = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=steps)
    return Outcome(total / tf.cast(horizon, total.dtype), particles.worst)


class Trajectories(NamedTuple):
    """Observations, actions, costs and constraints of a rollout."""

    obs: tf.Tensor  # [H + 1, S, P, O] initial observations included
    actions: tf.Tensor  # [H, S, P, A]
    costs: tf.Tensor  # [H, S, P]
    worst: tf.Tensor  # [S, P, C] largest value of each constraint


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

    def body(t, particles, seen, done, costs):
        action, particles, cost = _advance(env, policy, t, particles, noise[t])
        seen, done = _write_slot(seen, t + 1, particles.obs), _write_slot(done, t, action)
        return t + 1, particles, seen, done, _write_slot(costs, t, cost)

    first = policy(start, tf.constant(0))
    empty = (tf.zeros([horizon, *shape], start.dtype) for shape in (start.shape, first.shape, start.shape[:-1]))
    seen, done, costs = empty
    seen = tf.concat([start[tf.newaxis], seen], axis=0)
    begin = tf.constant(0), _begin(env, start), seen, done, costs
    found = tf.while_loop(lambda t, *_: t < horizon, body, begin, maximum_iterations=horizon)
    _, particles, seen, done, costs = found
    return Trajectories(seen, done, costs, particles.worst)


class _Particles(NamedTuple):
    """What a rollout carries from step to step."""

    obs: tf.Tensor  # [S, P, O]
    alive: tf.Tensor  # [S, P] probability that the episode has not terminated; [] where nothing terminates
    worst: tf.Tensor  # [S, P, C]


def _begin(env: SimulatedEnv, start: tf.Tensor) -> _Particles:
    """Return the particles before their first step."""
    alive = tf.ones([] if env.termination_prob is None else start.shape[:-1], start.dtype)
    return _Particles(start, alive, tf.fill([*start.shape[:-1], env.constraints.count], start.dtype.min))


def _advance(env: SimulatedEnv, policy: PolicyFunction, t, particles: _Particles, noise):
    """Return a step's action, the particles after it, and its expected cost.

    Constraints count until an episode has more probably terminated than not.
    """
    obs, alive, worst = particles
    action = policy(obs, t)
    next_obs = env.step(obs, action, noise)
    if (
        env.termination_prob is not None
    ):  # a particle that has surely terminated stays: further on, a model may overflow
        next_obs = tf.where(alive[..., tf.newaxis] > 0, next_obs, obs)
    cost = env.cost(obs, action, next_obs)
    value = env.constraints.values(obs, action, next_obs)
    if env.termination_prob is not None:
        value = tf.where(alive[..., tf.newaxis] > 0.5, value, worst)
        cost = env.cost_after_end + alive * (cost - env.cost_after_end)
        alive *= 1.0 - env.termination_prob(obs, action, next_obs)
    return action, _Particles(next_obs, alive, tf.maximum(worst, value)), cost


def _write_slot(array: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(array, [[index]], value[tf.newaxis])
