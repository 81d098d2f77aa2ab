"""What is not finite after a step that diverged: the log density of a row, the log prior, or an entry of θ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.problem import Batch, Problem, align_targets, masked

_ROWS = 1024  # rows whose log density is computed at once
_map: Any = tf.nest.map_structure


def describe(problem: Problem, before: tf.Tensor, after: tf.Tensor, data: Batch, num_data: int) -> str | None:
    """Return what is not finite, in words, or None if nothing of the below is found.

    The log density of each row and the log prior are computed anew at the last finite θ; no step keeps them. A
    method that evaluates them elsewhere, such as along a trajectory, may have met what is not found here.

    Args:
        problem: the problem.
        before: the last finite θ of a diverged member, [D].
        after: its θ after the step, [D].
        data: (x, y), with N rows before the padding.
        num_data: N.
    """
    if at_start := _bad_entry(problem, before):
        return at_start
    if not np.isfinite(log_prior := float(problem.log_prior(before))):
        return f"log p(θ) is {log_prior}: the weights are outside the prior's support, or too large"
    return _bad_row(problem, before, data, num_data) or _bad_entry(problem, after)


def _bad_row(problem: Problem, theta: tf.Tensor, data: Batch, num_data: int) -> str | None:
    """Return the first row whose log density is not finite."""
    for first, log_probs, targets, name in _log_probs(problem, theta, data, num_data):
        bad = np.flatnonzero(~np.isfinite(log_probs))
        if len(bad):
            target = np.array2string(targets[bad[0]], precision=4, threshold=10)
            return (
                f"log p(y | x, θ) of row {first + bad[0]} is {log_probs[bad[0]]}, for the target {target} under "
                f"{name}: the target is outside the distribution's support, or the network's output is too large"
            )
    return None


def _bad_entry(problem: Problem, theta: tf.Tensor) -> str | None:
    """Return how many entries of θ are not finite, and the first of them."""
    bad = np.flatnonzero(~np.isfinite(theta))
    if len(bad) == 0:
        return None
    return f"{len(bad)} of {len(theta)} entries of θ, first {entry_name(problem, int(bad[0]))} = {theta[bad[0]]}"


def entry_name(problem: Problem, index: int) -> str:
    """Return the name of an entry of θ, such as "dense/kernel[2, 0]"."""
    network, start = problem.network, 0
    for path, shape, size in zip(network.paths, network.shapes, network.sizes, strict=True):
        if index < start + size:
            place = ", ".join(str(int(i)) for i in np.unravel_index(index - start, shape))
            return f"{path}[{place}]"
        start += size
    of_likelihood = problem.num_params - problem.prior.num_params - start
    if index - start < of_likelihood:
        return f"the likelihood's parameter {index - start}"
    return f"the prior's log-scale {index - start - of_likelihood}"


def _log_probs(
    problem: Problem, theta: tf.Tensor, data: Batch, num_data: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, str]]:
    """Yield chunks of rows: the number of the first row, log p(y | x, θ) of each, the targets, the distribution."""
    for first in range(0, num_data, _ROWS):
        x, y = _map(lambda a, first=first: a[first : min(first + _ROWS, num_data)], tuple(data[:2]))
        distribution = problem.distribution(theta, x)
        targets = align_targets(distribution, y)
        log_probs = masked(distribution.log_prob(targets), problem.network.output_mask(x))
        log_probs = np.asarray(log_probs, np.float64)
        yield first, log_probs.reshape(len(log_probs), -1).sum(axis=1), np.asarray(y), distribution.name
