"""Evaluation of the network for draws of its weights."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

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
