"""Conformal prediction: the quantile of calibration scores, scores of classes, and coverage with its uncertainty.

If the n calibration rows and a new row are exchangeable, and a larger score means a worse fit, the new row's score is
at most the k-th smallest calibration score, k = ⌈(n + 1) level⌉, with probability `level` or more. This holds for every
model, score and distribution (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bnnrl.html_table import escaped
from bnnrl.metrics._checks import check_levels, check_targets


class Coverage(NamedTuple):
    """The share of rows that prediction intervals or sets hold, with its Clopper-Pearson confidence interval."""

    share: float  # in [0, 1]
    low: float  # lower end of the 95 % confidence interval of the probability
    high: float  # upper end of it
    rows: int  # number of rows

    def __str__(self) -> str:
        return f"{self.share:.3f} of {self.rows} rows, 95 % confidence interval {self.low:.3f} to {self.high:.3f}"

    def _repr_html_(self) -> str:
        return f"<p>{escaped(self)}</p>"


def coverage(hits) -> Coverage:
    """Return the share of hits with a Clopper-Pearson interval, which holds the true probability in 95 % of cases.

    Of rows with several target entries, the entries count as shares of the row, because they depend on each other.

    Source: Clopper and Pearson, Biometrika 1934.

    Args:
        hits: [N, ...] whether the target lies in its interval or set.

    Raises:
        ValueError: if there are no rows.
    """
    from scipy.stats import beta

    array = check_targets("hits", hits)
    n, share = len(array), float(np.mean(array))
    count = share * n
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, n - count + 1))
    high = 1.0 if count == n else float(beta.ppf(0.975, count + 1, n - count))
    return Coverage(share, low, high, n)


def least_rows(level: float) -> int:
    """Return the smallest number n of calibration rows for which ⌈(n + 1) level⌉ ≤ n."""
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_quantile(scores, level: float) -> np.ndarray:
    """Return the ⌈(n + 1) level⌉-th smallest of n calibration scores, for each target entry, [...].

    Args:
        scores: calibration scores, [n, ...].
        level: the probability with which a new score is to be at most the result.

    Raises:
        ValueError: if `level` is not between 0 and 1, or n is below level / (1 − level), which is 19 for 0.95.
    """
    scores, level = check_targets("scores", scores), float(check_levels("level", level).item())
    check_rows_suffice(len(scores), least_rows(level), level)
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    return np.sort(scores, axis=0)[rank - 1]


def check_rows_suffice(rows: int, least: int, level: float) -> None:
    """Raise ValueError if the number of calibration rows is below the least that a level needs."""
    if rows < least:
        raise ValueError(
            f"Invalid calibration data: expected at least {least} rows for level {level:g}. Received: {rows} rows. "
            "Use more rows, or a lower level."
        )


def class_scores(probs: np.ndarray, method: str, uniform: np.ndarray) -> np.ndarray:
    """Return the conformal score of every class, [..., C].

    "lac": 1 − p_c, whose sets are the smallest on average, but hold too few of the rows that are hard to predict.
    "aps": Σ_{j: p_j > p_c} p_j + u p_c, whose sets grow with the difficulty of the row; a uniform u for each row makes
    the coverage exact.

    Source: Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA 2019;
    Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", NeurIPS 2020.

    Args:
        probs: class probabilities, [..., C].
        method: "lac" or "aps".
        uniform: u in [0, 1), [...]; not used by "lac".
    """
    if method == "lac":
        return 1 - probs
    order = np.argsort(-probs, axis=-1, kind="stable")
    ordered = np.take_along_axis(probs, order, axis=-1)
    before = np.cumsum(ordered, axis=-1) - ordered
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before + uniform[..., np.newaxis] * ordered, axis=-1)
    return scores
