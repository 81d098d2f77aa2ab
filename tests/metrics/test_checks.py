"""Invalid arguments of metrics are refused with a message."""

import re

import numpy as np
import pytest

from bnnrl import metrics
from bnnrl.metrics import TemperatureScaling
from tests.metrics.cases import LABELS, PROBS

CLASS_METRICS = [
    metrics.accuracy,
    metrics.nll,
    metrics.brier,
    metrics.auroc,
    metrics.precision_recall_f1,
    metrics.confusion_matrix,
    metrics.reliability_curve,
    metrics.ece,
    metrics.adaptive_ece,
]


@pytest.mark.parametrize("metric", CLASS_METRICS)
@pytest.mark.parametrize(
    ("labels", "probs", "message"),
    [
        ([0, 3], [[0.5, 0.3, 0.2]] * 2, "`labels`: expected integers from 0 to 2. Received: 3 in row 1"),
        ([-1, 0], [0.5, 0.5], "`labels`: expected integers from 0 to 1. Received: -1 in row 0"),
        ([0, 0.5], [0.5, 0.5], "Received: 0.5 in row 1"),
        ([0, 1, 1], [0.5, 0.5], "`labels`: expected shape (2,)"),
        (np.eye(2), np.eye(2), "For one-hot labels, pass `labels.argmax(axis=1)`"),
        ([0, 1], [[0.5, 0.5], [2.0, -1.0]], "`probs`: expected probabilities in [0, 1]. Received: 2.0 in row 1"),
        ([0, 1], [-0.2, 0.3], "If these are logits, apply the softmax first, or the sigmoid for shape [N]"),
        ([0, 1], [[0.5, 0.5], [0.9, 0.8]], "add up to 1. Received: a sum of 1.7 in row 1"),
        ([0, 1], [[0.5], [0.5]], "For a single column, pass `probs[:, 0]`"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "`probs`: expected finite values. Received: NaN or infinity in 1 of 2"),
        ([0, np.nan], [0.5, 0.5], "the first of them row 1"),
        ([], np.zeros((0, 2)), "`probs`: expected at least one row"),
        (["a", "b"], [0.5, 0.5], "`labels`: expected numbers"),
    ],
)
def test_bad_classes_are_refused(metric, labels, probs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric(labels, probs)


Y, ONES = np.arange(4.0), np.ones(4)
SAMPLES = np.ones((50, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.rmse(Y, np.ones((4, 4))), "`mean`: expected shape (4,), that of the targets. Received: shape"),
        (lambda: metrics.mae(Y, ONES[:3]), "`mean`: expected shape (4,)"),
        (lambda: metrics.rmse([], []), "`y`: expected at least one row"),
        (lambda: metrics.rmse([0, np.nan, 1], ONES[:3]), "in 1 of 3 rows, the first of them row 1"),
        (lambda: metrics.r2(ONES, Y), "targets that vary"),
        (lambda: metrics.r2([1.0], [1.0]), "targets that vary"),
        (lambda: metrics.crps(Y, SAMPLES[:1]), "at least 2 draws S for the fair estimator. Received: shape (1, 4)"),
        (lambda: metrics.crps(Y, SAMPLES.T), "expected shape [S, *(4,)], draws S first"),
        (lambda: metrics.crps(Y, ONES), "`samples`: expected shape [S, N, ...]"),
        (lambda: metrics.crps(Y, np.where(np.arange(4) == 2, np.inf, SAMPLES)), "the first of them row 2"),
        (lambda: metrics.crps_gaussian(Y, ONES, Y), "`std`: expected positive standard deviations. Received: 0.0 in"),
        (lambda: metrics.interval(SAMPLES, 95), "`level`: expected numbers between 0 and 1. Received: 95. Write 95 %"),
        (lambda: metrics.interval(SAMPLES[:38]), "at least 39 draws S for an interval of level 0.95"),
        (lambda: metrics.interval_gaussian(ONES, -ONES), "`std`: expected positive"),
        (
            lambda: metrics.picp(Y, ONES, -ONES),
            "`high`: expected upper ends at or above the lower ends. Received: -1.0",
        ),
        (lambda: metrics.interval_width(ONES, ONES[:2]), "`high`: expected shape (4,)"),
        (lambda: metrics.quantile_calibration(Y, SAMPLES[:8], [0.1]), "at least 9 draws"),
        (
            lambda: metrics.quantile_calibration_gaussian(Y, ONES, ONES, [0.0, 0.5]),
            "`levels`: expected numbers between",
        ),
        (lambda: metrics.ood_auroc(Y, np.ones((4, 2))), "`uncertainty_out`: expected one number for each row"),
        (lambda: metrics.ood_auroc(Y, []), "`uncertainty_out`: expected at least one row"),
        (
            lambda: metrics.auroc([0, 1], PROBS[:2]),
            "each of the 3 classes. Received: none of class 2",
        ),
        (lambda: metrics.ece([0], [0.5], bins=0), "`bins`: expected an integer of at least 1"),
        (lambda: TemperatureScaling(0.0), "`temperature`: expected a positive finite number"),
        (lambda: TemperatureScaling.fit(PROBS, LABELS), "look like probabilities. Pass `from_logits=False`"),
        (lambda: TemperatureScaling.fit([0.2, 0.9], [0, 1]), "look like probabilities. Pass `from_logits=False`"),
        (lambda: TemperatureScaling(2.0).transform(PROBS), "look like probabilities. Pass `from_logits=False`"),
        (lambda: TemperatureScaling(2.0, from_logits=False).transform(3 * PROBS), "If these are logits"),
        (lambda: TemperatureScaling.fit(np.log(PROBS), [0, 1, 2, 3]), "`labels`: expected integers from 0 to 2"),
        (lambda: TemperatureScaling.fit(np.log(PROBS), [0, 1]), "`labels`: expected shape (4,)"),
        (lambda: TemperatureScaling.fit([[1.0, np.nan]], [0]), "`outputs`: expected finite values"),
        (lambda: TemperatureScaling.fit([[1.0], [2.0]], [0, 0]), "For a single column, pass `outputs[:, 0]`"),
        (lambda: TemperatureScaling.fit(np.eye(2), [0, 0], from_logits=False), "Received: 0 in row 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
