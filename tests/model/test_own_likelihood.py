"""Likelihoods of the user's own that are saved by name, and likelihoods with a parameter for each target."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import Adam, Laplace
from tests.scenarios import draws, mlp

pytestmark = pytest.mark.usefixtures("without_xla")
X = draws(60, 2)
Y = X[:, :1] - 0.5 * X[:, 1:]


@keras.saving.register_keras_serializable("tests")
def registered(outputs):
    return tfd.Independent(tfd.Laplace(outputs, 0.3), 1)


def plain(outputs):
    return tfd.Independent(tfd.Laplace(outputs, 0.3), 1)


@dataclass(frozen=True)
class Scaled(likelihoods._NoParams):
    scale: float = 0.3

    def __call__(self, outputs, likelihood_params):
        return tfd.Independent(tfd.Laplace(outputs, self.scale), 1)


def fitted(likelihood: Any, y=Y) -> bnnrl.BayesianModel:
    model = bnnrl.BayesianModel(mlp(2, 1), likelihood, method=Adam(1e-2))
    model.fit(X, y, epochs=3, verbose=0)
    return model


@pytest.mark.parametrize(
    ("likelihood", "custom_objects"),
    [(registered, None), (plain, {"plain": plain}), (Scaled(0.5), {"Scaled": Scaled})],
)
def test_a_likelihood_of_the_users_own_is_saved_by_name(likelihood, custom_objects, tmp_path):
    model = fitted(likelihood)
    model.save(tmp_path / "m")
    again = bnnrl.load(tmp_path / "m", custom_objects=custom_objects)
    assert again.evaluate(X, Y) == model.evaluate(X, Y)
    if custom_objects:
        with pytest.raises(ValueError, match=r"`custom_objects`: expected the likelihood .*register_keras"):
            bnnrl.load(tmp_path / "m")


def test_code_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`likelihood`: expected a built-in one.*custom_objects"):
        fitted(lambda outputs: plain(outputs)).save(tmp_path / "m")


@pytest.mark.parametrize("word", ["studentt", "StudentT", "student_t"])
def test_student_t(word, tmp_path):
    likelihood = likelihoods.get(word)
    assert isinstance(likelihood, likelihoods.StudentT)
    outputs, params = tf.constant([[0.5], [1.0]]), tf.constant([-1.0])
    found = likelihood(outputs, params).log_prob(tf.constant([[1.0], [3.0]]))
    scale = 1e-3 + np.exp(-1.0)
    np.testing.assert_allclose(found, stats.t.logpdf([0.5, 2.0], 4.0, scale=scale), rtol=1e-4)
    with pytest.raises(ValueError, match="`df`: expected a finite number above 2"):
        likelihoods.StudentT(df=2.0)


def test_negative_binomial():
    likelihood = likelihoods.get("negative_binomial")
    mean, alpha, y = np.array([2.0, 7.0]), 0.4, np.array([1.0, 9.0])
    found: Any = likelihood(tf.constant(np.log(mean)[:, None], tf.float32), tf.constant([np.log(alpha)], tf.float32))
    expected = stats.nbinom.logpmf(y, 1 / alpha, 1 / (1 + alpha * mean))
    np.testing.assert_allclose(found.log_prob(y[:, None].astype("float32")), expected, rtol=1e-4)
    np.testing.assert_allclose(found.mean()[:, 0], mean, rtol=1e-5)
    np.testing.assert_allclose(found.variance()[:, 0], mean + alpha * mean**2, rtol=1e-4)


@pytest.mark.parametrize("word", ["studentt", "negativebinomial"])
@pytest.mark.parametrize("method", ["adam", "laplace"])
def test_they_are_fitted_scored_and_saved(word, method, tmp_path):
    y = np.round(np.exp(1 + Y)) if word == "negativebinomial" else Y
    model = bnnrl.BayesianModel(mlp(2, 1), word, method=Adam(1e-2) if method == "adam" else Laplace(start=5))
    model.fit(X, y, epochs=10, verbose=0)
    assert np.isfinite(list(model.evaluate(X, y).values())).all()
    low, high = model.interval(X)
    assert np.all(low < high)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "m").predict(X), model.predict(X))
    if word == "negativebinomial":
        with pytest.raises(ValueError, match="expected integers from 0"):
            model.fit(X, Y, epochs=10, verbose=0)
