"""Learned priors: their groups, densities and parametrisation, and that samplers infer the scales."""

from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import bnnrl
from bnnrl.inference import Adam
from bnnrl.learned_prior import LearnedPrior
from bnnrl.priors import Learned
from bnnrl.problem import Problem
from bnnrl.seeds import host_seed
from tests.scenarios import draws, mlp, two_inputs


def problem(prior: Learned | str = "learned") -> Any:
    return Problem(mlp(3, 2, (4, 5)), "gaussian", prior, 10)


def test_groups_are_kernels_biases_and_input_columns():
    """The first layer of `mlp` has no bias."""
    names = problem().prior.names
    assert [name.split("/", 1)[1].replace("_", " ").split(" ")[0] for name in names[:3]] == ["dense"] * 3
    assert [name[-3:] for name in names] == ["[0]", "[1]", "[2]", "nel", "ias", "nel", "ias"]
    assert len(problem(Learned(relevance=False)).prior.names) == 5


def test_input_columns_of_a_network_of_several_inputs():
    """Of `two_inputs`, the first layer reads an input, and the second a concatenation with the other input."""
    names = cast(LearnedPrior, Problem(two_inputs(), "gaussian", "learned", 10).prior).names
    assert [name[-3:] for name in names] == ["[0]", "[1]", "[2]", "ias", "nel", "ias"]


def test_weights_are_scaled_by_their_group_and_fan_in():
    found = problem()
    theta = np.zeros(found.num_params, np.float32)
    theta[: found.network.num_params] = 1.0
    theta[-7:] = np.log([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    weights, likelihood_params = found.split(tf.constant(theta))
    first, second, bias, head, head_bias = found.network.unflatten(weights)
    np.testing.assert_allclose(first, np.tile([[1.0], [2.0], [3.0]], 4) / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(second, 4.0 / np.sqrt(4), rtol=1e-6)
    np.testing.assert_allclose(bias, 5.0, rtol=1e-6)
    np.testing.assert_allclose(head, 6.0 / np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(head_bias, 7.0, rtol=1e-6)
    assert likelihood_params.shape == (2,)
    scales = found.prior_scales(tf.constant(theta))
    np.testing.assert_allclose(list(scales.values()), [1, 2, 3, 4, 5, 6, 7], rtol=1e-6)


def test_the_scale_of_a_normalisation_layer_is_around_one():
    model = keras.Sequential([keras.Input((3,)), keras.layers.LayerNormalization(), keras.layers.Dense(1)])
    found = Problem(model, "gaussian", "learned", 10)
    weights = found.network.unflatten(found.split(tf.zeros([found.num_params]))[0])
    assert [float(w[0] if w.ndim == 1 else w[0, 0]) for w in map(np.asarray, weights)] == [1.0, 0.0, 0.0, 0.0]


HYPERPRIORS: dict[str, Any] = {
    "lognormal": lambda s: stats.lognorm.logpdf(s, 0.7),
    "half_cauchy": lambda s: stats.halfcauchy.logpdf(s, scale=0.7),
    # 1/s² ~ Gamma(½, rate 0.7²/2), whose density in s has the Jacobian 2/s³.
    "gamma": lambda s: stats.gamma.logpdf(s**-2, 0.5, scale=2 / 0.7**2) + np.log(2 / s**3),
}


@pytest.mark.parametrize("name", HYPERPRIORS)
def test_log_density_against_scipy(name):
    found = problem(Learned(name, 0.7))
    theta = draws(4, found.num_params)
    own, of_likelihood, log_scales = np.split(theta.astype(np.float64), [found.network.num_params, -7], axis=1)
    expected = stats.norm.logpdf(own).sum(1) + stats.norm.logpdf(of_likelihood, scale=3.0).sum(1)
    expected += (HYPERPRIORS[name](np.exp(log_scales)) + log_scales).sum(1)
    np.testing.assert_allclose(found.log_prior(tf.constant(theta)), expected, rtol=1e-5)
    assert (found.normal_prior is None) == (name != "lognormal")


def test_the_normal_prior_is_that_of_the_log_density():
    found = problem(Learned(spread=0.7))
    with tf.GradientTape() as tape:
        theta = tf.constant(draws(found.num_params))
        tape.watch(theta)
        log_prior = found.log_prior(theta)
    mean, precision = found.normal_prior
    np.testing.assert_allclose(tape.gradient(log_prior, theta), -precision * (theta - mean), rtol=1e-5)


def test_initial_weights_are_those_of_keras():
    found = problem()
    np.testing.assert_allclose(found.split(found.init(3, 2))[0], found.network.init(host_seed(3), 2), rtol=1e-5)


@pytest.mark.parametrize("arguments", [{"hyperprior": "normal"}, {"spread": 0.0}, {"relevance": 2}])
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=f"Invalid `{next(iter(arguments))}`"):
        Learned(**arguments)


def test_an_unknown_word_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Invalid `prior`: expected 'learned'.*Did you mean"):
        problem("learnt")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bnnrl.diagnostics.SamplingWarning")  # 500 steps, for medians that differ much
@pytest.mark.parametrize("hyperprior", HYPERPRIORS)
def test_nuts_finds_the_relevant_input(hyperprior):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    y = (2.0 * np.tanh(x[:, :1]) + 0.1 * rng.normal(size=(60, 1))).astype(np.float32)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    method = bnnrl.inference.NUTS(0.01, 6, chains=2, burn_in=300, max_draws=200)
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(0.1), Learned(hyperprior), method)
    model.fit(x, y, batch_size=None, epochs=500, verbose=0)
    scales = model._problem.prior_scales(model.posterior.sample(400, 0))
    relevant, *others = [np.median(s) for name, s in scales.items() if "kernel[" in name]
    assert relevant > 3 * max(others)


def test_a_model_with_a_learned_prior_is_saved_and_loaded(tmp_path):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", Learned(spread=2.0), Adam(0.01))
    x, y = draws(16, 2), draws(16, 1, seed=1)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model")
    loaded = bnnrl.load(tmp_path / "model")
    assert loaded.prior == Learned(spread=2.0)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
