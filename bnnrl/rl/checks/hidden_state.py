"""Whether what an environment shows is its state: does the past help to predict what follows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_ridge import KernelRidge

from bnnrl.rl.episodes import Episode

_FOLDS = 3
_MOST_ROWS = 600
_LEAST_EPISODES = 6
_LEAST_SHARE = 0.03  # of a target's variance that is left to explain; below, what helps does not matter
_LEAST_GAIN = 0.25  # share of what is left that the past has to explain
_LEAST_T = 3.0  # mean gain by its standard error over episodes


@dataclass(frozen=True)
class Transitions:
    """Steps that have one before them in their episode, side by side."""

    before: np.ndarray  # [N, F] features where a step began
    actions: np.ndarray  # [N, A]
    change: np.ndarray  # [N, O] of the observation
    after: np.ndarray  # [N, F] features where it ended
    rewards: np.ndarray  # [N]
    times: np.ndarray  # [N] steps since the reset
    past: np.ndarray  # [N, F + A] features and action one step earlier
    past_rewards: np.ndarray  # [N]
    episode: np.ndarray  # [N] number of the episode

    @classmethod
    def of(cls, episodes: Sequence[Episode], angles: Sequence[int]) -> Transitions:
        """Return the transitions of episodes, at most some hundred of them, chosen by a fixed seed."""
        parts = []
        for number, e in enumerate(episodes):
            if len(e) < 2:
                continue
            features, change = _features(e.obs, angles), np.diff(e.obs, axis=0)
            change[:, list(angles)] = np.pi - np.mod(np.pi - change[:, list(angles)], 2 * np.pi)
            past = np.concatenate([features[:-2], e.actions[:-1]], axis=1)
            times = np.arange(1, len(e))
            row = features[1:-1], e.actions[1:], change[1:], features[2:], e.rewards[1:], times, past, e.rewards[:-1]
            parts.append((*row, np.full(len(times), number)))
        columns = [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]
        kept = np.sort(np.random.default_rng(0).permutation(len(columns[0]))[:_MOST_ROWS])
        return cls(*(column[kept] for column in columns))


@dataclass(frozen=True)
class Verdict:
    """What a comparison found of one target."""

    r2: float  # of the prediction without the past, cross-validated
    helps: dict[str, float]  # what of the past helps, and the share of the error that it takes away


def enough(episodes: Sequence[Episode]) -> bool:
    """Whether there are episodes enough to say anything."""
    return sum(len(e) > 1 for e in episodes) >= _LEAST_EPISODES and sum(len(e) - 1 for e in episodes) >= 60


def reward(data: Transitions) -> Verdict | None:
    """Return whether the reward is a function of (obs, action, next_obs); None where it is always the same."""
    base = np.concatenate([data.before, data.actions, data.after], axis=1)
    extras = {
        "the step's number": data.times[:, np.newaxis],
        "the reward before": data.past_rewards[:, np.newaxis],
        "the observation and action before": data.past,
    }
    found = _compare(base, data.rewards[:, np.newaxis], extras, data.episode)
    return found.get(0)


def dynamics(data: Transitions) -> dict[int, Verdict]:
    """Return for each observation entry that changes whether its change is a function of (obs, action)."""
    base = np.concatenate([data.before, data.actions], axis=1)
    extras = {"the step's number": data.times[:, np.newaxis], "the observation and action before": data.past}
    return _compare(base, data.change, extras, data.episode)


def _compare(base: np.ndarray, targets: np.ndarray, extras: dict[str, np.ndarray], episode: np.ndarray):
    """Return a verdict for each column of the targets that varies.

    What helps is told from what only looks so by predictions of whole episodes that were left out: the share of the
    error that is gone, and the mean gain over its standard error, an episode counting once.
    """
    varies = np.flatnonzero(targets.std(axis=0) > 1e-9 * (1 + np.abs(targets).max(axis=0)))
    if len(varies) == 0:
        return {}
    y = targets[:, varies]
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    without = _errors(base, y, episode)
    helps: list[dict[str, float]] = [{} for _ in varies]
    for name, extra in extras.items():
        if without.mean(axis=0).max() < _LEAST_SHARE:
            break
        gained = without - _errors(np.concatenate([base, extra], axis=1), y, episode)  # [N, O]
        by_episode = np.stack([gained[episode == number].mean(axis=0) for number in np.unique(episode)])
        deviation = by_episode.std(axis=0, ddof=1) / np.sqrt(len(by_episode))
        for i, left in enumerate(without.mean(axis=0)):
            gain, t = gained[:, i].mean() / max(left, 1e-12), by_episode[:, i].mean() / max(deviation[i], 1e-12)
            if left > _LEAST_SHARE and gain > _LEAST_GAIN and t > _LEAST_T:
                helps[i][name] = float(gain)
    r2 = 1 - without.mean(axis=0)
    return {int(entry): Verdict(float(r2[i]), helps[i]) for i, entry in enumerate(varies)}


def _errors(inputs: np.ndarray, y: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return squared errors [N, O] for episodes that were left out, by the better of two learners for each target.

    One is made for smooth functions, kernel ridge regression, and one for functions with steps, trees.
    """
    varying = inputs[:, inputs.std(axis=0) > 1e-9]
    z = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    numbers = np.unique(episode)
    fold = np.searchsorted(numbers, episode) % min(_FOLDS, len(numbers))
    learners: list[Any] = [
        *(_ridge(ridge, width / z.shape[1]) for width in (0.03, 0.2) for ridge in (1e-4, 1e-2)),
        ExtraTreesRegressor(20, min_samples_leaf=2, random_state=0),
    ]
    found = []
    for learner in learners:
        error = np.empty_like(y)
        for k in np.unique(fold):
            held = fold == k
            target = y[~held] if y.shape[1] > 1 else y[~held, 0]
            error[held] = (y[held] - learner.fit(z[~held], target).predict(z[held]).reshape(-1, y.shape[1])) ** 2
        found.append(error)
        if np.min([e.mean(axis=0) for e in found], axis=0).max() < _LEAST_SHARE:
            break  # what is left could not matter
    best = np.argmin([error.mean(axis=0) for error in found], axis=0)
    return np.stack([found[k][:, i] for i, k in enumerate(best)], axis=1)


def _ridge(ridge: float, width: float) -> KernelRidge:
    return KernelRidge(alpha=ridge, kernel="rbf", gamma=width)  # pyright: ignore[reportArgumentType]


def _features(obs: np.ndarray, angles: Sequence[int]) -> np.ndarray:
    others = [i for i in range(obs.shape[1]) if i not in angles]
    angle = obs[:, list(angles)]
    return np.concatenate([obs[:, others], np.sin(angle), np.cos(angle)], axis=1)
