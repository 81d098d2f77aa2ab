"""Likelihoods of censored targets and of ordered classes: densities against SciPy, fits, saving and refusals."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import expit
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import cli, likelihoods
from bnnrl.problem import Problem
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


def network(outputs: int = 1, features: int = 2) -> keras.Model:
    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs)])


@pytest.mark.parametrize(
    ("base", "frozen"), [(likelihoods.Gaussian(0.5), stats.norm), (likelihoods.StudentT(df=5.0), stats.t(5.0))]
)
def test_a_censored_row_counts_by_the_probability_beyond_its_value(base, frozen):
    """Two target entries with all marks, three draws of θ, against SciPy in float64."""
    problem = Problem(network(2), likelihoods.Censored(base), tfd.Normal(0.0, 1.0), 6)
    theta, x, values = draws(3, problem.num_params), draws(6, 2, seed=1), 3 * draws(6, 2, seed=2)
    marks = np.array([[0, 0], [1, 0], [0, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    y = np.concatenate([values, marks], axis=1)
    for s in range(3):
        loc = x @ theta[s, :4].reshape(2, 2) + theta[s, 4:6]
        scale = 0.5 if isinstance(base, likelihoods.Gaussian) else 1e-3 + np.exp(theta[s, 6:])
        z = ((values - loc) / scale).astype(np.float64)
        seen = frozen.logpdf(z) - np.log(scale)
        expected = np.where(marks > 0, frozen.logsf(z), np.where(marks < 0, frozen.logcdf(z), seen)).sum()
        single = problem.log_likelihood(tf.constant(theta[s]), (tf.constant(x), tf.constant(y)))
        assert float(single) == pytest.approx(expected, rel=1e-4)
    stacked = problem.log_likelihood(tf.constant(theta), (np.stack([x] * 3), np.stack([y] * 3)))
    assert float(stacked[2]) == pytest.approx(expected, rel=1e-4)


def test_gradients_are_finite_far_from_a_censored_value():
    censored = likelihoods.Censored(likelihoods.StudentT())
    outputs = tf.Variable([[0.0], [0.0], [0.0]])
    with tf.GradientTape() as tape:
        log_prob = censored(outputs, tf.constant([-9.0])).log_prob([[1e4, 0.0], [-1e4, 1.0], [1e4, -1.0]])
    assert np.isfinite(tape.gradient(log_prob, outputs)).all() and np.isfinite(log_prob).all()


def test_the_mean_of_censored_times_is_found_and_predictions_are_of_the_times_themselves(tmp_path):
    """log time = 1 + x + 0.3 ε, right-censored at 1: the mean of what was recorded is far too low."""
    x = draws(400, 1)
    time = 1 + x + 0.3 * draws(400, 1, seed=1)
    y = np.concatenate([np.minimum(time, 1), time > 1], axis=1).astype(np.float32)
    model = bnnrl.BayesianModel(network(1, 1), "censored", method=bnnrl.inference.Adam(0.02))
    model.fit(x, y, epochs=40, verbose=0)
    new = np.array([[-1.0], [0.0], [1.0]], np.float32)
    np.testing.assert_allclose(model.predict(new)[:, 0], [0, 1, 2], atol=0.15)
    low, high = model.interval(new, 0.9)
    np.testing.assert_allclose((high - low)[:, 0], 2 * 1.645 * 0.3, rtol=0.2)
    assert model.quantiles(new, [0.5]).shape == (1, 3, 1) and model.uncertainty(new).total.shape == (3, 1)
    assert model.evaluate(x, y).keys() == {"nll"}
    assert model.predict_distribution(new).log_prob(y[:3]).shape == (3,)
    found = bnnrl.cross_validate(model, x, y, folds=2, epochs=2)
    assert found.scores.keys() == {"nll"} and found.coverage is None and found.predictions is None
    model.save(tmp_path / "model")
    again = bnnrl.load(tmp_path / "model")
    assert again.likelihood == likelihoods.Censored("gaussian")
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    with pytest.raises(ValueError, match="whose targets are all observed, to calibrate on"):
        model.calibrate(x, y)
    with pytest.raises(ValueError, match="expected marks of 0 for observed, 1 for right-censored.*2 in row 1"):
        model.fit(x[:3], np.array([[0, 1], [0, 2], [0, 0]]))
    with pytest.raises(ValueError, match="Invalid targets: expected shape"):
        model.fit(x, time)
    with pytest.raises(ValueError, match="values with marks.*standardize='inputs'"):
        model.fit(bnnrl.data.load((x, y), task="regression"))


def test_the_base_is_that_of_real_targets():
    assert likelihoods.Censored("heteroscedastic").base == likelihoods.Gaussian("heteroscedastic")
    with pytest.raises(ValueError, match="Invalid `base`: expected a Gaussian or StudentT likelihood. Received: Poiss"):
        likelihoods.Censored("poisson")


def test_probabilities_of_ordered_classes_are_differences_of_sigmoids():
    ordinal = likelihoods.Ordinal(4)
    problem = Problem(network(), ordinal, tfd.Normal(0.0, 1.0), 5)
    assert problem.num_params == 3 + 3
    theta, x, y = draws(2, 6), draws(5, 2, seed=1), np.array([0, 1, 2, 3, 3])
    for s in range(2):
        location = (x @ theta[s, :2] + theta[s, 2]).astype(np.float64)
        cutpoints = np.cumsum([theta[s, 3], *np.exp(theta[s, 4:])])
        below = np.c_[np.zeros(5), expit(cutpoints - location[:, np.newaxis]), np.ones(5)]
        probs = np.diff(below, axis=1)
        distribution = problem.distribution(tf.constant(theta[s]), tf.constant(x))
        np.testing.assert_allclose(distribution.probs_parameter(), probs, rtol=1e-3, atol=1e-6)
        found = problem.log_likelihood(tf.constant(theta), (np.stack([x] * 2), np.stack([y] * 2)))[s]
        assert float(found) == pytest.approx(np.log(probs[range(5), y]).sum(), rel=1e-4)
    prior = stats.norm.logpdf(theta[:, 3:].astype(np.float64), 0, 3).sum(axis=1)
    np.testing.assert_allclose(ordinal.log_prior(tf.constant(theta[:, 3:])), prior, rtol=1e-5)


def test_all_ordered_classes_are_equally_probable_at_first_also_along_time_steps():
    ordinal = likelihoods.Ordinal(5)
    for shape in ([2, 1], [2, 3, 1]):
        found = ordinal(tf.zeros(shape), ordinal.init(1)).probs_parameter()
        assert found.shape == (*shape[:-1], 5)
        np.testing.assert_allclose(found, np.full(found.shape, 0.2), rtol=1e-5)


@pytest.mark.parametrize("method", ["ensemble", "laplace"])
def test_ordered_classes_are_predicted_with_all_that_classes_have(method):
    x = draws(300, 2)
    score = 2 * x[:, 0] + 0.5 * np.random.default_rng(0).logistic(size=300)
    y = np.digitize(score, [-2, 0, 1])
    model = bnnrl.BayesianModel(network(), likelihoods.Ordinal(4), method=method)
    model.fit(x[:200], y[:200], epochs=60, verbose=0)
    scores = model.evaluate(x[200:], y[200:])
    assert scores["accuracy"] > 0.65 and scores.keys() >= {"nll", "brier", "ece"}
    probs = model.predict(x[200:])
    assert probs.shape == (100, 4) and np.allclose(probs.sum(axis=1), 1, atol=1e-5)
    model.calibrate(x[200:], y[200:])
    assert model.predict_set(x, 0.9).shape == (300, 4)


@pytest.mark.parametrize("likelihood", [likelihoods.Ordinal(3, prior_std=2.0), likelihoods.Censored("studentt")])
def test_configurations_round_trip_through_json(likelihood):
    config = json.loads(json.dumps(likelihoods.to_config(likelihood)))
    assert likelihoods.from_config(config) == likelihood


def test_mistakes_are_told(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"its name alone. Pass bnnrl.likelihoods.Ordinal\(num_classes=5\)"):
        likelihoods.get("ordinal")
    with pytest.raises(ValueError, match="Invalid `num_classes`: expected an integer of at least 2"):
        likelihoods.Ordinal(1)
    with pytest.raises(ValueError, match="expected one output for an ordinal likelihood.*Received: 3 outputs"):
        bnnrl.BayesianModel(network(3), likelihoods.Ordinal(3))
    model = bnnrl.BayesianModel(network(), likelihoods.Ordinal(3))
    with pytest.raises(ValueError, match="expected integers from 0 to 2"):
        model.fit(draws(4, 2), np.array([1, 2, 3, 3]))
    np.savez(tmp_path / "rows.npz", x=draws(20, 2), y=draws(20, 2, seed=1))
    options = ["--likelihood", "censored", "--folder", str(tmp_path / "run")]
    assert cli.main(["fit", str(tmp_path / "rows.npz"), *options]) == 2
    assert "Fit the model in Python, by bnnrl.likelihoods.Censored()" in capsys.readouterr().err
