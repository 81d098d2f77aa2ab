"""Metrics of class probabilities, in float64.

Arguments of all functions: `labels` [N] are integers from 0 to C − 1. `probs` are predictive class probabilities
[N, C], or probabilities of y = 1, [N], for two classes. The predicted class is the most probable one, and the first of
several.

All functions raise ValueError if there are no rows, shapes do not match, a label is not a class, or probabilities are
not finite, not in [0, 1], or do not add up to 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bnnrl.metrics._checks import check_classes, check_targets

# scikit-learn takes a second to import, so only the functions that need it import it.


def accuracy(labels, probs) -> float:
    """Return the share of rows whose predicted class is their label, in [0, 1].

    Raises:
        ValueError: see the module.
    """
    labels, probs = check_classes(labels, probs)
    return float(np.mean(probs.argmax(axis=1) == labels))


def nll(labels, probs) -> float:
    """Return the negative log-likelihood −(1 / N) Σ_n log p_n(label_n), in nats.

    The score is infinite if a row gives its label probability 0; scikit-learn's `log_loss` clips such probabilities.

    Source: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 2007.

    Raises:
        ValueError: see the module.
    """
    labels, probs = check_classes(labels, probs)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(probs[np.arange(len(labels)), labels])))


def brier(labels, probs) -> float:
    """Return the Brier score, averaged over rows; 0 is perfect.

    A row's score is Σ_c (p_c − 1[label = c])², in [0, 2], for probs [N, C]. For probs [N] of y = 1 it is (p − y)², in
    [0, 1], half as much.

    Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 1950.

    Raises:
        ValueError: see the module.
    """
    halved = np.ndim(probs) == 1
    labels, probs = check_classes(labels, probs)
    own = probs[np.arange(len(labels)), labels]
    score = np.mean(np.sum(probs**2, axis=1) - own**2 + (1 - own) ** 2)
    return float(score / 2 if halved else score)


def auroc(labels, probs) -> float:
    """Return the area under the ROC curve (AUROC), in [0, 1]; 0.5 is chance.

    For more than two classes, this is the mean of the areas of each class against all others.

    Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006; computed by scikit-learn.

    Raises:
        ValueError: see the module; also if a class has no rows, because its area is then undefined.
    """
    from sklearn.metrics import roc_auc_score

    labels, probs = check_classes(labels, probs)
    missing = np.setdiff1d(np.arange(probs.shape[1]), labels)
    if len(missing):
        raise ValueError(
            f"Invalid `labels`: expected at least one row of each of the {probs.shape[1]} classes. "
            f"Received: none of class {missing[0]}. Score each of the other classes on its own."
        )
    return float(np.mean([roc_auc_score(labels == c, probs[:, c]) for c in range(probs.shape[1])]))


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each class, [C], in [0, 1], and its number of rows, [C]."""

    precision: np.ndarray  # TP / (TP + FP); 0 if no row is predicted to be of the class
    recall: np.ndarray  # TP / (TP + FN); 0 if the class has no rows
    f1: np.ndarray  # harmonic mean of precision and recall
    support: np.ndarray  # number of rows

    @property
    def macro(self) -> tuple[float, float, float]:
        """Precision, recall and F1, each averaged over the classes with equal weights."""
        return float(self.precision.mean()), float(self.recall.mean()), float(self.f1.mean())


def precision_recall_f1(labels, probs) -> ClassScores:
    """Return precision, recall, F1 and support of each class; the macro averages are the property `macro`.

    Source: van Rijsbergen, "Information Retrieval", 1979; computed by scikit-learn.

    Raises:
        ValueError: see the module.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, probs = check_classes(labels, probs)
    classes = np.arange(probs.shape[1])
    none: Any = 0  # scikit-learn annotates the argument as str
    found = precision_recall_fscore_support(labels, probs.argmax(axis=1), labels=classes, zero_division=none)
    return ClassScores(*map(np.asarray, found))


def confusion_matrix(labels, probs) -> np.ndarray:
    """Return the number of rows by label (first axis) and predicted class (second axis), [C, C].

    Raises:
        ValueError: see the module.
    """
    from sklearn.metrics import confusion_matrix as count

    labels, probs = check_classes(labels, probs)
    return count(labels, probs.argmax(axis=1), labels=np.arange(probs.shape[1]))


def ood_auroc(uncertainty_in, uncertainty_out) -> float:
    """Return the AUROC of the detection of out-of-distribution rows by their uncertainty, in [0, 1].

    The score is the probability that a random out-of-distribution row is more uncertain than a random row in
    distribution, where ties count half: 1 for perfect detection, 0.5 for chance. The epistemic uncertainty is the one
    to use.

    Source: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017.

    Args:
        uncertainty_in: uncertainty of rows in distribution, [N], in any unit.
        uncertainty_out: uncertainty of out-of-distribution rows, [M], in the same unit.

    Raises:
        ValueError: if an array has no rows, more than one number for each row, or a value that is not finite.
    """
    from sklearn.metrics import roc_auc_score

    both = [check_targets("uncertainty_in", uncertainty_in), check_targets("uncertainty_out", uncertainty_out)]
    for name, part in zip(("uncertainty_in", "uncertainty_out"), both, strict=True):
        if part.ndim != 1:
            raise ValueError(
                f"Invalid `{name}`: expected one number for each row, shape [N]. Received: shape {part.shape}. "
                "Sum over the entries of a row first."
            )
    return float(roc_auc_score(np.repeat([0, 1], [len(part) for part in both]), np.concatenate(both)))
