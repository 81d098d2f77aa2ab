"""CV+: conformal prediction by cross-validation, for which no rows are set aside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bnnrl.checks import check_choice
from bnnrl.html_table import html_of_table
from bnnrl.metrics.conformal import check_rows_suffice, least_rows
from bnnrl.model.calibration import OF_CLASSES
from bnnrl.model.folds import Split, splits
from bnnrl.storage.arrays import Arrays, flatten, select

_OF_NUMBERS = ("normalized", "absolute")
_BLOCK = 2**22  # of the numbers of a block of rows, one for each training row and target entry


class Fold(NamedTuple):
    """The model of a fold, fitted to all rows outside of it, and the conformal scores of the rows in it."""

    model: Any  # a BayesianModel
    scores: np.ndarray  # [n, ...] in increasing order


@dataclass(frozen=True)
class CrossConformal:
    """What CV+ found: a model for each fold, and the scores of all rows by the models that have not seen them.

    With the scores Rᵢ of n rows, the fold k(i) of each, α = 1 − level, and mean μ and scale σ of the folds' models
    (σ = 1 for "absolute"), the interval of a new row x ends at

        the ⌊α (n + 1)⌋-th smallest of μ_k(i)(x) − Rᵢ σ_k(i)(x)
        the ⌈(1 − α) (n + 1)⌉-th smallest of μ_k(i)(x) + Rᵢ σ_k(i)(x)

    The set of a new row holds each class whose score by the model of fold k(i) exceeds Rᵢ for fewer than
    (1 − α) (n + 1) rows i.

    Source: Barber, Candès, Ramdas and Tibshirani, "Predictive Inference with the Jackknife+", Annals of Statistics
    2021; for classes Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", NeurIPS 2020.

    Attributes:
        method: the score.
        level: the level that the rows have to suffice for.
        folds: the folds.
    """

    method: str
    level: float
    folds: tuple[Fold, ...]

    @property
    def num_rows(self) -> int:
        """The number n of rows of all folds."""
        return sum(len(fold.scores) for fold in self.folds)

    def _repr_html_(self) -> str:
        facts = {"calibration": f"CV+, {self.method}", "level": self.level, "folds": len(self.folds)}
        return html_of_table({**facts, "calibration rows": self.num_rows})

    def interval(self, level: float, moments: Callable[[Any], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the interval of each row, [B, ...] each.

        Args:
            level: of the interval.
            moments: from a fold's model to the predictive mean and standard deviation of the rows, [B, 2, ...].

        Raises:
            ValueError: if the rows do not suffice for the level.
        """
        rank = self._rank(level)
        found = np.stack([moments(fold.model) for fold in self.folds], axis=1)  # [B, K, 2, ...]
        mean, scale = found[:, :, 0], found[:, :, 1]
        scale = np.ones_like(scale) if self.method == "absolute" else scale
        size = max(1, _BLOCK // max(1, self.num_rows * math.prod(mean.shape[2:])))
        blocks = [slice(first, first + size) for first in range(0, len(mean), size)]
        # The lower end is the rank-th largest: ⌊α (n + 1)⌋ = n + 1 − rank.
        low = np.concatenate([-self._quantile(-mean[rows], scale[rows], rank) for rows in blocks])
        high = np.concatenate([self._quantile(mean[rows], scale[rows], rank) for rows in blocks])
        middle = (low + high) / 2  # models that differ much may exchange the ends: the interval is then empty
        return np.minimum(low, middle), np.maximum(high, middle)

    def _quantile(self, mean: np.ndarray, scale: np.ndarray, rank: int) -> np.ndarray:
        """Return the rank-th smallest of μ_k(i) + Rᵢ σ_k(i), [b, ...], for means and scales [b, K, ...]."""
        parts = zip(np.moveaxis(mean, 1, 0), np.moveaxis(scale, 1, 0), self.folds, strict=True)
        values = [m[:, np.newaxis] + s[:, np.newaxis] * fold.scores for m, s, fold in parts]
        return np.partition(np.concatenate(values, axis=1), rank - 1, axis=1)[:, rank - 1]

    def prediction_set(self, level: float, scores: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return which classes are in the set of each row, bool [B, ..., C].

        Args:
            level: of the set.
            scores: from a fold's model to the score of every class for the rows, [B, ..., C].

        Raises:
            ValueError: if the rows do not suffice for the level.
        """
        rank = self._rank(level)
        exceeded = [_num_below(fold.scores, scores(fold.model)) for fold in self.folds]
        return np.sum(exceeded, axis=0) < rank

    def _rank(self, level: float) -> int:
        check_rows_suffice(self.num_rows, least_rows(level), level)
        return math.ceil((self.num_rows + 1) * level - 1e-9)

    def to_saved(self) -> tuple[dict[str, Any], Arrays]:
        """Return a JSON-able description and named arrays."""
        saved = [fold.model.to_saved() for fold in self.folds]
        arrays = {str(k): model_arrays for k, (_, model_arrays) in enumerate(saved)}
        scores = {str(k): fold.scores for k, fold in enumerate(self.folds)}
        config = {"method": self.method, "level": self.level, "folds": [description for description, _ in saved]}
        return config, flatten({**arrays, "scores": scores})

    @classmethod
    def from_saved(cls, config: dict[str, Any], arrays: Arrays, load_model: Callable[..., Any]) -> CrossConformal:
        """Return what `to_saved` described, given the function that makes a model of its description and arrays."""
        scores = select(arrays, "scores")
        models = (load_model(entry, select(arrays, str(k))) for k, entry in enumerate(config["folds"]))
        folds = tuple(Fold(model, scores[str(k)]) for k, model in enumerate(models))
        return cls(check_choice("method", config["method"], OF_CLASSES + _OF_NUMBERS), config["level"], folds)


def _num_below(sorted_scores: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return how many of a fold's scores [n, ...] are below each class's score, [B, ..., C]."""
    if sorted_scores.ndim == 1:
        return np.searchsorted(sorted_scores, scores, side="left")
    columns = [_num_below(sorted_scores[:, i], scores[:, i]) for i in range(sorted_scores.shape[1])]
    return np.stack(columns, axis=1)


def check_method(method: str) -> str:
    """Return a method of conformal prediction, see `calibration.method_for`, that CV+ has.

    Raises:
        ValueError: if it is "cqr" or no conformal method.
    """
    if method not in OF_CLASSES[:2] + _OF_NUMBERS:
        raise ValueError(
            f"Invalid `method`: expected {_OF_NUMBERS[0]!r} or {_OF_NUMBERS[1]!r} for numbers, 'aps' or 'lac' for "
            f"classes. Received: {method!r}. Use `calibrate` on rows that are set aside."
        )
    return method


def divided(folds: int, rows: int, level: float, seed: int) -> list[Split]:
    """Return the divisions of rows into folds at random.

    Raises:
        ValueError: if there are fewer rows than folds, or too few for the level.
    """
    found = splits(rows, folds, seed)
    check_rows_suffice(rows, least_rows(level), level)
    return found
