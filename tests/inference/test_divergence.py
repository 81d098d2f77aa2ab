"""Errors of runs that diverge name the row, the prior or the entry of θ that is not finite."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import SGD, Adam, Diverged, Driver, Ensemble
from bnnrl.inference.divergence import entry_name
from bnnrl.problem import Problem
from tests.scenarios import draws, linear_regression, mlp

pytestmark = pytest.mark.usefixtures("without_xla")
PRIOR = tfd.Normal(0.0, 1.0)


def problem_of(likelihood, prior=PRIOR, num_outputs=1):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(num_outputs, name="last")])
    return Problem(network, likelihood, prior, 12)


def message(problem, y, method=None, theta=None, x=None):
    """Return the message of the run that diverges."""
    method = method or Adam()
    data = tf.constant(draws(len(y), 2) if x is None else x), tf.constant(y)
    with pytest.raises(Diverged) as caught:
        Driver(problem, method, None).run(method.init(problem, 0, theta), data, 3, seed=0, num_data=len(y) - 1)
    return str(caught.value)


@pytest.mark.parametrize(
    ("likelihood", "target"),
    [("poisson", -1.0), (lambda outputs: tfd.Independent(tfd.LogNormal(outputs, 1.0), 1), 0.0)],
    ids=["poisson", "custom"],
)
def test_a_target_outside_the_support_is_named_with_its_row(likelihood, target):
    y = np.ones((1500, 1), np.float32)
    y[[1203, 1499]] = target  # the last row is padding
    text = message(problem_of(likelihood), y)
    assert re.search(rf"of row 1203 is (-inf|nan), for the target \[{target:g}\.\] under ", text)


def test_a_target_too_large_for_float32_is_named_in_a_member():
    y = np.zeros((12, 1), np.float32)
    y[5] = 1e30
    text = message(problem_of(likelihoods.Gaussian(1.0)), y, Ensemble(Adam(), 2))
    assert "members [0, 1] is not finite: log p(y | x, θ) of row 5 is -inf, for the target [1.e+30] under" in text


def test_weights_outside_the_priors_support_are_named():
    text = message(problem_of("gaussian", tfd.Uniform(5.0, 6.0)), np.zeros((12, 1), np.float32))
    assert "is not finite: log p(θ) is -inf: the weights are outside the prior's support" in text


def test_an_entry_of_theta_is_named():
    line, method = linear_regression(12), SGD(1e38)
    data = line.data[0], 1e3 * line.data[1]  # the first gradient is about a thousand
    name = r"entries of θ, first sequential\w*/dense\w*/kernel\[0, 0\] = (nan|-?inf)\. Lower"
    with pytest.raises(Diverged, match=name):
        Driver(line.problem, method, None).run(method.init(line.problem, 0), data, 1, seed=0)
    start = tf.constant([0.0, 0.0, np.nan])
    text = message(problem_of(likelihoods.Gaussian(1.0)), np.zeros((12, 1), np.float32), theta=start)
    assert re.search(r"not finite: 1 of 3 entries of θ, first sequential\w*/last/bias\[0\] = nan\. Lower", text)


def test_entries_have_the_names_of_their_weights():
    network = mlp(3, 2, (5,))
    problem = Problem(network, likelihoods.Gaussian("learned"), PRIOR, 12)
    first, last = network.layers[0].name, network.layers[1].name
    names = [entry_name(problem, i).removeprefix(f"{network.name}/") for i in (0, 14, 15, 24, 26, 28)]
    assert names[:2] == [f"{first}/kernel[0, 0]", f"{first}/kernel[2, 4]"]
    assert names[2:4] == [f"{last}/kernel[0, 0]", f"{last}/kernel[4, 1]"]
    assert names[4:] == [f"{last}/bias[1]", "the likelihood's parameter 1"]


def test_a_model_keeps_its_last_finite_state_and_tells_the_row():
    x, y = draws(20, 2), np.ones((20, 1), np.float32)
    y[7] = 0.0
    likelihood = lambda outputs: tfd.Independent(tfd.LogNormal(outputs, 1.0), 1)
    model = bnnrl.BayesianModel(problem_of("poisson").network.model, likelihood)
    with pytest.raises(Diverged, match=r"at step 0 .* of row 7 is "):
        model.fit(x, y, epochs=2, verbose=0)
    assert np.isfinite(model.predict(x)).all()
