"""Metrics against values worked by hand, closed forms, other libraries and simulation."""

import re

import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf
from scipy import integrate, stats
from scipy.special import log_softmax, logsumexp, softmax
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from bnnrl import metrics
from bnnrl.metrics import TemperatureScaling, predictive


def rng(seed=0):
    return np.random.default_rng(seed)


def random_classes(n=200, classes=4, seed=0):
    """Return labels [N] and probabilities [N, C] that know something of them."""
    labels = rng(seed).integers(0, classes, n)
    return labels, softmax(rng(seed + 1).normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], axis=1)


# Regression.


def test_point_metrics_by_hand():
    y, mean = [1.0, 2.0, 4.0], [1.0, 3.0, 2.0]  # errors 0, −1, 2; y − ȳ = −4/3, −1/3, 5/3
    assert metrics.rmse(y, mean) == pytest.approx(np.sqrt(5 / 3))
    assert metrics.mae(y, mean) == pytest.approx(1.0)
    assert metrics.r2(y, mean) == pytest.approx(1 - 5 / (42 / 9))


@pytest.mark.parametrize("shape", [(30,), (30, 3), (30, 2, 2)])
def test_point_metrics_are_those_of_scikit_learn(shape):
    y, mean = rng(0).normal(size=shape), rng(1).normal(size=shape).astype(np.float32)
    flat = [a.reshape(30, -1) for a in (y, mean)]
    assert metrics.rmse(y, mean) == pytest.approx(sk.mean_squared_error(*flat) ** 0.5, rel=1e-12)
    assert metrics.mae(y, mean) == pytest.approx(sk.mean_absolute_error(*flat), rel=1e-12)
    assert metrics.r2(y, mean) == pytest.approx(sk.r2_score(*flat), rel=1e-12)


def test_a_last_axis_of_one_is_added_or_dropped():
    y, mean = rng(0).normal(size=9), rng(1).normal(size=9)
    samples = rng(2).normal(size=(50, 9))
    for other in (mean[:, None], mean):
        assert metrics.rmse(y, other) == metrics.rmse(y[:, None], other) == metrics.rmse(y, mean)
    for other in (samples, samples[..., None]):
        assert metrics.crps(y, other) == metrics.crps(y[:, None], other) == metrics.crps(y, samples)


@pytest.mark.parametrize(("mean", "std", "y"), [(0.0, 1.0, 0.3), (2.0, 0.5, 3.1), (-1.0, 3.0, -8.0)])
def test_crps_of_a_gaussian_is_the_integral_of_its_definition(mean, std, y):
    below = integrate.quad(lambda t: stats.norm.cdf(t, mean, std) ** 2, -np.inf, y)[0]
    above = integrate.quad(lambda t: stats.norm.sf(t, mean, std) ** 2, y, np.inf)[0]
    assert metrics.crps_gaussian([y], [mean], [std]) == pytest.approx(below + above, rel=1e-6)


def test_crps_is_the_definition_by_pairs():
    y, x = rng(0).normal(size=(5, 2)), 100 + rng(1).normal(size=(7, 5, 2))
    pairs = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (7 * 6)
    assert metrics.crps(y, x) == pytest.approx(np.mean(np.abs(x - y).mean(axis=0) - pairs / 2), rel=1e-12)
    assert metrics.crps([1.0], [[3.0], [3.0]]) == 2.0  # of a point, the absolute error


@pytest.mark.parametrize("draws", [2, 5, 100])
def test_crps_of_few_samples_is_unbiased(draws):
    scores = [metrics.crps([0.7], rng(i).normal(size=(draws, 1))) for i in range(1500)]
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - metrics.crps_gaussian([0.7], [0.0], [1.0])) < 4 * error < 0.1


def test_crps_is_least_for_the_truth():
    y = rng(0).normal(size=4000)
    best = metrics.crps_gaussian(y, 0 * y, 0 * y + 1)
    assert best == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)  # E CRPS = std / √π
    for mean, std in ((0.3, 1.0), (0.0, 1.5), (0.0, 0.6)):
        assert metrics.crps_gaussian(y, 0 * y + mean, 0 * y + std) > best + 0.01


def test_gaussian_interval_and_coverage():
    low, high = metrics.interval_gaussian([1.0, 2.0], [0.5, 1.0], level=0.95)
    np.testing.assert_allclose([low, high], stats.norm.interval(0.95, [1.0, 2.0], [0.5, 1.0]), rtol=1e-12)
    assert metrics.interval_width(low, high) == pytest.approx(2 * 1.959964 * 0.75, rel=1e-6)
    assert metrics.picp([0.0, 3.9], low, high) == 0.5
    assert metrics.picp([1.0, 2.0, 3.0, 4.0], [1, 0, 4, 0], [2, 1, 5, 4]) == 0.5  # the ends belong to it


@pytest.mark.parametrize(("level", "draws"), [(0.5, 3), (0.9, 40), (0.95, 39), (0.95, 200)])
def test_coverage_of_exact_samples_is_the_level(level, draws):
    n = 20_000
    y, samples = rng(draws).gumbel(size=n), rng(draws + 1).gumbel(size=(draws, n))
    error = np.sqrt(level * (1 - level) / n)
    assert abs(metrics.picp(y, *metrics.interval(samples, level)) - level) < 3.5 * error


def test_interval_by_hand():
    low, high = metrics.interval(np.arange(39.0)[::-1, None], 0.9)  # the 0.05 · 40 = 2nd smallest, and the 38th
    np.testing.assert_allclose([low.item(), high.item()], [1.0, 37.0], rtol=1e-12)


def test_interval_of_draws_in_order_is_that_of_draws():
    samples = rng(0).normal(size=(300, 5, 2))
    for level in (0.95, 0.9, 0.5):
        ends = predictive._ends(np.sort(samples, axis=0), level)
        np.testing.assert_allclose(ends, metrics.interval(samples, level), rtol=1e-9)


def test_quantile_calibration():
    n, levels = 8000, np.array([0.1, 0.25, 0.5, 0.9])
    y = rng(0).normal(size=n)
    error = 4 * np.sqrt(levels * (1 - levels) / n)
    right = metrics.quantile_calibration(y, rng(1).normal(size=(99, n)), levels)
    np.testing.assert_array_equal(right.expected, levels)
    assert np.all(np.abs(right.observed - levels) < error)
    half = metrics.quantile_calibration_gaussian(y, 0 * y, 0 * y + 0.5, levels)  # half as wide as the truth
    assert np.all(np.abs(half.observed - stats.norm.cdf(0.5 * stats.norm.ppf(levels))) < error)
    default = metrics.quantile_calibration_gaussian(y, 0 * y, 0 * y + 1)
    np.testing.assert_allclose(default.expected, np.arange(0.05, 0.99, 0.05))
    assert np.max(np.abs(default.observed - default.expected)) < 4 * np.sqrt(0.25 / n)


# Classification.

LABELS = np.array([0, 1, 2, 2])
PROBS = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])  # right, wrong, right, wrong


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


# Calibration.


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


# Scores of a predictive of several draws.


def mixture(components=3, rows=400, entries=2, seed=0):
    """Return a predictive of Gaussians, batch [S, B], targets drawn from it, and its locs and scales [S, B, K]."""
    loc = rng(seed).normal(size=(components, rows, entries)).astype(np.float32)
    scale = rng(seed + 1).uniform(0.2, 1.0, size=(components, 1, entries)).astype(np.float32)
    which = rng(seed + 2).integers(0, components, size=(rows, entries))
    pick = lambda a: np.take_along_axis(np.broadcast_to(a, loc.shape), which[None], axis=0)[0]
    y = (pick(loc) + pick(scale) * rng(seed + 3).normal(size=which.shape)).astype(np.float32)
    return tfd.Independent(tfd.Normal(loc, scale), 1), y, loc, scale


def exact_crps(y, loc, scale):
    """Return the CRPS of the equal mixture of N(loc, scale²), [B, K] (Grimit et al., QJRMS 2006)."""
    scale = np.broadcast_to(scale, loc.shape)

    def a(mean, std):
        z = mean / std
        return mean * (2 * stats.norm.cdf(z) - 1) + 2 * std * stats.norm.pdf(z)

    spread = np.sqrt(scale[:, None] ** 2 + scale[None] ** 2)
    return a(y - loc, scale).mean(axis=0) - a(loc[:, None] - loc[None], spread).mean(axis=(0, 1)) / 2


def test_scores_of_real_targets():
    distribution, y, loc, scale = mixture()
    scores = metrics.scores(distribution, y)
    assert list(scores) == ["nll", "rmse", "mae", "r2", "crps", "picp_95", "width_95"]
    nll = np.log(3) - logsumexp(stats.norm.logpdf(y, loc, scale).sum(axis=-1), axis=0)
    assert scores["nll"] == pytest.approx(nll.mean(), rel=1e-5)
    for name in ("rmse", "mae", "r2"):
        assert scores[name] == pytest.approx(getattr(metrics, name)(y, loc.mean(axis=0)), rel=1e-5)
    assert scores["crps"] == pytest.approx(exact_crps(y, loc, scale).mean(), rel=0.01)
    assert abs(scores["picp_95"] - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / 800)
    ends = [ppf_of_mixture(p, loc, scale) for p in (0.025, 0.975)]
    assert scores["width_95"] == pytest.approx(np.mean(ends[1] - ends[0]), rel=0.02)
    assert metrics.scores(distribution, y) == scores  # the draws have a seed


def ppf_of_mixture(p, loc, scale):
    low, high = np.full(loc.shape[1:], -9.0), np.full(loc.shape[1:], 9.0)
    for _ in range(40):
        middle = (low + high) / 2
        below = stats.norm.cdf(middle, loc, scale).mean(axis=0) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@pytest.mark.parametrize(("components", "k"), [(1, 2), (4, 2), (2, 5)])
def test_crps_of_drawn_components_is_unbiased(components, k):
    _, y, loc, scale = mixture(components, rows=20_000, entries=1)
    scale = 0.1 * scale  # so that most of a distance is that of two components
    errors = loc + scale * rng(9).normal(size=(k, *loc.shape)) - y
    ordered = np.sort(errors.reshape(k * components, *y.shape), axis=0)
    difference = predictive._mixture_crps(errors, ordered) - exact_crps(y, loc, scale)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference)) < 0.02


def test_rows_are_left_out_where_draws_would_be_too_many(monkeypatch):
    distribution, y, loc, scale = mixture(rows=501)
    whole = metrics.scores(distribution, y)
    monkeypatch.setattr(predictive, "_MAX_DRAWS", 300 * 2 * 51)
    thinned = metrics.scores(distribution, y)
    assert thinned["crps"] == pytest.approx(exact_crps(y, loc, scale)[::10].mean(), rel=0.02)
    assert thinned["picp_95"] * 102 == pytest.approx(round(thinned["picp_95"] * 102))  # 51 rows of 2 entries
    assert thinned["rmse"] == whole["rmse"] and thinned["crps"] != whole["crps"]
    counts = tfd.ZeroInflatedNegativeBinomial(inflated_loc_logits=loc, total_count=3.0, logits=loc)
    assert "crps" not in metrics.scores(counts, np.ones_like(y))  # TFP fails to slice it
    monkeypatch.setattr(predictive, "_MAX_DRAWS", 60)  # less than an eighth of a row's
    assert "crps" not in metrics.scores(distribution, y)


def test_scores_draw_only_where_they_can():
    y = np.array([[0.5, 1.0], [1.5, 2.0]], np.float32)
    loc = np.zeros((3, 2, 2), np.float32)
    joint = tfd.MultivariateNormalDiag(loc, tf.ones_like(loc))
    assert list(metrics.scores(joint, y)) == ["nll", "rmse", "mae", "r2"]
    assert list(metrics.scores(_Unsampled(loc, 1.0), y)) == ["nll", "rmse", "mae", "r2"]
    assert "r2" not in metrics.scores(tfd.Normal(loc, 1.0), np.ones((2, 2), np.float32))
    assert list(metrics.scores(tfd.TransformedDistribution(tfd.Normal(loc, 1.0), tfb.Exp()), y)) == ["nll"]  # no mean


class _Unsampled(tfd.Normal):
    def _sample_n(self, n, seed=None):
        raise NotImplementedError


def test_scores_of_a_diverged_predictive_are_no_numbers_and_no_errors():
    y = np.array([[1.0], [2.0]], np.float32)
    for loc in (np.nan, np.inf):
        scores = metrics.scores(tfd.Independent(tfd.Normal(np.full((2, 2, 1), loc, np.float32), 1.0), 1), y)
        assert not np.isfinite(scores["crps"]) and not np.isfinite(scores["rmse"])
    scores = metrics.scores(tfd.Categorical(logits=np.full((2, 3, 4), np.nan, np.float32)), np.arange(3))
    assert np.isnan(scores["ece"]) and np.isnan(scores["ace"])


def test_scores_of_counts():
    y = rng(0).poisson(4.0, size=(500, 1)).astype(np.float32)
    scores = metrics.scores(tfd.Independent(tfd.Poisson(np.full((2, 500, 1), 4.0, np.float32)), 1), y)
    cdf = stats.poisson.cdf(np.arange(60), 4.0)
    exact = np.mean([np.sum((cdf - (np.arange(60) >= k)) ** 2) for k in y[:, 0]])
    assert scores["crps"] == pytest.approx(exact, rel=0.01) and scores["picp_95"] >= 0.95


def test_scores_of_classes():
    labels, probs = random_classes(n=300)
    draws = np.stack([probs, random_classes(n=300, seed=7)[1]]).astype(np.float32)
    scores = metrics.scores(tfd.Categorical(probs=draws), labels)
    assert list(scores) == ["nll", "accuracy", "brier", "ece", "ace"]
    named = {"nll": "nll", "accuracy": "accuracy", "brier": "brier", "ece": "ece", "ace": "adaptive_ece"}
    for name, function in named.items():
        assert scores[name] == pytest.approx(getattr(metrics, function)(labels, draws.mean(axis=0)), rel=1e-4)
    y = (labels > 1).reshape(150, 2).astype(np.float32)
    p = draws[:, :, 2:].sum(axis=-1).reshape(2, 150, 2)
    scores = metrics.scores(tfd.Independent(tfd.Bernoulli(probs=p), 1), y)
    assert list(scores) == ["nll", "accuracy", "brier", "ece", "ace"]
    for name in ("accuracy", "brier", "ece", "ace"):
        assert scores[name] == pytest.approx(getattr(metrics, named[name])(y.ravel(), p.mean(axis=0).ravel()), rel=1e-4)


# Bad input.

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
        (np.eye(2), np.eye(2), "one-hot labels take `argmax(axis=1)`"),
        ([0, 1], [[0.5, 0.5], [2.0, -1.0]], "`probs`: expected probabilities in [0, 1]. Received: 2.0 in row 1"),
        ([0, 1], [-0.2, 0.3], "If these are logits, apply the softmax first (to [N] the sigmoid)"),
        ([0, 1], [[0.5, 0.5], [0.9, 0.8]], "add up to 1. Received: a sum of 1.7 in row 1"),
        ([0, 1], [[0.5], [0.5]], "Of a single column pass `probs[:, 0]`"),
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
        (lambda: TemperatureScaling.fit(PROBS, LABELS), "look like probabilities. Say `from_logits=False`"),
        (lambda: TemperatureScaling.fit([0.2, 0.9], [0, 1]), "look like probabilities. Say `from_logits=False`"),
        (lambda: TemperatureScaling(2.0).transform(PROBS), "look like probabilities. Say `from_logits=False`"),
        (lambda: TemperatureScaling(2.0, from_logits=False).transform(3 * PROBS), "If these are logits"),
        (lambda: TemperatureScaling.fit(np.log(PROBS), [0, 1, 2, 3]), "`labels`: expected integers from 0 to 2"),
        (lambda: TemperatureScaling.fit(np.log(PROBS), [0, 1]), "`labels`: expected shape (4,)"),
        (lambda: TemperatureScaling.fit([[1.0, np.nan]], [0]), "`outputs`: expected finite values"),
        (lambda: TemperatureScaling.fit([[1.0], [2.0]], [0, 0]), "Of a single column pass `outputs[:, 0]`"),
        (lambda: TemperatureScaling.fit(np.eye(2), [0, 0], from_logits=False), "Received: 0 in row 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
