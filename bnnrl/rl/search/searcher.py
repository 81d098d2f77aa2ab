"""Policy search on the learned model: screen random policies, refine the best side by side, keep half for next time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count, check_fraction, check_nonnegative, check_positive
from bnnrl.data import pad_rows
from bnnrl.inference.adam import Adam, AdamState
from bnnrl.rl.policies import Controller
from bnnrl.rl.simulator.propagation import noise_columns, propagate
from bnnrl.rl.simulator.rollout import PolicyFunction, SimulatedEnv, rollout_cost, trajectories
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import fold_in, normal, split, uniform
from bnnrl.storage import config

_CHUNK = 128  # policies screened in one batched rollout


@dataclass(frozen=True)
class PolicySearch:
    """How a policy is sought.

    The cost of a swing-up is flat for almost every policy and full of local optima for the rest, so that the search
    goes in three stages. Scouting, `rounds` times: the best of `candidates` random policies by a forward rollout
    under a wider cost, `restarts` of them side by side refined by a few gradient steps. Refinement: the best half of
    the scouts and the best half of the last trial's policies, by many gradient steps, kept where they lowered
    the cost. The policy of least cost acts.

    Gradient steps are Adam's, in units of each parameter's natural size, with a warm-up and then a cosine for the
    learning rate; each policy's gradient is clipped to a global norm. Initial states and noise are drawn anew at
    every update and shared by the policies.

    Args:
        restarts: R, policies refined side by side; they share the particles.
        updates: gradient steps of the refinement.
        rounds: rounds of scouting.
        scout_updates: gradient steps of a round.
        candidates: random policies screened in a round, rounded up to whole batches of 128.
        scout_horizon: share of the horizon that scouts are judged by. A refinement's horizon grows from it to the whole
            in the first half of the updates: over a long one, what counts most is how a policy that cannot yet hold the
            goal leaves it again.
        screening_width: how much wider than the task's own a saturating cost is while screening.
        learning_rate: Adam's highest.
        final_learning_rate: of the last update.
        warmup: updates of linear rise; Adam's first steps, all of full size, would undo the screening.
        settling_width: how much narrower a saturating cost becomes in the second half of the refinement. A cost such as
            the distance of a pole's tip hardly feels the pole sway around its tip; a narrow one does.
        optimism: κ, policies are sought by the mean less κ standard deviations of their expected cost over the model's
            draws, as long as that mean is high: fully above 0.6, and not at all below 0.4. A model that has seen
            little is worth trying out where some of its draws promise success (Curi et al., "Efficient Model-Based
            Reinforcement Learning through Optimistic Policy Search and Planning", NeurIPS 2020); near the goal, what
            counts is that none fails. For a saturating cost.
        effort: share of a step's reward 1 − c that a saturating cost takes away for the largest action, and in
            proportion to its square for a smaller one; it comes in in the same way. Discrete actions have no size.
        adjoint_bound: how much the cost's mean over the horizon, in units of its range, may change, to the gradient's
            eye, when one particle is moved by a typical step at any time. Rollouts near an unstable equilibrium are
            chaotic: without the bound, a few particles whose gradients explode would set the direction for all.
        beta_2: Adam's β₂.
        clip_norm: largest norm of one policy's gradient.
        dropout: probability with which each of a policy's units is left out of an update of the refinement (as in
            MC-PILCO, Amadio et al., IEEE T-RO 2022, section V), so that none counts for all.
        action_noise: standard deviation, in shares of the action's range, of noise on the actions of a refinement's
            rollouts, so that a policy leaves room for error.

    Raises:
        ValueError: for a value out of its range.
    """

    restarts: int = 8
    updates: int = 1000
    rounds: int = 4
    scout_updates: int = 200
    candidates: int = 2048
    scout_horizon: float = 0.6
    screening_width: float = 2.5
    learning_rate: float = 2e-2
    final_learning_rate: float = 1e-3
    warmup: int = 100
    settling_width: float = 0.5
    optimism: float = 1.0
    effort: float = 0.1
    adjoint_bound: float = 1.0
    beta_2: float = 0.99
    clip_norm: float = 1.0
    dropout: float = 0.0
    action_noise: float = 0.0

    def __post_init__(self):
        for name in ("restarts", "updates", "rounds", "scout_updates", "candidates", "warmup"):
            check_count(name, getattr(self, name))
        if self.candidates < self.restarts:
            raise ValueError(
                f"Invalid `candidates`: expected at least one for each of the {self.restarts} restarts. "
                f"Received: candidates={self.candidates}."
            )
        if not 0 < self.scout_horizon <= 1:
            raise ValueError(
                f"Invalid `scout_horizon`: expected a share in (0, 1]. Received: scout_horizon={self.scout_horizon!r}."
            )
        check_nonnegative("optimism", self.optimism)
        check_fraction("effort", self.effort)
        check_fraction("dropout", self.dropout)
        check_nonnegative("action_noise", self.action_noise)
        for name in (
            "screening_width",
            "settling_width",
            "learning_rate",
            "final_learning_rate",
            "adjoint_bound",
            "clip_norm",
        ):
            check_positive(name, getattr(self, name))


config.register(PolicySearch)


class InitialStates(NamedTuple):
    """A kernel density estimate of the initial states, in a buffer of fixed capacity."""

    obs: tf.Tensor  # [capacity, O] those observed
    count: tf.Tensor  # [] int32
    width: tf.Tensor  # [O] standard deviation of the kernel

    @classmethod
    def observed(cls, obs: np.ndarray) -> InitialStates:
        """Return the estimate from initial states [n, O], with Silverman's bandwidth (1986, section 4.3).

        Few are observed, and a policy that suits them alone fails from others. One alone says nothing of a spread.
        """
        count, dim = obs.shape
        bandwidth = (4 / ((dim + 2) * count)) ** (1 / (dim + 4))
        deviation = obs.std(axis=0, ddof=1, dtype=np.float64) if count > 1 else np.zeros(dim)
        capacity = 1 << max(6, (count - 1).bit_length())
        return cls(pad_rows(obs, capacity), tf.constant(count), tf.constant(bandwidth * deviation, tf.float32))

    @classmethod
    def exactly(cls, obs: np.ndarray) -> InitialStates:
        """Return states [n, O] that rollouts begin in, each as likely as any other."""
        return cls(tf.constant(obs, tf.float32), tf.constant(len(obs)), tf.zeros([obs.shape[1]]))


class Searcher:
    """The compiled functions of a search, for one kind of world and policy.

    Costs are those of a SaturatingCost, or others in units of their range.

    Args:
        search: the settings.
        controller: the policy between observations and actions.
        make_world: from draws of the models to the SimulatedEnv they make up.
        horizon: H, steps.
        num_draws: S, draws of the model in a rollout.
        per_draw: Q, particles of each draw and policy.
        propagation: one of PROPAGATIONS.
        jit_compile: whether XLA compiles.
        threads: the policies are dealt out to as many groups, fewer where that does not divide their number, which are
            refined side by side; as many as TensorFlow runs operations at a time if None. Costs and policies
            depend on it in the last bits only, which many updates can magnify.
    """

    def __init__(
        self,
        search: PolicySearch,
        controller: Controller,
        make_world: Callable[[Any], SimulatedEnv],
        horizon: int,
        num_draws: int,
        per_draw: int,
        propagation: str = "ts_inf",
        jit_compile: bool = True,
        threads: int | None = None,
    ):
        self._search, self._controller, self._make_world = search, controller, make_world
        self._horizon, self._propagation = horizon, propagation
        self._scout_horizon = tf.constant(math.ceil(search.scout_horizon * horizon))
        self._num_draws, self._per_draw = num_draws, per_draw
        side_by_side: int = threads or tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1
        self._groups = math.gcd(side_by_side, search.restarts)
        self.num_traces = 0
        # A partial, or TensorFlow would warn of retracing at the fifth Searcher: it counts a method's over all objects.
        function = lambda method, jit: tf.function(partial(method), autograph=False, jit_compile=jit)
        self.screen, self.refine = function(self._screen, jit_compile), function(self._refine, jit_compile)
        self.score, self.predict = function(self._score, jit_compile), function(self._predict, jit_compile)
        # XLA on CPU keeps to one thread in products as small as a rollout's. TensorFlow runs compiled calls that do not
        # need each other side by side, if what calls them is a graph, and not itself compiled.
        self._scout, self._refine_groups = function(self._scout_rounds, False), function(self._in_groups, False)

    def search(
        self, population: tf.Tensor | None, reference_features: tf.Tensor, draws, starts: InitialStates, seed
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return R policies [R, K], best first, and their expected costs [R].

        Args:
            population: an earlier search's policies, best first, or None.
            reference_features: features [N, F] all over where the policy may have to act.
            draws: draws of the model.
            starts: initial states.
            seed: a seed pair.
        """
        search = self._search
        units = self._controller.units(reference_features)
        scout_seed, noise_seed, refine_seed, score_seed = split(seed, 4)
        policies, costs = self._scout(reference_features, units, draws, starts, scout_seed, noise_seed)
        policies = tf.gather(policies, _best_first(costs))
        if population is not None:
            kept = (search.restarts + 1) // 2
            policies = tf.concat([population[:kept], policies[: search.restarts - kept]], axis=0)
        policies, updates, settle = policies[: search.restarts], tf.constant(search.updates), tf.constant(1.0)
        refined, _ = self._refine_groups(policies, units, draws, starts, updates, settle, refine_seed)
        # A step too bold can throw a policy back onto the flat part of the cost: then its start is kept.
        scores = self.score(tf.concat([policies, refined], axis=0), draws, starts, score_seed)
        before, after = tf.split(_worst_if_not_finite(scores), 2)
        better = after < before
        policies = tf.where(better[:, tf.newaxis], refined, policies)
        costs = tf.where(better, after, before)
        order = _best_first(costs)
        return tf.gather(policies, order), tf.gather(costs, order)

    def _scout_rounds(
        self, reference_features: tf.Tensor, units: tf.Tensor, draws, starts: InitialStates, seed, noise_seed
    ):
        """Return the policies that every round of scouting found, [rounds R, K], and their expected costs."""
        updates, settle = tf.constant(self._search.scout_updates), tf.constant(0.0)
        scouts = []
        for i in range(self._search.rounds):
            fresh = self.screen(reference_features, draws, starts, fold_in(seed, i))
            # The same noise in every round: their costs are to be compared.
            scouts.append(self._in_groups(fresh, units, draws, starts, updates, settle, noise_seed))
        policies, costs = zip(*scouts, strict=True)
        return tf.concat(policies, axis=0), tf.concat(costs, axis=0)

    def _in_groups(self, params: tf.Tensor, *args) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what `refine` does, by groups of policies: they share draws, noise and nothing else."""
        policies, costs = zip(*(self.refine(group, *args) for group in tf.split(params, self._groups)), strict=True)
        return tf.concat(policies, axis=0), tf.concat(costs, axis=0)

    def _screen(self, reference_features: tf.Tensor, draws, starts: InitialStates, seed) -> tf.Tensor:
        """Return the best R of many random policies, [R, K], best first.

        Args:
            reference_features: features [N, F] all over where the policy may have to act.
            draws: draws of the model.
            starts: initial states.
            seed: a seed pair.
        """
        self.num_traces += 1
        size, chunk = self._search.restarts, min(_CHUNK, self._search.candidates)
        draw_seed, noise_seed = split(seed)

        def body(i, best, best_cost):
            params = self._controller.init(fold_in(draw_seed, i), chunk, reference_features)
            cost = self._mean_cost(
                params, draws, starts, noise_seed, 1, self._search.screening_width, horizon=self._scout_horizon
            )
            params, cost = tf.concat([best, params], 0), tf.concat([best_cost, cost], 0)
            order = _best_first(cost)[:size]
            return i + 1, tf.gather(params, order), tf.gather(cost, order)

        chunks = -(-self._search.candidates // chunk)
        none = tf.zeros([size, self._controller.num_params]), tf.fill([size], math.inf)
        return tf.while_loop(lambda i, *_: i < chunks, body, (tf.constant(0), *none))[1]

    def _refine(self, params: tf.Tensor, units: tf.Tensor, draws, starts: InitialStates, num_updates, settle, seed):
        """Return refined policies [R, K] and their expected costs [R], averaged over the last updates.

        Args:
            params: policies, [R, K].
            units: the natural size of each parameter, [K].
            draws: draws of the model.
            starts: initial states.
            num_updates: gradient steps, int32 [].
            settle: 1 to let the horizon grow in the first half and narrow the cost and weigh effort in the second, 0
                for scouting, where all stays as it is; float32 [].
            seed: a seed pair.
        """
        self.num_traces += 1
        search = self._search
        adam = Adam(beta_2=search.beta_2)
        fall = search.learning_rate - search.final_learning_rate

        def body(i, state: AdamState, average):
            progress = tf.cast(i, tf.float32) / tf.cast(num_updates, tf.float32)
            late = settle * tf.maximum(0.0, 2.0 * progress - 1.0)
            # Only what is near the goal settles: to the others a narrow cost would be flat, and they would be lost.
            near = late * tf.clip_by_value(2.0 * (1.0 - average), 0.0, 1.0)
            width = search.settling_width**near
            # Scouting stays at the first horizon; a refinement's grows to the whole in its first half.
            grown = settle * tf.minimum(1.0, 2.0 * progress) * tf.cast(self._horizon - self._scout_horizon, tf.float32)
            horizon = self._scout_horizon + tf.cast(tf.round(grown), tf.int32)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.theta)
                params, step_seed = state.theta * units, fold_in(seed, i)
                cost = self._mean_cost(
                    params, draws, starts, step_seed, self._per_draw, width, near * search.effort, horizon, True
                )
            grad = tape.gradient(cost, state.theta)
            # A rollout that has left the model's range can overflow: that policy then stays where it is.
            grad = _clip(grad, search.clip_norm)
            rate = search.final_learning_rate + 0.5 * fall * (1 + tf.cos(math.pi * progress))
            rate *= tf.minimum(1.0, (tf.cast(i, tf.float32) + 1.0) / search.warmup)
            return i + 1, adam.update(state, grad, rate), 0.98 * average + 0.02 * cost

        start = tf.constant(0), adam.start(params / units), tf.zeros([params.shape[0]])
        _, state, average = tf.while_loop(lambda i, *_: i < num_updates, body, start)
        return state.theta * units, average / (1 - 0.98 ** tf.cast(num_updates, tf.float32))

    def _score(self, params: tf.Tensor, draws, starts: InitialStates, seed) -> tf.Tensor:
        """Return the expected cost of each policy [n, K], effort included, over several times the particles, [n]."""
        self.num_traces += 1
        return self._mean_cost(params, draws, starts, seed, 5 * self._per_draw, effort=self._search.effort)

    def _predict(self, params: tf.Tensor, draws, starts: InitialStates, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Return particles [H + 1, P, O] of one policy [K] and their costs [H, P]."""
        self.num_traces += 1
        per_draw = -(-200 // self._num_draws)
        start, noise = self._draw(1, starts, seed, per_draw)
        act = self._policy_function(params[tf.newaxis], per_draw)
        found = trajectories(self._propagated(self._make_world(draws), 1), act, start, noise)
        obs = tf.reshape(found.obs, [self._horizon + 1, -1, found.obs.shape[-1]])
        return obs, tf.reshape(found.costs, [self._horizon, -1])

    def _mean_cost(
        self,
        params: tf.Tensor,
        draws,
        starts: InitialStates,
        seed,
        per_draw: int,
        width=1.0,
        effort=0.0,
        horizon=None,
        refining: bool = False,
    ) -> tf.Tensor:
        """Return each policy's expected cost, less the search's optimism, [R].

        `width` and `effort` are numbers or one for each policy, [R]; `horizon` is in steps, and None all of them.
        `refining` takes discrete actions as relaxed, and leaves out units and adds noise as the search says.
        """
        width, effort = (tf.repeat(a, per_draw) if tf.is_tensor(a) else a for a in (width, effort))
        world, r = self._make_world(draws), params.shape[0]
        saturates, bound = isinstance(world.cost, SaturatingCost), self._search.adjoint_bound
        bounded = _clip_state_gradient(
            world.step, world.step_size, bound / (self._num_draws * per_draw)
        )  # their mean is to come
        cost = self._saturating(world.cost, width, effort) if saturates else world.cost
        world = self._propagated(_in_units_of_range(world._replace(step=bounded, cost=cost)), r)
        if refining and self._search.dropout:
            params = self._controller.apply_dropout(params, self._search.dropout, fold_in(seed, 1))
        act = self._policy_function(params, per_draw, relaxed=refining)
        if refining and self._search.action_noise:
            act = self._add_action_noise(act, per_draw, fold_in(seed, 2))
        start, noise = self._draw(r, starts, seed, per_draw)
        costs = rollout_cost(world, act, start, noise, horizon)
        by_draw = tf.reduce_mean(tf.reshape(costs, [self._num_draws, r, per_draw]), axis=2)
        mean = tf.reduce_mean(by_draw, axis=0)
        if not (self._search.optimism and saturates):
            return mean
        spread = tf.sqrt(tf.math.reduce_variance(by_draw, axis=0) + 1e-6) - 1e-3  # the root of zero has no gradient
        far = tf.stop_gradient(tf.clip_by_value(5.0 * mean - 2.0, 0.0, 1.0))
        return mean - self._search.optimism * far * spread

    def _saturating(self, cost: Callable, width, effort) -> Callable:
        low, high = self._controller.low, self._controller.high

        if self._controller.discrete:  # none of its actions is larger than another
            effort = 0.0

        def with_effort(obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
            squashed = (2 * action - high - low) / (high - low)
            lost = effort * tf.reduce_mean(tf.square(squashed), axis=-1)
            return 1.0 - (1.0 - cost(obs, action, next_obs, width)) * (1.0 - lost)

        return with_effort

    def _propagated(self, world: SimulatedEnv, num_policies: int) -> SimulatedEnv:
        return world._replace(step=propagate(self._propagation, world.step, num_policies))

    def _draw(self, num_policies: int, starts: InitialStates, seed, per_draw: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return initial states [S, R Q, O] and noise [H, S, R Q, columns], the same for each policy."""
        row_seed, jitter_seed, noise_seed = split(seed, 3)
        s, dim = self._num_draws, starts.obs.shape[-1]
        rows = uniform([s, per_draw], row_seed, 0, starts.count, tf.int32)
        start = tf.gather(starts.obs, rows) + starts.width * normal([s, per_draw, dim], jitter_seed)
        if self._propagation == "mean":
            start = tf.tile(start[:1], [s, 1, 1])
        noise = normal([self._horizon, s, per_draw, noise_columns(self._propagation, dim)], noise_seed)
        return tf.tile(start, [1, num_policies, 1]), tf.tile(noise, [1, 1, num_policies, 1])

    def _policy_function(self, params: tf.Tensor, per_draw: int, relaxed: bool = False) -> PolicyFunction:
        r, s = params.shape[0], self._num_draws
        control = self._controller if relaxed else self._controller.executed

        def act(obs: tf.Tensor, t: tf.Tensor) -> tf.Tensor:  # [S, R Q, O] -> [S, R Q, A]
            by_policy = tf.transpose(tf.reshape(obs, [s, r, per_draw, -1]), [1, 0, 2, 3])
            action = control(params, tf.reshape(by_policy, [r, s * per_draw, -1]))
            by_draw = tf.transpose(tf.reshape(action, [r, s, per_draw, -1]), [1, 0, 2, 3])
            return tf.reshape(by_draw, [s, r * per_draw, -1])

        return act

    def _add_action_noise(self, act: PolicyFunction, per_draw: int, seed) -> PolicyFunction:
        """Return `act` with noise on its actions, the same for each policy."""
        low, high = self._controller.low, self._controller.high

        def with_noise(obs: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            action = act(obs, t)
            noise = normal([self._num_draws, per_draw, action.shape[-1]], fold_in(seed, t))
            noise = tf.tile(noise, [1, action.shape[1] // per_draw, 1])
            return tf.clip_by_value(action + self._search.action_noise * (high - low) * noise, low, high)

        return with_noise


def _in_units_of_range(world: SimulatedEnv) -> SimulatedEnv:
    """Return the world with costs from 0, for the lowest observed, to 1 for the highest."""
    if world.cost_range is None:
        return world
    low, high = tf.unstack(world.cost_range)
    unit = lambda cost: (cost - low) / (high - low)
    cost = lambda obs, action, next_obs: unit(world.cost(obs, action, next_obs))
    return world._replace(cost=cost, cost_after_end=unit(world.cost_after_end))


def _clip_state_gradient(step: Callable, scale: tf.Tensor, bound: float) -> Callable:
    """Return `step` with the gradient that flows back through next_obs, in units of `scale` [O], clipped to a norm."""

    @tf.custom_gradient
    def identity(next_obs: tf.Tensor, scale: tf.Tensor):
        return tf.identity(next_obs), lambda adjoint: (_clip(adjoint, bound, scale), None)

    return lambda obs, action, noise: identity(step(obs, action, noise), scale)


def _clip(vectors: tf.Tensor, limit: float, scale: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Return vectors [..., D] shortened to a norm of `limit` in units of `scale`, zero where the norm is not finite."""
    norm = tf.norm(vectors * scale, axis=-1, keepdims=True)
    return tf.where(tf.math.is_finite(norm), vectors * tf.minimum(1.0, limit / (norm + 1e-20)), 0.0)


def _worst_if_not_finite(costs: tf.Tensor) -> tf.Tensor:
    """Return costs with infinity for what is not finite, so that it is the worst."""
    return tf.where(tf.math.is_finite(costs), costs, math.inf)


def _best_first(costs: tf.Tensor) -> tf.Tensor:
    return tf.argsort(_worst_if_not_finite(costs))
