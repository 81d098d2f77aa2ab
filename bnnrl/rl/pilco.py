"""PILCO: a policy learned by gradient through a learned simulator, from a handful of real episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from time import perf_counter
from typing import Any, Self

import numpy as np
import tensorflow as tf

from bnnrl import checkpoint, posterior, settings
from bnnrl.checks import check_count
from bnnrl.data import Scaler
from bnnrl.rl import tasks
from bnnrl.rl.dynamics import Dynamics, DynamicsModel, Features
from bnnrl.rl.episodes import EnvironmentFault, Episode, episode_length, make_env, run_episode
from bnnrl.rl.policies import MLP, RBF, Controller, Policy
from bnnrl.rl.search import PolicySearch, Searcher, Starts
from bnnrl.seeds import as_seed, host_seed

settings.register(Dynamics, RBF, MLP, PolicySearch)

PROPAGATIONS = ("ts_inf",)
_MAX_DRAWS = 20  # of a posterior that gives as many different draws as one likes
_OVERRUN = 0.25  # of an episode's length, planned beyond its end
_SPREAD = 1.5  # how far beyond what was observed a policy should know what to do, in standard deviations
# The purposes seeds are drawn for. A trial's randomness depends on (seed, purpose, trial) alone.
_RESET, _FIT, _DRAWS, _COVER, _SEARCH, _PREDICT, _EXPLORE, _EVALUATE = range(8)


@dataclass(frozen=True)
class Trial:
    """What one trial did."""

    trial: int
    steps: int  # real steps so far, evaluation excluded
    experience: float | None  # the same in seconds
    predicted_cost: float | None  # mean over steps and particles; None for the random trial
    real_cost: float  # mean over the trial's steps
    evaluation_cost: float  # mean over steps and evaluation episodes
    success_rate: float | None  # of the evaluation episodes; None where the task has no notion of it
    solved: bool
    fit_seconds: float
    search_seconds: float


class Callback:
    """What `PILCO.learn` calls; override what you need."""

    def on_phase(self, agent: PILCO, trial: int, phase: str) -> None:
        """Called when a phase of a trial begins: "model", "policy", "episode" or "evaluation"."""

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        """Called after each trial."""

    def on_error(self, agent: PILCO, error: BaseException) -> None:
        """Called when learning stops on an error or an interruption; what was learned so far is in `agent`."""


@dataclass(frozen=True)
class Prediction:
    """What the model expected of a trial before it was run."""

    obs: np.ndarray  # [H + 1, P, O] particles
    costs: np.ndarray  # [H, P]


class PILCO:
    """Probabilistic inference for learning control, with particles through a Bayesian neural network.

    The first trial acts at random. Each later one infers the dynamics model anew from all transitions, seeks a
    policy of low expected cost over particles that start about where real episodes did, each with its own draw of
    the model for its whole rollout, and runs that policy for one real episode.

    Sources: Deisenroth & Rasmussen, "PILCO", ICML 2011; Gal, McAllister & Rasmussen, "Improving PILCO with Bayesian
    Neural Network Dynamics Models", 2016; Chua et al., "Deep Reinforcement Learning in a Handful of Trials using
    Probabilistic Dynamics Models", NeurIPS 2018 (the TS∞ propagation).

    Args:
        env: the id of a Gymnasium environment with a registered task, or a bnnrl.Task.
        dynamics: the dynamics model.
        policy: the policy.
        propagation: "ts_inf", a particle keeps its draw of the model.
        particles: in a rollout, shared by the search's restarts; at least one for each restart is used.
        horizon: steps the policy is optimised over; None takes the length of an episode and a quarter more, without
            which a policy has no reason to be in a good state at the episode's end. An environment that does not say
            how long its episodes are is stopped after as many steps.
        search: how a policy is sought.
        seed: all randomness of the agent and of its environment derives from it.
        env_kwargs: keyword arguments of gymnasium.make, for an environment given by its id.

    Raises:
        ValueError: for an environment that does not exist or has spaces the agent cannot use, or a number out of
            its range.
    """

    def __init__(
        self,
        env: str | tasks.Task,
        dynamics: Dynamics | None = None,
        policy: Policy | None = None,
        propagation: str = "ts_inf",
        particles: int = 100,
        horizon: int | None = None,
        search: PolicySearch | None = None,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
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
        self.dynamics, self.policy, self.search = dynamics or Dynamics(), policy or RBF(), search or PolicySearch()
        self.propagation, self.particles, self.seed = propagation, check_count("particles", particles), int(seed)
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
        if self._length is None:
            raise ValueError(
                f"Invalid `horizon`: expected an integer, since {self.task.env_id!r} does not say how long its "
                "episodes are. Received: None."
            )
        return math.ceil((1 + _OVERRUN) * self._length)

    def _build(self) -> None:
        spaces = self.env.observation_space, self.env.action_space
        num_obs, num_actions = (space.shape[0] for space in spaces)  # pyright: ignore[reportOptionalSubscript]
        self._features = Features(num_obs, tuple(self.task.angles))
        low, high = (tf.constant(bound, tf.float32) for bound in (spaces[1].low, spaces[1].high))  # pyright: ignore
        self._controller = Controller(self.policy, self._features, low, high)
        capacity = 1 << (8 * (self._length or self.horizon) - 1).bit_length()  # eight episodes
        seen_by_model = Features(num_obs, tuple(self.task.angles), tuple(self.task.invariant))
        self.model = DynamicsModel(self.dynamics, seen_by_model, num_actions, capacity)
        self._searcher: Searcher | None = None

        def act(params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
            # Rounding can lead beyond a bound by one bit, and an environment may refuse that.
            return tf.clip_by_value(self._controller(params, obs[tf.newaxis])[0], low, high)

        self._act = tf.function(partial(act), autograph=False, jit_compile=True)  # a partial for the reason in Searcher

    @property
    def solved(self) -> int | None:
        """The first trial after which at least nine of ten evaluation episodes succeeded, or None."""
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
            self._fit(trial)
            fit_seconds = perf_counter() - started
            phase("policy")
            predicted = self._improve(trial)
            search_seconds = perf_counter() - started - fit_seconds
        phase("episode")
        episode = self._act_for_real(trial)
        phase("evaluation")
        evaluation = self._evaluate(evaluation_episodes, trial)
        rate, steps = evaluation["success_rate"], sum(len(e) for e in self.episodes)
        self.history.append(
            Trial(
                trial=trial,
                steps=steps,
                experience=None if self.task.dt is None else steps * self.task.dt,
                predicted_cost=predicted,
                real_cost=float(self.costs(episode).mean()),
                evaluation_cost=evaluation["mean_cost"],
                success_rate=rate,
                solved=rate is not None and rate >= 0.9,
                fit_seconds=fit_seconds,
                search_seconds=search_seconds,
            )
        )
        for callback in callbacks:
            callback.on_trial_end(self, self.history[-1])

    def _fit(self, trial: int) -> None:
        obs = np.concatenate([e.obs[:-1] for e in self.episodes])
        next_obs = np.concatenate([e.obs[1:] for e in self.episodes])
        actions = np.concatenate([e.actions for e in self.episodes])
        self.model.fit(obs, actions, next_obs, host_seed(self.seed, _FIT, trial))

    def _improve(self, trial: int) -> float:
        """Search for a policy on the fitted model and return its expected cost."""
        searcher, num_draws = self._get_searcher()
        seed = lambda purpose: as_seed(host_seed(self.seed, purpose, trial))
        simulator, cover = self.model.simulator(num_draws, seed(_DRAWS)), self._cover(trial)
        starts = Starts.observed(np.stack([e.obs[0] for e in self.episodes]))
        policies, _ = searcher.search(self._population, cover, simulator, starts, seed(_SEARCH))
        self._population = policies.numpy()
        obs, step_costs = searcher.predict(self._params, simulator, starts, seed(_PREDICT))
        self.prediction = Prediction(obs.numpy(), step_costs.numpy())
        return float(self.prediction.costs[: self._length].mean())

    def _get_searcher(self) -> tuple[Searcher, int]:
        per_policy = max(1, self.particles // self.search.restarts)
        distinct = self.model.posterior.num_distinct if self.model.posterior else None
        num_draws = min(per_policy, distinct or _MAX_DRAWS)
        if self._searcher is None:
            step, per_draw = self.model.stacked, per_policy // num_draws
            self._searcher = Searcher(
                self.search, self._controller, step, self.task.cost, self.horizon, num_draws, per_draw
            )
        return self._searcher, num_draws

    def _cover(self, trial: int, size: int = 1024) -> tf.Tensor:
        """Return features [N, F] all over where the policy may have to act: around what was seen, at any angle."""
        rng = np.random.default_rng(host_seed(self.seed, _COVER, trial))
        seen = np.concatenate([e.obs for e in self.episodes])
        cover = seen.mean(axis=0) + _SPREAD * seen.std(axis=0) * rng.normal(size=(size, seen.shape[1]))
        angles = list(self.task.angles)
        cover[:, angles] = rng.uniform(-np.pi, np.pi, size=(size, len(angles)))
        return self._features(tf.constant(cover, tf.float32))

    def _act_for_real(self, trial: int) -> Episode:
        act = self._random_policy(trial) if self._population is None else self._greedy
        try:
            episode = self._run(act, host_seed(self.seed, _RESET, trial))
        except EnvironmentFault as fault:
            if len(fault.episode):
                self.episodes.append(fault.episode)
            raise
        self.episodes.append(episode)
        return episode

    def _run(self, policy: Callable[[np.ndarray], np.ndarray], seed: int) -> Episode:
        return run_episode(self.env, policy, seed, None if self._length else self.horizon)

    def _random_policy(self, trial: int) -> Callable[[np.ndarray], np.ndarray]:
        rng = np.random.default_rng(host_seed(self.seed, _EXPLORE, trial))
        low, high = self._controller.low.numpy(), self._controller.high.numpy()
        return lambda obs: rng.uniform(low, high).astype(np.float32)

    # Acting

    @property
    def _params(self) -> np.ndarray:
        if self._population is None:
            raise ValueError(
                "Invalid agent: expected one with a policy. Received: one without. "
                "Call learn first, for two trials at least: the first acts at random."
            )
        return self._population[0]

    def act(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the policy's actions [N, A] for observations [N, O], as a function that graphs may call."""
        return self._act(self._params[np.newaxis], obs)

    def _greedy(self, obs: np.ndarray) -> np.ndarray:
        return self.act(np.asarray(obs, np.float32)[np.newaxis])[0].numpy()

    def predict(self, observation: np.ndarray) -> tuple[np.ndarray, None]:
        """Return the action for an observation, and None: the policy has no state of its own.

        Args:
            observation: [O] or [B, O].

        Returns:
            The action in the environment's units, [A] or [B, A], and None.

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
        actions = self.act(np.atleast_2d(obs)).numpy()
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
        self._params  # noqa: B018 (raises where there is none)
        return self._evaluate(episodes, _evaluation_stream(seed))

    def evaluation_seed(self, seed: int = 0, episode: int = 0) -> int:
        """Return what `evaluate(seed=seed)` resets the environment with for an episode, counted from 0."""
        return self._reset_seed(_evaluation_stream(seed), episode)

    def _reset_seed(self, stream: int, episode: int) -> int:
        return host_seed(self.seed, _EVALUATE, stream, episode)

    def _evaluate(self, episodes: int, stream: int) -> dict[str, Any]:
        act = self._random_policy(stream) if self._population is None else self._greedy
        runs = [self._run(act, self._reset_seed(stream, i)) for i in range(episodes)]
        success = self.task.success
        return {
            "episodes": episodes,
            "mean_cost": float(np.mean([self.costs(run).mean() for run in runs])),
            "mean_return": float(np.mean([run.rewards.sum() for run in runs])),
            "success_rate": None if success is None else float(np.mean([success(run.states) for run in runs])),
        }

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the task's cost of each step of a real episode, [T], at its true states."""
        states = tf.constant(episode.states, tf.float32)
        return np.asarray(self.task.cost(states[:-1], tf.constant(episode.actions), states[1:]))

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
            "dynamics": settings.encode(self.dynamics),
            "policy": settings.encode(self.policy),
            "search": settings.encode(self.search),
            "propagation": self.propagation,
            "particles": self.particles,
            "horizon": self.horizon,
            "seed": self.seed,
            "episodes": len(self.episodes),
            "history": [asdict(t) for t in self.history],
        }
        arrays = {
            f"episodes/{i}/{f.name}": getattr(episode, f.name)
            for i, episode in enumerate(self.episodes)
            for f in fields(Episode)
        }
        if self._population is not None:
            arrays["population"] = self._population
        if self.prediction is not None:
            arrays |= {"prediction/obs": self.prediction.obs, "prediction/costs": self.prediction.costs}
        if self.model.posterior is not None and self.model.scalers is not None:
            described["posterior"], values = self.model.posterior.to_arrays()
            arrays |= {f"posterior/{name}": value for name, value in values.items()}
            for name, scaler in zip(("inputs", "targets"), self.model.scalers, strict=True):
                arrays |= {f"scalers/{name}/mean": scaler.mean, f"scalers/{name}/std": scaler.std}
        return described, arrays

    @classmethod
    def _from_saved(cls, described: dict[str, Any], arrays: dict[str, np.ndarray], task: tasks.Task | None = None):
        if task is None and not described["registered_task"]:
            raise ValueError(
                f"Invalid `task`: expected the bnnrl.Task of {described['env']!r}, whose cost is code and was not "
                "saved. Received: None. Pass it: bnnrl.load(folder, task=...)."
            )
        agent = cls(
            task or described["env"],
            *(settings.decode(described[name]) for name in ("dynamics", "policy")),
            propagation=described["propagation"],
            particles=described["particles"],
            horizon=described["horizon"],
            search=settings.decode(described["search"]),
            seed=described["seed"],
            env_kwargs=None if task else described["env_kwargs"],
        )
        part = lambda prefix: {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        agent.episodes = [Episode(**part(f"episodes/{i}/")) for i in range(described["episodes"])]
        agent.history = [Trial(**t) for t in described["history"]]
        agent._population = arrays.get("population")
        if "prediction/obs" in arrays:
            agent.prediction = Prediction(**part("prediction/"))
        if "posterior" in described:
            agent.model.posterior = posterior.from_arrays(described["posterior"], part("posterior/"))
            agent.model.scalers = Scaler(**part("scalers/inputs/")), Scaler(**part("scalers/targets/"))
        return agent


def _evaluation_stream(seed: int) -> int:
    return host_seed(seed, 1 << 20)  # beyond the trials, whose numbers are the streams of their own evaluations
