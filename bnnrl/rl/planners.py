"""Planners: an action sequence sought anew at each step by rollouts of the learned model, instead of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count, check_fraction, check_nonnegative, check_positive
from bnnrl.rl.simulator.propagation import noise_columns, propagate
from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
from bnnrl.seeds import fold_in, normal, split
from bnnrl.storage import config


@dataclass(frozen=True)
class CEM:
    """Model-predictive control by the cross-entropy method, as in PETS (Chua et al., NeurIPS 2018).

    Action sequences are drawn from a normal distribution, which is fitted to the best of them, some times over. The
    first action of the last mean acts; at the next step, the mean moves on by one.

    Args:
        horizon: steps of a sequence.
        population: sequences in an iteration.
        elites: how many of them the distribution is fitted to.
        iterations: fits.
        std: initial standard deviation of an action, in shares of half its range.
        momentum: share of the last mean and standard deviation that is kept in a fit.

    Raises:
        ValueError: for a number out of its range.
    """

    horizon: int = 25
    population: int = 200
    elites: int = 20
    iterations: int = 4
    std: float = 0.5
    momentum: float = 0.1

    def __post_init__(self):
        for name in ("horizon", "population", "elites", "iterations"):
            check_count(name, getattr(self, name))
        if self.elites > self.population:
            raise ValueError(
                f"Invalid `elites`: expected at most the population, {self.population}. Received: {self.elites}."
            )
        check_positive("std", self.std)
        check_fraction("momentum", self.momentum)

    @property
    def num_kept(self) -> int:
        """Elites that stay among the candidates."""
        return 0

    def noise(self, shape: list[int], seed) -> tf.Tensor:
        """Return standard normal noise [N, H, A]."""
        return normal(shape, seed)


@dataclass(frozen=True)
class ICEM(CEM):
    """The improved cross-entropy method (Pinneri et al., "Sample-efficient Cross-Entropy Method", CoRL 2020).

    Noise is correlated in time, with a power spectrum 1/fᵝ; some elites stay among the candidates from fit to fit and,
    moved on, from step to step; and what acts is the first action of the best sequence found.

    Args:
        beta: β of the noise: 0 white, 1 pink, 2 red.
        kept: share of the elites that stay.
    """

    beta: float = 2.0
    kept: float = 0.3

    def __post_init__(self):
        super().__post_init__()
        check_fraction("kept", self.kept)
        check_nonnegative("beta", self.beta)

    @property
    def num_kept(self) -> int:
        return max(1, round(self.kept * self.elites))

    def noise(self, shape: list[int], seed) -> tf.Tensor:
        n, horizon, num_actions = shape
        return tf.einsum("hk,nka->nha", _colouring(horizon, self.beta), normal([n, horizon, num_actions], seed))


config.register(CEM, ICEM)


def _colouring(horizon: int, beta: float) -> tf.Tensor:
    """Return the orthonormal real Fourier basis times f^(−β/2), [H, H], with rows of norm 1: unit variances.

    White noise times it has the power spectrum 1/fᵝ; the constant is given the lowest frequency's power.
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
    """What a planner keeps from one step of an episode to the next."""

    mean: tf.Tensor  # [H, A], in (−1, 1), 1 the action's upper bound
    elites: tf.Tensor  # [kept, H, A]


class Planning:
    """The compiled function of a planner, for one kind of world.

    Args:
        planner: the settings.
        make_world: from draws of the models to the SimulatedEnv they make up.
        low: lower bounds of the action, [A].
        high: upper bounds, [A].
        discrete: whether an action is one of A, as a one-hot vector.
        num_draws: S, draws of the model in a rollout.
        per_draw: Q, particles of each draw and sequence.
        propagation: one of PROPAGATIONS.
    """

    def __init__(self, planner: CEM, make_world, low, high, discrete: bool, num_draws: int, per_draw: int, propagation):
        self._planner, self._make_world = planner, make_world
        self._low, self._high, self._discrete = low, high, discrete
        self._num_draws, self._per_draw, self._propagation = num_draws, per_draw, propagation
        self.advance = tf.function(partial(self._advance), autograph=False, jit_compile=True)

    def begin(self) -> Plan:
        """Return the plan of an episode's first step."""
        shape = [self._planner.horizon, self._low.shape[0]]
        return Plan(tf.zeros(shape), tf.zeros([self._planner.num_kept, *shape]))

    def _advance(self, obs: tf.Tensor, plan: Plan, draws, seed) -> tuple[tf.Tensor, Plan]:
        """Return the action [A] for an observation [O], and the plan for the next step."""
        planner, world = self._planner, self._make_world(draws)
        noise_seed, seed = split(seed)
        noise = normal(self._noise_shape(obs.shape[-1]), noise_seed)  # the same for all: their costs are compared
        begin = tf.constant(0), plan.mean, tf.fill(plan.mean.shape, planner.std), plan.elites, plan.mean

        def body(i, mean, std, kept, best):
            del best
            drawn = mean + std * planner.noise([planner.population, *mean.shape], fold_in(seed, i))
            candidates = tf.concat([tf.clip_by_value(drawn, -1.0, 1.0), kept, mean[tf.newaxis]], axis=0)
            costs = self._costs(world, candidates, obs, noise)
            order = tf.argsort(tf.where(tf.math.is_finite(costs), costs, float("inf")))[: planner.elites]
            elites = tf.gather(candidates, order)
            fit = lambda new, old: planner.momentum * old + (1 - planner.momentum) * new
            mean, std = fit(tf.reduce_mean(elites, axis=0), mean), fit(tf.math.reduce_std(elites, axis=0), std)
            return i + 1, mean, std, elites[: planner.num_kept], elites[0]

        _, mean, _, kept, best = tf.while_loop(
            lambda i, *_: i < planner.iterations, body, begin, maximum_iterations=planner.iterations
        )
        first = best[0] if planner.num_kept else mean[0]
        moved_on = lambda a: tf.concat([a[..., 1:, :], tf.zeros_like(a[..., :1, :])], axis=-2)
        return self._executed(first), Plan(moved_on(mean), moved_on(kept))

    def _noise_shape(self, num_obs: int) -> list[int]:
        columns = noise_columns(self._propagation, num_obs)
        return [self._planner.horizon, self._num_draws, self._per_draw, columns]

    def _executed(self, squashed: tf.Tensor) -> tf.Tensor:
        """Return actions of the environment for ones in (−1, 1), [..., A]."""
        if self._discrete:
            return tf.one_hot(tf.argmax(squashed, axis=-1), self._low.shape[0])
        # Rounding can lead beyond a bound by one bit, and an environment may refuse that.
        return tf.clip_by_value(self._low + 0.5 * (squashed + 1.0) * (self._high - self._low), self._low, self._high)

    def _costs(self, world: SimulatedEnv, candidates: tf.Tensor, obs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Return the expected cost of each sequence [N, H, A], [N]."""
        n, s, q = candidates.shape[0], self._num_draws, self._per_draw
        actions = tf.repeat(tf.transpose(self._executed(candidates), [1, 0, 2]), q, axis=1)  # [H, N Q, A]
        act = lambda obs, t: tf.broadcast_to(actions[t], [s, *actions.shape[1:]])
        world = world._replace(step=propagate(self._propagation, world.step, n))
        start = tf.broadcast_to(obs, [s, n * q, obs.shape[-1]])
        costs = rollout_cost(world, act, start, tf.tile(noise, [1, 1, n, 1]))
        return tf.reduce_mean(tf.reshape(costs, [s, n, q]), axis=[0, 2])
