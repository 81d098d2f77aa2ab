"""Calibration of a model: coverage on exchangeable rows, hand-computed quantiles and factors, saving, refusals."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import data, likelihoods, posterior
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


def model_with(likelihood, weights: Any, inputs: int = 2) -> bnnrl.BayesianModel:
    """Return a linear model whose posterior are the given draws of θ, without a fit."""
    outputs = (len(weights[0]) - likelihood.num_params(1)) // (inputs + 1)
    network = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])
    model = bnnrl.BayesianModel(network, likelihood)
    model.become(posterior.Samples(tf.constant(np.float32(weights))))
    return model


@pytest.fixture
def regression():
    """Return a model of one draw, y ~ N(x₀, 0.5²), and rows whose noise grows with |x₁|: 0.2 + |x₁|."""
    x = draws(600, 2, seed=1)
    y = x[:, :1] + (0.2 + np.abs(x[:, 1:])) * draws(600, 1, seed=2)
    return model_with(likelihoods.Gaussian(0.5), [[1, 0, 0]]), x, y


@pytest.fixture
def heteroscedastic():
    """Return a model whose scale is softplus(x₁), half of the noise of the rows."""
    x = draws(600, 2, seed=3)
    y = x[:, :1] + 2 * np.logaddexp(0, x[:, 1:]) * draws(600, 1, seed=4)
    return model_with(likelihoods.Gaussian("heteroscedastic", floor=0.0), [[1, 0, 0, 1, 0, 0]]), x, y


@pytest.fixture
def classes():
    """Return a model of two draws for three classes that is overconfident by a factor of 3, and labels."""
    x = draws(600, 2, seed=5)
    logits = x @ np.array([[1, -1, 0], [0, 1, -1]], np.float32)
    labels = np.argmax(logits + np.random.default_rng(6).gumbel(size=logits.shape), axis=1)
    kernel = 3 * np.array([1, -1, 0, 0, 1, -1, 0, 0, 0], np.float32)
    return model_with(likelihoods.Categorical(), [kernel, 1.1 * kernel]), x, labels


@pytest.mark.parametrize("method", ["absolute", "normalized", "cqr"])
def test_conformal_intervals_follow_from_the_order_statistic(heteroscedastic, method):
    model, x, y = heteroscedastic
    std, mean = np.logaddexp(0, x[:, 1:]).astype(np.float64), x[:, :1]
    found = model.calibrate(x[:199], y[:199], method=method, level=0.9)
    error = np.abs(y - mean)
    scores = {"absolute": error, "normalized": error / std, "cqr": error - stats.norm.ppf(0.95) * std}[method]
    q = np.sort(scores[:199], axis=0)[179]  # ⌈200 · 0.9⌉ = 180
    np.testing.assert_allclose(found.values, np.sort(scores[:199], axis=0), rtol=1e-3, atol=1e-3)
    half = {"absolute": q + 0 * std, "normalized": q * std, "cqr": stats.norm.ppf(0.95) * std + q}[method]
    low, high = model.interval(x[199:], 0.9)
    np.testing.assert_allclose(low, (mean - half)[199:], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(high, (mean + half)[199:], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("method", ["absolute", "normalized", "cqr", "spread", "isotonic"])
def test_intervals_cover_new_rows_whatever_the_model(regression, method):
    """Given n calibration rows, coverage is Beta(k, n + 1 − k), and hits of new rows then binomial."""
    model, x, y = regression
    n, new, level = 299, 301, 0.9
    before = bnnrl.metrics.coverage((np.abs(y - x[:, :1]) < 1.645 * 0.5)[n:])
    assert before.high < level
    model.calibrate(x[:n], y[:n], method=method, level=level)
    low, high = model.interval(x[n:], level)
    hits = int(((low <= y[n:]) & (y[n:] <= high)).sum())
    least, most = stats.betabinom.ppf([0.001, 0.999], new, 270, 30)
    if method == "spread":  # a normal distribution does not fit this noise, but its width does
        least = 0.85 * new
    assert least <= hits <= most


def test_without_calibration_the_interval_is_that_of_the_predictive_distribution(regression):
    model, x, _ = regression
    low, high = model.interval(x, 0.9)
    np.testing.assert_allclose(
        np.stack([low, high]), x[:, :1] + np.reshape([-1.645, 1.645], [2, 1, 1]) * 0.5, atol=1e-3
    )
    np.testing.assert_allclose(model.quantiles(x, [0.05, 0.95]), np.stack([low, high]))
    mixed = model_with(likelihoods.Gaussian(0.1), [[1, 0, -1], [1, 0, 1]])
    np.testing.assert_allclose(mixed.interval(x[:1], 0.5)[0][0, 0], x[0, 0] - 1, atol=1e-3)


def test_the_spread_factor_is_the_most_likely_one_and_changes_all_predictions(regression):
    model, x, y = regression
    before = {"std": np.sqrt(model.uncertainty(x).total), **model.evaluate(x, y)}
    found = model.calibrate(x, y, method="spread")
    expected = np.sqrt(np.mean((y - x[:, :1]) ** 2)) / 0.5
    assert found.values == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(np.sqrt(model.uncertainty(x).total), expected * before["std"], rtol=1e-3)
    after = model.evaluate(x, y)
    assert after["nll"] < before["nll"] and after["rmse"] == pytest.approx(before["rmse"])
    log_prob = tf.reduce_mean(model.predict_distribution(x).log_prob(y))
    assert after["nll"] == pytest.approx(-float(log_prob), rel=1e-4)
    low, high = model.interval(x, 0.9)
    np.testing.assert_allclose((high - low) / 2, 1.645 * expected * 0.5, rtol=1e-3)


def test_the_spread_of_several_draws_is_about_their_mean(regression):
    _, x, y = regression
    model = model_with(likelihoods.Gaussian(0.1), [[1, 0, -1], [1, 0, 1]])
    found = model.calibrate(x, 3 * y, method="spread")
    outputs = model.predict_distribution(x[:4]).components_distribution.mean()[..., 0]
    np.testing.assert_allclose(outputs - x[:4, :1], float(found.values) * np.array([[-1, 1]] * 4), rtol=1e-4)
    np.testing.assert_allclose(model.predict(x), x[:, :1], atol=1e-5)


def test_isotonic_recalibration_maps_levels_to_those_of_the_rows(regression):
    model, x, y = regression
    y = x[:, :1] + 0.5 * np.abs(draws(600, 1, seed=2))  # all above the median
    model.calibrate(x[:399], y[:399], method="isotonic", level=0.9)
    median, upper = model.quantiles(x[399:], [0.5, 0.9])
    assert np.mean(y[399:] <= median) == pytest.approx(0.5, abs=0.1)
    assert np.mean(y[399:] <= upper) == pytest.approx(0.9, abs=0.05)
    scores = np.sort((y - x[:, :1])[:399, 0] / 0.5)
    np.testing.assert_allclose(median - x[399:, :1], 0.5 * scores[199], rtol=1e-3)  # (399 + 1) / 2 = 200
    with pytest.raises(ValueError, match="expected at least 999 rows for level 0.999"):
        model.quantiles(x, [0.999])


def test_the_temperature_undoes_overconfidence_and_changes_all_predictions(classes):
    model, x, labels = classes
    before = model.evaluate(x, labels)
    found = model.calibrate(x, labels, method="temperature")
    assert 2.4 < found.values < 3.9
    after = model.evaluate(x, labels)
    assert after["nll"] < before["nll"] and after["ece"] < before["ece"] and after["accuracy"] == before["accuracy"]
    logits = tf.constant(model.predict_samples(x, 2) / np.float32(found.values))
    np.testing.assert_allclose(model.predict(x), tf.reduce_mean(tf.nn.softmax(logits), axis=0), rtol=1e-4)
    nll = lambda t: float(tf.reduce_mean(-tf.math.log(tf.gather(tf.reduce_mean(
        tf.nn.softmax(logits * float(found.values) / t), axis=0), labels, batch_dims=1))))  # fmt: skip
    assert all(nll(float(found.values)) <= nll(t * float(found.values)) + 1e-6 for t in (0.9, 0.98, 1.02, 1.1))


@pytest.mark.parametrize("method", ["aps", "lac"])
def test_conformal_sets_cover_new_rows(classes, method):
    model, x, labels = classes
    model.calibrate(x[:299], labels[:299], method=method)
    sets = model.predict_set(x[299:], 0.9)
    assert sets.shape == (301, 3) and sets.dtype == bool
    hits = int(sets[np.arange(301), labels[299:]].sum())
    least, most = stats.betabinom.ppf([0.001, 0.999], 301, 270, 30)
    assert least <= hits <= most
    np.testing.assert_array_equal(sets, model.predict_set(x[299:], 0.9))


def test_without_calibration_the_set_has_the_most_probable_classes(classes):
    model, x, _ = classes
    probs, sets = model.predict(x), model.predict_set(x, 0.8)
    assert np.all(np.where(sets, probs, 0).sum(axis=1) >= 0.8 - 1e-5)
    least = np.where(sets, probs, 1).min(axis=1)
    assert np.all(np.where(sets, probs, 0).sum(axis=1) - least < 0.8)


def test_bernoulli_entries_have_sets_of_their_own():
    model = model_with(likelihoods.Bernoulli(), [[1, 0, 0, 1, 0, 0]])
    x = draws(400, 2, seed=7)
    y = (np.random.default_rng(8).random((400, 2)) < 1 / (1 + np.exp(-x))).astype(np.float32)
    model.calibrate(x[:199], y[:199])
    sets = model.predict_set(x[199:], 0.9)
    hits = np.take_along_axis(sets, y[199:].astype(int)[..., np.newaxis], axis=-1)[..., 0].sum(axis=0)
    least, most = stats.betabinom.ppf([0.001, 0.999], 201, 180, 20)
    assert sets.shape == (201, 2, 2) and np.all((least <= hits) & (hits <= most))


def test_counts_have_intervals_of_counts():
    model = model_with(likelihoods.Poisson(), [[0.5, 0, 1]])
    x = draws(5, 2)
    rate = np.exp(0.5 * x[:, :1] + 1)
    low, high = model.interval(x, 0.9)
    np.testing.assert_array_equal(np.stack([low, high]), stats.poisson.ppf([[[0.05]], [[0.95]]], rate))


def test_calibrations_are_saved_and_loaded(classes, tmp_path):
    model, x, labels = classes
    model.calibrate(x[:300], labels[:300], method="temperature")
    model.calibrate(x[300:], labels[300:], level=0.9)
    model.save(tmp_path / "model")
    loaded = bnnrl.load(tmp_path / "model")
    assert {kind: c.method for kind, c in loaded.calibrations.items()} == {
        "recalibration": "temperature",
        "conformal": "aps",
    }
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    np.testing.assert_array_equal(loaded.predict_set(x, 0.9, seed=3), model.predict_set(x, 0.9, seed=3))


def test_a_recalibration_drops_earlier_calibrations_and_a_fit_drops_all(regression):
    model, x, y = regression
    model.calibrate(x, y, method="spread")
    model.calibrate(x, y)
    assert set(model.calibrations) == {"recalibration", "conformal"}
    model.calibrate(x, y, method="isotonic")
    assert {kind: c.method for kind, c in model.calibrations.items()} == {"recalibration": "isotonic"}
    model.calibrate(x[:199], y[:199], method="cqr", level=0.9)
    assert np.abs(model.calibrations["conformal"].values).min() < 0.1
    with pytest.raises(ValueError, match="at least 20 rows"):
        model.calibrate(x[:19], y[:19], method="spread")
    assert set(model.calibrations) == {"recalibration", "conformal"}  # a refused calibration changes nothing
    model.fit(x, y, epochs=1, verbose=0)
    assert model.calibrations == {}


def test_targets_of_loaded_data_keep_their_units():
    x = draws(400, 2, seed=9)
    y = 1000 + 50 * x[:, :1] + 20 * draws(400, 1, seed=10)
    rows = data.load((x, y), test=0.4, validation=0.4)
    model = model_with(likelihoods.Gaussian(0.1), [[0.9, 0, 0]])
    model.x_scaler, model.y_scaler = rows.x_scaler, rows.y_scaler
    found: Any = model.calibrate(rows, level=0.9, method="absolute")
    test: Any = rows.test
    low, high = model.interval(test[0], 0.9)
    np.testing.assert_allclose((high - low) / 2, bnnrl.metrics.conformal_quantile(found.values, 0.9)[0], rtol=1e-3)
    assert 20 < (high - low)[0] < 120
    assert bnnrl.metrics.coverage((low <= test[1]) & (test[1] <= high)).high > 0.9


@pytest.mark.parametrize(
    ("likelihood", "given", "words"),
    [
        (likelihoods.Gaussian(0.5), {"method": "aps"}, "`method`: .*'normalized'.*for real targets.*'aps'"),
        (likelihoods.Poisson(), {"method": "isotonic"}, "'cqr'.*for counts.*'isotonic'"),
        (likelihoods.Gaussian(0.5), {"method": "conformal"}, "`method`: expected one of .*'auto'"),
        (likelihoods.Gaussian(0.5), {"level": 1.0}, r"`level`: expected a number in \(0, 1\).*level=1.0"),
        (likelihoods.Gaussian(0.5), {"level": 0.99}, "at least 99 rows for level 0.99.*30 rows"),
        (likelihoods.Gaussian(0.5), {"method": "isotonic"}, "at least 39 rows for level 0.95.*30 rows"),
        (lambda f: tfd.Independent(tfd.Gumbel(f, 1.0), 1), {"method": "spread"}, "among .*Normal.*Gumbel.*'isotonic'"),
    ],
)  # fmt: skip
def test_mistakes_are_told(likelihood, given, words):
    x = np.abs(np.round(draws(30, 2)))
    model = model_with(likelihoods.get(likelihood), [[1, 0, 0]])
    with pytest.raises(ValueError, match=words):
        model.calibrate(x, x[:, :1], **given)
    assert model.calibrations == {}


def test_more_mistakes_are_told(regression, classes):
    model, x, y = regression
    with pytest.raises(ValueError, match="validation part.*`validation=0.2`"):
        model.calibrate(data.load((x, y)))
    with pytest.raises(ValueError, match="of classes for prediction sets.*`interval`"):
        model.predict_set(x)
    model.calibrate(x, y, method="cqr", level=0.9)
    with pytest.raises(ValueError, match=r"`level`: expected 0.9.*'cqr'.*level=0.95"):
        model.interval(x)
    with pytest.raises(ValueError, match="of numbers, which have quantiles.*`predict_set`"):
        classes[0].interval(x)
