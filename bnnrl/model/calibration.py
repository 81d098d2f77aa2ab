"""Calibration of a fitted model on rows that it was not trained on: recalibration and conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import data, metrics
from bnnrl.censoring import CensoredIndependent
from bnnrl.checks import check_choice
from bnnrl.html_table import html_of_table
from bnnrl.metrics.conformal import check_rows_suffice, class_scores, conformal_quantile, least_rows
from bnnrl.metrics.predictive import nll_sum, probabilities
from bnnrl.metrics.quantiles import is_discrete, normal_scores, quantiles
from bnnrl.seeds import host_seed
from bnnrl.storage.arrays import Arrays

RECALIBRATION = ("temperature", "spread", "isotonic")  # methods that change the predictive distribution
OF_CLASSES, OF_COUNTS = ("aps", "lac", "temperature"), ("normalized", "absolute", "cqr")
OF_NUMBERS = (*OF_COUNTS, "spread", "isotonic")
# A factor found on n rows has a relative standard error of about 1 / √(2 n), which is 16 % for 20 rows.
_FACTOR_ROWS = 20
# The family of location and scale to which a spread applies: y = loc + scale z with z free of both.
_LOCATION_SCALE = (tfd.Normal, tfd.StudentT, tfd.Laplace, tfd.Logistic, tfd.Cauchy)
_RANGE = 1e-3, 1e3  # of temperatures and spread factors

# From a function of the likelihoods of a block of rows, [S, b, ...], and their indices to its values for all rows.
ByRows = Callable[[Callable[[tfd.Distribution, slice], Any]], Any]


def validation_part(rows: data.Data) -> Any:
    """Return the validation part of loaded data.

    Raises:
        ValueError: if there is none.
    """
    if rows.validation is None:
        raise ValueError(
            "Invalid data: expected a validation part to calibrate on. Received: data without one. "
            "Load them with `validation=0.2`."
        )
    return rows.validation


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        method: its name.
        level: the level that it was made for.
        values: a temperature or a spread factor, []; or the normal scores or conformal scores of the n calibration
            rows in increasing order, [n, ...].
    """

    method: str
    level: float
    values: np.ndarray

    @property
    def recalibrates(self) -> bool:
        """Whether it changes the predictive distribution, and not only intervals or sets."""
        return self.method in RECALIBRATION

    def _repr_html_(self) -> str:
        found = {"factor": float(self.values)} if self.values.ndim == 0 else {"calibration rows": len(self.values)}
        return html_of_table({"calibration": self.method, "level": self.level, **found})

    def to_saved(self) -> tuple[dict[str, Any], Arrays]:
        """Return a JSON-able description and named arrays."""
        return {"method": self.method, "level": self.level}, {"values": np.asarray(self.values, np.float64)}

    @classmethod
    def from_saved(cls, config: dict[str, Any], arrays: Arrays) -> Calibration:
        """Return the calibration that `to_saved` described."""
        return cls(check_choice("method", config["method"], OF_CLASSES + OF_NUMBERS), config["level"], arrays["values"])


def choose_method(method: str, first: tfd.Distribution) -> str:
    """Return the method of calibration, see `method_for`, for the likelihood `first` of some rows."""
    if isinstance(first, CensoredIndependent):
        raise ValueError(
            "Invalid likelihood: expected one whose targets are all observed, to calibrate on. Received: Censored."
        )
    classes = probabilities(first) is not None
    return method_for(method, classes, not classes and is_discrete(first))


def method_for(method: str, classes: bool, counts: bool) -> str:
    """Return the method of calibration: for "auto" the method of conformal prediction that suits the targets.

    Args:
        method: a name.
        classes: whether the targets are classes.
        counts: whether the targets are counts.

    Raises:
        ValueError: if the method is unknown or not one for such targets.
    """
    names = OF_CLASSES if classes else OF_COUNTS if counts else OF_NUMBERS
    if check_choice("method", method, ("auto", *OF_CLASSES, *OF_NUMBERS)) == "auto":
        return names[0]
    if method not in names:
        kind = "classes" if classes else "counts" if counts else "real targets"
        raise ValueError(f"Invalid `method`: expected one of {list(names)} for {kind}. Received: {method!r}.")
    return method


def check_rows(method: str, rows: int, level: float) -> None:
    """Raise ValueError if there are too few calibration rows for a method at a level."""
    if method in ("temperature", "spread"):
        if rows < _FACTOR_ROWS:
            raise ValueError(
                f"Invalid calibration data: expected at least {_FACTOR_ROWS} rows for method {method!r}. "
                f"Received: {rows} rows. Use more rows."
            )
        return
    # A central interval has two tails of half the rest each.
    check_rows_suffice(
        rows, math.ceil(2 / (1 - level) - 1 - 1e-9) if method == "isotonic" else least_rows(level), level
    )


def calibrate(
    method: str, level: float, y: np.ndarray, by_rows: ByRows, isotonic: Calibration | None, seed
) -> Calibration:
    """Return the calibration by a method of `choose_method`.

    Args:
        method: its name.
        level: the level of the intervals or sets.
        y: targets of the calibration rows, [n, ...].
        by_rows: computes functions of the predictive distribution of the calibration rows.
        isotonic: an earlier calibration by this method, for "cqr"; None without.
        seed: of the random numbers of "aps".
    """
    if method in ("temperature", "spread"):
        return Calibration(method, level, np.asarray(_factor(method, y, by_rows)))
    if method == "isotonic":
        values = by_rows(lambda distribution, rows: normal_scores(distribution, y[rows]))
    elif method in OF_CLASSES:
        probs = by_rows(class_probabilities)
        scores = class_scores(probs, method, _uniform(probs, seed, 0))
        labels = y.reshape(probs.shape[:-1]).astype(int)[..., np.newaxis]
        values = np.take_along_axis(scores, labels, axis=-1)[..., 0]
    elif method == "cqr":
        ends = by_rows(lambda distribution, _: np.stack(central_interval(distribution, level, isotonic), axis=1))
        low, high = ends.swapaxes(0, 1)
        values = np.maximum(low - y.reshape(low.shape), y.reshape(low.shape) - high)
    else:
        values = _errors(method, y, by_rows)
    return Calibration(method, level, np.sort(values, axis=0))


def _errors(method: str, y: np.ndarray, by_rows: ByRows) -> np.ndarray:
    """Return the absolute errors of the predictive mean, [n, ...]; by "normalized" in standard deviations."""
    mean, std = by_rows(moments).swapaxes(0, 1)
    error = np.abs(y.reshape(mean.shape) - mean)
    return error if method == "absolute" else error / std


def central_interval(
    distribution: tfd.Distribution, level: float, isotonic: Calibration | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [B, ...] of the central interval of the predictive distribution.

    Args:
        distribution: the likelihoods of the draws, [S, B, ...].
        level: of the interval.
        isotonic: a calibration by this method; None without.
    """
    low, high = (quantile_at(distribution, p, isotonic) for p in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def quantile_at(distribution: tfd.Distribution, p: float, isotonic: Calibration | None = None) -> np.ndarray:
    """Return the p-quantile [B, ...] of the predictive distribution, recalibrated if `isotonic` is given.

    The recalibrated distribution function is R(F(y)), where R is the isotonic regression of the share of calibration
    rows whose F(y) is lower. Its quantiles are those of F at the level R⁻¹(p), which is the p-quantile of the
    calibration rows' F(y).
    """
    from scipy.special import ndtri

    if isotonic is None:
        return quantiles(distribution, np.asarray(ndtri(p)))
    rows = len(isotonic.values)
    check_rows_suffice(rows, math.ceil(1 / min(p, 1 - p) - 1 - 1e-9), p)
    return quantiles(distribution, np.quantile(isotonic.values, p, axis=0, method="weibull"))


def interval(
    distribution: tfd.Distribution, level: float, calibrations: dict[str, Calibration]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [B, ...] of the prediction interval, conformal if the model is calibrated so.

    Raises:
        ValueError: if the calibration has too few rows for the level, or "cqr" was made for another one.
    """
    found = calibrations.get("conformal")
    if found is None:
        return central_interval(distribution, level, isotonic_of(calibrations))
    q = conformal_quantile(found.values, level)
    if found.method == "cqr":
        if not math.isclose(level, found.level, abs_tol=1e-9):
            raise ValueError(
                f"Invalid `level`: expected {found.level:g}, for which the model was calibrated by method 'cqr'. "
                f"Received: level={level}. Calibrate for this level, or by 'normalized', which serves every level."
            )
        low, high = central_interval(distribution, level, isotonic_of(calibrations))
    else:
        mean, std = moments(distribution).swapaxes(0, 1)
        low, high, q = mean, mean, q if found.method == "absolute" else q * std
    low, high = low - q, high + q
    middle = (low + high) / 2  # a negative q may make the interval empty
    return np.minimum(low, middle), np.maximum(high, middle)


def isotonic_of(calibrations: dict[str, Calibration]) -> Calibration | None:
    """Return the isotonic recalibration among a model's calibrations; None if there is none."""
    found = calibrations.get("recalibration")
    return found if found is not None and found.method == "isotonic" else None


def scores_of_classes(probs: np.ndarray, method: str, seed) -> np.ndarray:
    """Return the score of every class of new rows, [..., C], by "aps" or "lac"."""
    return class_scores(probs, method, _uniform(probs, seed, 1))


def prediction_set(probs: np.ndarray, level: float, conformal: Calibration | None, seed) -> np.ndarray:
    """Return which classes are in the prediction set, [..., C], conformal if a calibration is given.

    Without one, the set holds the most probable classes, as few as have the probability `level` together.

    Args:
        probs: class probabilities of all rows, [..., C].
        level: of the set.
        conformal: the calibration, or None.
        seed: of the random numbers of "aps".
    """
    if conformal is None:
        return class_scores(probs, "aps", np.zeros(probs.shape[:-1])) < level
    scores = scores_of_classes(probs, conformal.method, seed)
    return scores <= conformal_quantile(conformal.values, level)[..., np.newaxis]


def with_spread(distribution: tfd.Distribution, factor, draws_axis: int) -> tfd.Distribution:
    """Return the distribution with all deviations from the predictive mean multiplied by a factor.

    Args:
        distribution: the likelihoods of the draws.
        factor: s > 0.
        draws_axis: axis of the batch that holds the draws, whose mean is the predictive mean.

    Raises:
        ValueError: if the distribution is not of a family of location and scale.
    """
    if isinstance(distribution, tfd.Independent):
        inner = with_spread(distribution.distribution, factor, draws_axis)
        return tfd.Independent(inner, distribution.reinterpreted_batch_ndims)
    if not isinstance(distribution, _LOCATION_SCALE):
        raise ValueError(
            "Invalid `method`: expected another than 'spread', which needs a likelihood among "
            f"{[cls.__name__ for cls in _LOCATION_SCALE]}. Received: a {distribution.name} likelihood. Use 'isotonic'."
        )
    given: Any = distribution
    centre = tf.reduce_mean(given.loc, axis=draws_axis, keepdims=True)
    return given.copy(loc=centre + factor * (given.loc - centre), scale=factor * given.scale)


def with_temperature(distribution: tfd.Distribution, temperature: float) -> tfd.Distribution:
    """Return the distribution of classes with the logits of every draw divided by a temperature."""
    if isinstance(distribution, tfd.Independent):
        inner = with_temperature(distribution.distribution, temperature)
        return tfd.Independent(inner, distribution.reinterpreted_batch_ndims)
    given: Any = distribution
    return given.copy(logits=given.logits_parameter() / temperature, probs=None)


def recalibrated(
    distribution: tfd.Distribution, calibrations: dict[str, Calibration], draws_axis: int
) -> tfd.Distribution:
    """Return the distribution with the temperature or the spread of a model's calibrations, if there is one.

    Args:
        distribution: the likelihoods of the draws, in units of the targets.
        calibrations: the model's.
        draws_axis: axis of the batch that holds the draws.
    """
    found = calibrations.get("recalibration")
    if found is None or found.method == "isotonic":
        return distribution
    return _changed(found.method, distribution, float(found.values), draws_axis)


def _changed(method: str, distribution: tfd.Distribution, factor: float, draws_axis: int) -> tfd.Distribution:
    if method == "temperature":
        return with_temperature(distribution, factor)
    return with_spread(distribution, factor, draws_axis)


def _factor(method: str, y: np.ndarray, by_rows: ByRows) -> float:
    """Return the temperature or spread in [0.001, 1000] that minimises the negative log-likelihood of the rows."""
    from scipy.optimize import minimize_scalar

    blocks: list[tuple[tfd.Distribution, np.ndarray]] = []

    def keep(distribution: tfd.Distribution, rows: slice) -> np.ndarray:
        blocks.append((distribution, y[rows]))
        return np.zeros(1)

    by_rows(keep)

    def nll(log_factor: float) -> float:
        factor = math.exp(log_factor)
        return sum(nll_sum(_changed(method, block, factor, 0), target) for block, target in blocks) / len(y)

    bounds = [math.log(bound) for bound in _RANGE]
    search: Any = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(min([0.0, float(search.x)], key=nll))


def moments(distribution: tfd.Distribution, _rows: slice | None = None) -> np.ndarray:
    """Return the predictive mean and standard deviation of each row, [B, 2, ...]."""
    mean = tf.reduce_mean(metrics.mean(distribution), axis=0).numpy()
    return np.stack([mean, np.sqrt(metrics.uncertainty(distribution).total)], axis=1)


def class_probabilities(distribution: tfd.Distribution, _rows: slice | None = None) -> np.ndarray:
    """Return the predictive probabilities of classes, [B, C] or [B, K, 2].

    Raises:
        ValueError: if the targets are not classes.
    """
    probs = probabilities(distribution)
    if probs is None:
        raise ValueError(
            f"Invalid likelihood: expected one of classes for prediction sets. Received: {distribution.name}. "
            "Use `interval`."
        )
    return tf.reduce_mean(probs, axis=0).numpy().astype(np.float64)


def _uniform(probs: np.ndarray, seed, stream: int) -> np.ndarray:
    return np.random.default_rng(host_seed(seed, stream)).random(probs.shape[:-1])
