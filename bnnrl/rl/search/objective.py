"""The objective of a policy search: expected cost of simulated rollouts, as a differentiable function of policies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.rl.policies import Controller
from bnnrl.rl.search.initial_states import InitialStates
from bnnrl.rl.search.settings import PolicySearch
from bnnrl.rl.simulator.propagation import noise_columns, propagate
from bnnrl.rl.simulator.rollout import PolicyFunction, SimulatedEnv, is_violated, rollout, trajectories
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import fold_in, normal, split

# Shapes: R policies of K parameters, S draws of the models, Q particles of each draw and policy, O observation,
# A action, H horizon, C constraints.
# Particles of each policy that are rolled out at a time, without and with a gradient. The gradient of a rollout keeps
# some 1 KiB for each particle and step, so that 8 policies take 1 GiB for 60 steps. The numbers do not depend on the
# number of policies, which the search divides by the number of threads: these must not change results.
_SOFTNESS = 0.1  # widths of the observed range, over which the cost of extrapolation grows
_PARTICLES, _GRADIENT_PARTICLES = 2**12, 2**11
_LIMIT_SOFTNESS = 0.1  # of the limit of a constraint, in standard deviations of its values in the data


class Stage(NamedTuple):
    """The part of the objective that changes in the course of a search."""

    width: tf.Tensor | float = 1.0  # [] or [R] factor on the width of a saturating cost
    effort: tf.Tensor | float = 0.0  # [] or [R] share of reward lost for the largest action, for a saturating cost
    horizon: tf.Tensor | None = None  # [] int32 steps that count; None for all
    refining: bool = False  # for gradients: relaxed discrete actions, dropout and action noise
    multipliers: tf.Tensor | float = 1.0  # [] or [R, C] weight of the excess over each constraint's limit


@dataclass(frozen=True)
class SearchObjective:
    """Each policy's expected cost over particles, with the optimism of the settings, and its excess over limits.

    A rollout's excess over the limit of a constraint g is τ log(1 + exp(m / τ)), with the largest value m of g along
    the rollout in standard deviations of g in the data, and τ = 0.1. The objective adds each policy's mean excess,
    times a multiplier.

    A call is a pure function of tensors. Initial states and noise are the same for all policies, so that their costs
    can be compared, and do not depend on the number of policies.

    Args:
        settings: settings of the search.
        controller: maps policy parameters and observations to actions.
        make_env: function from draws of the models to the simulated environment.
        horizon: H, number of steps of a rollout.
        num_draws: S, number of draws of the models.
        per_draw: Q, particles of each draw and policy.
        propagation: one of PROPAGATIONS.
        allowed: the largest share of rollouts that may violate each constraint, [C].
    """

    settings: PolicySearch
    controller: Controller
    make_env: Callable[[Any], SimulatedEnv]
    horizon: int
    num_draws: int
    per_draw: int
    propagation: str = "ts_inf"
    allowed: tuple[float, ...] = ()

    def __call__(self, *args, **kwargs) -> tf.Tensor:
        """Return the objective of each policy, [R]; arguments as in `judge`."""
        return self.judge(*args, **kwargs)[0]

    def judge(
        self, params: tf.Tensor, draws: Any, initial_states: InitialStates, seed: Any, stage: Stage | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the objective of each policy, [R], and the share of rollouts that violate each constraint, [R, C].

        Many particles are computed in chunks, so that memory does not grow with their number: at most 2048 of each
        policy at a time in a gradient step, and 4096 otherwise. Chunks are equally large, for which the number of
        particles is rounded up.

        Args:
            params: policies, [R, K].
            draws: draws of the models, the argument of `make_env`.
            initial_states: distribution of initial states.
            seed: a seed pair.
            stage: the weights of this stage; None takes those of `Stage()`.
        """
        stage, env = stage or Stage(), self.make_env(draws)
        most = _GRADIENT_PARTICLES if stage.refining else _PARTICLES
        chunks = min(self.per_draw, -(-self.num_draws * self.per_draw // most))
        if chunks == 1:
            figures = self._figures(params, env, initial_states, seed, stage)
        else:
            part = replace(self, per_draw=-(-self.per_draw // chunks))
            of_chunk = lambda params, i: part._figures(params, env, initial_states, fold_in(seed, i), stage)
            shape = [self.num_draws, params.shape[0], 1 + 2 * len(self.allowed)]
            figures = _mean_of_chunks(of_chunk, params, chunks, shape)
        expected = self._expected_cost(env, figures[..., 0])
        constraints = [len(self.allowed)] * 2
        _, excess, violated = tf.split(tf.reduce_mean(figures, axis=0), [1, *constraints], axis=-1)
        return expected + tf.reduce_sum(stage.multipliers * excess, axis=-1), violated

    def _expected_cost(self, env: SimulatedEnv, by_draw: tf.Tensor) -> tf.Tensor:
        """Return the expected cost [R], with the optimism of the settings, of mean costs for each draw, [S, R]."""
        mean = tf.reduce_mean(by_draw, axis=0)
        if not (self.settings.optimism and isinstance(env.cost, SaturatingCost)):
            return mean
        spread = tf.sqrt(tf.math.reduce_variance(by_draw, axis=0) + 1e-6) - 1e-3  # the root of zero has no gradient
        weight = tf.stop_gradient(tf.clip_by_value(5.0 * mean - 2.0, 0.0, 1.0))  # 0 below a mean of 0.4, 1 above 0.6
        return mean - self.settings.optimism * weight * spread

    def _figures(
        self, params: tf.Tensor, env: SimulatedEnv, initial_states: InitialStates, seed: Any, stage: Stage
    ) -> tf.Tensor:
        """Return each policy's means over the particles of each draw, [S, R, 1 + 2 C].

        These are the cost, the excess over the limit of each constraint, and the share that violates each one.
        """
        num_policies = params.shape[0]
        act = self._refining_policy(params, seed) if stage.refining else self.policy_function(params)
        start, noise = self.sample_particles(num_policies, initial_states, seed)
        found = rollout(self._env_of_stage(env, stage, num_policies), act, start, noise, stage.horizon)
        excess = _LIMIT_SOFTNESS * tf.nn.softplus(found.worst / (env.constraints.scale * _LIMIT_SOFTNESS))
        by_policy = [self.num_draws, num_policies, self.per_draw]
        mean = lambda a: tf.reduce_mean(tf.reshape(a, [*by_policy, *a.shape[2:]]), axis=2)
        cost, *constraints = map(mean, (found.cost, excess, tf.cast(is_violated(found.worst), excess.dtype)))
        return tf.concat([cost[..., tf.newaxis], *constraints], axis=-1)

    def predict(
        self, params: tf.Tensor, draws: Any, initial_states: InitialStates, seed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return observations [H + 1, S Q, O] and the task's costs [H, S Q] of one policy's [K] rollouts.

        The third tensor is whether each rollout violates each constraint, bool [S Q, C].
        """
        start, noise = self.sample_particles(1, initial_states, seed)
        act = self.policy_function(params[tf.newaxis])
        found = trajectories(self._propagated(self.make_env(draws), 1), act, start, noise)
        obs = tf.reshape(found.obs, [self.horizon + 1, -1, found.obs.shape[-1]])
        violated = tf.reshape(is_violated(found.worst), [obs.shape[1], len(self.allowed)])
        return obs, tf.reshape(found.costs, [self.horizon, -1]), violated

    def sample_particles(
        self, num_policies: int, initial_states: InitialStates, seed: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return initial states [S, R Q, O] and noise [H, S, R Q, columns], the same for each policy."""
        row_seed, kernel_seed, noise_seed = split(seed, 3)
        s, dim = self.num_draws, initial_states.obs.shape[-1]
        start = initial_states.sample([s, self.per_draw], row_seed, kernel_seed)
        if self.propagation == "mean":  # which needs particles that are the same for each draw
            start = tf.tile(start[:1], [s, 1, 1])
        noise = normal([self.horizon, s, self.per_draw, noise_columns(self.propagation, dim)], noise_seed)
        return tf.tile(start, [1, num_policies, 1]), tf.tile(noise, [1, 1, num_policies, 1])

    def policy_function(self, params: tf.Tensor, relaxed: bool = False) -> PolicyFunction:
        """Return the function (obs [S, R Q, O], t) -> actions [S, R Q, A] of policies [R, K] on their own particles.

        Args:
            params: policies, [R, K].
            relaxed: whether discrete actions are weights, which have a gradient, and not one-hot vectors.
        """
        r, s = params.shape[0], self.num_draws
        control = self.controller if relaxed else self.controller.executed

        def act(obs: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            by_policy = tf.transpose(tf.reshape(obs, [s, r, self.per_draw, -1]), [1, 0, 2, 3])
            action = control(params, tf.reshape(by_policy, [r, s * self.per_draw, -1]))
            by_draw = tf.transpose(tf.reshape(action, [r, s, self.per_draw, -1]), [1, 0, 2, 3])
            return tf.reshape(by_draw, [s, r * self.per_draw, -1])

        return act

    def _refining_policy(self, params: tf.Tensor, seed: Any) -> PolicyFunction:
        """Return the policy function of a gradient step: relaxed, with the dropout and noise of the settings."""
        if self.settings.dropout:
            params = self.controller.apply_dropout(params, self.settings.dropout, fold_in(seed, 1))
        act = self.policy_function(params, relaxed=True)
        return self._add_action_noise(act, fold_in(seed, 2)) if self.settings.action_noise else act

    def _add_action_noise(self, act: PolicyFunction, seed: Any) -> PolicyFunction:
        """Return `act` with noise on its actions, the same for each policy."""
        low, high = self.controller.low, self.controller.high

        def with_noise(obs: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            action = act(obs, t)
            noise = normal([self.num_draws, self.per_draw, action.shape[-1]], fold_in(seed, t))
            noise = tf.tile(noise, [1, action.shape[1] // self.per_draw, 1])
            return tf.clip_by_value(action + self.settings.action_noise * (high - low) * noise, low, high)

        return with_noise

    def _env_of_stage(self, env: SimulatedEnv, stage: Stage, num_policies: int) -> SimulatedEnv:
        """Return `env` with clipped gradients, the stage's cost in units of its range, and the propagation."""
        # The mean over particles, which is still to come, divides each particle's gradient by their number.
        bound = self.settings.adjoint_bound / (self.num_draws * self.per_draw)
        step = _clip_state_gradient(env.step, env.step_size, bound)
        cost = self._saturating_cost(env.cost, stage) if isinstance(env.cost, SaturatingCost) else env.cost
        relative = normalize_cost(env._replace(step=step, cost=cost))
        return self._propagated(penalize_extrapolation(relative, self.settings.extrapolation), num_policies)

    def _saturating_cost(self, cost: SaturatingCost, stage: Stage) -> Callable:
        """Return `cost` with the stage's width, and with the effort of actions counted in."""
        # tf.repeat takes five times as many operations.
        spread = lambda weight: tf.tile(weight[:, tf.newaxis], [1, self.per_draw])
        per_particle = lambda weight: tf.reshape(spread(weight), [-1]) if tf.is_tensor(weight) else weight
        width, effort = per_particle(stage.width), per_particle(stage.effort)
        if self.controller.discrete:  # no action of a discrete space is larger than another
            effort = 0.0
        low, high = self.controller.low, self.controller.high

        def with_effort(obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
            squashed = (2 * action - high - low) / (high - low)
            lost = effort * tf.reduce_mean(tf.square(squashed), axis=-1)
            return 1.0 - (1.0 - cost(obs, action, next_obs, width)) * (1.0 - lost)

        return with_effort

    def _propagated(self, env: SimulatedEnv, num_policies: int) -> SimulatedEnv:
        return env._replace(step=propagate(self.propagation, env.step, num_policies))


def _mean_of_chunks(costs: Callable, params: tf.Tensor, chunks: int, shape: list[int]) -> tf.Tensor:
    """Return the mean over i < `chunks` of costs(params, i), with a gradient that holds one chunk's rollout at a time.

    The gradient computes each chunk's rollout again, so that no rollout is kept until then.
    """

    @tf.custom_gradient
    def mean(params: tf.Tensor):
        def grad_of_chunk(i: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(params)
                value = costs(params, i)
            return tape.gradient(value, params, output_gradients=upstream)

        grad = lambda upstream: _mean_over(lambda i: grad_of_chunk(i, upstream), chunks, params.shape)
        return _mean_over(lambda i: costs(params, i), chunks, shape), grad

    return mean(params)


def _mean_over(function: Callable[[tf.Tensor], tf.Tensor], count: int, shape: Any) -> tf.Tensor:
    """Return the mean of function(i) for i < `count`, one after the other."""
    body = lambda i, total: (i + 1, total + function(i))
    begin = tf.constant(0), tf.zeros(shape)
    return tf.while_loop(lambda i, _: i < count, body, begin, maximum_iterations=count)[1] / count


def normalize_cost(env: SimulatedEnv) -> SimulatedEnv:
    """Return `env` with costs relative to their observed range: 0 for the lowest, 1 for the highest."""
    if env.cost_range is None:
        return env
    low, high = tf.unstack(env.cost_range)
    relative = lambda cost: (cost - low) / (high - low)
    cost = lambda obs, action, next_obs: relative(env.cost(obs, action, next_obs))
    return env._replace(cost=cost, cost_after_end=relative(env.cost_after_end))


def penalize_extrapolation(env: SimulatedEnv, margin: float) -> SimulatedEnv:
    """Return `env`, of relative costs, with the highest cost 1 for a step that leads far out of the observed range.

    With u_i the distance of entry i of next_obs from its observed range beyond the margin, in widths of this range, the
    cost c becomes 1 − (1 − c) exp(−Σ_i u_i² / (2 · 0.1²)).

    Args:
        env: the environment.
        margin: how far an entry may leave its range, in widths of the range.
    """
    if env.obs_range is None or math.isinf(margin):
        return env
    low, high = tf.unstack(env.obs_range)
    cost_of = env.cost

    def cost(obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
        beyond = (tf.nn.relu(low - next_obs) + tf.nn.relu(next_obs - high)) / (high - low)
        inside = tf.exp(-tf.reduce_sum(tf.square(tf.nn.relu(beyond - margin) / _SOFTNESS), axis=-1) / 2)
        return 1.0 - (1.0 - cost_of(obs, action, next_obs)) * inside

    return env._replace(cost=cost)


def clip_norm(vectors: tf.Tensor, limit: float, scale: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Return vectors [..., D] shortened to a norm of at most `limit`, or zero where the norm is not finite.

    Args:
        vectors: vectors, [..., D].
        limit: largest norm.
        scale: factor on each entry, [D], for the norm alone.
    """
    norm = tf.norm(vectors * scale, axis=-1, keepdims=True)
    return tf.where(tf.math.is_finite(norm), vectors * tf.minimum(1.0, limit / (norm + 1e-20)), 0.0)


def _clip_state_gradient(step: Callable, step_size: tf.Tensor | float, bound: float) -> Callable:
    """Return `step` whose gradient with respect to next_obs, for a step of `step_size` [O], is clipped to a norm."""

    @tf.custom_gradient
    def identity(next_obs: tf.Tensor, step_size: tf.Tensor):
        return tf.identity(next_obs), lambda adjoint: (clip_norm(adjoint, bound, step_size), None)

    return lambda obs, action, noise: identity(step(obs, action, noise), step_size)
