"""Calibration errors and temperature scaling, against values by hand and simulation."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from bnnrl import metrics
from bnnrl.metrics import TemperatureScaling
from tests.metrics.cases import random_classes, rng


def test_reliability_by_hand():
    p = np.array([0.95, 0.85, 0.85, 0.65, 0.6, 0.4])  # 0.6 ends its bin, and 0.4 of y = 1 is 0.6 of y = 0
    curve = metrics.reliability_curve([1, 1, 0, 1, 0, 0], p, bins=10)
    np.testing.assert_allclose(curve.confidence, [0.6, 0.65, 0.85, 0.95])
    np.testing.assert_allclose(curve.accuracy, [0.5, 1, 0.5, 1])
    np.testing.assert_array_equal(curve.count, [2, 1, 2, 1])
    assert metrics.ece([1, 1, 0, 1, 0, 0], p, bins=10) == pytest.approx((2 * 0.1 + 0.35 + 2 * 0.35 + 0.05) / 6)
    thirds = metrics.reliability_curve([1, 1, 0, 1, 0, 0], p, bins=3, adaptive=True)
    np.testing.assert_array_equal(thirds.count, [2, 3, 1])  # 0.65 and both of 0.85, which stay together
    np.testing.assert_allclose(thirds.accuracy, [0.5, 2 / 3, 1])
    expected = (2 * 0.1 + 3 * abs(2 / 3 - 2.35 / 3) + 0.05) / 6
    assert metrics.adaptive_ece([1, 1, 0, 1, 0, 0], p, bins=3) == pytest.approx(expected)


def test_adaptive_bins_hold_equally_many_rows_in_any_order():
    labels, probs = random_classes(n=1003)
    curve = metrics.reliability_curve(labels, probs, adaptive=True)
    assert curve.count.sum() == 1003 and set(curve.count) == {66, 67} and np.all(np.diff(curve.confidence) > 0)
    order = rng(5).permutation(1003)
    same = np.full((1003, 2), [0.9, 0.1])
    for p in (probs, same):
        known = labels % p.shape[1]
        assert metrics.adaptive_ece(known, p) == pytest.approx(metrics.adaptive_ece(known[order], p[order]), abs=1e-12)
    assert metrics.adaptive_ece(labels[:4], probs[:4], bins=50) == metrics.adaptive_ece(labels[:4], probs[:4], bins=4)


@pytest.mark.parametrize("metric", [metrics.ece, metrics.adaptive_ece])
def test_calibration_error_of_known_predictives(metric):
    n, bins = 100_000, 15
    confidence = rng(0).uniform(0.5, 1.0, n)
    hit = rng(1).uniform(size=n) < confidence
    assert metric(hit, confidence, bins) < 0.4 * np.sqrt(bins / n) * 1.5  # Σ_r (n_r / N) √(2/π) ½ / √n_r at most
    over = 0.75 + confidence / 4  # says 0.875 to 1 where 0.5 to 1 is right: E |1.5 − 1.5 c| / 2 over c is 0.1875
    expected = np.mean(over - confidence)
    assert metric(hit, over, bins) == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(n))


def simulated(temperature, n=20_000, classes=4, seed=0):
    """Return logits that are `temperature` times those the labels are drawn from, and the labels."""
    true = 2 * rng(seed).normal(size=(n, classes))
    labels = np.argmax(true + rng(seed + 1).gumbel(size=true.shape), axis=1)
    return temperature * true, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(temperature):
    logits, labels = simulated(temperature)
    forms = {"logits": logits, "log-probabilities": log_softmax(logits, axis=1)}
    found = [TemperatureScaling.fit(outputs, labels) for outputs in forms.values()]
    found.append(TemperatureScaling.fit(softmax(logits, axis=1), labels, from_logits=False))
    for scaling in found:
        assert scaling.temperature == pytest.approx(temperature, rel=0.05)
        assert scaling.temperature == pytest.approx(found[0].temperature, rel=1e-5)
    probs = found[0].transform(logits)
    np.testing.assert_allclose(probs, softmax(logits / found[0].temperature, axis=1), rtol=1e-10)
    np.testing.assert_allclose(found[2].transform(softmax(logits, axis=1)), probs, rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(probs.argmax(axis=1), logits.argmax(axis=1))
    assert metrics.ece(labels, probs) < 0.4 * np.sqrt(15 / 20_000) * 1.5


def test_temperature_of_two_classes_by_one_logit():
    logits = 3 * rng(0).normal(size=20_000)
    labels = rng(1).uniform(size=20_000) < 1 / (1 + np.exp(-logits / 2))
    scaling = TemperatureScaling.fit(logits, labels)
    assert scaling.temperature == pytest.approx(2.0, rel=0.05)
    np.testing.assert_allclose(scaling.transform(logits), 1 / (1 + np.exp(-logits / scaling.temperature)), rtol=1e-10)
    probs = 1 / (1 + np.exp(-logits))
    by_probs = TemperatureScaling.fit(probs, labels, from_logits=False)
    assert by_probs.temperature == pytest.approx(scaling.temperature, rel=1e-5)
    np.testing.assert_allclose(by_probs.transform(probs), scaling.transform(logits), rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_temperature_never_worsens_what_it_is_fitted_on(seed):
    labels, probs = random_classes(n=8, seed=seed)
    logits = np.exp(rng(seed).normal()) * np.log(probs)
    labels[0] = (logits[0].argmax() + 1) % 4  # one is wrong, so that T has a minimum
    labels[1] = logits[1].argmax()
    scaled = TemperatureScaling.fit(logits, labels).transform(logits)
    best = min(metrics.nll(labels, softmax(logits / t, axis=1)) for t in [1.0, *np.geomspace(0.01, 100, 200)])
    assert metrics.nll(labels, scaled) <= best + 1e-12


def test_temperature_without_a_minimum_warns():
    with pytest.warns(UserWarning, match="at its bound, 0.001: the 3 validation rows are all predicted right"):
        TemperatureScaling.fit(np.eye(3) * 2, [0, 1, 2])
    with pytest.warns(UserWarning, match="at its bound, 1e\\+03"):
        assert TemperatureScaling.fit(np.eye(3) * 2, [1, 2, 0]).temperature == pytest.approx(1000)
    assert TemperatureScaling.fit(np.ones((2, 3)), [0, 1]).temperature == 1.0  # all are equally good
