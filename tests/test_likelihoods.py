"""Likelihoods: shapes, parameters, names and configurations. Densities are tested in test_problem.py."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.problem import Problem
from tests.scenarios import draws

BUILT_IN = [
    likelihoods.Gaussian(0.2),
    likelihoods.Gaussian("learned", floor=0.1, log_scale_prior_std=2.0),
    likelihoods.Gaussian("heteroscedastic"),
    likelihoods.Categorical(),
    likelihoods.Bernoulli(),
    likelihoods.Poisson(),
]


@pytest.mark.parametrize("positions", [(), (3,), (5,), (3, 6)], ids=str)
def test_a_learned_scale_belongs_to_the_last_axis(positions):
    model = keras.Sequential([keras.Input((*positions, 2)), keras.layers.Dense(2)])
    problem = Problem(model, likelihoods.Gaussian("learned", floor=0.1), tfd.Normal(0.0, 1.0), 4)
    theta = draws(3, problem.num_params)
    x, y = draws(3, 4, *positions, 2), draws(3, 4, *positions, 2, seed=1)
    for s in range(3):
        kernel, bias, likelihood_params = theta[s, :4].reshape(2, 2), theta[s, 4:6], theta[s, 6:]
        expected = stats.norm.logpdf(y[s], x[s] @ kernel + bias, 0.1 + np.exp(likelihood_params)).sum()
        single = problem.log_likelihood(tf.constant(theta[s]), (x[s], tf.constant(y[s])))
        stacked = problem.log_likelihood(tf.constant(theta), (x, tf.constant(y)))[s]
        np.testing.assert_allclose([single, stacked], expected, rtol=1e-5)


@pytest.mark.parametrize("likelihood", BUILT_IN, ids=repr)
def test_likelihood_params_have_initial_values_and_a_prior(likelihood):
    size = likelihood.num_params(4)
    assert size == (4 if getattr(likelihood, "scale", None) == "learned" else 0)
    assert likelihood.init(4).shape == (size,)
    likelihood_params = draws(3, size)
    found = likelihood.log_prior(tf.constant(likelihood_params))
    assert found.shape == (3,)
    np.testing.assert_allclose(found, stats.norm.logpdf(likelihood_params, 0, 2.0).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("likelihood", BUILT_IN, ids=repr)
def test_configurations_round_trip_through_json(likelihood):
    config = json.loads(json.dumps(likelihoods.to_config(likelihood)))
    assert likelihoods.from_config(config) == likelihood


class Own(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return y_true - y_pred


@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (keras.losses.MeanSquaredError(), "Use 'gaussian'."),
        (keras.losses.mean_squared_error, "Use 'gaussian'."),
        (keras.losses.MeanSquaredError, "Use 'gaussian'."),
        ("mse", "'mse'. Use 'gaussian'."),
        ("MeanSquaredError", "Use 'gaussian'."),
        ("mae", "Use 'studentt'"),
        (keras.losses.Huber(), "Use 'studentt'"),
        ("categorical_crossentropy", "Use 'categorical'"),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "Use 'categorical'"),
        ("binary_crossentropy", "Use 'bernoulli'"),
        (keras.losses.Poisson(), "Use 'poisson'"),
        ("hinge", "'gaussian' in place of a squared error"),
        (Own(), "'gaussian' in place of a squared error"),
    ],
)
def test_a_loss_of_keras_is_refused_with_the_likelihood_in_its_place(loss, word):
    with pytest.raises(ValueError, match=re.escape("Received: a loss of Keras") + ".*" + re.escape(word)):
        likelihoods.get(loss)


def test_a_callable_that_needs_more_than_the_outputs_is_refused():
    def loss(y_true, y_pred):
        return y_true - y_pred

    with pytest.raises(ValueError, match=r"of one argument.*Received: loss\(y_true, y_pred\).*no loss"):
        likelihoods.get(loss)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"of one argument.*Received: Normal"):
        likelihoods.get(tfd.Normal)  # pyright: ignore[reportArgumentType]
    assert isinstance(likelihoods.get(lambda outputs, scale=1.0: tfd.Normal(outputs, scale)), likelihoods.Custom)


def test_by_name_by_instance_and_by_callable():
    assert likelihoods.get("gaussian") == likelihoods.Gaussian("learned")
    assert likelihoods.get("Poisson") == likelihoods.Poisson()
    assert likelihoods.get("heteroscedastic") == likelihoods.Gaussian("heteroscedastic")
    assert likelihoods.get(BUILT_IN[0]) is BUILT_IN[0]
    custom = likelihoods.get(lambda outputs: tfd.Independent(tfd.Laplace(outputs, 1.0), 1))
    assert isinstance(custom, likelihoods.Custom) and custom.num_params(3) == 0
    assert custom(tf.zeros([4, 2]), tf.zeros([0])).batch_shape == (4,)


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(
        ValueError, match=r"`likelihood`: expected one of .*'gaussian'.*Received: 'gausian'.*'gaussian'"
    ):
        likelihoods.get("gausian")
    with pytest.raises(ValueError, match=r"Received: 'normal'\. Did you mean 'gaussian'"):
        likelihoods.get("normal")
    with pytest.raises(ValueError, match=r"such as Gaussian\(\).*Received: <class"):
        likelihoods.get(likelihoods.Gaussian)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`likelihood`: expected one of .*Received: 'gamma'"):
        likelihoods.from_config({"name": "gamma"})
    with pytest.raises(ValueError, match=r"`likelihood`: expected.*Received: 3"):
        likelihoods.get(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"expected a callable that returns a TFP distribution.*EagerTensor"):
        likelihoods.get(lambda outputs: outputs)(tf.zeros([4, 2]), tf.zeros([0]))


def test_code_of_the_users_own_is_not_saved():
    with pytest.raises(ValueError, match="expected a built-in one.*Received.*custom_objects"):
        likelihoods.to_config(likelihoods.get(lambda outputs: tfd.Normal(outputs, 1.0)))


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": float("nan")},
        {"scale": "learnt"},
        {"floor": -1e-3},
        {"log_scale_prior_std": 0.0},
    ],
)
def test_gaussian_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        likelihoods.Gaussian(**bad)


def test_the_scale_is_a_standard_deviation():
    distribution = likelihoods.Gaussian(0.5)(tf.zeros([4, 1]), tf.zeros([0]))
    np.testing.assert_allclose(distribution.stddev(), np.full([4, 1], 0.5))
