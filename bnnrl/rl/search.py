"""Policy search: random candidates screened by forward rollouts, the best refined by gradient, all in compiled calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from bnnrl.inference.adam import Adam, AdamState
from bnnrl.rl.dynamics import Dynamics, Features, Simulator
from bnnrl.rl.policies import Policy
from bnnrl.rl.rollout import rollout_cost, trajectories
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import fold_in, split


class Actuator(NamedTuple):
    """Maps a policy's (−1, 1) to the action's bounds."""

    low: tf.Tensor  # [A]
    high: tf.Tensor  # [A]

    def __call__(self, squashed: tf.Tensor) -> tf.Tensor:
        return self.low + 0.5 * (squashed + 1.0) * (self.high - self.low)


@dataclass(frozen=True)
class Search:
    restarts: int = 8
    updates: int = 1000
    candidates: int = 2048
    screening_width: float = 2.5
    learning_rate: float = 0.03
    final_learning_rate: float = 1e-3
    clip_norm: float = 1.0
    beta_2: float = 0.99


_CHUNK = 128


class PolicySearch:
    def __init__(self, search: Search, dynamics: Dynamics, features: Features, policy: Policy, actuator: Actuator, cost,
                 horizon: int, particles: int, num_draws: int):
        self._config = search
        self._dynamics, self._features, self._policy, self._actuator = dynamics, features, policy, actuator
        self._cost, self._horizon = cost, horizon
        self._num_draws, self._per_draw = num_draws, max(1, particles // (num_draws * search.restarts))
        self.num_traces = 0
        self.screen = tf.function(self._screen, jit_compile=True)
        self.optimise = tf.function(self._optimise, jit_compile=True)
        self.predict = tf.function(self._predict, jit_compile=True)

    def _policy_function(self, params: tf.Tensor, q: int):
        r, s, a = params.shape[0], self._num_draws, self._actuator.low.shape[0]

        def act(obs: tf.Tensor) -> tf.Tensor:  # [S, R Q, O] -> [S, R Q, A]
            z = self._features(obs)
            z = tf.reshape(tf.transpose(tf.reshape(z, [s, r, q, -1]), [1, 0, 2, 3]), [r, s * q, -1])
            squashed = self._policy(params, z, a)
            squashed = tf.transpose(tf.reshape(squashed, [r, s, q, a]), [1, 0, 2, 3])
            return self._actuator(tf.reshape(squashed, [s, r * q, a]))

        return act

    def _draw(self, r: int, q: int, starts: tf.Tensor, num_starts: tf.Tensor, seed):
        row_seed, noise_seed = split(seed)
        s = self._num_draws
        # The policies share initial states and noise: common random numbers make their costs comparable.
        rows = tf.random.stateless_uniform([s, 1, q], row_seed, 0, num_starts, tf.int32)
        start = tf.gather(starts, rows)
        start = tf.reshape(tf.tile(start, [1, r, 1, 1]), [s, r * q, -1])
        noise = tf.random.stateless_normal([self._horizon, s, 1, q, starts.shape[-1]], noise_seed)
        noise = tf.reshape(tf.tile(noise, [1, 1, r, 1, 1]), [self._horizon, s, r * q, -1])
        return start, noise

    def _cost_of(self, params, simulator, starts, num_starts, seed, q, width=1.0):
        start, noise = self._draw(params.shape[0], q, starts, num_starts, seed)
        cost = self._cost
        if isinstance(cost, SaturatingCost):
            cost = lambda obs, action, next_obs: self._cost(obs, action, next_obs, width)
        costs = rollout_cost(self._dynamics.stacked(simulator), self._policy_function(params, q), cost, start, noise)
        return tf.reduce_mean(tf.reshape(costs, [self._num_draws, params.shape[0], q]), axis=[0, 2])

    def _screen(self, features, simulator, starts, num_starts, seed, width):
        self.num_traces += 1
        r, a = self._config.restarts, self._actuator.low.shape[0]
        draw_seed, noise_seed = split(seed)

        def body(i, best, best_cost):
            params = self._policy.init(fold_in(draw_seed, i), _CHUNK, features, a)
            cost = self._cost_of(params, simulator, starts, num_starts, noise_seed, 1, width)
            params, cost = tf.concat([best, params], 0), tf.concat([best_cost, cost], 0)
            order = tf.argsort(cost)[:r]
            return i + 1, tf.gather(params, order), tf.gather(cost, order)

        best = self._policy.init(draw_seed, r, features, a)
        best_cost = tf.fill([r], 1e30)
        _, best, best_cost = tf.while_loop(lambda i, *_: i < self._config.candidates // _CHUNK, body, (tf.constant(0), best, best_cost))
        return best, best_cost

    def _optimise(self, params, units, simulator, starts, num_starts, num_updates, seed, width0):
        self.num_traces += 1
        c = self._config
        adam = Adam(beta_2=c.beta_2)

        def body(i, state: AdamState, average):
            progress = tf.cast(i, tf.float32) / tf.cast(num_updates, tf.float32)
            width = width0 ** tf.maximum(0.0, 1.0 - 2.0 * progress)
            alpha = c.final_learning_rate + 0.5 * (c.learning_rate - c.final_learning_rate) * (1 + tf.cos(math.pi * progress))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.theta)
                cost = self._cost_of(state.theta * units, simulator, starts, num_starts, fold_in(seed, i), self._per_draw, width)
            grad = tape.gradient(cost, state.theta)
            grad = tf.where(tf.math.is_finite(grad), grad, 0.0)
            norm = tf.norm(grad, axis=-1, keepdims=True)
            grad *= tf.minimum(1.0, c.clip_norm / tf.maximum(norm, 1e-12))
            return i + 1, adam.update(state, grad, alpha), 0.98 * average + 0.02 * cost

        _, state, average = tf.while_loop(
            lambda i, *_: i < num_updates, body, (tf.constant(0), adam.start(params / units), tf.ones([params.shape[0]]))
        )
        return state.theta * units, average

    def _predict(self, params, simulator, starts, num_starts, seed):
        q = 10
        start, noise = self._draw(1, q, starts, num_starts, seed)
        seen = trajectories(self._dynamics.stacked(simulator), self._policy_function(params, q), start, noise)
        costs = [self._cost(seen[t], None, seen[t + 1]) for t in range(self._horizon)]
        return seen, tf.reduce_mean(tf.stack(costs), axis=[1, 2])
