"""Planners: model-predictive control by rollouts of the learned environment, instead of a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_nonnegative, check_positive
from bnnrl.compiled import CompiledFunction
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.simulator.propagation import noise_columns, propagate
from bnnrl.rl.simulator.rollout import SimulatedEnv, is_violated, rollout, trajectories, violation_penalty
from bnnrl.seeds import fold_in, normal, split
from bnnrl.storage import config

# Shapes: N action sequences, H horizon, A action, S draws of the models, Q particles of each draw and sequence,
# O observation.


@dataclass(frozen=True)
class CEM:
    """The cross-entropy method for model-predictive control, as in PETS (Chua et al., NeurIPS 2018).

    In each iteration, action sequences are drawn from a normal distribution, and the distribution is fitted to the
    elites, the sequences of lowest expected cost. The environment executes the first action of the final mean. The
    remaining mean, shifted by one step, is the initial mean at the next step.

    Args:
        horizon: H, number of steps of a sequence.
        population: number of sequences drawn in an iteration.
        elites: number of sequences that the distribution is fitted to.
        iterations: number of fits.
        std: initial standard deviation of an action, in shares of half its range.
        momentum: weight of the previous mean and standard deviation in a fit.

    Raises:
        ValueError: if a number is out of its range.
    """

    horizon: int = 25
    population: int = 200
    elites: int = 20
    iterations: int = 4
    std: float = 0.5
    momentum: float = 0.1

    def __post_init__(self):
        check_fields(self, **dict.fromkeys(("horizon", "population", "elites", "iterations"), check_count))
        check_fields(self, std=check_positive, momentum=check_fraction)
        if self.elites > self.population:
            raise ValueError(
                f"Invalid `elites`: expected at most the population, {self.population}. Received: elites={self.elites}."
            )

    @property
    def num_kept(self) -> int:
        """Number of elites that are candidates of the next iteration, too."""
        return 0

    def noise(self, shape: list[int], seed) -> tf.Tensor:
        """Return white standard normal noise of shape [N, H, A]."""
        return normal(shape, seed)


@dataclass(frozen=True)
class ICEM(CEM):
    """The improved cross-entropy method (Pinneri et al., "Sample-efficient Cross-Entropy Method", CoRL 2020).

    Differences from CEM: the noise is correlated in time, with a power spectrum 1/f^β; some elites remain candidates
    in the next iteration and, shifted by one step, at the next step; and the environment executes the first action of
    the best sequence found.

    Args:
        beta: β of the noise: 0 white, 1 pink, 2 red.
        kept: share of the elites that remain candidates.

    The other arguments are those of CEM.

    Raises:
        ValueError: if a number is out of its range.
    """

    beta: float = 2.0
    kept: float = 0.3

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, kept=check_fraction, beta=check_nonnegative)

    @property
    def num_kept(self) -> int:
        """Number of elites that are candidates of the next iteration, too; at least 1."""
        return max(1, round(self.kept * self.elites))

    def noise(self, shape: list[int], seed) -> tf.Tensor:
        """Return standard normal noise of shape [N, H, A] with the power spectrum 1/f^β along H."""
        n, horizon, num_actions = shape
        return tf.einsum("hk,nka->nha", _colouring(horizon, self.beta), normal([n, horizon, num_actions], seed))


config.register(CEM, ICEM)


def _colouring(horizon: int, beta: float) -> tf.Tensor:
    """Return the matrix [H, H] that turns white noise [H] into noise with power spectrum 1/f^β and unit variances.

    Its columns are the orthonormal real Fourier basis times f^(−β/2); the constant has the lowest frequency's power.
    The rows are then scaled to norm 1, which makes the variances 1.
    """
    columns = [np.ones(horizon) / np.sqrt(horizon)]
    powers = [1.0]
    times = 2 * np.pi * np.arange(horizon) / horizon
    for k in range(1, horizon // 2 + 1):
        waves = [np.cos(k * times)] if 2 * k == horizon else [np.cos(k * times), np.sin(k * times)]
        columns += [w / np.linalg.norm(w) for w in waves]
        powers += [k ** (-beta / 2)] * len(waves)
    basis = np.stack(columns, axis=1) * np.array(powers)
    return tf.constant(basis / np.linalg.norm(basis, axis=1, keepdims=True), tf.float32)


class Plan(NamedTuple):
    """What a planner carries from one step of an episode to the next. Actions are in (−1, 1): ±1 are the bounds."""

    mean: tf.Tensor  # [H, A]
    elites: tf.Tensor  # [num_kept, H, A], best first
    cost: tf.Tensor | float = 0.0  # [] lowest expected cost of the last iteration; infinite if none was finite


class Planning:
    """Compiled model-predictive control: (observation, plan, draws of the models) -> (action, next plan).

    Args:
        planner: settings of the planner.
        make_env: function from draws of the models to the simulated environment.
        action_space: the environment's action space.
        num_draws: S, number of draws of the models.
        per_draw: Q, particles of each draw and action sequence.
        propagation: one of PROPAGATIONS.
        allowed: the largest share of rollouts that may violate each constraint of the environment, [C].

    Attributes:
        advance: the compiled function of `_advance`.
    """

    def __init__(
        self,
        planner: CEM,
        make_env: Callable[[Any], SimulatedEnv],
        action_space: ActionSpace,
        num_draws: int,
        per_draw: int,
        propagation: str,
        allowed: tuple[float, ...] = (),
    ):
        self._planner, self._make_env, self._discrete = planner, make_env, action_space.discrete
        self._low, self._high = tf.constant(action_space.low, tf.float32), tf.constant(action_space.high, tf.float32)
        self._num_draws, self._per_draw, self._propagation = num_draws, per_draw, propagation
        self._allowed = allowed
        self.advance = CompiledFunction(self._advance, jit_compile=True)

    def begin(self) -> Plan:
        """Return the plan before an episode's first step: the middle of each action's range."""
        shape = [self._planner.horizon, self._low.shape[0]]
        return Plan(tf.zeros(shape), tf.zeros([self._planner.num_kept, *shape]), tf.constant(0.0))

    def _advance(self, obs: tf.Tensor, plan: Plan, draws: Any, seed: Any) -> tuple[tf.Tensor, Plan]:
        """Return the action [A] for an observation [O], and the plan for the next step."""
        planner, env = self._planner, self._make_env(draws)
        noise_seed, seed = split(seed)
        noise = normal(self._noise_shape(obs.shape[-1]), noise_seed)  # the same for all sequences, to compare costs

        def body(i, mean, std, kept, best, cost):
            del best, cost
            drawn = mean + std * planner.noise([planner.population, *mean.shape], fold_in(seed, i))
            candidates = tf.concat([tf.clip_by_value(drawn, -1.0, 1.0), kept, mean[tf.newaxis]], axis=0)
            elites, cost = self._elites(candidates, self._costs(env, candidates, obs, noise))
            fit = lambda new, old: planner.momentum * old + (1 - planner.momentum) * new
            mean, std = fit(tf.reduce_mean(elites, axis=0), mean), fit(tf.math.reduce_std(elites, axis=0), std)
            return i + 1, mean, std, elites[: planner.num_kept], elites[0], cost

        std = tf.fill(plan.mean.shape, planner.std)
        begin = tf.constant(0), plan.mean, std, plan.elites, plan.mean, tf.constant(0.0)
        _, mean, _, kept, best, cost = tf.while_loop(
            lambda i, *_: i < planner.iterations, body, begin, maximum_iterations=planner.iterations
        )
        first = best[0] if planner.num_kept else mean[0]
        shift = lambda a: tf.concat([a[..., 1:, :], tf.zeros_like(a[..., :1, :])], axis=-2)
        return self._executed(first), Plan(shift(mean), shift(kept), cost)

    def simulate(self, obs: tf.Tensor, plan: Plan, draws: Any, seed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the rollouts of a plan's mean under the noise of `advance`: [H + 1, S Q, O], and costs [H, S Q].

        Nothing is compiled: this is for a plan whose rollouts are to be examined.
        """
        noise = normal(self._noise_shape(obs.shape[-1]), split(seed)[0])
        found = trajectories(*self._rollout(self._make_env(draws), plan.mean[tf.newaxis], obs, noise))
        by_particle = lambda a, *rest: a.numpy().reshape(len(a), -1, *rest)
        return by_particle(found.obs, obs.shape[-1]), by_particle(found.costs)

    def _elites(self, candidates: tf.Tensor, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sequences of lowest cost, best first, from candidates [N, H, A] and costs [N], and that cost."""
        costs = tf.where(tf.math.is_finite(costs), costs, float("inf"))
        return tf.gather(candidates, tf.argsort(costs)[: self._planner.elites]), tf.reduce_min(costs)

    def _noise_shape(self, num_obs: int) -> list[int]:
        columns = noise_columns(self._propagation, num_obs)
        return [self._planner.horizon, self._num_draws, self._per_draw, columns]

    def _executed(self, squashed: tf.Tensor) -> tf.Tensor:
        """Return the environment's actions [..., A] for actions in (−1, 1), [..., A]."""
        if self._discrete:
            return tf.one_hot(tf.argmax(squashed, axis=-1), self._low.shape[0])
        # Rounding can lead one bit beyond a bound, and an environment may refuse such an action.
        return tf.clip_by_value(self._low + 0.5 * (squashed + 1.0) * (self._high - self._low), self._low, self._high)

    def _costs(self, env: SimulatedEnv, candidates: tf.Tensor, obs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return the expected cost [N] of sequences [N, H, A] from an observation [O], with that of violations."""
        found, particles = rollout(*self._rollout(env, candidates, obs, noise)), [self._num_draws, -1, self._per_draw]
        costs = tf.reduce_mean(tf.reshape(found.cost, particles), axis=[0, 2])
        violated = tf.cast(is_violated(found.worst), costs.dtype)
        violated = tf.reduce_mean(tf.reshape(violated, [*particles, len(self._allowed)]), axis=[0, 2])
        return costs + violation_penalty(violated, self._allowed)

    def _rollout(self, env: SimulatedEnv, candidates: tf.Tensor, obs: tf.Tensor, noise: tf.Tensor):
        """Return the arguments of `rollout` for sequences [N, H, A] from an observation [O]."""
        n, s, q = candidates.shape[0], self._num_draws, self._per_draw
        actions = tf.repeat(tf.transpose(self._executed(candidates), [1, 0, 2]), q, axis=1)  # [H, N Q, A]
        act = lambda obs, t: tf.broadcast_to(actions[t], [s, *actions.shape[1:]])
        env = env._replace(step=propagate(self._propagation, env.step, n))
        start = tf.broadcast_to(obs, [s, n * q, obs.shape[-1]])
        return env, act, start, tf.tile(noise, [1, 1, n, 1])
