"""Control strategies: how an agent uses its learned environment to act, by a searched policy or by a planner."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from bnnrl.compiled import CompiledFunction, share
from bnnrl.posterior import Posterior
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.actors import Actor, PlannerActor, PolicyActor
from bnnrl.rl.callbacks import Prediction
from bnnrl.rl.episodes import Episode
from bnnrl.rl.planners import CEM, Planning
from bnnrl.rl.policies import Controller, Policy
from bnnrl.rl.search import InitialStates, PolicySearch, Searcher, SearchObjective
from bnnrl.rl.seed_streams import Purpose, integer_seed, tensor_seed
from bnnrl.rl.simulator import non_finite
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.gaussian_process import ProcessPosterior
from bnnrl.rl.simulator.learned_env import ExtrapolationWarning, LearnedEnv, ModelDraws
from bnnrl.rl.tasks.constraint import Constraint
from bnnrl.structure import key_or_none, structure

_MAX_DRAWS = 20  # draws of a posterior that has infinitely many distinct ones
_NUM_REFERENCES = 1024  # reference features of a policy search
_REFERENCE_SPREAD = 1.5  # standard deviation of reference observations, in standard deviations of those observed
_NUM_VISITED = 1024  # states that rollouts begin in, where they begin in visited ones


class ConstraintWarning(UserWarning):
    """No policy was found whose simulated rollouts keep a constraint with its probability."""


class ControlProblem(NamedTuple):
    """What a control strategy is made for: the learned environment, its spaces, and the size of rollouts."""

    learned_env: LearnedEnv
    features: Features  # of observations, as a policy sees them
    action_space: ActionSpace
    propagation: str  # one of PROPAGATIONS
    particles: int
    horizon: int  # steps of a policy search's rollouts
    starts: str  # where these rollouts begin, "initial" or "visited"
    initial_std: Sequence[float] | None  # standard deviation of each entry of initial observations, if it is known
    seed: int  # of the agent
    labels: Sequence[str] | None  # name of each observation entry, for warnings
    constraints: Mapping[str, Constraint] = MappingProxyType({})

    @property
    def allowed(self) -> tuple[float, ...]:
        """The largest share of rollouts that may violate each constraint, [C]."""
        return tuple(constraint.allowed for constraint in self.constraints.values())

    def describe_non_finite(self, obs: np.ndarray, costs: np.ndarray) -> str | None:
        """Return where rollouts, [H + 1, P, O] and [H, P], first are not finite; None if they are finite."""
        newest = self.features.memory.newest(obs)
        return non_finite.describe(newest, costs, self.labels, learns_reward=self.learned_env.reward is not None)

    def warn_if_violated(self, trial: int, violated: np.ndarray) -> None:
        """Warn of the constraints that no policy keeps, given the share of rollouts that violate each one, [C]."""
        for (name, constraint), broken in zip(self.constraints.items(), violated, strict=True):
            if broken > constraint.allowed:
                warnings.warn(
                    f"Trial {trial}: expected a policy whose rollouts keep the constraint {name!r} with probability "
                    f"{constraint.probability:g}. Received: {1 - broken:.2g}, by the policy that comes closest and "
                    "acts. Loosen the constraint or its `probability`, or search longer (PolicySearch.updates).",
                    ConstraintWarning,
                    stacklevel=3,
                )

    def key(self, function: Any, *settings: Any) -> Hashable | None:
        """Return the key of a compiled function on the learned environment, or None if it cannot be shared.

        Args:
            function: what is compiled.
            settings: everything that shapes the function beside the structure of the environment.
        """
        spaces = [self.features, self.action_space, self.propagation]
        return key_or_none(lambda: (function, self.learned_env.structure, structure(spaces), structure(settings)))


class ControlStrategy(Protocol):
    """How an agent acts on its learned environment: the interface that a searched policy and a planner share."""

    actor_per_episode: bool
    """Whether each evaluation episode has an actor of its own. If not, one actor serves all episodes in turn."""

    @property
    def can_act(self) -> bool:
        """Whether enough has been learned to act by more than chance."""
        ...

    def improve(self, episodes: Sequence[Episode], trial: int) -> Prediction | None:
        """Improve on the freshly fitted models, and return the prediction of the trial if there is one."""
        ...

    def make_actor(self, stream: tuple[int, ...], num_episodes: int) -> Actor:
        """Return the actor of one episode.

        Args:
            stream: indices of the episode's random stream.
            num_episodes: real episodes so far, on which the draws of the models depend.
        """
        ...

    def actions(self, obs: np.ndarray, num_episodes: int) -> np.ndarray:
        """Return actions [N, A] for separate observations [N, O]; arguments as in `make_actor`."""
        ...

    def act(self, obs: tf.Tensor) -> tf.Tensor:
        """Return actions [N, A] for observations [N, O], as a function that graphs may call."""
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what was learned beside the models, as named arrays."""
        ...

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `to_arrays` returned; other arrays are ignored."""
        ...


def make_control(policy: Policy | CEM, search: PolicySearch, problem: ControlProblem) -> ControlStrategy:
    """Return the strategy that a policy or a planner calls for."""
    return PlannerControl(policy, problem) if isinstance(policy, CEM) else PolicyControl(policy, search, problem)


class PolicyControl:
    """Acts by a policy that is searched on the learned environment after each fit.

    Args:
        policy: the policy's form.
        search: settings of the search.
        problem: what the strategy is made for.

    Attributes:
        controller: the policy between observations and the environment's actions.
        population: the policies of the last search, [R, K], best first, of which the first acts; None before one.
        searcher: the compiled search; None before the first one.
    """

    actor_per_episode = False  # a random policy before the first search is one, too

    def __init__(self, policy: Policy, search: PolicySearch, problem: ControlProblem):
        self._search, self._problem = search, problem
        low, high = (tf.constant(bound, tf.float32) for bound in (problem.action_space.low, problem.action_space.high))
        self.controller = Controller(policy, problem.features, low, high, problem.action_space.discrete)
        self.population: np.ndarray | None = None
        self.searcher: Searcher | None = None
        self._wrapped: dict[int, float] = {}  # for which the searcher was compiled
        act, key = partial(_executed_actions, self.controller), problem.key(_executed_actions, policy)
        self._act = share(key, lambda: CompiledFunction(act, jit_compile=True))

    @property
    def can_act(self) -> bool:
        """Whether there is a policy."""
        return self.population is not None

    def improve(self, episodes: Sequence[Episode], trial: int) -> Prediction:
        """Search for a policy from the last ones, and predict the policy's rollouts.

        Rollouts of the search may begin in visited states. Those of the prediction begin where real episodes do, so
        that the two can be compared.

        Warns:
            NonFiniteWarning: if no policy has a finite expected cost, or the prediction is not finite.
            ExtrapolationWarning: if many predicted rewards of a learned reward leave the range of those observed.
        """
        episodes = self._problem.learned_env.seen(episodes)
        problem, num_draws = self._problem, self._num_draws
        seed = lambda purpose: tensor_seed(problem.seed, purpose, trial)
        host_seed = lambda purpose: integer_seed(problem.seed, purpose, trial)
        draws = problem.learned_env.sample(num_draws, seed(Purpose.DRAWS))
        reference = reference_features(episodes, problem.features, host_seed(Purpose.REFERENCE))
        first = np.stack([e.obs[0] for e in episodes])
        initial = InitialStates.estimate(first, problem.initial_std, problem.features.memory)
        starts = initial if problem.starts == "initial" else self._visited(episodes, host_seed(Purpose.VISITED))
        if self.searcher is None or self._wrapped != problem.learned_env.wrapped:
            self._wrapped = problem.learned_env.wrapped
            self.searcher = self._make_searcher(num_draws)
            if self.searcher.num_traces == 0:
                self.searcher.compile(reference, draws, starts, initial)
        policies, expected, violated = self.searcher.search(
            self.population, reference, draws, starts, seed(Purpose.SEARCH)
        )
        self.population = population = policies.numpy()
        predict = partial(self._predict, self.searcher, population[0], draws)
        prediction = predict(initial, seed(Purpose.PREDICT))
        searched = lambda: predict(starts, seed(Purpose.SEARCH))
        self._warn_if_not_finite(trial, float(expected[0]), prediction, searched)
        problem.warn_if_violated(trial, violated[0].numpy())
        return prediction

    def _visited(self, episodes: Sequence[Episode], seed: int) -> InitialStates:
        """Return visited states, without those in which a constraint was violated: no policy could keep it there."""
        violated = self._problem.learned_env.violated
        kept = [np.append(True, np.logical_not(violated(e)[:-1].any(axis=1))) for e in episodes]
        return visited_states(episodes, seed, kept)

    def _predict(
        self, searcher: Searcher, params: np.ndarray, draws: ModelDraws, starts: InitialStates, seed
    ) -> Prediction:
        obs, costs, violated = searcher.predict(params, draws, starts, seed)
        obs = self._problem.learned_env.uncentred(obs.numpy())
        return Prediction(self._problem.features.memory.newest(obs), costs.numpy(), violated.numpy())

    def _warn_if_not_finite(
        self, trial: int, expected_cost: float, prediction: Prediction, searched: Callable[[], Prediction]
    ) -> None:
        """Warn if the best policy's expected cost or its prediction is not finite.

        Args:
            trial: number of the trial.
            expected_cost: the expected cost of the best policy.
            prediction: the best policy's prediction.
            searched: returns rollouts of the policy that begin where those of the search did.
        """
        found = self._problem.describe_non_finite(prediction.obs, prediction.costs)
        text = "expected a finite prediction. Received:"
        if not math.isfinite(expected_cost):
            text = "the search found no policy of finite expected cost: the policy that acts is arbitrary. Received:"
            rollouts = searched()
            found = found or self._problem.describe_non_finite(rollouts.obs, rollouts.costs) or "an infinite mean cost."
        if found is not None:
            warnings.warn(f"Trial {trial}: {text} {found}", non_finite.NonFiniteWarning, stacklevel=2)
        if beyond := self._problem.learned_env.describe_beyond_range(prediction.costs):
            warnings.warn(f"Trial {trial}: {beyond}", ExtrapolationWarning, stacklevel=2)

    @property
    def _particles_per_policy(self) -> int:
        return max(1, self._problem.particles // self._search.restarts)

    @property
    def _num_draws(self) -> int:
        return num_draws_of(self._problem.learned_env.dynamics.posterior, self._particles_per_policy)

    def _make_searcher(self, num_draws: int) -> Searcher:
        problem, search, controller = self._problem, self._search, self.controller
        sizes = problem.horizon, num_draws, self._particles_per_policy // num_draws

        def make() -> Searcher:
            make_env = problem.learned_env.unfitted().simulated_env
            return Searcher(SearchObjective(search, controller, make_env, *sizes, problem.propagation, problem.allowed))

        return share(problem.key(Searcher, controller.policy, search, sizes, problem.allowed), make)

    def make_actor(self, stream: tuple[int, ...], num_episodes: int) -> PolicyActor:
        """Return the policy as an actor."""
        return PolicyActor(self.act)

    def actions(self, obs: np.ndarray, num_episodes: int) -> np.ndarray:
        """Return the policy's actions [N, A] for observations [N, O]."""
        return PolicyActor(self.act).actions(obs)

    def act(self, obs: tf.Tensor | np.ndarray) -> tf.Tensor:
        """Return the policy's actions [N, A] for observations [N, O], as a function that graphs may call.

        Raises:
            ValueError: if there is no policy yet.
        """
        if self.population is None:
            raise no_policy_error()
        return self._act(self.population[0][np.newaxis], self._problem.learned_env.centred(obs))

    @property
    def centre(self) -> tuple[float, ...]:
        """What is subtracted from observations before the policy sees them, O numbers; () for nothing."""
        return self._problem.learned_env.centre

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the policies."""
        return {} if self.population is None else {"population": self.population}

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the policies."""
        self.population = arrays.get("population")


class PlannerControl:
    """Acts by a planner, which has nothing to learn beside the models.

    Args:
        planner: the planner's settings.
        problem: what the strategy is made for.
    """

    actor_per_episode = True

    def __init__(self, planner: CEM, problem: ControlProblem):
        self._planner, self._problem = planner, problem
        self._planning: Planning | None = None
        self._wrapped: dict[int, float] = {}  # for which the planning step was compiled

    @property
    def can_act(self) -> bool:
        """Whether there are fitted models to plan with."""
        return self._problem.learned_env.dynamics.posterior is not None

    def improve(self, episodes: Sequence[Episode], trial: int) -> None:
        """Do nothing: each plan uses the newest models."""

    def make_actor(self, stream: tuple[int, ...], num_episodes: int) -> PlannerActor:
        """Return an actor that begins without a plan."""
        problem = self._problem
        particles = max(1, problem.particles // 5)  # of each action sequence
        num_draws = num_draws_of(problem.learned_env.dynamics.posterior, particles)
        if self._planning is None or self._wrapped != problem.learned_env.wrapped:
            self._wrapped = problem.learned_env.wrapped
            self._planning = self._make_planning(num_draws, particles // num_draws)
        draws = problem.learned_env.sample(num_draws, tensor_seed(problem.seed, Purpose.DRAWS, num_episodes))
        seed_of_step = partial(tensor_seed, problem.seed, Purpose.PLAN, *stream)
        return PlannerActor(
            self._planning, problem.learned_env.centred, draws, seed_of_step, problem.describe_non_finite
        )

    def _make_planning(self, num_draws: int, per_draw: int) -> Planning:
        problem, planner = self._problem, self._planner

        def make() -> Planning:
            make_env = problem.learned_env.unfitted().simulated_env
            sizes = num_draws, per_draw
            return Planning(planner, make_env, problem.action_space, *sizes, problem.propagation, problem.allowed)

        return share(problem.key(Planning, planner, num_draws, per_draw, problem.allowed), make)

    def actions(self, obs: np.ndarray, num_episodes: int) -> np.ndarray:
        """Return the first actions [N, A] of plans that each begin at one of the observations [N, O]."""
        return np.stack([self.make_actor((0,), num_episodes)(row) for row in obs])

    def act(self, obs: tf.Tensor) -> tf.Tensor:
        """Refuse: a plan is made outside of graphs.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Invalid agent: expected one with a policy. Received: one with a planner, which plans one episode at a "
            "time. Use predict or evaluation_actor."
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return nothing."""
        return {}

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore nothing."""


def _executed_actions(controller: Controller, params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
    """Return a policy's actions [N, A] within the bounds, for its parameters [1, K] and observations [N, O]."""
    # Rounding can lead one bit beyond a bound, and an environment may refuse such an action.
    return tf.clip_by_value(controller.executed(params, obs[tf.newaxis])[0], controller.low, controller.high)


def no_policy_error() -> ValueError:
    """Return the error of an agent that is asked to act before it has learned."""
    return ValueError(
        "Invalid agent: expected one with a policy. Received: one without. "
        "Call learn first, for at least two trials: the first one acts at random."
    )


def num_draws_of(posterior: Posterior | ProcessPosterior | None, particles: int) -> int:
    """Return how many draws of a posterior the particles use: all distinct ones, or 20 of infinitely many."""
    distinct = posterior.num_distinct if posterior else None
    return min(particles, distinct or _MAX_DRAWS)


def reference_features(episodes: Sequence[Episode], features: Features, seed: int) -> tf.Tensor:
    """Return features [N, F] of states in which a policy may have to act.

    Angles are uniform over the circle. The other entries are normal, with the mean of all observations and 1.5 times
    their standard deviation. Changes between past observations, and past actions, are those of an observed step.
    """
    rng, memory = np.random.default_rng(seed), features.memory
    rows = np.concatenate([e.obs for e in episodes])
    seen = memory.newest(rows)
    noise = rng.normal(size=(_NUM_REFERENCES, seen.shape[1]))
    reference = seen.mean(axis=0) + _REFERENCE_SPREAD * seen.std(axis=0) * noise
    angles = list(features.angles)
    reference[:, angles] = rng.uniform(-np.pi, np.pi, size=(_NUM_REFERENCES, len(angles)))
    if not memory.is_empty:
        reference = memory.moved(rows[rng.integers(len(rows), size=_NUM_REFERENCES)], reference)
    return features(tf.constant(reference, tf.float32))


def visited_states(episodes: Sequence[Episode], seed: int, kept: Sequence[np.ndarray] | None = None) -> InitialStates:
    """Return observed states for rollouts to begin in: a quarter initial states, the others from all along episodes.

    Initial states have a fixed share, because they are few among the states of long episodes.

    Args:
        episodes: real episodes.
        seed: seed of the choice.
        kept: for each episode, which of its states but the last are taken, bool [T]; None takes all.
    """
    rng = np.random.default_rng(seed)
    initial = np.stack([e.obs[0] for e in episodes])
    visited = np.concatenate([e.obs[:-1] for e in episodes])
    visited = visited if kept is None else visited[np.concatenate(kept)]
    choose = lambda rows, size: rows[rng.integers(len(rows), size=size)]
    num_initial = _NUM_VISITED // 4
    return InitialStates.empirical(
        np.concatenate([choose(initial, num_initial), choose(visited, _NUM_VISITED - num_initial)])
    )
