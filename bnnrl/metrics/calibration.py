"""Calibration of class probabilities: reliability, its expected error, and the temperature that mends it.

`labels` [N] and `probs` [N, C] or [N] are as in `bnnrl.metrics.classification`, and refused where they are there.
The confidence of a row is the probability of its likeliest class, for two classes with probs [N] too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from bnnrl.checks import check_count, check_positive
from bnnrl.data import check_rows
from bnnrl.metrics._checks import SUM_TOLERANCE, check_classes, check_labels, check_probs

_LOWEST, _HIGHEST = 1e-3, 1e3  # temperatures


class Reliability(NamedTuple):
    """Rows binned by confidence; the R bins that hold any, from the least confident to the most."""

    confidence: np.ndarray  # mean in each bin, [R]
    accuracy: np.ndarray  # share of the bin's rows whose likeliest class is their label, [R]
    count: np.ndarray  # rows in the bin, [R]

    @property
    def error(self) -> float:
        """Σ_r (count_r / N) |accuracy_r − confidence_r|, in [0, 1]."""
        return float(np.sum(self.count * np.abs(self.accuracy - self.confidence)) / np.sum(self.count))


def reliability_curve(labels, probs, bins: int = 15, adaptive: bool = False) -> Reliability:
    """Return confidence, accuracy and count by bin, [R] each, for a reliability diagram.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        labels: [N].
        probs: [N, C], or [N].
        bins: at most this many.
        adaptive: False for bins of equal width, ((r − 1) / bins, r / bins]; True for bins of equally many rows, where
            rows of the same confidence stay together.

    Raises:
        ValueError: see the module; and if `bins` is not at least 1.
    """
    labels, probs = check_classes(labels, probs)
    return bin_by_confidence(probs.argmax(axis=1) == labels, probs.max(axis=1), check_count("bins", bins), adaptive)


def bin_by_confidence(hit: np.ndarray, confidence: np.ndarray, bins: int = 15, adaptive: bool = False) -> Reliability:
    """Return the reliability of rows that are right or not, `hit` [N], with `confidence` [N]; nothing is checked."""
    if adaptive:
        bins = min(bins, len(confidence))
        ends = np.sort(confidence)[np.arange(1, bins) * len(confidence) // bins - 1]
    else:
        ends = np.linspace(0, 1, bins + 1)[1:-1]
    index = np.searchsorted(ends, confidence)  # an end belongs to the bin below it
    count = np.bincount(index, minlength=bins)
    kept = count > 0
    mean = lambda values: np.bincount(index, values, bins)[kept] / count[kept]
    return Reliability(mean(confidence.astype(np.float64)), mean(hit), count[kept])


def ece(labels, probs, bins: int = 15) -> float:
    """Return the expected calibration error with bins of equal width, in [0, 1], 0 being calibrated.

    Of finitely many rows it is positive even for a calibrated predictive, by about 0.4 √(bins / N) at most.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015; Guo et al. 2017.

    Raises:
        ValueError: as `reliability_curve`.
    """
    return reliability_curve(labels, probs, bins).error


def adaptive_ece(labels, probs, bins: int = 15) -> float:
    """Return the expected calibration error with bins of equally many rows, in [0, 1], 0 being calibrated.

    Confident networks crowd the last of the bins of equal width; these go where the rows are.

    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", EMNLP 2015; Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.

    Raises:
        ValueError: as `reliability_curve`.
    """
    return reliability_curve(labels, probs, bins, adaptive=True).error


@dataclass(frozen=True)
class TemperatureScaling:
    """p_T ∝ exp(z / T), or p^(1/T) of probabilities: one temperature T for all rows and classes, found by `fit`.

    T > 1 makes an overconfident predictive less sure, and no T > 0 changes which class is the likeliest.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        temperature: T > 0.
        from_logits: whether `transform` is given logits z or log-probabilities, else probabilities.

    Raises:
        ValueError: if the temperature is not a positive finite number.
    """

    temperature: float
    from_logits: bool = True

    def __post_init__(self):
        object.__setattr__(self, "temperature", check_positive("temperature", self.temperature))

    @classmethod
    def fit(cls, outputs, labels, from_logits: bool = True) -> Self:
        """Return the scaling whose T in [0.001, 1000] makes the labels likeliest: T = 1 is never better for them.

        Args:
            outputs: of the validation rows, never of those the network was fitted on: logits or log-probabilities
                [N, C], for two classes also the logits [N] of y = 1; with `from_logits=False` probabilities, likewise.
            labels: [N].
            from_logits: which of the two `outputs` are, here and for `transform`.

        Raises:
            ValueError: if there are no rows, shapes do not fit, a label is no class, a value is not finite, outputs
                are probabilities with `from_logits=True` or are none with `from_logits=False`, or a row gives its own
                class probability 0.
        """
        from scipy.optimize import minimize_scalar

        logits = _to_logits(outputs, from_logits)
        if from_logits and np.ndim(outputs) == 1 and np.all((logits >= 0) & (logits <= 1)):
            raise ValueError(_NO_LOGITS + "Should they be logits, pass [N, 2] of them, the first column zeros.")
        labels = check_labels(labels, logits.shape)
        own = logits[np.arange(len(labels)), labels]
        if not np.isfinite(own).all():
            raise ValueError(
                "Invalid `outputs`: expected a positive probability for each row's own class. "
                f"Received: 0 in row {np.argmin(own)}. Pass logits, or clip the probabilities."
            )

        def nll(log_temperature: float) -> float:
            return -float(np.mean(_log_softmax(logits * np.exp(-log_temperature))[np.arange(len(labels)), labels]))

        # In 1/T the loss is convex, so in log T it has one valley; or none, where it falls towards a bound.
        bounds = np.log([_LOWEST, _HIGHEST]).tolist()
        search: Any = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-7})
        found = min([0.0, *bounds, float(search.x)], key=nll)  # the first of equals
        if found in bounds:
            warnings.warn(
                f"The temperature is at its bound, {np.exp(found):.3g}: the {len(labels)} validation rows are all "
                "predicted right, or no better than by chance. Give other or more rows.",
                stacklevel=2,
            )
        return cls(float(np.exp(found)), from_logits)

    def transform(self, outputs) -> np.ndarray:
        """Return the probabilities at temperature T, [N, C]; for outputs [N] those of y = 1, [N].

        Raises:
            ValueError: if there are no rows, or outputs are not finite, or probabilities with `from_logits=True` (of
                logits [N] and of a single row that cannot be told), or none with `from_logits=False`.
        """
        probs = np.exp(_log_softmax(_to_logits(outputs, self.from_logits) / self.temperature))
        return probs[:, 1] if np.ndim(outputs) == 1 else probs


_NO_LOGITS = (
    "Invalid `outputs`: expected logits or log-probabilities. Received: values in [0, 1] that look like "
    "probabilities. Say `from_logits=False`. "
)


def _to_logits(outputs, from_logits: bool) -> np.ndarray:
    """Return logits [N, C], in float64; −∞ for a probability of 0."""
    if not from_logits:
        with np.errstate(divide="ignore"):
            return np.log(check_probs(outputs))
    logits = check_rows("outputs", outputs).astype(np.float64)
    if logits.ndim == 1:
        return np.stack([np.zeros_like(logits), logits], axis=1)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            "Invalid `outputs`: expected logits [N, C] of C >= 2 classes, or [N] of y = 1. "
            f"Received: shape {logits.shape}. Of a single column pass `outputs[:, 0]`."
        )
    sums_to_one = np.all(np.abs(logits.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if len(logits) > 1 and sums_to_one and np.all((logits >= 0) & (logits <= 1)):  # one row may do so by chance
        raise ValueError(_NO_LOGITS)
    return logits


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
