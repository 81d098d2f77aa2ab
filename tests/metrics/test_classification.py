"""Metrics of class probabilities, against values by hand and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as sk

from bnnrl import metrics
from tests.metrics.cases import LABELS, PROBS, random_classes, rng


def test_class_metrics_by_hand():
    assert metrics.accuracy(LABELS, PROBS) == 0.5
    assert metrics.nll(LABELS, PROBS) == pytest.approx(-np.mean(np.log([0.7, 0.3, 0.6, 0.1])))
    rows = [0.09 + 0.04 + 0.01, 0.25 + 0.49 + 0.04, 0.04 + 0.04 + 0.16, 0.01 + 0.64 + 0.81]
    assert metrics.brier(LABELS, PROBS) == pytest.approx(np.mean(rows))
    np.testing.assert_array_equal(metrics.confusion_matrix(LABELS, PROBS), [[1, 0, 0], [1, 0, 0], [0, 1, 1]])
    found = metrics.precision_recall_f1(LABELS, PROBS)
    np.testing.assert_allclose(found.precision, [0.5, 0, 1])
    np.testing.assert_allclose(found.recall, [1, 0, 0.5])
    np.testing.assert_allclose(found.f1, [2 / 3, 0, 2 / 3])
    np.testing.assert_array_equal(found.support, [1, 1, 2])
    assert found.macro == pytest.approx((0.5, 0.5, 4 / 9))
    assert metrics.nll([1], [[1.0, 0.0]]) == np.inf


def test_class_metrics_are_those_of_scikit_learn():
    labels, probs = random_classes()
    assert metrics.accuracy(labels, probs) == sk.accuracy_score(labels, probs.argmax(axis=1))
    assert metrics.nll(labels, probs) == pytest.approx(sk.log_loss(labels, probs), rel=1e-12)
    assert metrics.brier(labels, probs) == pytest.approx(np.mean(np.sum((probs - np.eye(4)[labels]) ** 2, 1)))
    assert metrics.auroc(labels, probs) == pytest.approx(sk.roc_auc_score(labels, probs, multi_class="ovr"))
    f1 = sk.f1_score(labels, probs.argmax(axis=1), average="macro")
    assert metrics.precision_recall_f1(labels, probs).macro[2] == pytest.approx(f1)


def test_two_classes_by_one_probability():
    labels, p = rng(0).integers(0, 2, 300), rng(1).uniform(size=300)
    both = np.stack([1 - p, p], axis=1)
    assert metrics.brier(labels, p) == pytest.approx(sk.brier_score_loss(labels, p), rel=1e-12)
    assert metrics.brier(labels, both) == pytest.approx(2 * metrics.brier(labels, p), rel=1e-12)
    assert metrics.nll(labels, p) == pytest.approx(sk.log_loss(labels, p), rel=1e-12)
    for metric in (metrics.accuracy, metrics.nll, metrics.auroc, metrics.ece, metrics.adaptive_ece):
        assert metric(labels, p) == metric(labels, both) == metric(labels[:, None], p)
    assert metrics.auroc(labels, p) == pytest.approx(sk.roc_auc_score(labels, p), rel=1e-12)
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, p), sk.confusion_matrix(labels, p > 0.5))


def test_out_of_distribution():
    assert metrics.ood_auroc([0.1, 0.2], [0.3, 0.4, 9.0]) == 1.0
    assert metrics.ood_auroc([1.0, 3.0], [2.0, 3.0]) == 5 / 8  # pairs: two won, one lost, one tied
    assert metrics.ood_auroc([5.0] * 3, [5.0]) == 0.5
