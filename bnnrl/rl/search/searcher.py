"""The search for a policy: screen random policies, refine the best by gradient steps, keep what improved."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.compiled import CompiledFunction, num_threads
from bnnrl.inference.adam import Adam, AdamState
from bnnrl.rl.search.initial_states import InitialStates
from bnnrl.rl.search.multipliers import Multipliers
from bnnrl.rl.search.objective import SearchObjective, Stage, clip_norm
from bnnrl.rl.simulator.rollout import violation_penalty
from bnnrl.seeds import as_seed, fold_in, split

_CHUNK = 128  # policies screened in one batched rollout
_PREDICTED_PARTICLES = 200  # the least number of particles of a prediction
_SCORING_FACTOR = 5  # particles of a score by those of a gradient step
_CONSTRAINED_PARTICLES = 400  # the least number of particles of a score with constraints: 5 % are then known to 1 %


class Phase(NamedTuple):
    """What distinguishes the gradient steps of scouting from those of the refinement."""

    num_updates: tf.Tensor  # int32 []
    # float32 []: 1 for the refinement, whose horizon grows in the first half and whose cost narrows and counts effort
    # in the second; 0 for scouting, which keeps the first horizon and the task's cost.
    curriculum: tf.Tensor


class Searcher:
    """A policy search as compiled functions.

    Policies are judged by the objective: a saturating cost as it is, another cost in units of its observed range; and
    by the share of their rollouts that violate a constraint.

    Args:
        objective: the objective, with the settings of the search and the number of particles of a gradient step.
        jit_compile: whether XLA compiles the functions.
        threads: number of threads; None takes as many as TensorFlow runs operations at a time. The policies are
            divided into as many groups as there are threads, or the largest number below that divides both, and the
            groups are refined in parallel. The number of groups changes results only by rounding, which many updates
            can amplify.

    Attributes:
        objective: the objective.
        num_traces: how often a function was traced.
        screen, refine, score, predict: the compiled functions of `_screen`, `_refine`, `_score` and `_predict`.
    """

    def __init__(self, objective: SearchObjective, jit_compile: bool = True, threads: int | None = None):
        self.objective, self._settings, self._controller = objective, objective.settings, objective.controller
        self._scout_horizon = tf.constant(math.ceil(self._settings.scout_horizon * objective.horizon))
        self._chunk = min(_CHUNK, self._settings.candidates)
        self._num_chunks = tf.constant(-(-self._settings.candidates // self._chunk))
        self._groups = math.gcd(threads or num_threads(), self._settings.restarts)
        self.num_traces = 0
        methods = self._screen, self._refine, self._score, self._predict
        self.screen, self.refine, self.score, self.predict = (CompiledFunction(m, jit_compile) for m in methods)
        # XLA on the CPU uses one thread for matrix products as small as a rollout's. TensorFlow runs independent
        # compiled calls in parallel if their caller is a graph that is not itself compiled.
        self._scout, self._refine_groups = (CompiledFunction(m, False) for m in (self._scout_rounds, self._in_groups))

    def compile(
        self, reference_features: tf.Tensor, draws: Any, starts: InitialStates, initial_states: InitialStates
    ) -> None:
        """Trace and compile the functions of a search, by calls without policies to screen and without gradient steps.

        A function is compiled while the next ones are traced. Without this, each function is traced and compiled at its
        first call, one after the other.

        Args:
            reference_features: features [N, F], as for `search`.
            draws: draws of the models.
            starts: distribution of the states that rollouts of `search` begin in.
            initial_states: that of `predict`.
        """
        seed, none = as_seed(0), tf.constant(0)
        policies = tf.zeros([self._settings.restarts, self._controller.num_params])
        scales = tf.ones([self._controller.num_params])
        calls = (  # what takes longest to compile comes first
            (self._refine_groups, policies, scales, draws, starts, Phase(none, tf.constant(0.0)), seed),
            (self._scout, reference_features, scales, draws, starts, seed, seed, none, none),
            (self.score, tf.concat([policies, policies], axis=0), draws, starts, seed),
            (self.predict, policies[0], draws, initial_states, seed),
        )
        with ThreadPoolExecutor(len(calls)) as pool:
            compiled = []
            for function, *args in calls:
                function.trace(*args)
                compiled.append(pool.submit(function, *args))
            for call in compiled:
                call.result()

    def search(
        self,
        population: tf.Tensor | None,
        reference_features: tf.Tensor,
        draws: Any,
        initial_states: InitialStates,
        seed: Any,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return R policies [R, K], best first, their expected costs [R], and shares of violating rollouts [R, C].

        Of two policies that keep the constraints, the one of lower cost is better; one that keeps them is better than
        one that does not; and of two that do not, the one whose shares are closer to those allowed.

        Args:
            population: the policies of an earlier search, [R, K], best first, or None.
            reference_features: features [N, F] of states in which a policy may have to act.
            draws: draws of the models.
            initial_states: distribution of initial states.
            seed: a seed pair.
        """
        scout_seed, noise_seed, refine_seed, score_seed = split(seed, 4)
        scales = self._controller.parameter_scales(reference_features)
        effort = self._num_chunks, tf.constant(self._settings.scout_updates)
        policies, costs = self._scout(
            reference_features, scales, draws, initial_states, scout_seed, noise_seed, *effort
        )
        policies = self._start_of_refinement(population, tf.gather(policies, _best_first(costs)))
        phase = Phase(tf.constant(self._settings.updates), tf.constant(1.0))
        refined, _ = self._refine_groups(policies, scales, draws, initial_states, phase, refine_seed)
        costs, violated = self.score(tf.concat([policies, refined], axis=0), draws, initial_states, score_seed)
        costs = _infinite_if_not_finite(costs)
        keys = costs + violation_penalty(violated, self.objective.allowed)
        # Too long a gradient step can throw a policy back onto the flat part of the cost: its start is then kept.
        before, after = tf.split(keys, 2)
        chosen = tf.range(len(before)) + tf.where(after < before, len(before), 0)
        chosen = tf.gather(chosen, tf.argsort(tf.gather(keys, chosen)))
        policies, costs, violated = (tf.gather(a, chosen) for a in (tf.concat([policies, refined], 0), costs, violated))
        return policies, costs, violated

    def _start_of_refinement(self, population: tf.Tensor | None, scouts: tf.Tensor) -> tf.Tensor:
        """Return R policies: the best half of the population, if there is one, and the first of the sorted scouts."""
        size = self._settings.restarts
        if population is None:
            return scouts[:size]
        kept = (size + 1) // 2
        return tf.concat([population[:kept], scouts[: size - kept]], axis=0)

    def _scout_rounds(
        self,
        reference_features: tf.Tensor,
        scales: tf.Tensor,
        draws: Any,
        initial_states: InitialStates,
        seed: Any,
        noise_seed: Any,
        num_chunks: tf.Tensor,
        num_updates: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the policies of all rounds of scouting, [rounds R, K], and their expected costs."""
        phase = Phase(num_updates, tf.constant(0.0))
        scouts = []
        for i in range(self._settings.rounds):
            screened = self.screen(reference_features, draws, initial_states, fold_in(seed, i), num_chunks)
            # The noise is the same in all rounds, because their costs are compared.
            scouts.append(self._in_groups(screened, scales, draws, initial_states, phase, noise_seed))
        policies, costs = zip(*scouts, strict=True)
        return tf.concat(policies, axis=0), tf.concat(costs, axis=0)

    def _in_groups(self, params: tf.Tensor, *args) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the result of `refine` for all policies, which groups of them compute independently."""
        policies, costs = zip(*(self.refine(group, *args) for group in tf.split(params, self._groups)), strict=True)
        return tf.concat(policies, axis=0), tf.concat(costs, axis=0)

    def _screen(
        self,
        reference_features: tf.Tensor,
        draws: Any,
        initial_states: InitialStates,
        seed: Any,
        num_chunks: tf.Tensor,
    ) -> tf.Tensor:
        """Return the best R of many random policies, [R, K], best first.

        Args:
            reference_features: features [N, F] of states in which a policy may have to act.
            draws: draws of the models.
            initial_states: distribution of initial states.
            seed: a seed pair.
            num_chunks: number of chunks of candidates, int32 [].
        """
        self.num_traces += 1
        objective = replace(self.objective, per_draw=1)
        stage = Stage(width=self._settings.screening_width, horizon=self._scout_horizon)
        size = self._settings.restarts
        draw_seed, noise_seed = split(seed)

        def body(i, best, best_cost):
            params = self._controller.init(fold_in(draw_seed, i), self._chunk, reference_features)
            cost = objective(params, draws, initial_states, noise_seed, stage)
            params, cost = tf.concat([best, params], 0), tf.concat([best_cost, cost], 0)
            order = _best_first(cost)[:size]
            return i + 1, tf.gather(params, order), tf.gather(cost, order)

        none = tf.zeros([size, self._controller.num_params]), tf.fill([size], math.inf)
        return tf.while_loop(lambda i, *_: i < num_chunks, body, (tf.constant(0), *none))[1]

    def _refine(
        self, params: tf.Tensor, scales: tf.Tensor, draws: Any, initial_states: InitialStates, phase: Phase, seed: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return refined policies [R, K] and their costs [R], averaged over about the last 50 updates.

        Args:
            params: policies, [R, K].
            scales: scale of each parameter, [K].
            draws: draws of the models.
            initial_states: distribution of initial states.
            phase: of scouting or of the refinement.
            seed: a seed pair.
        """
        self.num_traces += 1
        adam, allowed = Adam(beta_2=self._settings.beta_2), self.objective.allowed

        def body(i, state: AdamState, average, multipliers: Multipliers):
            progress = tf.cast(i, tf.float32) / tf.cast(phase.num_updates, tf.float32)
            stage = self._stage(progress, phase.curriculum, average)._replace(multipliers=multipliers.weight)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.theta)
                policies = state.theta * scales
                cost, violated = self.objective.judge(policies, draws, initial_states, fold_in(seed, i), stage)
            # A rollout that leaves the range of the models can overflow: clipping then sets the gradient to zero, and
            # the average starts anew with the next finite cost. Carried on, it would end the policy's refinement.
            grad = clip_norm(tape.gradient(cost, state.theta), self._settings.clip_norm)
            cost = _infinite_if_not_finite(cost)
            restarted = (1 - 0.98 ** tf.cast(i + 1, tf.float32)) * cost
            average = tf.where(tf.math.is_finite(average), 0.98 * average + 0.02 * cost, restarted)
            multipliers = multipliers.after(violated, allowed, phase.num_updates)
            return i + 1, adam.update(state, grad, self._learning_rate(i, progress)), average, multipliers

        num_policies = params.shape[0]
        multipliers = Multipliers.start(num_policies, len(allowed))
        start = tf.constant(0), adam.start(params / scales), tf.zeros([num_policies]), multipliers
        _, state, average, _ = tf.while_loop(lambda i, *_: i < phase.num_updates, body, start)
        return state.theta * scales, average / (1 - 0.98 ** tf.cast(phase.num_updates, tf.float32))

    def _stage(self, progress: tf.Tensor, curriculum: tf.Tensor, average: tf.Tensor) -> Stage:
        """Return the stage of an update at a share of the phase, `progress`, for policies of `average` cost [R]."""
        late = curriculum * tf.maximum(0.0, 2.0 * progress - 1.0)
        # The cost narrows only for policies near the goal: for others a narrow cost is flat, and they would be lost.
        near = late * tf.clip_by_value(2.0 * (1.0 - average), 0.0, 1.0)
        width = self._settings.settling_width**near
        to_grow = tf.cast(self.objective.horizon - self._scout_horizon, tf.float32)
        grown = curriculum * tf.minimum(1.0, 2.0 * progress) * to_grow
        horizon = self._scout_horizon + tf.cast(tf.round(grown), tf.int32)
        return Stage(width, near * self._settings.effort, horizon, refining=True)

    def _learning_rate(self, i: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
        """Return the learning rate of update `i`: a linear warm-up times a cosine decay."""
        first, last = self._settings.learning_rate, self._settings.final_learning_rate
        rate = last + 0.5 * (first - last) * (1 + tf.cos(math.pi * progress))
        return rate * tf.minimum(1.0, (tf.cast(i, tf.float32) + 1.0) / self._settings.warmup)

    def _score(
        self, params: tf.Tensor, draws: Any, initial_states: InitialStates, seed: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the expected cost of each policy [n, K], with effort, over several times the particles, [n].

        The second tensor is the share of rollouts that violate each constraint, [n, C].
        """
        self.num_traces += 1
        per_draw = _SCORING_FACTOR * self.objective.per_draw
        if self.objective.allowed:
            per_draw = max(per_draw, -(-_CONSTRAINED_PARTICLES // self.objective.num_draws))
        stage = Stage(effort=self._settings.effort, multipliers=0.0)
        return replace(self.objective, per_draw=per_draw).judge(params, draws, initial_states, seed, stage)

    def _predict(
        self, params: tf.Tensor, draws: Any, initial_states: InitialStates, seed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return observations [H + 1, P, O], costs [H, P] and violations [P, C] of one policy's [K] rollouts."""
        self.num_traces += 1
        per_draw = -(-_PREDICTED_PARTICLES // self.objective.num_draws)
        return replace(self.objective, per_draw=per_draw).predict(params, draws, initial_states, seed)


def _infinite_if_not_finite(costs: tf.Tensor) -> tf.Tensor:
    """Return costs with infinity in place of any that is not finite, which makes such a cost the worst."""
    return tf.where(tf.math.is_finite(costs), costs, math.inf)


def _best_first(costs: tf.Tensor) -> tf.Tensor:
    return tf.argsort(_infinite_if_not_finite(costs))
