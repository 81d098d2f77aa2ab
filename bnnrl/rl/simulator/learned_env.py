"""The learned environment: dynamics and, where the task does not define them, reward and termination."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from bnnrl.inference import Diverged
from bnnrl.likelihoods import Bernoulli
from bnnrl.rl.angles import circular_means, unwrapped, wrapped_entries
from bnnrl.rl.centre import centre_of
from bnnrl.rl.episodes import Episode
from bnnrl.rl.memory import Memory
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.process_regression import ProcessDraws, ProcessRegression
from bnnrl.rl.simulator.regression import NetworkDraws, RegressionModel
from bnnrl.rl.simulator.rollout import Constraints, SimulatedEnv
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.rl.tasks import SaturatingCost, Task
from bnnrl.seeds import fold_in, host_seed
from bnnrl.storage.arrays import flatten, select
from bnnrl.structure import structure


class ExtrapolationWarning(UserWarning):
    """Rollouts lead to rewards beyond those observed, where a learned reward says little."""


_MOST_BEYOND = 0.25  # share of predicted costs beyond the observed range of which nobody is warned
EXTRAPOLATION = 0.25  # widths of the range of observed costs, by which learned costs may leave it


class ModelDraws(NamedTuple):
    """Draws of every model of a learned environment; None for a function that the task defines."""

    dynamics: NetworkDraws | ProcessDraws
    reward: NetworkDraws | None = None
    termination: NetworkDraws | None = None  # None, too, where no episode has terminated yet
    cost_range: tf.Tensor | None = None  # [2] lowest and highest cost observed; None for a cost within 0 and 1
    obs_range: tf.Tensor | None = None  # [2, O] lowest and highest value of each entry that the dynamics model sees
    constraint_scale: tf.Tensor | None = None  # [C] standard deviation of each constraint over real steps


class _Observed(NamedTuple):
    """Ranges and scales of the real steps; as tensors, they are the fields of `ModelDraws` of the same names."""

    cost_range: np.ndarray | None = None  # [2]
    obs_range: np.ndarray | None = None  # [2, O]
    constraint_scale: np.ndarray | None = None  # [C]


class LearnedEnv:
    """The models of one environment, completed by the functions that its task defines.

    Args:
        task: the task. Its cost and its termination rule are used where it has them, and learned where it has not.
        dynamics: settings of the dynamics model.
        reward_model: settings of the models of reward and termination.
        features: the map from observations to what the models of reward and termination see.
        dynamics_features: the map from observations to what the dynamics model sees.
        num_actions: A, entries of an action.
        capacity: rows of the models' data buffers, see `RegressionModel`.

    Attributes:
        dynamics: the dynamics model.
        reward: the model of the reward; None where the task has a cost.
        termination: the model of the termination probability; None where the task has a rule.
        wrapped: the angles that the environment was seen to wrap, each with the lower end of its interval. Models,
            initial states and rollouts have these angles without jumps; only the task's own functions are given them
            wrapped, as the environment returns them.
        centre: what is subtracted in float64 from entries of the environment's own observations far from zero, before
            float32 loses their digits, O numbers, or () for nothing. It is chosen at the first fit and stays. Models,
            policies, initial states and rollouts have observations less the centre; the task's own functions, and the
            observations of episodes and predictions, have the environment's.
    """

    def __init__(
        self,
        task: Task,
        dynamics: Dynamics,
        reward_model: Dynamics,
        features: Features,
        dynamics_features: Features,
        num_actions: int,
        capacity: int,
    ):
        self._task, self._features, self._plain = task, features, dynamics_features.plain
        self.dynamics = DynamicsModel(
            dynamics, dynamics_features, num_actions, capacity, task.velocities, task.step_seconds
        )
        size = 2 * features.size + num_actions
        learns_reward, learns_termination = task.cost is None, task.termination is None
        make_model = lambda likelihood: RegressionModel(reward_model, size, 1, likelihood, capacity)
        self.reward = make_model(reward_model.likelihood) if learns_reward else None
        self.termination = make_model(Bernoulli()) if learns_termination else None
        self._observed = _Observed()
        self.wrapped: dict[int, float] = {}
        self.centre: tuple[float, ...] = ()

    def share_beyond_range(self, costs: np.ndarray) -> float:
        """Return the share of learned costs that leave the observed range as far as they may; 0 for a task's cost."""
        if self.reward is None or self._observed.cost_range is None:
            return 0.0
        low, high = map(float, self._observed.cost_range)
        limit = 0.5 * EXTRAPOLATION * (high - low)
        return float(np.mean((costs < low - limit) | (costs > high + limit)))

    def describe_beyond_range(self, costs: np.ndarray) -> str | None:
        """Return the share of learned costs that leave the observed range, with a remedy; None if it is small."""
        share = self.share_beyond_range(costs)
        if share <= _MOST_BEYOND:
            return None
        return (
            f"expected predicted rewards like those observed. Received: {100 * share:.0f} % of them outside of the "
            "observed range, at whose edge they are bounded. Rollouts leave the data: use a shorter `horizon`, more "
            "`episodes_per_trial`, or a Task with a cost."
        )

    @property
    def memory(self) -> Memory:
        """The layout of observations."""
        return self._features.memory

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function that calls `simulated_env`.

        Raises:
            NotShareable: if the task's functions or the models hold what cannot be compared.
        """
        of_models = tuple(None if model is None else model.structure for model in (self.reward, self.termination))
        constraints = [constraint.function for constraint in self._task.constraints.values()]
        of_task = structure([self._task.cost, self._task.termination, float(self._task.cost_after_end), constraints])
        return (
            self.dynamics.structure,
            *of_models,
            of_task,
            structure(self._features),
            tuple(self.wrapped.items()),
            self.centre,
        )

    def unfitted(self) -> Self:
        """Return a copy without posteriors, scalers and observed costs, whose `simulated_env` is the same.

        Compiled functions that agents share refer to the copy: they would otherwise keep the first agent's posteriors.
        """
        other = copy(self)
        other.dynamics, other._observed = self.dynamics.unfitted(), _Observed()
        other.reward, other.termination = (
            None if model is None else model.unfitted() for model in (self.reward, self.termination)
        )
        return other

    def fit(self, episodes: Sequence[Episode], seed: int) -> None:
        """Fit every model anew to all real episodes.

        The model of termination is fitted once an episode has terminated.

        Raises:
            Diverged: if a step of a fit is not finite.
        """
        newest = [self.memory.newest(e.obs) for e in episodes]
        self.wrapped = wrapped_entries(newest, self._task.angles)
        if self.dynamics.posterior is None:
            self.centre = centre_of(np.concatenate(newest), self._task)
        real, episodes = episodes, self.seen(episodes)
        obs = np.concatenate([e.obs[:-1] for e in episodes])
        next_obs = np.concatenate([e.obs[1:] for e in episodes])
        actions = np.concatenate([e.actions for e in episodes])
        with _named("dynamics"):
            self.dynamics.fit(obs, actions, next_obs, seed)
        terminated = np.concatenate([e.terminations for e in episodes])
        learned: list[tuple[str, RegressionModel, np.ndarray, int]] = []
        if self.reward is not None:
            learned.append(("reward", self.reward, np.concatenate([e.rewards for e in episodes]), 3))
        if self.termination is not None and terminated.any():
            learned.append(("termination", self.termination, terminated, 4))
        if learned:
            inputs = self._inputs(*map(_tensor, (obs, actions, next_obs))).numpy()
            for name, model, targets, purpose in learned:
                with _named(name):
                    model.fit(inputs, targets[:, np.newaxis], host_seed(seed, purpose))
        self._observed = _Observed(
            None if isinstance(self._task.cost, SaturatingCost) else self._range_of_costs(episodes),
            self._range_of_observations(episodes),
            _scale_of(np.concatenate([self.constraint_values(e) for e in real])) if self._task.constraints else None,
        )

    def _range_of_costs(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Return the lowest and the highest cost, [2]; that after an end, too, if an episode has terminated."""
        costs = np.concatenate([self.costs(e) for e in episodes])
        terminated = any(e.terminations.any() for e in episodes)
        return _range_of(costs, self._task.cost_after_end if terminated else None)

    def _range_of_observations(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Return the lowest and the highest value of each observation entry that the dynamics model sees, [2, O].

        Entries that the model does not see as they are, such as angles, and entries that never vary have no limits.
        """
        obs, limits = np.concatenate([e.obs for e in episodes]), np.full((2, self.memory.size), np.inf, np.float32)
        limits[0] *= -1
        seen = [i for i in self._plain if np.ptp(obs[:, i]) > 0]
        limits[:, seen] = np.nanmin(obs[:, seen], axis=0), np.nanmax(obs[:, seen], axis=0)
        return limits

    def continuous(self, episodes: Sequence[Episode]) -> Sequence[Episode]:
        """Return real episodes whose wrapped angles have no jumps, and begin near each other in all episodes."""
        if not self.wrapped:
            return episodes
        near, memory = circular_means(np.stack([e.obs[0] for e in episodes]), list(self.wrapped)), self.memory
        continuous = [unwrapped(memory.newest(e.obs), near) for e in episodes]
        return [replace(e, obs=memory.of_episode(obs, e.actions)) for e, obs in zip(episodes, continuous, strict=True)]

    def seen(self, episodes: Sequence[Episode]) -> Sequence[Episode]:
        """Return real episodes as models and policies see them: `continuous`, and less the centre, in float32."""
        return [replace(e, obs=self.centred(e.obs)) for e in self.continuous(episodes)]

    def centred(self, obs: Any) -> Any:
        """Return observations [..., M] less the centre, as a float32 array, or as a tensor if they are one."""
        if tf.is_tensor(obs):
            return tf.cast(tf.cast(obs, tf.float64) - self._centre_with_memory, tf.float32) if self.centre else obs
        return np.asarray(obs - self._centre_with_memory if self.centre else obs, np.float32)

    def uncentred(self, obs: Any) -> Any:
        """Return observations [..., M] plus the centre, in float64 if there is one: the inverse of `centred`."""
        if not self.centre:
            return obs
        return (tf.cast(obs, tf.float64) if tf.is_tensor(obs) else obs) + self._centre_with_memory

    @property
    def _centre_with_memory(self) -> np.ndarray:
        """The centre of observations with memory, float64 [M]; 0 for past actions."""
        return self.memory.begin(np.array(self.centre))

    def sample(self, num_draws: int, seed) -> ModelDraws:
        """Return `num_draws` draws of each fitted model.

        Raises:
            ValueError: if the dynamics model is not fitted.
        """

        def sample(model: RegressionModel | None, i: int) -> NetworkDraws | None:
            return None if model is None or model.posterior is None else model.sample(num_draws, fold_in(seed, i))

        return ModelDraws(
            self.dynamics.sample(num_draws, seed),
            sample(self.reward, 1),
            sample(self.termination, 2),
            *(None if array is None else _tensor(array) for array in self._observed),
        )

    def simulated_env(self, draws: ModelDraws) -> SimulatedEnv:
        """Return the simulated environment of model draws.

        Raises:
            ValueError: if the reward is to be learned and `draws` has none of its model.
        """
        return SimulatedEnv(
            self.dynamics.make_step(draws.dynamics),
            self._cost_function(draws),
            self._termination_function(draws.termination),
            self._task.cost_after_end,
            self._step_size(draws.dynamics),
            draws.cost_range,
            draws.obs_range,
            self._constraints(draws),
        )

    def _constraints(self, draws: ModelDraws) -> Constraints:
        """Return the task's constraints as functions of simulated steps."""
        if not self._task.constraints:
            return Constraints()
        functions = [_through(self._as_returned, one.function) for one in self._task.constraints.values()]
        values = lambda *step: tf.stack([function(*step) for function in functions], axis=-1)
        scale = 1.0 if draws.constraint_scale is None else draws.constraint_scale
        return Constraints(len(functions), values, scale)

    def constraint_values(self, episode: Episode) -> np.ndarray:
        """Return the values of the task's constraints at the true states of a real episode, [T, C]."""
        states, actions, next_states = true_transitions(episode)
        if not self.memory.is_empty:
            states = _tensor(self.memory.of_episode(episode.states, episode.actions))
            states, next_states = states[:-1], states[1:]
        step = states, actions, next_states
        return np.stack([one.function(*step).numpy() for one in self._task.constraints.values()], axis=-1)

    def violated(self, episode: Episode) -> np.ndarray:
        """Return whether each step of a real episode violates each of the task's constraints, bool [T, C]."""
        if not self._task.constraints:
            return np.zeros([len(episode), 0], bool)
        return ~(self.constraint_values(episode) < 0)  # NaN violates a constraint, too

    def _step_size(self, draws: NetworkDraws | ProcessDraws) -> tf.Tensor:
        """Return a typical step of each entry, in the data: the standard deviation of changes, or of a past action."""
        memory = self.memory
        if memory.is_empty:
            return draws.target_std
        past_actions = draws.input_std[..., -memory.num_actions * (1 + memory.actions) : -memory.num_actions]
        return tf.concat([tf.tile(draws.target_std, [1 + memory.observations]), past_actions], axis=-1)

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the cost of each step of a real episode, [T]: the task's at the true states, or minus the reward."""
        if self._task.cost is None:
            return -episode.rewards
        return np.asarray(self._task.cost(*true_transitions(episode)))

    def _inputs(self, obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
        """Return the inputs of the models of reward and termination: features, action and the change of features."""
        before = self._features(obs)
        return tf.concat([before, action, self._features(next_obs) - before], axis=-1)

    def _of_own(self, function: Callable) -> Callable:
        """Return a function of the task that is given the environment's own observations, as they are returned."""
        if self.memory.is_empty and not (self.wrapped or self.centre):
            return function
        return _through(lambda obs: self.memory.newest(self._as_returned(obs)), function)

    def _as_returned(self, obs: tf.Tensor) -> tf.Tensor:
        """Return observations [..., M] of rollouts as the environment returns them: uncentred, with wrapped angles."""
        obs = tf.cast(self.uncentred(obs), obs.dtype)
        if not self.wrapped:
            return obs
        memory, entries = self.memory, tf.unstack(obs, axis=-1)
        for i, low in self.wrapped.items():
            for j in range(i, memory.num_obs * (1 + memory.observations), memory.num_obs):
                # The floor has no gradient: that of an entry stays.
                entries[j] -= 2 * math.pi * tf.floor((entries[j] - low) / (2 * math.pi))
        return tf.stack(entries, axis=-1)

    def _cost_function(self, of_models: ModelDraws) -> Callable:
        if self._task.cost is not None:
            return self._of_own(self._task.cost)
        draws, cost_range = of_models.reward, of_models.cost_range
        if self.reward is None or draws is None:
            raise ValueError(
                "Invalid model: expected a fitted model of the reward. Received: one without a posterior. "
                "Call fit first."
            )
        predictive = self.reward.predictive(draws)

        def cost(obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
            z = predictive(self._inputs(obs, action, next_obs)).mean()
            predicted = -(draws.target_mean + draws.target_std * z)[..., 0]
            return predicted if cost_range is None else _bounded(predicted, cost_range)

        return cost

    def _termination_function(self, draws: NetworkDraws | None) -> Callable | None:
        if self._task.termination is not None:
            rule = self._of_own(self._task.termination)
            return lambda obs, action, next_obs: tf.cast(rule(obs, action, next_obs), obs.dtype)
        if self.termination is None or draws is None:
            return None
        predictive = self.termination.predictive(draws)
        return lambda obs, action, next_obs: predictive(self._inputs(obs, action, next_obs)).mean()[..., 0]

    @property
    def _models(self) -> dict[str, RegressionModel | ProcessRegression]:
        """The models by the prefix of their saved arrays."""
        models = {"": self.dynamics.regression, "reward/": self.reward, "termination/": self.termination}
        return {prefix: model for prefix, model in models.items() if model is not None}

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a JSON-able description of each fitted model's posterior, by model, and the arrays of all models."""
        described: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        for prefix, model in self._models.items():
            description, values = model.to_arrays()
            if description is not None:
                described[prefix] = description
                arrays |= flatten({prefix.removesuffix("/"): values})
        arrays |= {name: array for name, array in self._observed._asdict().items() if array is not None}
        if self.centre:
            arrays["centre"] = np.array(self.centre)
        if self.wrapped:
            arrays["wrapped"] = np.array(list(self.wrapped.items()))  # [angles, 2] index and interval
        return described, arrays

    def from_arrays(self, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what `to_arrays` returned."""
        for prefix, description in described.items():
            self._models[prefix].from_arrays(description, select(arrays, prefix.removesuffix("/")))
        self._observed = _Observed(*map(arrays.get, _Observed._fields))
        self.wrapped = {int(i): float(low) for i, low in arrays.get("wrapped", ())}
        self.centre = tuple(np.asarray(arrays.get("centre", ())).tolist())


def _through(view: Callable[[tf.Tensor], tf.Tensor], function: Callable) -> Callable:
    """Return a function of a task that is given what `view` returns for observations."""
    if isinstance(function, SaturatingCost):
        exponent = function.exponent
        return SaturatingCost(lambda next_obs: exponent(view(next_obs)))
    return lambda obs, action, next_obs: function(view(obs), action, view(next_obs))


def _bounded(costs: tf.Tensor, cost_range: tf.Tensor) -> tf.Tensor:
    """Return costs [...] that leave the observed range by a quarter of its width at most, with a smooth transition.

    Far from the data a network extrapolates without limit: single steps would outweigh all others.
    """
    low, high = tf.unstack(cost_range)
    width = EXTRAPOLATION * (high - low)
    inside = tf.clip_by_value(costs, low, high)
    return inside + width * tf.tanh((costs - inside) / width)


def true_transitions(episode: Episode) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return states [T, O], actions [T, A] and next states [T, O] of a real episode: the arguments of a task's cost."""
    states = _tensor(episode.states)
    return states[:-1], _tensor(episode.actions), states[1:]


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the model in the error of a fit that diverges."""
    try:
        yield
    except Diverged as error:
        raise Diverged(f"Fit of the model of {name}: {error}", error.state, error.step) from error


def _tensor(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array, tf.float32)


def _scale_of(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each constraint's values [N, C], [C]; 1 where it is 0 or not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = values.std(axis=0, dtype=np.float64)
    return np.where(np.isfinite(deviation) & (deviation > 0), deviation, 1.0).astype(np.float32)


def _range_of(costs: np.ndarray, cost_after_end: float | None) -> np.ndarray:
    """Return the lowest and the highest finite cost, [2]; where all are the same, the highest is one above the lowest.

    Without a finite cost, the range is 0 to 1.
    """
    costs = costs if cost_after_end is None else np.append(costs, cost_after_end)
    finite = costs[np.isfinite(costs)]
    low, high = (float(np.min(finite)), float(np.max(finite))) if finite.size else (0.0, 1.0)
    return np.array([low, high if high - low > 1e-6 * max(abs(low), abs(high)) else low + 1.0], np.float32)
