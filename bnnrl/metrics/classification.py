"""Metrics of class probabilities, in float64.

Throughout, `labels` [N] are integers from 0 to C − 1, and `probs` the predictive probabilities [N, C], or [N] of y = 1
for two classes. The predicted class is the likeliest, the first of equals. Every function raises ValueError if there
are no rows, shapes do not fit, a label is no class, or the probabilities are not finite, are logits (below 0 or above
1) or do not add up to 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bnnrl.metrics._checks import check_classes, check_targets

# scikit-learn takes a second to import, which only those who call its functions should wait for.


def accuracy(labels, probs) -> float:
    """Return the share of rows [N] whose likeliest class is their label, in [0, 1].

    Raises:
        ValueError: see the module.
    """
    labels, probs = check_classes(labels, probs)
    return float(np.mean(probs.argmax(axis=1) == labels))


def nll(labels, probs) -> float:
    """Return −mean log p(label) over the rows [N], in nats.

    It is infinite if a row gives its own class probability 0; scikit-learn's `log_loss` clips there.

    Source: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 2007.

    Raises:
        ValueError: see the module.
    """
    labels, probs = check_classes(labels, probs)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(probs[np.arange(len(labels)), labels])))


def brier(labels, probs) -> float:
    """Return the Brier score, a mean over the rows [N], 0 being perfect.

    Of probs [N, C] it is Σ_c (p_c − 1[label = c])², in [0, 2]; of probs [N] it is (p − y)², in [0, 1], half as much.

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
    """Return the area under the ROC curve, in [0, 1], 0.5 being chance; for C > 2 one against the rest, macro average.

    Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006; computed by scikit-learn.

    Raises:
        ValueError: see the module; and if a class has no row, as it then has no area.
    """
    from sklearn.metrics import roc_auc_score

    labels, probs = check_classes(labels, probs)
    missing = np.setdiff1d(np.arange(probs.shape[1]), labels)
    if len(missing):
        raise ValueError(
            f"Invalid `labels`: expected at least one row of each of the {probs.shape[1]} classes. "
            f"Received: none of class {missing[0]}. Score the classes that occur one by one."
        )
    return float(np.mean([roc_auc_score(labels == c, probs[:, c]) for c in range(probs.shape[1])]))


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each class, [C], in [0, 1]; and the number of rows of it, [C]."""

    precision: np.ndarray  # share of the rows predicted to be of the class that are; 0 if there are none
    recall: np.ndarray  # share of the class's rows that are found; 0 if there are none
    f1: np.ndarray  # their harmonic mean
    support: np.ndarray

    @property
    def macro(self) -> tuple[float, float, float]:
        """Precision, recall and F1, each averaged over the classes with equal weights."""
        return float(self.precision.mean()), float(self.recall.mean()), float(self.f1.mean())


def precision_recall_f1(labels, probs) -> ClassScores:
    """Return precision, recall, F1 and support, each [C], and their macro averages as `.macro`.

    Source: van Rijsbergen, "Information Retrieval", 1979; computed by scikit-learn.

    Raises:
        ValueError: see the module.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, probs = check_classes(labels, probs)
    classes = np.arange(probs.shape[1])
    none: Any = 0  # scikit-learn's own annotation says str
    found = precision_recall_fscore_support(labels, probs.argmax(axis=1), labels=classes, zero_division=none)
    return ClassScores(*map(np.asarray, found))


def confusion_matrix(labels, probs) -> np.ndarray:
    """Return the number of rows by label (first axis) and predicted class (second), [C, C]; computed by scikit-learn.

    Raises:
        ValueError: see the module.
    """
    from sklearn.metrics import confusion_matrix as count

    labels, probs = check_classes(labels, probs)
    return count(labels, probs.argmax(axis=1), labels=np.arange(probs.shape[1]))


def ood_auroc(uncertainty_in, uncertainty_out) -> float:
    """Return the AUROC of telling out-of-distribution rows from others by their uncertainty, in [0, 1].

    It is the probability that a row from outside is the more uncertain of the two, ties counting half: 1 if all are
    told apart, 0.5 if the uncertainty knows nothing. The epistemic part is the one that ought to.

    Source: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017.

    Args:
        uncertainty_in: of rows like the training data, [N], in any units.
        uncertainty_out: of rows unlike them, [M], in the same units.

    Raises:
        ValueError: if either has no rows, is not one number a row, or is not finite.
    """
    from sklearn.metrics import roc_auc_score

    both = [check_targets("uncertainty_in", uncertainty_in), check_targets("uncertainty_out", uncertainty_out)]
    for name, part in zip(("uncertainty_in", "uncertainty_out"), both, strict=True):
        if part.ndim != 1:
            raise ValueError(
                f"Invalid `{name}`: expected one number a row, shape [N]. Received: shape {part.shape}. "
                "Sum over the entries of a row first."
            )
    return float(roc_auc_score(np.repeat([0, 1], [len(part) for part in both]), np.concatenate(both)))
