"""PILCO: a policy learned by gradient through a learned simulator, from a handful of real episodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from time import perf_counter
from typing import Any, Self

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.rl import tasks
from bnnrl.rl.action_space import Actions
from bnnrl.rl.callbacks import Callback, Prediction, Trial
from bnnrl.rl.checks.task_functions import check_functions
from bnnrl.rl.episodes import EnvironmentFault, Episode, episode_length, make_env, run_episode
from bnnrl.rl.planners import CEM, Planning
from bnnrl.rl.policies import RBF, Controller, Policy
from bnnrl.rl.search.searcher import InitialStates, PolicySearch, Searcher
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.learned_env import LearnedEnv
from bnnrl.rl.simulator.propagation import PROPAGATIONS
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import as_seed, host_seed
from bnnrl.storage import checkpoint, config
from bnnrl.storage.arrays import flatten, select

_MAX_DRAWS = 20  # of a posterior that gives as many different draws as one likes
_OVERRUN = 0.25  # of an episode's length, planned beyond its end
_SPREAD = 1.5  # how far beyond what was observed a policy should know what to do, in standard deviations
# The purposes seeds are drawn for. A trial's randomness depends on (seed, purpose, trial) alone.
_RESET, _FIT, _DRAWS, _COVER, _SEARCH, _PREDICT, _EXPLORE, _EVALUATE, _PLAN, _VISITED = range(10)
_NUM_STARTS = 1024  # where planned rollouts begin anywhere that was visited
_SHORT = 100  # steps of an episode that is planned as a whole; a longer one is planned in pieces of half as many
_HEADS = Dynamics(size=5)


class PILCO:
    """Probabilistic inference for learning control, with particles through a Bayesian neural network.

    The first trial acts at random. Each later one infers the dynamics model anew from all transitions, seeks a
    policy of low expected cost over particles that start about where real episodes did, each with its own draw of
    the model for its whole rollout, and runs that policy for one real episode.

    Sources: Deisenroth & Rasmussen, "PILCO", ICML 2011; Gal, McAllister & Rasmussen, "Improving PILCO with Bayesian
    Neural Network Dynamics Models", 2016; Chua et al., "Deep Reinforcement Learning in a Handful of Trials using
    Probabilistic Dynamics Models", NeurIPS 2018 (the TS∞ propagation).

    Args:
        env: the id of a Gymnasium environment, or a bnnrl.Task. Of an environment with no registered task, reward and
            termination are learned.
        dynamics: the dynamics model.
        policy: the policy, or a planner.
        propagation: "ts_inf", a particle keeps its draw of the model; "ts1", draws and particles are dealt anew at each
            step; "moment_matching", particles are drawn anew from their Gaussian; "mean", the mean prediction alone.
        particles: in a rollout, shared by the search's restarts; at least one for each restart is used. A planner uses
            a fifth as many for each sequence.
        horizon: steps the policy is optimised over. None takes the task's; else the length of an episode and a quarter
            more, without which a policy has no reason to be in a good state at the episode's end; or 50 where episodes
            are longer than 100. An environment that does not say how long its episodes are is stopped after as
            many steps.
        search: how a policy is sought.
        seed: all randomness of the agent and of its environment derives from it.
        env_kwargs: keyword arguments of gymnasium.make, for an environment given by its id.
        episodes_per_trial: real episodes in a trial.
        heads: the models of reward and termination, where they are learned.
        learn_reward: learn reward and termination even where the task says them.

    Raises:
        ValueError: for an environment that does not exist or has spaces the agent cannot use, a cost or a rule of
            termination that cannot be used, or a number out of its range.
    """

    def __init__(
        self,
        env: str | tasks.Task,
        dynamics: Dynamics | None = None,
        policy: Policy | CEM | None = None,
        propagation: str = "ts_inf",
        particles: int = 100,
        horizon: int | None = None,
        search: PolicySearch | None = None,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
        episodes_per_trial: int = 1,
        heads: Dynamics | None = None,
        learn_reward: bool = False,
    ):
        if propagation not in PROPAGATIONS:
            raise ValueError(f"Invalid `propagation`: expected one of {PROPAGATIONS}. Received: {propagation!r}.")
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"Invalid `seed`: expected an integer of at least 0. Received: seed={seed!r}.")
        if not isinstance(env, str | tasks.Task):
            raise ValueError(
                f"Invalid `env`: expected the id of an environment or a bnnrl.Task. Received: {type(env).__name__}."
            )
        if isinstance(env, tasks.Task) and env_kwargs:
            raise ValueError("Invalid `env_kwargs`: expected none beside a Task, which holds its own.")
        self._registered = isinstance(env, str)
        self.task = tasks.get(env, **(env_kwargs or {})) if isinstance(env, str) else env
        self.learn_reward = learn_reward
        if learn_reward:
            self.task = replace(self.task, cost=None, termination=None)
        self.dynamics, self.policy, self.search = dynamics or Dynamics(), policy or RBF(), search or PolicySearch()
        self.propagation, self.particles, self.seed = propagation, check_count("particles", particles), int(seed)
        self.heads = heads or _HEADS
        self.episodes_per_trial = check_count("episodes_per_trial", episodes_per_trial)
        self.env = make_env(self.task)
        self._length = episode_length(self.env)
        self.horizon = self._resolve_horizon(horizon)

        self.episodes: list[Episode] = []
        self.history: list[Trial] = []
        self.prediction: Prediction | None = None  # of the last trial
        self._population: np.ndarray | None = None  # [R, K], best first
        self._build()

    def _resolve_horizon(self, horizon: int | None) -> int:
        if horizon is not None:
            return check_count("horizon", horizon)
        if self.task.horizon is not None:
            return self.task.horizon
        if self._length is None:
            raise ValueError(
                f"Invalid `horizon`: expected an integer, since {self.task.env_id!r} does not say how long its "
                "episodes are. Received: None."
            )
        return math.ceil((1 + _OVERRUN) * self._length) if self._length <= _SHORT else _SHORT // 2

    def _build(self) -> None:
        num_obs = self.env.observation_space.shape[0]  # pyright: ignore[reportOptionalSubscript]
        self._actions = Actions.of(self.env.action_space, self.task.env_id)
        check_functions(self.task, self.env, has_gradient=not self.is_planner)
        self._features = Features(num_obs, tuple(self.task.angles))
        low, high = (tf.constant(bound, tf.float32) for bound in (self._actions.low, self._actions.high))
        self._bounds = low, high
        capacity = 1 << (4 * (self._length or self.horizon) - 1).bit_length()  # four episodes; empty rows take time too
        seen_by_model = Features(num_obs, tuple(self.task.angles), tuple(self.task.invariant))
        self._world = LearnedEnv(
            self.task, self.dynamics, self.heads, self._features, seen_by_model, self._actions.size, capacity
        )
        self.model = self._world.dynamics
        self._searcher: Searcher | None = None
        self._planning: Planning | None = None
        if isinstance(self.policy, CEM):
            return
        self._controller = Controller(self.policy, self._features, low, high, self._actions.discrete)

        def act(params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
            # Rounding can lead beyond a bound by one bit, and an environment may refuse that.
            return tf.clip_by_value(self._controller.executed(params, obs[tf.newaxis])[0], low, high)

        self._act = tf.function(partial(act), autograph=False, jit_compile=True)  # a partial for the reason in Searcher

    @property
    def solved(self) -> int | None:
        """The first trial after which the task counted as solved, or None.

        That is when at least nine of ten evaluation episodes succeed or, for a task that names a return instead, when
        their mean return reaches it.
        """
        return next((t.trial for t in self.history if t.solved), None)

    # Learning

    def learn(
        self,
        trials: int = 8,
        callbacks: Iterable[Callback] = (),
        stop_when_solved: bool = False,
        evaluation_episodes: int = 10,
    ) -> Self:
        """Go on for `trials` trials.

        Args:
            trials: how many; the agent's very first one acts at random.
            callbacks: told of each phase and trial.
            stop_when_solved: stop after the first trial that solves the task.
            evaluation_episodes: fresh episodes after each trial; their data is never given to the model.

        Raises:
            ValueError: for a number below 1.
            EnvironmentFault: if the environment returns what is not finite; what came before is kept.
        """
        check_count("trials", trials)
        check_count("evaluation_episodes", evaluation_episodes)
        callbacks = list(callbacks)
        try:
            for _ in range(trials):
                self._learn_trial(evaluation_episodes, callbacks)
                if stop_when_solved and self.history[-1].solved:
                    break
        except BaseException as error:
            for callback in callbacks:
                callback.on_error(self, error)
            raise
        return self

    def _learn_trial(self, evaluation_episodes: int, callbacks: list[Callback]) -> None:
        trial = len(self.history) + 1

        def phase(name: str) -> None:
            for callback in callbacks:
                callback.on_phase(self, trial, name)

        started = perf_counter()
        predicted = None
        fit_seconds = search_seconds = 0.0
        if trial > 1:
            phase("model")
            self._world.fit(self.episodes, host_seed(self.seed, _FIT, trial))
            fit_seconds = perf_counter() - started
            phase("policy")
            predicted = self._improve(trial)
            search_seconds = perf_counter() - started - fit_seconds
        phase("episode")
        episodes = self._act_for_real(trial)
        phase("evaluation")
        evaluation = self._evaluate(evaluation_episodes, trial)
        rate, steps = evaluation["success_rate"], sum(len(e) for e in self.episodes)
        self.history.append(
            Trial(
                trial=trial,
                steps=steps,
                experience=None if self.task.step_seconds is None else steps * self.task.step_seconds,
                predicted_cost=predicted,
                real_cost=float(np.mean([self.mean_cost(episode) for episode in episodes])),
                evaluation_cost=evaluation["mean_cost"],
                success_rate=rate,
                solved=self._is_solved(evaluation),
                fit_seconds=fit_seconds,
                search_seconds=search_seconds,
                real_return=float(np.mean([episode.rewards.sum() for episode in episodes])),
                evaluation_return=evaluation["mean_return"],
            )
        )
        for callback in callbacks:
            callback.on_trial_end(self, self.history[-1])

    def _is_solved(self, evaluation: dict[str, Any]) -> bool:
        if self.task.success is not None:
            return evaluation["success_rate"] >= 0.9
        return self.task.solved_return is not None and evaluation["mean_return"] >= self.task.solved_return

    def _improve(self, trial: int) -> float | None:
        """Search for a policy on the fitted model and return its expected cost; a planner has none."""
        if isinstance(self.policy, CEM):
            return None
        searcher, num_draws = self._get_searcher()
        seed = lambda purpose: as_seed(host_seed(self.seed, purpose, trial))
        draws, reference_features = self._world.sample(num_draws, seed(_DRAWS)), self._reference_features(trial)
        initial = InitialStates.observed(np.stack([e.obs[0] for e in self.episodes]))
        starts = initial if self.starts == "initial" else self._visited(trial)
        policies, _ = searcher.search(self._population, reference_features, draws, starts, seed(_SEARCH))
        self._population = policies.numpy()
        # Wherever rollouts began in the search: this one is compared with the trial.
        obs, step_costs = searcher.predict(self._params, draws, initial, seed(_PREDICT))
        self.prediction = Prediction(obs.numpy(), step_costs.numpy())
        return float(self.prediction.costs[: self._length].mean())

    @property
    def starts(self) -> str:
        """Where planned rollouts begin, "initial" or "visited"; see bnnrl.Task."""
        if self.task.starts is not None:
            return self.task.starts
        return "visited" if self._length is not None and self.horizon < self._length else "initial"

    def _visited(self, trial: int) -> InitialStates:
        initial = np.stack([e.obs[0] for e in self.episodes])
        rng = np.random.default_rng(host_seed(self.seed, _VISITED, trial))
        visited = np.concatenate([e.obs[:-1] for e in self.episodes])
        # A quarter are initial ones: of long episodes, those are few.
        of_initial, of_visited = _NUM_STARTS // 4, _NUM_STARTS - _NUM_STARTS // 4
        some = lambda rows, size: rows[rng.integers(len(rows), size=size)]
        return InitialStates.exactly(np.concatenate([some(initial, of_initial), some(visited, of_visited)]))

    def _get_searcher(self) -> tuple[Searcher, int]:
        per_policy = max(1, self.particles // self.search.restarts)
        num_draws = self._num_draws(per_policy)
        if self._searcher is None:
            per_draw = per_policy // num_draws
            self._searcher = Searcher(
                self.search,
                self._controller,
                self._world.simulated_env,
                self.horizon,
                num_draws,
                per_draw,
                self.propagation,
            )
        return self._searcher, num_draws

    def _num_draws(self, per_policy: int) -> int:
        distinct = self.model.posterior.num_distinct if self.model.posterior else None
        return min(per_policy, distinct or _MAX_DRAWS)

    def _reference_features(self, trial: int, size: int = 1024) -> tf.Tensor:
        """Return features [N, F] all over where the policy may have to act: around what was seen, at any angle."""
        rng = np.random.default_rng(host_seed(self.seed, _COVER, trial))
        seen = np.concatenate([e.obs for e in self.episodes])
        reference_features = seen.mean(axis=0) + _SPREAD * seen.std(axis=0) * rng.normal(size=(size, seen.shape[1]))
        angles = list(self.task.angles)
        reference_features[:, angles] = rng.uniform(-np.pi, np.pi, size=(size, len(angles)))
        return self._features(tf.constant(reference_features, tf.float32))

    def _act_for_real(self, trial: int) -> list[Episode]:
        episodes = []
        for i in range(self.episodes_per_trial):
            stream = (trial, i) if i else (trial,)
            try:
                episodes.append(self._run(self._actor(stream), host_seed(self.seed, _RESET, *stream)))
            except EnvironmentFault as fault:
                self.episodes += [e for e in (*episodes, fault.episode) if len(e)]
                raise
        self.episodes += episodes
        return episodes

    def _run(self, policy: Callable[[np.ndarray], np.ndarray], seed: int) -> Episode:
        return run_episode(self.env, policy, seed, None if self._length else self.horizon)

    # Acting

    @property
    def is_planner(self) -> bool:
        """Whether actions are planned at each step, and not a policy's."""
        return isinstance(self.policy, CEM)

    @property
    def _can_act(self) -> bool:
        return self.model.posterior is not None if self.is_planner else self._population is not None

    def _check_can_act(self) -> None:
        if not self._can_act:
            raise ValueError(
                "Invalid agent: expected one with a policy. Received: one without. "
                "Call learn first, for two trials at least: the first acts at random."
            )

    def _actor(self, stream: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from observations to actions for one episode: a random one, if nothing was learned yet."""
        if not self._can_act:
            rng = np.random.default_rng(host_seed(self.seed, _EXPLORE, *stream))
            return lambda obs: self._actions.random(rng)
        return self._planned(stream) if self.is_planner else self._greedy

    def _planned(self, stream: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        if not isinstance(self.policy, CEM):
            raise TypeError("a policy does not plan")
        per_sequence = max(1, self.particles // 5)
        num_draws = self._num_draws(per_sequence)
        if self._planning is None:
            per_draw, discrete = per_sequence // num_draws, self._actions.discrete
            self._planning = Planning(
                self.policy, self._world.simulated_env, *self._bounds, discrete, num_draws, per_draw, self.propagation
            )
        planning, plan = self._planning, self._planning.begin()
        draws = self._world.sample(num_draws, as_seed(host_seed(self.seed, _DRAWS, len(self.episodes))))
        steps = itertools.count()

        def act(obs: np.ndarray) -> np.ndarray:
            nonlocal plan
            seed = as_seed(host_seed(self.seed, _PLAN, *stream, next(steps)))
            action, plan = planning.advance(tf.constant(obs, tf.float32), plan, draws, seed)
            return action.numpy()

        return act

    @property
    def _params(self) -> np.ndarray:
        self._check_can_act()
        return self._population[0]  # pyright: ignore[reportOptionalSubscript]

    def act(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the policy's actions [N, A] for observations [N, O], as a function that graphs may call."""
        return self._act(self._params[np.newaxis], obs)

    def _greedy(self, obs: np.ndarray) -> np.ndarray:
        return self.act(np.asarray(obs, np.float32)[np.newaxis])[0].numpy()

    def predict(self, observation: np.ndarray) -> tuple[np.ndarray, None]:
        """Return the action for an observation, and None: the policy has no state of its own.

        A planner plans each anew, as if an episode began there.

        Args:
            observation: [O] or [B, O].

        Returns:
            The action in the environment's units, [A] or [B, A], and None. Of a discrete space, the action's value, []
            or [B].

        Raises:
            ValueError: if the agent has no policy yet, or the observation has another shape or is not finite.
        """
        obs = np.asarray(observation, np.float32)
        size = self._features.num_obs
        if obs.ndim not in (1, 2) or obs.shape[-1] != size or not np.isfinite(obs).all():
            raise ValueError(
                f"Invalid `observation`: expected finite numbers of shape ({size},) or (B, {size}). "
                f"Received: {observation!r}."
            )
        self._check_can_act()
        rows = np.atleast_2d(obs)
        actions = np.stack([self._planned((0,))(row) for row in rows]) if self.is_planner else self.act(rows).numpy()
        if self._actions.discrete:
            actions = self._actions.first + np.argmax(actions, axis=-1)
        return (actions[0] if obs.ndim == 1 else actions), None

    def evaluate(self, episodes: int = 20, seed: int = 0) -> dict[str, Any]:
        """Return figures of the policy over fresh episodes, which are never given to the model.

        Args:
            episodes: how many.
            seed: of their initial states and noise.

        Returns:
            episodes; mean_cost, over steps and episodes; mean_return, of the environment's rewards; success_rate, or
            None where the task has no notion of success.

        Raises:
            ValueError: for a number below 1, or if the agent has no policy yet.
        """
        check_count("episodes", episodes)
        self._check_can_act()
        return self._evaluate(episodes, _evaluation_stream(seed))

    def evaluation_seed(self, seed: int = 0, episode: int = 0) -> int:
        """Return what `evaluate(seed=seed)` resets the environment with for an episode, counted from 0."""
        return self._reset_seed(_evaluation_stream(seed), episode)

    def evaluation_actor(self, seed: int = 0, episode: int = 0) -> Callable[[np.ndarray], np.ndarray]:
        """Return what acts in an episode of `evaluate(seed=seed)`: from each observation [O] in turn to an action [A].

        Raises:
            ValueError: if the agent has no policy yet.
        """
        self._check_can_act()
        return self._actor((_evaluation_stream(seed), episode))

    def _reset_seed(self, stream: int, episode: int) -> int:
        return host_seed(self.seed, _EVALUATE, stream, episode)

    def _evaluate(self, episodes: int, stream: int) -> dict[str, Any]:
        seeds = [self._reset_seed(stream, i) for i in range(episodes)]
        actor = self._actor((stream,))  # one random policy for all, as for trials
        act = lambda i: self._actor((stream, i)) if self.is_planner else actor
        runs = [self._run(act(i), seed) for i, seed in enumerate(seeds)]
        success = self.task.success
        return {
            "episodes": episodes,
            "mean_cost": float(np.mean([self.mean_cost(run) for run in runs])),
            "mean_return": float(np.mean([run.rewards.sum() for run in runs])),
            "success_rate": None if success is None else float(np.mean([success(run.states) for run in runs])),
        }

    def simulated(self, num_draws: int, seed) -> SimulatedEnv:
        """Return the environment as `num_draws` draws of the fitted models simulate it."""
        return self._world.simulated_env(self._world.sample(num_draws, seed))

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the task's cost of each step of a real episode, [T], at its true states; minus the reward if none."""
        return self._world.costs(episode)

    def mean_cost(self, episode: Episode) -> float:
        """Return the mean cost of a real episode over its steps and, after a termination, those that were left."""
        costs = self.costs(episode)
        left = max(0, (self._length or self.horizon) - len(costs)) if episode.terminated[0] else 0
        return float((costs.sum() + left * self.task.cost_after_end) / (len(costs) + left))

    # Saving

    def save(self, folder) -> None:
        """Write the agent to `folder`, whole or not at all: its settings, data, policies and model.

        Raises:
            ValueError: if the folder exists and is not one of ours.
        """
        checkpoint.write(folder, *self.to_saved())

    def to_saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a JSON-able description and named arrays, from which `bnnrl.load` rebuilds the agent."""
        described: dict[str, Any] = {
            "kind": "pilco",
            "env": self.task.env_id,
            "env_kwargs": dict(self.task.env_kwargs),
            "registered_task": self._registered,
            "dynamics": config.encode(self.dynamics),
            "heads": config.encode(self.heads),
            "policy": config.encode(self.policy),
            "search": config.encode(self.search),
            "propagation": self.propagation,
            "particles": self.particles,
            "horizon": self.horizon,
            "episodes_per_trial": self.episodes_per_trial,
            "learn_reward": self.learn_reward,
            "has_cost": self.task.cost is not None,
            "seed": self.seed,
            "episodes": len(self.episodes),
            "history": [asdict(t) for t in self.history],
        }
        described["models"], values = self._world.to_arrays()
        groups = {f"episodes/{i}": vars(episode) for i, episode in enumerate(self.episodes)} | {"models": values}
        if self._population is not None:
            groups[""] = {"population": self._population}
        if self.prediction is not None:
            groups["prediction"] = {"obs": self.prediction.obs, "costs": self.prediction.costs}
        return described, flatten(groups)

    @classmethod
    def _from_saved(cls, described: dict[str, Any], arrays: dict[str, np.ndarray], task: tasks.Task | None = None):
        if task is None and not described["registered_task"]:
            raise ValueError(
                f"Invalid `task`: expected the bnnrl.Task of {described['env']!r}, whose cost is code and was not "
                "saved. Received: None. Pass it: bnnrl.load(folder, task=...)."
            )
        agent = cls(
            task or described["env"],
            *(config.decode(described[name]) for name in ("dynamics", "policy")),
            propagation=described["propagation"],
            particles=described["particles"],
            horizon=described["horizon"],
            search=config.decode(described["search"]),
            seed=described["seed"],
            env_kwargs=None if task else described["env_kwargs"],
            episodes_per_trial=described["episodes_per_trial"],
            heads=config.decode(described["heads"]),
            learn_reward=described.get("learn_reward", False),
        )
        if described.get("has_cost", False) and agent.task.cost is None:
            raise ValueError(
                f"Invalid `task`: expected one of {described['env']!r} that has the cost it learned with. Received: "
                "one without. Import the module that calls bnnrl.tasks.register first, or pass bnnrl.load the task."
            )
        agent.episodes = [Episode(**select(arrays, f"episodes/{i}")) for i in range(described["episodes"])]
        agent.history = [Trial(**t) for t in described["history"]]
        agent._population = arrays.get("population")
        if "prediction/obs" in arrays:
            agent.prediction = Prediction(**select(arrays, "prediction"))
        agent._world.from_arrays(described["models"], select(arrays, "models"))
        return agent


def _evaluation_stream(seed: int) -> int:
    return host_seed(seed, 1 << 20)  # beyond the trials, whose numbers are the streams of their own evaluations
