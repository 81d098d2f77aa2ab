"""Arithmetic of angles, and angles that an environment wraps into an interval of one turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_TURN = 2 * np.pi
_INTERVALS = (-np.pi, 0.0)  # lower ends of the intervals into which environments wrap angles
_NOISE = 0.1  # rad, by which measurement noise may lead beyond an interval
_JUMP = 5.0  # rad; a wrapped angle jumps by nearly 2π, others within an interval of one turn hardly move that far


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Return angles in radians, [...], shifted by multiples of 2π into (−π, π]."""
    return np.pi - np.mod(np.pi - angle, _TURN)


def wrapped_entries(episodes: Sequence[np.ndarray], angles: Sequence[int]) -> dict[int, float]:
    """Return the angles that an environment wraps, each with the lower end of the interval into which it does.

    An angle counts as wrapped if it stays within (−π, π] or [0, 2π) and jumps by nearly a turn, between two steps or
    between the initial states of two episodes. Angles that count full turns leave the interval.

    Args:
        episodes: the observations of each episode, [T + 1, O].
        angles: indices of the entries that are angles.
    """
    return {i: low for i in angles if (low := _interval([obs[:, i] for obs in episodes])) is not None}


def _interval(tracks: Sequence[np.ndarray]) -> float | None:
    """Return the lower end of the interval into which an angle is wrapped, or None; arguments are [T + 1] each."""
    starts = [track[0] for track in tracks]
    jump = max(np.ptp(starts), *(np.abs(np.diff(track)).max(initial=0.0) for track in tracks))
    low, high = min(track.min() for track in tracks), max(track.max() for track in tracks)
    fits = (end for end in _INTERVALS if end - _NOISE <= low and high <= end + _TURN + _NOISE)
    return next(fits, None) if jump > _JUMP else None


def circular_means(obs: np.ndarray, entries: Sequence[int]) -> dict[int, float]:
    """Return the mean direction, in (−π, π], of some entries of observations [N, O]."""
    return {i: float(np.arctan2(np.sin(obs[:, i]).mean(), np.cos(obs[:, i]).mean())) for i in entries}


def unwrapped(obs: np.ndarray, near: Mapping[int, float]) -> np.ndarray:
    """Return the observations of an episode, [T + 1, O], with some angles continuous in time.

    Args:
        obs: the observations.
        near: the angles to unwrap, each with a direction to which its initial value is shifted as near as full turns
            allow.
    """
    if not near:
        return obs
    continuous = np.array(obs, np.float64)
    for i, direction in near.items():
        track = np.unwrap(continuous[:, i])
        continuous[:, i] = track + _TURN * np.round((direction - track[0]) / _TURN)
    return continuous.astype(obs.dtype)
