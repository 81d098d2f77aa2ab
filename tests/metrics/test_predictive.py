"""Scores of a predictive distribution, against closed forms and the metrics of arrays."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from bnnrl import metrics
from bnnrl.metrics import predictive
from tests.metrics.cases import random_classes, rng


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
    rates = np.array([[[0.5], [np.nan]]] * 2, np.float32)  # TFP would never end drawing from such a Poisson
    scores = metrics.scores(tfd.Independent(tfd.Poisson(rates), 1), np.ones((2, 1), np.float32))
    assert all(np.isnan(scores[name]) for name in ("nll", "rmse", "crps", "picp_95", "width_95"))
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
