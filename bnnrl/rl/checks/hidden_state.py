"""Test whether an observation is a Markov state: whether the past improves predictions of what follows.

A regression from (obs, action) to the change of the observation, or from (obs, action, next_obs) to the reward, is
compared with one that is also given something of the past. Both are judged on episodes that were left out of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.rl.angles import wrap_angle
from bnnrl.rl.episodes import Episode
from bnnrl.rl.simulator.features import Features

# Parts of the past that may improve a prediction.
TIME, REWARD, ACTION = "the step's number", "the reward before", "the action before"
PAST, EARLIER = "the observation and action before", "the observations and actions of the last two steps"
_BETTER = 0.1  # share of the error that a larger part of the past must remove beyond a smaller one to be named

_FOLDS = 3
_MAX_DELAY = 5  # steps
_MAX_ROWS = 600  # kernel ridge regression is cubic in the rows
_MIN_EPISODES, _MIN_ROWS = 6, 60
# Thresholds of a finding: they keep findings rare in Gymnasium's environments, whose observations are states.
_MIN_ERROR = 0.03  # share of a target's variance left unexplained; smaller errors do not matter to learning
_MIN_GAIN = 0.25  # share of that error which the past must explain
_MIN_T = 3.0  # mean gain over its standard error across episodes


@dataclass(frozen=True)
class Transitions:
    """N steps, each with the step before it in its episode. Angles are given as sine and cosine among F features."""

    before: np.ndarray  # [N, F] features of obs
    actions: np.ndarray  # [N, A]
    change: np.ndarray  # [N, O] next_obs - obs; angles wrapped to (−π, π]
    after: np.ndarray  # [N, F] features of next_obs
    rewards: np.ndarray  # [N]
    times: np.ndarray  # [N] steps since the reset
    past: np.ndarray  # [N, F + A] features and action one step earlier
    earlier: np.ndarray  # [N, F + A] the same two steps earlier; where there is no such step, one step earlier
    past_rewards: np.ndarray  # [N] reward one step earlier
    episode: np.ndarray  # [N] number of the episode

    @classmethod
    def of(cls, episodes: Sequence[Episode], features: Features) -> Transitions:
        """Return the transitions of episodes, or a random subset of 600 of them chosen by a fixed seed."""
        parts = []
        for number, e in enumerate(episodes):
            if len(e) < 2:
                continue
            seen, change = _features_and_changes(e, features)
            past = np.concatenate([seen[:-2], e.actions[:-1]], axis=1)
            times = np.arange(1, len(e))
            row = seen[1:-1], e.actions[1:], change[1:], seen[2:], e.rewards[1:], times
            parts.append(
                (*row, past, np.concatenate([past[:1], past[:-1]]), e.rewards[:-1], np.full(len(times), number))
            )
        return cls(*_some_rows(parts))


@dataclass(frozen=True)
class Verdict:
    """How well a target is predicted without the past, and which parts of the past improve the prediction."""

    r2: float  # coefficient of determination without the past, cross-validated over episodes
    gains: dict[str, float]  # part of the past -> share of the squared error that it removes; only significant gains


@dataclass(frozen=True)
class Delay:
    """Number of steps after which actions take effect."""

    steps: int
    gains: dict[int, float]  # observation entry -> share of the squared error that knowing the delay removes


def has_enough_data(episodes: Sequence[Episode]) -> bool:
    """Return whether there are at least 6 episodes of two steps or more, and 60 transitions."""
    return sum(len(e) > 1 for e in episodes) >= _MIN_EPISODES and sum(len(e) - 1 for e in episodes) >= _MIN_ROWS


def judge_reward(data: Transitions) -> Verdict | None:
    """Judge whether the reward is a function of (obs, action, next_obs); None if it never varies."""
    base = np.concatenate([data.before, data.actions, data.after], axis=1)
    extras = _extras(data, **{REWARD: data.past_rewards[:, np.newaxis]})
    return _compare(base, data.rewards[:, np.newaxis], extras, data.episode).get(0)


def judge_dynamics(data: Transitions) -> dict[int, Verdict]:
    """Judge, for each observation entry that changes, whether the change is a function of (obs, action)."""
    base = np.concatenate([data.before, data.actions], axis=1)
    return _compare(base, data.change, _extras(data), data.episode)


def judge_delay(episodes: Sequence[Episode], features: Features) -> Delay | None:
    """Judge whether an earlier action predicts changes of the observation better than the action of the step itself.

    Returns:
        The delay of the action that predicts best; None if it is that of the step, or not significantly better.
    """
    parts = []
    for number, e in enumerate(episodes):
        steps = np.arange(_MAX_DELAY, len(e))
        seen, change = _features_and_changes(e, features)
        delayed = np.stack([e.actions[steps - d] for d in range(_MAX_DELAY + 1)], axis=1)  # [N, delays, A]
        parts.append((seen[steps], change[steps], delayed, np.full(len(steps), number)))
    before, change, delayed, episode = _some_rows(parts)
    if len(before) < _MIN_ROWS:
        return None
    varies = np.flatnonzero(varying(change))
    y = (change[:, varies] - change[:, varies].mean(axis=0)) / change[:, varies].std(axis=0)
    errors = lambda d, **kwargs: _errors(np.concatenate([before, delayed[:, d]], axis=1), y, episode, **kwargs)
    # One learner tells which action it is, and all of them how much knowing it helps.
    best = int(np.argmin([errors(d, num_learners=1).mean() for d in range(_MAX_DELAY + 1)])) if len(varies) else 0
    if best == 0:
        return None
    undelayed = errors(0)
    gains = _significant(undelayed - errors(best), undelayed.mean(axis=0), episode)
    return Delay(best, {int(varies[i]): gain for i, gain in gains.items()}) if gains else None


def varying(values: np.ndarray) -> np.ndarray:
    """Return which columns of values [N, K] vary by more than rounding in float64, at any scale, bool [K]."""
    return values.std(axis=0) > 1e-9 * np.abs(values).max(axis=0)


def _extras(data: Transitions, **others: np.ndarray) -> dict[str, np.ndarray]:
    """Return the parts of the past by name, the simplest first."""
    past_actions = data.past[:, -data.actions.shape[1] :]
    past = {PAST: data.past, EARLIER: np.concatenate([data.past, data.earlier], axis=1)}
    return {TIME: data.times[:, np.newaxis], **others, ACTION: past_actions, **past}


def _compare(
    base: np.ndarray, targets: np.ndarray, extras: dict[str, np.ndarray], episode: np.ndarray
) -> dict[int, Verdict]:
    """Return a verdict for each column of the targets that varies.

    Args:
        base: inputs without the past, [N, I].
        targets: what to predict, [N, T].
        extras: parts of the past by name, [N, ...] each, which are added to the inputs one at a time.
        episode: number of the episode of each row, [N].
    """
    varies = np.flatnonzero(varying(targets))
    if len(varies) == 0:
        return {}
    y = targets[:, varies]
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    without = _errors(base, y, episode)  # [N, T], in shares of the target's variance
    gains: list[dict[str, float]] = [{} for _ in varies]
    for name, extra in extras.items():
        if without.mean(axis=0).max() < _MIN_ERROR:
            break
        reduction = without - _errors(np.concatenate([base, extra], axis=1), y, episode)
        for i, gain in _significant(reduction, without.mean(axis=0), episode).items():
            if gain > max(gains[i].values(), default=0.0) + _BETTER:
                gains[i][name] = gain
    r2 = 1 - without.mean(axis=0)
    return {int(entry): Verdict(float(r2[i]), gains[i]) for i, entry in enumerate(varies)}


def _significant(reduction: np.ndarray, error: np.ndarray, episode: np.ndarray) -> dict[int, float]:
    """Return the relative gain of each target whose error is reduced by much, and by more than chance explains.

    Steps of one episode are correlated, so the standard error is that of the means over episodes.

    Args:
        reduction: reduction of the squared error at each row, [N, T].
        error: mean squared error before, [T].
        episode: number of the episode of each row, [N].
    """
    by_episode = np.stack([reduction[episode == number].mean(axis=0) for number in np.unique(episode)])
    standard_error = by_episode.std(axis=0, ddof=1) / np.sqrt(len(by_episode))
    found = {}
    for i, left in enumerate(error):
        gain = reduction[:, i].mean() / max(left, 1e-12)
        t = by_episode[:, i].mean() / max(standard_error[i], 1e-12)
        if left > _MIN_ERROR and gain > _MIN_GAIN and t > _MIN_T:
            found[i] = float(gain)
    return found


def _errors(inputs: np.ndarray, y: np.ndarray, episode: np.ndarray, num_learners: int | None = None) -> np.ndarray:
    """Return cross-validated squared errors [N, T], each target by the learner that predicts it best.

    Folds are of whole episodes. Kernel ridge regression suits smooth functions, and trees those with steps. Only the
    first `num_learners` are tried; None tries all.
    """
    inputs = inputs[:, varying(inputs)]
    z = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    numbers = np.unique(episode)
    fold = np.searchsorted(numbers, episode) % min(_FOLDS, len(numbers))
    errors = []
    for learner in _learners(z.shape[1])[:num_learners]:
        errors.append(_held_out_errors(learner, z, y, fold))
        if np.min([e.mean(axis=0) for e in errors], axis=0).max() < _MIN_ERROR:
            break  # what is left unexplained does not matter, so other learners need not be tried
    best = np.argmin([e.mean(axis=0) for e in errors], axis=0)
    return np.stack([errors[k][:, i] for i, k in enumerate(best)], axis=1)


def _held_out_errors(learner: Any, z: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    from threadpoolctl import threadpool_limits  # imported here, as scikit-learn is

    error = np.empty_like(y)
    # Threads that wait for a processor take a hundred times as long as one for systems of some hundred equations.
    with threadpool_limits(1):
        for k in np.unique(fold):
            held = fold == k
            # scikit-learn's trees warn unless a single target is a vector.
            target = y[~held] if y.shape[1] > 1 else y[~held, 0]
            error[held] = (y[held] - learner.fit(z[~held], target).predict(z[held]).reshape(-1, y.shape[1])) ** 2
    return error


def _learners(num_inputs: int) -> list[Any]:
    # Imported here, because training imports this module and only `bnnrl check` needs them.
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.kernel_ridge import KernelRidge

    widths = [(gamma / num_inputs, ridge) for gamma in (0.03, 0.2) for ridge in (1e-4, 1e-2)]
    ridges: list[Any] = [KernelRidge(alpha=ridge, kernel="rbf", gamma=gamma) for gamma, ridge in widths]  # pyright: ignore[reportArgumentType]
    return [*ridges, ExtraTreesRegressor(20, min_samples_leaf=2, random_state=0)]


def _features_and_changes(episode: Episode, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return the features [T + 1, F] of an episode's observations, and the changes [T, O], of angles in (−π, π]."""
    change, angles = np.diff(features.memory.newest(episode.obs), axis=0), list(features.angles)
    change[:, angles] = wrap_angle(change[:, angles])
    return np.asarray(features(tf.constant(episode.obs, tf.float32))), change


def _some_rows(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Return the columns of all parts, joined and as float64: all rows, or a random subset chosen by a fixed seed."""
    columns = [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]
    kept = np.sort(np.random.default_rng(0).permutation(len(columns[0]))[:_MAX_ROWS])
    return [column[kept] for column in columns]
