"""PILCO: an agent that learns from few real episodes, by planning on a learned simulator of its environment."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import tensorflow as tf

from bnnrl._moved import REMOVED_IN, renamed_argument
from bnnrl.checks import (
    all_finite,
    as_array,
    check_choice,
    check_count,
    check_flag,
    check_instance,
    check_iterable,
    check_path,
    check_seed,
)
from bnnrl.rl import export, serialization, tasks
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.actors import Actor, RandomActor
from bnnrl.rl.callbacks import Callback, Prediction, Trial
from bnnrl.rl.checks.precision import REMEDY, PrecisionWarning, coarse_entries
from bnnrl.rl.checks.task_functions import check_functions
from bnnrl.rl.control import ControlProblem, make_control, no_policy_error
from bnnrl.rl.defaults import default_dynamics, default_search
from bnnrl.rl.episodes import EnvironmentFault, Episode, check_memory, episode_length, make_env
from bnnrl.rl.evaluation import Evaluator
from bnnrl.rl.memory import memory_of
from bnnrl.rl.planners import CEM, ICEM
from bnnrl.rl.policies import MLP, RBF, Linear, Policy
from bnnrl.rl.search import PolicySearch
from bnnrl.rl.seed_streams import Purpose, evaluation_stream, integer_seed
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.learned_env import LearnedEnv
from bnnrl.rl.simulator.propagation import PROPAGATIONS
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.rl.tasks.env_source import EnvSource, EnvWrapper
from bnnrl.storage import checkpoint

_EXTRA_HORIZON = 0.25  # the default horizon is 1.25 times the episode's length
_SHORT_EPISODE = 100  # steps; a longer episode is planned in pieces of half as many
_REWARD_MODEL_SIZE = 5
_POLICIES = {"rbf": RBF, "mlp": MLP, "linear": Linear, "cem": CEM, "icem": ICEM}


class PILCO:
    """Probabilistic inference for learning control, with particles through a Bayesian neural network.

    The first trial acts at random. Each later trial fits the dynamics model anew to all transitions, searches for a
    policy of low expected cost, and runs the policy for one real episode. The expected cost is that of particles,
    each of which moves by its own draw of the model and begins about where real episodes began.

    Sources: Deisenroth & Rasmussen, "PILCO", ICML 2011; Gal, McAllister & Rasmussen, "Improving PILCO with Bayesian
    Neural Network Dynamics Models", 2016; Chua et al., "Deep Reinforcement Learning in a Handful of Trials using
    Probabilistic Dynamics Models", NeurIPS 2018 (the TS∞ propagation).

    Args:
        env: the id of a Gymnasium environment, an EnvSpec, an environment that is made and perhaps wrapped, a callable
            that makes one, or a bnnrl.Task that holds any of these. Reward and termination are learned for an
            environment that has no registered task, or has wrappers around it that change what a task refers to.
        dynamics: settings of the dynamics model, or the name of its inference method, such as "swag". None takes an
            ensemble, and "gauss_newton" for linked rods: tasks with two or more angles and their `velocities`.
        policy: the policy's form, or a planner; or its name: "rbf", "mlp", "linear", "cem" or "icem".
        propagation: how particles use draws of the model. "ts_inf": each particle keeps its draw; "ts1": particles are
            dealt to draws anew at each step; "moment_matching": particles are redrawn from their Gaussian at each
            step; "mean": particles move by the mean prediction, without noise.
        particles: particles in a rollout, divided among the policies that the search refines side by side, each of
            which has at least one. A planner uses a fifth as many for each action sequence.
        horizon: steps of a rollout. None takes the task's horizon; else 1.25 times an episode's length, without which
            a policy has no reason to be in a good state at the episode's end; else, where episodes are longer than 100
            steps, 50. Required for an environment that does not say how long its episodes are; real episodes are then
            stopped after as many steps.
        search: settings of the policy search. None takes `PolicySearch()`, for linked rods with `extrapolation=0.25`.
        seed: seed of all randomness of the agent and its environment.
        env_kwargs: keyword arguments of gymnasium.make or of the callable that makes the environment.
        episodes_per_trial: real episodes in a trial.
        reward_model: settings of the models of reward and termination, where these are learned, or the name of their
            inference method.
        learn_reward: learn reward and termination even if the task defines them.
        wrappers: what the environment is wrapped in, see bnnrl.Task.
        reset_options: the argument `options` of each reset of the environment.

    Attributes:
        task: the task, without cost and termination rule if `learn_reward` is set.
        env: the environment, with vectors as observations and actions: composite spaces are flattened, and what
            `Task.delay` and `Task.history` call for is added to observations.
        episode_length: steps after which the environment truncates an episode; None if it does not say.
        action_space: the environment's actions as vectors.
        learned_env: the models of dynamics, reward and termination.
        model: the dynamics model.
        control: the control strategy, a `PolicyControl` or a `PlannerControl`.
        evaluator: runs and scores real episodes.
        episodes: the real episodes so far, those of evaluations excluded.
        history: the results of the trials so far.
        prediction: what the model predicted of the last trial; None before the first policy search.

    Raises:
        ValueError: for an environment that does not exist or has spaces the agent cannot use, a cost or a termination
            rule that cannot be used, or a number out of its range.
    """

    @renamed_argument(heads="reward_model")
    def __init__(
        self,
        env: str | EnvSource | tasks.Task,
        dynamics: Dynamics | str | None = None,
        policy: Policy | CEM | str | None = None,
        propagation: str = "ts_inf",
        particles: int = 100,
        horizon: int | None = None,
        search: PolicySearch | None = None,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
        episodes_per_trial: int = 1,
        reward_model: Dynamics | str | None = None,
        learn_reward: bool = False,
        wrappers: Iterable[EnvWrapper] = (),
        reset_options: Mapping[str, Any] | None = None,
    ):
        self.task_is_registered = not isinstance(env, tasks.Task)
        self.learn_reward = check_flag("learn_reward", learn_reward)
        task = tasks.resolve(env, env_kwargs, wrappers, reset_options)
        self.task = replace(task, cost=None, termination=None) if learn_reward else task
        self.dynamics = default_dynamics(task) if dynamics is None else _resolve_dynamics("dynamics", dynamics)
        self.reward_model = _check_reward_model(
            _resolve_dynamics("reward_model", reward_model, size=_REWARD_MODEL_SIZE)
        )
        self.policy: Policy | CEM = RBF() if policy is None else _check_policy(policy)
        self.search = (
            default_search(task) if search is None else check_instance("search", search, PolicySearch, "a PolicySearch")
        )
        self.propagation = check_choice("propagation", propagation, PROPAGATIONS)
        self.particles, self.seed = check_count("particles", particles), check_seed("seed", seed)
        self.episodes_per_trial = check_count("episodes_per_trial", episodes_per_trial)
        self.env = make_env(self.task)
        self.episode_length = episode_length(self.env)
        self.horizon = self._resolve_horizon(horizon)
        planned = min(self.horizon, self.policy.horizon) if isinstance(self.policy, CEM) else self.horizon
        check_memory(self.task, self.episode_length, planned)
        self.action_space = ActionSpace.of(self.env.action_space, self.task.env_id)
        check_functions(self.task, self.env, has_gradient=not self.is_planner)

        memory, angles = memory_of(self.env), tuple(self.task.angles)
        self._features = Features(memory.num_obs, angles, memory=memory)
        rates = self.task.angular_rates if self.dynamics.linkage else ()
        self.learned_env = self._make_learned_env(
            Features(memory.num_obs, angles, tuple(self.task.invariant), memory, rates)
        )
        self.model = self.learned_env.dynamics
        self.control = make_control(self.policy, self.search, self._make_control_problem())
        self.evaluator = Evaluator(
            self.env,
            self.task,
            self.learned_env.costs,
            self.learned_env.violated,
            self.episode_length,
            self.horizon,
            self.seed,
        )

        self.episodes: list[Episode] = []
        self.history: list[Trial] = []
        self.prediction: Prediction | None = None

    def _resolve_horizon(self, horizon: int | None) -> int:
        if horizon is not None:
            return check_count("horizon", horizon)
        if self.task.horizon is not None:
            return self.task.horizon
        if self.episode_length is None:
            raise ValueError(
                f"Invalid `horizon`: expected an integer, since {self.task.env_id!r} does not say how long its "
                "episodes are. Received: None."
            )
        if self.episode_length > _SHORT_EPISODE:
            return _SHORT_EPISODE // 2
        return math.ceil((1 + _EXTRA_HORIZON) * self.episode_length)

    def _make_learned_env(self, dynamics_features: Features) -> LearnedEnv:
        # Room for four episodes, rounded up to a power of two; a larger buffer would slow down training.
        capacity = 1 << (4 * (self.episode_length or self.horizon) - 1).bit_length()
        return LearnedEnv(
            self.task,
            self.dynamics,
            self.reward_model,
            self._features,
            dynamics_features,
            self.action_space.size,
            capacity,
        )

    def _make_control_problem(self) -> ControlProblem:
        return ControlProblem(
            learned_env=self.learned_env,
            features=self._features,
            action_space=self.action_space,
            propagation=self.propagation,
            particles=self.particles,
            horizon=self.horizon,
            starts=self.starts,
            initial_std=self.task.initial_std,
            seed=self.seed,
            labels=self.task.labels,
            constraints=self.task.constraints,
        )

    @property
    def heads(self) -> Dynamics:
        """Deprecated name of `reward_model`."""
        warnings.warn(
            f"PILCO.heads is deprecated and will be removed in {REMOVED_IN}. Use reward_model.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.reward_model

    @property
    def is_planner(self) -> bool:
        """Whether actions are planned at each step instead of chosen by a policy."""
        return isinstance(self.policy, CEM)

    @property
    def starts(self) -> str:
        """Where rollouts of the policy search begin, "initial" or "visited"; see bnnrl.Task."""
        if self.task.starts is not None:
            return self.task.starts
        return "visited" if self.episode_length is not None and self.horizon < self.episode_length else "initial"

    @property
    def solved(self) -> int | None:
        """The first trial after which the task counted as solved, or None.

        The task counts as solved when at least nine of ten evaluation episodes succeed. For a task without a notion of
        success, it does when the mean return of these episodes reaches the task's `solved_return`.
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
        """Learn for `trials` more trials.

        Args:
            trials: number of trials; the agent's very first one acts at random.
            callbacks: called at each phase and after each trial.
            stop_when_solved: whether to stop after the first trial that solves the task.
            evaluation_episodes: real episodes that evaluate the agent after each trial. The models never see them.

        Raises:
            ValueError: for a number below 1.
            EnvironmentFault: if the environment fails or returns a number that is not finite. The agent keeps the
                steps before the fault.
            bnnrl.inference.Diverged: if a step of a model's fit is not finite. The agent keeps the trials before.

        Warns:
            NonFiniteWarning: if the search finds no policy of finite expected cost, or the prediction of a trial or a
                real cost is not finite. Trials are saved all the same.
            PrecisionWarning: if observations of the first trial vary by fewer than 100 steps of a float32, and the
                environment, or a function of the task, has them as float32.
            ConstraintWarning: if the search finds no policy whose rollouts keep the task's constraints.
        """
        check_count("trials", trials)
        check_count("evaluation_episodes", evaluation_episodes)
        check_flag("stop_when_solved", stop_when_solved)
        callbacks = _check_callbacks(callbacks)
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

        def begin(phase: str) -> float:
            started = perf_counter()
            for callback in callbacks:
                callback.on_phase(self, trial, phase)
            return started

        predicted_cost, fit_seconds, search_seconds = None, 0.0, 0.0
        if trial > 1:
            fit_started = begin("model")
            self.learned_env.fit(self.episodes, integer_seed(self.seed, Purpose.FIT, trial))
            search_started = begin("policy")
            predicted_cost = self._improve(trial)
            fit_seconds, search_seconds = search_started - fit_started, perf_counter() - search_started
        begin("episode")
        episodes = self._run_episodes(trial)
        begin("evaluation")
        figures = self._evaluate(evaluation_episodes, trial)
        result = self._result(episodes, figures)
        result = replace(result, fit_seconds=fit_seconds, search_seconds=search_seconds)
        self.history.append(result if predicted_cost is None else self._compared(result, predicted_cost, episodes))
        for callback in callbacks:
            callback.on_trial_end(self, self.history[-1])

    def _improve(self, trial: int) -> float | None:
        """Improve how the agent acts, on the fitted models, and return the predicted cost if there is a prediction."""
        self.prediction = self.control.improve(self.episodes, trial)
        if self.prediction is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # the strategy has warned of costs that are not finite
            return float(self.prediction.costs[: self.episode_length].mean())

    def _compared(self, result: Trial, predicted_cost: float, episodes: list[Episode]) -> Trial:
        """Return a trial's result with what was predicted of the trial, and with the real cost over the same steps."""
        result = replace(result, predicted_cost=predicted_cost, compared_cost=self._compared_cost(episodes))
        if self.prediction is None:
            return result
        low, high = self.prediction.cost_interval(self.episode_length)
        return replace(
            result,
            predicted_cost_low=low,
            predicted_cost_high=high,
            keeping_probability=self.prediction.keeping_probability,
        )

    def _compared_cost(self, episodes: list[Episode]) -> float:
        """Return the mean cost of real episodes over the steps that the model predicts."""
        return float(np.mean([self.evaluator.mean_cost(episode, self.horizon) for episode in episodes]))

    def _run_episodes(self, trial: int) -> list[Episode]:
        """Run the real episodes of a trial and keep them, up to a fault of the environment."""
        episodes = []
        for i in range(self.episodes_per_trial):
            stream = (trial, i) if i else (trial,)
            seed = integer_seed(self.seed, Purpose.RESET, *stream)
            try:
                episodes.append(self.evaluator.run(self._make_actor(stream), seed))
            except EnvironmentFault as fault:
                self.episodes += [e for e in (*episodes, fault.episode) if len(e)]
                raise
        coarse = None if self.episodes else coarse_entries(episodes, self.task)
        self.episodes += episodes
        if coarse is not None:
            text = f"Observations of {self.task.env_id!r}: {coarse.words} {REMEDY}"
            warnings.warn(text, PrecisionWarning, stacklevel=2)
        return episodes

    def _result(self, episodes: list[Episode], figures: dict[str, Any]) -> Trial:
        """Return the result of the trial that ran `episodes`, without what only a trial with a search has."""
        steps, step_seconds = sum(len(e) for e in self.episodes), self.task.step_seconds
        return Trial(
            trial=len(self.history) + 1,
            steps=steps,
            experience=None if step_seconds is None else steps * step_seconds,
            predicted_cost=None,
            real_cost=float(np.mean([self.mean_cost(episode) for episode in episodes])),
            evaluation_cost=figures["mean_cost"],
            success_rate=figures["success_rate"],
            solved=self.evaluator.is_solved(figures),
            fit_seconds=0.0,
            search_seconds=0.0,
            real_return=float(np.mean([episode.rewards.sum() for episode in episodes])),
            evaluation_return=figures["mean_return"],
            violations=self.evaluator.violations(episodes),
            evaluation_violations=figures["violations"],
        )

    # Acting

    def _make_actor(self, stream: tuple[int, ...]) -> Actor:
        """Return the actor of one episode, a random one if nothing was learned yet."""
        if not self.control.can_act:
            return RandomActor(self.action_space, integer_seed(self.seed, Purpose.EXPLORE, *stream))
        return self.control.make_actor(stream, len(self.episodes))

    def _check_can_act(self) -> None:
        if not self.control.can_act:
            raise no_policy_error()

    def act(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the policy's actions [N, A] for observations [N, O], as a function that graphs may call.

        Raises:
            ValueError: if the agent has no policy yet, or has a planner.
        """
        return self.control.act(obs)

    def predict(self, observation: np.ndarray) -> tuple[np.ndarray, None]:
        """Return the action for an observation, and None in place of a policy's state, which there is not.

        A planner makes a new plan for each observation, as if an episode began there.

        Args:
            observation: [O] or [B, O], as the attribute `env` returns observations.

        Returns:
            The action in the environment's units, [A] or [B, A], and None. In a discrete action space, the action is
            its value, [] or [B].

        Raises:
            ValueError: if the agent has no policy yet, or the observation has another shape or is not finite.
        """
        obs = as_array("observation", observation)
        size = self._features.memory.size
        fits = obs.ndim in (1, 2) and obs.shape[-1] == size and len(obs) and obs.dtype.kind in "biuf"
        if not fits or not all_finite(obs).all():
            raise ValueError(
                f"Invalid `observation`: expected finite numbers of shape ({size},) or (B, {size}). "
                f"Received: {observation!r}."
            )
        self._check_can_act()
        actions = self.control.actions(np.atleast_2d(obs.astype(np.float64)), len(self.episodes))
        if self.action_space.discrete:
            actions = self.action_space.start + np.argmax(actions, axis=-1)
        return (actions[0] if obs.ndim == 1 else actions), None

    def simulated(self, num_draws: int, seed) -> SimulatedEnv:
        """Return the environment as `num_draws` draws of the fitted models simulate it.

        Its observations are those that models see, less `learned_env.centre` where this is not empty.
        """
        return self.learned_env.simulated_env(self.learned_env.sample(num_draws, seed))

    # Evaluation

    def evaluate(self, episodes: int = 20, seed: int = 0) -> dict[str, Any]:
        """Return figures of the agent over fresh real episodes, which the models never see.

        Up to ten episodes run at the same time, each in an environment of its own, and one call of the policy acts in
        all of them. The figures are the same as those of one episode after the other. Episodes run one after the other
        with a planner, in an environment that was passed as made or opens a window, and where an environment that is
        made anew may differ from the agent's `env`: if the seed does not determine the first observation, an attribute
        of `env` was changed, or a wrapper keeps statistics over episodes.

        Args:
            episodes: number of episodes.
            seed: seed of their initial states and noise.

        Returns:
            "episodes"; "mean_cost", over steps and episodes; "mean_return", of the environment's rewards; and
            "success_rate", None where the task has no notion of success; and "violations", the number of steps that
            violate a constraint, None for a task without constraints.

        Raises:
            ValueError: for a number below 1, or if the agent has no policy yet.
        """
        check_count("episodes", episodes)
        self._check_can_act()
        return self._evaluate(episodes, evaluation_stream(seed))

    def _evaluate(self, episodes: int, stream: int) -> dict[str, Any]:
        if self.control.actor_per_episode:
            actors = [self._make_actor((stream, i)) for i in range(episodes)]
        else:
            actors = [self._make_actor((stream,))] * episodes
        return self.evaluator.evaluate(actors, stream)

    def evaluation_seed(self, seed: int = 0, episode: int = 0) -> int:
        """Return the seed that `evaluate(seed=seed)` resets the environment with for an episode, counted from 0."""
        return self.evaluator.reset_seed(evaluation_stream(seed), episode)

    def evaluation_actor(self, seed: int = 0, episode: int = 0) -> Actor:
        """Return the function from observations [O] to actions [A] that acts in an episode of `evaluate(seed=seed)`.

        Raises:
            ValueError: if the agent has no policy yet.
        """
        self._check_can_act()
        return self._make_actor((evaluation_stream(seed), episode))

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the cost of each step of a real episode, [T]: the task's at the true states, or minus the reward."""
        return self.learned_env.costs(episode)

    def mean_cost(self, episode: Episode) -> float:
        """Return the mean cost over a real episode's steps and, after a termination, over the steps that were left."""
        return self.evaluator.mean_cost(episode)

    # Saving

    def save(self, folder: checkpoint.Folder) -> None:
        """Write the agent's settings, data, policies and models to `folder`, which is replaced as a whole.

        Raises:
            ValueError: if the folder exists and was not written by bnnrl.
        """
        checkpoint.write(check_path("folder", folder), *self.to_saved())

    def export(self, path: checkpoint.Folder) -> Path:
        """Write the policy as a file that needs no bnnrl, and return the path.

        The suffix says what is written: ".py", a Python file that needs NumPy only, with a function `predict` of
        Stable-Baselines3's form; ".keras", a Keras model from observations [B, O] to actions; ".tflite", the same for
        TensorFlow Lite. The two models take float32 observations.

        Args:
            path: the file, which is replaced if it exists.

        Raises:
            ValueError: for another suffix, an agent without a policy, a planner, whose actions need the learned models,
                a task with history or delay, or a policy of your own.
        """
        return export.export(path, self.control, self.task.env_id, self.action_space.start)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a JSON-able description and named arrays, from which `from_saved` rebuilds the agent."""
        return serialization.to_saved(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle rebuilds the agent: from what `save` writes, and from its environment or its task.

        Raises:
            TypeError: if the environment or a function of the task cannot be pickled.
        """
        return serialization.reduce(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return an agent of its own, with the same task, and a copy of an environment that was given as made."""
        return serialization.copy(self, memo)

    @classmethod
    def from_saved(
        cls,
        described: dict[str, Any],
        arrays: dict[str, np.ndarray],
        task: tasks.Task | None = None,
        env: str | EnvSource | None = None,
    ) -> Self:
        """Return the agent that `to_saved` described.

        Args:
            described: the description.
            arrays: the arrays.
            task: the task, for an agent that was made with a Task.
            env: the environment, for an agent whose environment cannot be made from what was saved.

        Raises:
            ValueError: if the task, its cost or the environment is missing.
        """
        return serialization.from_saved(cls, described, arrays, task, env)


def _resolve_dynamics(name: str, value: Any, **of_networks: Any) -> Dynamics:
    """Return settings of a model: as given, or those of a method's name, the default for None.

    Args:
        name: name of the argument, for the error message.
        value: settings, a name, or None.
        of_networks: settings beside a method that is not given with settings of its own, if it has a network.
    """
    if value is not None and not isinstance(value, str):
        return check_instance(name, value, Dynamics, "a Dynamics or the name of a method")
    settings = Dynamics() if value is None else Dynamics(method=value)
    return settings if settings.is_gaussian_process else replace(settings, **of_networks)


def _check_reward_model(reward_model: Dynamics) -> Dynamics:
    if reward_model.is_gaussian_process:
        raise ValueError(
            "Invalid `reward_model`: expected settings of a network, such as Dynamics(size=5). Received: method='gp', "
            "a Gaussian process, which is a model of dynamics only."
        )
    return reward_model


def _check_policy(policy: Any) -> Policy | CEM:
    if isinstance(policy, str):
        return _POLICIES[check_choice("policy", policy, list(_POLICIES))]()
    functions = ("num_params", "init", "parameter_scales", "apply_dropout", "__call__")
    is_policy = isinstance(policy, CEM) or all(callable(getattr(policy, name, None)) for name in functions)
    if isinstance(policy, type) or not is_policy:
        raise ValueError(
            "Invalid `policy`: expected a policy such as RBF() or a planner such as CEM(). Received: "
            f"policy={policy!r}."
        )
    return policy


def _check_callbacks(callbacks: Any) -> list[Callback]:
    callbacks = list(check_iterable("callbacks", callbacks, "a list of callbacks"))
    for callback in callbacks:
        if isinstance(callback, type) or not all(
            hasattr(callback, name) for name in vars(Callback) if name[:3] == "on_"
        ):
            raise ValueError(
                f"Invalid `callbacks`: expected objects of bnnrl.rl.Callback. Received: {callback!r} among them."
            )
    return callbacks
