"""Calibration of class probabilities: reliability diagrams, expected calibration errors, temperature scaling.

`labels` [N] and `probs` [N, C] or [N] are those of `bnnrl.metrics.classification`, with the same checks. The confidence
of a row is the probability of its most probable class.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from bnnrl.checks import check_count, check_fields, check_flag, check_positive
from bnnrl.data import check_rows
from bnnrl.metrics._checks import SUM_TOLERANCE, check_classes, check_labels, check_probs

_LOWEST, _HIGHEST = 1e-3, 1e3  # range of temperatures that `TemperatureScaling.fit` searches


class Reliability(NamedTuple):
    """Rows binned by confidence: the R bins that are not empty, in increasing order of confidence."""

    confidence: np.ndarray  # mean confidence in each bin, [R]
    accuracy: np.ndarray  # share of rows in each bin whose most probable class is their label, [R]
    count: np.ndarray  # number of rows in each bin, [R]

    @property
    def error(self) -> float:
        """Expected calibration error Σ_r (count_r / N) |accuracy_r − confidence_r|, in [0, 1]."""
        return float(np.sum(self.count * np.abs(self.accuracy - self.confidence)) / np.sum(self.count))


def reliability_curve(labels, probs, bins: int = 15, adaptive: bool = False) -> Reliability:
    """Return mean confidence, accuracy and number of rows of each bin, for a reliability diagram.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        labels: class indices, [N].
        probs: class probabilities [N, C], or probabilities of y = 1, [N].
        bins: number of bins, including empty ones.
        adaptive: False for bins of equal width, ((r − 1) / bins, r / bins]. True for bins with equal numbers of rows;
            rows of the same confidence then share a bin.

    Raises:
        ValueError: see the module; also if `bins` is less than 1.
    """
    labels, probs = check_classes(labels, probs)
    return bin_by_confidence(probs.argmax(axis=1) == labels, probs.max(axis=1), check_count("bins", bins), adaptive)


def bin_by_confidence(
    hit: np.ndarray,
    confidence: np.ndarray,
    bins: int = 15,
    adaptive: bool = False,
    weight: np.ndarray | None = None,
) -> Reliability:
    """Return the reliability of rows with `hit` [N], whether they are correct, and `confidence` [N]; without checks.

    Rows may have weights [N], whose sums then take the place of numbers of rows.
    """
    if adaptive:
        bins = min(bins, len(confidence))
        ends = np.sort(confidence)[np.arange(1, bins) * len(confidence) // bins - 1]
    else:
        ends = np.linspace(0, 1, bins + 1)[1:-1]
    index = np.searchsorted(ends, confidence)  # a bin contains its upper end
    count = np.bincount(index, weight, bins)
    kept = count > 0
    mean = lambda values: np.bincount(index, values if weight is None else weight * values, bins)[kept] / count[kept]
    return Reliability(mean(confidence.astype(np.float64)), mean(hit), count[kept])


def ece(labels, probs, bins: int = 15) -> float:
    """Return the expected calibration error (ECE) with bins of equal width, in [0, 1]; 0 is perfect calibration.

    For N rows, even a calibrated predictive distribution has a positive error, of at most about 0.4 √(bins / N).

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015; Guo et al. 2017.

    Raises:
        ValueError: as `reliability_curve`.
    """
    return reliability_curve(labels, probs, bins).error


def adaptive_ece(labels, probs, bins: int = 15) -> float:
    """Return the expected calibration error with bins of equal numbers of rows, in [0, 1]; 0 is perfect calibration.

    With bins of equal width, most rows of a confident network are in the last bin. These bins divide them.

    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", EMNLP 2015; Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.

    Raises:
        ValueError: as `reliability_curve`.
    """
    return reliability_curve(labels, probs, bins, adaptive=True).error


@dataclass(frozen=True)
class TemperatureScaling:
    """Temperature scaling p_T ∝ exp(z / T) of logits z, with one temperature T for all rows and classes.

    For probabilities p, p_T ∝ p^(1/T). T > 1 makes predictions less confident. The most probable class stays the same.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        temperature: T > 0.
        from_logits: True if the outputs given to `transform` are logits or log-probabilities, False for probabilities.

    Raises:
        ValueError: if the temperature is not a positive finite number.
    """

    temperature: float
    from_logits: bool = True

    def __post_init__(self):
        check_fields(self, temperature=check_positive, from_logits=check_flag)

    @classmethod
    def fit(cls, outputs, labels, from_logits: bool = True) -> Self:
        """Return the scaling with the T in [0.001, 1000] that minimizes the negative log-likelihood of the labels.

        Args:
            outputs: outputs for validation rows, which the network was not trained on: logits or log-probabilities
                [N, C], or logits [N] of y = 1. With `from_logits=False`, probabilities [N, C], or [N] of y = 1.
            labels: class indices, [N].
            from_logits: True if `outputs`, here and in `transform`, are logits or log-probabilities.

        Raises:
            ValueError: if there are no rows, shapes do not match, a label is not a class, a value is not finite,
                `outputs` contradicts `from_logits`, or a row gives its label probability 0.
        """
        from scipy.optimize import minimize_scalar

        logits = _to_logits(outputs, from_logits)
        if from_logits and np.ndim(outputs) == 1 and np.all((logits >= 0) & (logits <= 1)):
            raise ValueError(_NO_LOGITS + "If they are logits, pass them as [N, 2] with zeros in the first column.")
        labels = check_labels(labels, logits.shape)
        own = logits[np.arange(len(labels)), labels]
        if not np.isfinite(own).all():
            raise ValueError(
                "Invalid `outputs`: expected a positive probability for the label of each row. "
                f"Received: 0 in row {np.argmin(own)}. Pass logits, or clip the probabilities."
            )

        def nll(log_temperature: float) -> float:
            return -float(np.mean(_log_softmax(logits * np.exp(-log_temperature))[np.arange(len(labels)), labels]))

        # The loss is convex in 1/T, so as a function of log T it has at most one local minimum, or falls to a bound.
        bounds = np.log([_LOWEST, _HIGHEST]).tolist()
        search: Any = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-7})
        found = min([0.0, *bounds, float(search.x)], key=nll)  # `min` returns the first of equals
        if found in bounds:
            warnings.warn(
                f"The temperature is at its bound, {np.exp(found):.3g}: the {len(labels)} validation rows are all "
                "predicted right, or no better than by chance. Use other or more rows.",
                stacklevel=2,
            )
        return cls(float(np.exp(found)), from_logits)

    def transform(self, outputs) -> np.ndarray:
        """Return the probabilities at temperature T, [N, C], or [N] of y = 1 if `outputs` is [N].

        Raises:
            ValueError: if there are no rows, an output is not finite, or outputs contradict `from_logits`.
                Probabilities given as logits are not detected for shape [N] and for a single row.
        """
        probs = np.exp(_log_softmax(_to_logits(outputs, self.from_logits) / self.temperature))
        return probs[:, 1] if np.ndim(outputs) == 1 else probs


_NO_LOGITS = (
    "Invalid `outputs`: expected logits or log-probabilities. Received: values in [0, 1] that look like "
    "probabilities. Pass `from_logits=False`. "
)


def _to_logits(outputs, from_logits: bool) -> np.ndarray:
    """Return outputs as float64 logits [N, C], −∞ for a probability of 0, or raise ValueError."""
    if not from_logits:
        with np.errstate(divide="ignore"):
            return np.log(check_probs(outputs, "outputs"))
    logits = check_rows("outputs", outputs).astype(np.float64)
    if logits.ndim == 1:
        return np.stack([np.zeros_like(logits), logits], axis=1)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            "Invalid `outputs`: expected logits [N, C] of C >= 2 classes, or [N] of y = 1. "
            f"Received: shape {logits.shape}. For a single column, pass `outputs[:, 0]`."
        )
    sums_to_one = np.all(np.abs(logits.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if (
        len(logits) > 1 and sums_to_one and np.all((logits >= 0) & (logits <= 1))
    ):  # logits of a single row may sum to 1 by chance
        raise ValueError(_NO_LOGITS)
    return logits


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities [N, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
