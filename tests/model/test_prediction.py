"""Evaluation of the network for draws of its weights."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl.data import Scaler
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.model.prediction import Predictor
from bnnrl.problem import Problem
from tests.scenarios import mlp


def test_many_models_raise_no_warning_of_retracing(caplog):
    for _ in range(6):
        network = mlp(2, 1)
        problem = Problem(network, "gaussian", tfd.Normal(0.0, 1.0), 1)
        predictor = Predictor(problem, DataAdapter(network, problem))
        outputs = predictor.outputs(problem.init(0, 3), tf.zeros([4, 2]))
        np.testing.assert_array_equal(tf.shape(outputs), [3, 4, 1])
    assert not caplog.records


def test_many_numbers_of_draws_and_rows_raise_no_warning_of_retracing(caplog):
    network = mlp(2, 1)
    problem = Problem(network, "gaussian", tfd.Normal(0.0, 1.0), 1)
    predictor = Predictor(problem, DataAdapter(network, problem))
    for draws in range(1, 7):
        outputs = predictor.outputs(problem.init(0, draws), tf.zeros([10 * draws, 2]))
        np.testing.assert_array_equal(tf.shape(outputs), [draws, 10 * draws, 1])
    assert not caplog.records


@pytest.mark.parametrize(
    ("family", "parameters", "expected"),
    [
        (tfd.Normal, (0.3, 0.5), stats.norm(5.6, 1.0)),
        (tfd.LogNormal, (0.3, 0.5), stats.lognorm(0.5, 5.0, 2.0 * np.exp(0.3))),
        (tfd.ExponentiallyModifiedGaussian, (0.3, 0.5, 0.8), stats.exponnorm(2.5, 5.6, 1.0)),
    ],
)
def test_only_location_scale_families_are_rescaled_by_their_parameters(family, parameters, expected):
    network = mlp(1, 1)
    problem = Problem(network, "gaussian", tfd.Normal(0.0, 1.0), 1)
    adapter = DataAdapter(network, problem)
    adapter.y_scaler = Scaler(np.array([5.0], np.float32), np.array([2.0], np.float32))
    of_z = tfd.Independent(family(*(tf.constant([value]) for value in parameters)), 1)
    of_y = Predictor(problem, adapter)._in_target_units(of_z)
    y = np.array([[6.0], [7.5], [9.0]], np.float32)
    np.testing.assert_allclose(of_y.log_prob(y), expected.logpdf(y[:, 0]), rtol=1e-4)
