"""Numbers that are not finite in simulated rollouts and in the costs of real steps: where they began, and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

# Shapes: H horizon, P particles, O observation entries.
_MODEL_REMEDY = (
    "The model was followed too far from its data, or the data's scale is too large for float32. Use a bounded "
    "activation such as 'tanh', a smaller `prior_std` or a shorter `horizon`, or rescale the observations."
)
_COST_REMEDY = "Let the task's cost be finite for every finite observation."


class NonFiniteWarning(UserWarning):
    """Simulated rollouts, or costs of real steps, are NaN or infinite. The agent goes on learning."""


def describe(obs: np.ndarray, costs: np.ndarray, labels: Sequence[str] | None, learns_reward: bool) -> str | None:
    """Return where rollouts first are not finite, and a remedy; None if they are finite.

    Args:
        obs: observations of the particles, [H + 1, P, O].
        costs: costs of their steps, [H, P].
        labels: name of each observation entry; None to number them.
        learns_reward: whether costs are a model's, and not the task's own.
    """
    bad_obs, bad_costs = ~np.isfinite(obs), ~np.isfinite(costs)
    lost = bad_obs.any(axis=(0, 2)) | bad_costs.any(axis=0)
    if not lost.any():
        return None
    step = _first(bad_obs.any(axis=(1, 2)))
    cost_step = 1 + _first(bad_costs.any(axis=1))  # the cost of the first step belongs to the observation after it
    is_cost = cost_step < step
    what = _cost_change(costs, cost_step) if is_cost else _entry_change(obs, step, labels)
    remedy = _COST_REMEDY if is_cost and not learns_reward else _MODEL_REMEDY
    share = f"{lost.sum()} of {lost.size} particles that are NaN or infinite"
    return f"{share}, from step {min(step, cost_step)} of {len(costs)} on: {what}. {remedy}"


def describe_costs(costs: np.ndarray, obs: np.ndarray) -> str | None:
    """Return which cost of a real episode first is not finite, and a remedy; None if all are finite.

    Args:
        costs: the cost of each step, [T].
        obs: the observations, [T + 1, O].
    """
    bad = ~np.isfinite(costs)
    if not bad.any():
        return None
    step = _first(bad)
    after = np.array2string(obs[step + 1], precision=4, threshold=20)
    return f"{costs[step]} at step {step + 1}, whose observation is {after}. {_COST_REMEDY}"


def _first(bad: ArrayLike) -> int:
    """Return the first index that is True, or the length if none is."""
    return int(np.argmax(bad)) if np.any(bad) else np.size(bad)


def _entry_change(obs: np.ndarray, step: int, labels: Sequence[str] | None) -> str:
    """Return the first observation entry that is not finite at a step, with its values before and at the step."""
    particle, entry = np.argwhere(~np.isfinite(obs[step]))[0]
    name = f"'{labels[entry]}'" if labels else f"entry {entry}"
    value = obs[step, particle, entry]
    if step == 0:
        return f"{name} of the initial observation is {value}"
    return f"{name} of the observation went from {obs[step - 1, particle, entry]:.4g} to {value}"


def _cost_change(costs: np.ndarray, step: int) -> str:
    """Return the first cost that is not finite at a step, with the cost before."""
    particle = _first(~np.isfinite(costs[step - 1]))
    value = costs[step - 1, particle]
    before = f" went from {costs[step - 2, particle]:.4g} to {value}" if step > 1 else f" is {value}"
    return f"the cost{before}, at finite observations"
