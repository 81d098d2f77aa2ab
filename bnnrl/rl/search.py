"""Policy search: many gradient steps on the particles' expected cost in one compiled call."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from bnnrl.inference.adam import Adam, AdamState
from bnnrl.rl.dynamics import Dynamics, Features
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


class PolicySearch:
    """Compiled optimisation of R policies side by side, each over its own particles."""

    def __init__(
        self,
        dynamics: Dynamics,
        features: Features,
        policy: Policy,
        actuator: Actuator,
        cost,
        horizon: int,
        particles: int,
        num_draws: int,
        clip_norm: float = 1.0,
    ):
        self._dynamics, self._features, self._policy, self._actuator = dynamics, features, policy, actuator
        self._cost, self._horizon = cost, horizon
        self._num_draws, self._per_draw = num_draws, particles // num_draws
        self._clip_norm = clip_norm
        self.num_traces = 0
        self._compiled = tf.function(self._optimise, jit_compile=True)
        self.evaluate = tf.function(self._evaluate, jit_compile=True)
        self.predict = tf.function(self._predict, jit_compile=True)

    def optimise(
        self,
        params,
        simulator,
        starts,
        num_starts,
        schedule_steps,
        num_updates,
        seed,
        widen=(1.0, 1.0),
        lr=(1e-2, 1e-3),
    ):
        f = lambda v: tf.constant(v, tf.float32)
        return self._compiled(
            params,
            simulator,
            starts,
            tf.constant(num_starts),
            tf.constant(num_updates),
            seed,
            f(widen[0]),
            f(widen[1]),
            f(lr[0]),
            f(lr[1]),
        )

    def _policy_function(self, params: tf.Tensor):
        r, s, q, a = params.shape[0], self._num_draws, self._per_draw, self._actuator.low.shape[0]

        def act(obs: tf.Tensor) -> tf.Tensor:  # [S, R Q, O] -> [S, R Q, A]
            z = self._features(obs)
            z = tf.reshape(tf.transpose(tf.reshape(z, [s, r, q, -1]), [1, 0, 2, 3]), [r, s * q, -1])
            squashed = self._policy(params, z, a)
            squashed = tf.transpose(tf.reshape(squashed, [r, s, q, a]), [1, 0, 2, 3])
            return self._actuator(tf.reshape(squashed, [s, r * q, a]))

        return act

    def _draw(self, r: int, starts: tf.Tensor, num_starts: tf.Tensor, seed):
        row_seed, noise_seed, jitter_seed = split(seed, 3)
        s, q = self._num_draws, self._per_draw
        # The policies share initial states and noise: common random numbers make their costs comparable.
        rows = tf.random.stateless_uniform([s, 1, q], row_seed, 0, num_starts, tf.int32)
        start = tf.gather(starts, rows)
        start = tf.reshape(tf.tile(start, [1, r, 1, 1]), [s, r * q, -1])
        noise = tf.random.stateless_normal([self._horizon, s, 1, q, starts.shape[-1]], noise_seed)
        noise = tf.reshape(tf.tile(noise, [1, 1, r, 1, 1]), [self._horizon, s, r * q, -1])
        return start, noise

    def _cost_of(self, params, simulator, start, noise, widen):
        cost = self._cost
        if isinstance(cost, SaturatingCost):
            cost = lambda obs, action, next_obs: self._cost(obs, action, next_obs, widen)
        costs = rollout_cost(self._dynamics.stacked(simulator), self._policy_function(params), cost, start, noise)
        return tf.reduce_mean(tf.reshape(costs, [self._num_draws, params.shape[0], self._per_draw]), axis=[0, 2])

    def _optimise(self, params, simulator, starts, num_starts, num_updates, seed, widen0, widen1, lr0, lr1):
        self.num_traces += 1
        adam = Adam()

        def body(i, state: AdamState, average):
            progress = tf.cast(i, tf.float32) / tf.cast(num_updates, tf.float32)
            widen = widen1 * (widen0 / widen1) ** tf.maximum(0.0, 1.0 - 2.0 * progress)
            alpha = lr1 + 0.5 * (lr0 - lr1) * (1 + tf.cos(3.14159265 * progress))
            start, noise = self._draw(params.shape[0], starts, num_starts, fold_in(seed, i))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.theta)
                cost = self._cost_of(state.theta, simulator, start, noise, widen)
            grad = tape.gradient(cost, state.theta)
            grad = tf.where(tf.math.is_finite(grad), grad, 0.0)
            norm = tf.norm(grad, axis=-1, keepdims=True)
            grad *= tf.minimum(1.0, self._clip_norm / tf.maximum(norm, 1e-12))
            new = adam.update(state, grad, alpha)
            return i + 1, new, 0.98 * average + 0.02 * cost

        _, state, average = tf.while_loop(
            lambda i, *_: i < num_updates, body, (tf.constant(0), adam.start(params), tf.ones([params.shape[0]]))
        )
        return state.theta, average

    def _evaluate(self, params, simulator, starts, num_starts, seed, widen):
        start, noise = self._draw(params.shape[0], starts, num_starts, seed)
        return self._cost_of(params, simulator, start, noise, widen)

    def _predict(self, params, simulator, starts, num_starts, seed):
        start, noise = self._draw(params.shape[0], starts, num_starts, seed)
        return trajectories(self._dynamics.stacked(simulator), self._policy_function(params), start, noise)
