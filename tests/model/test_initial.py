"""`fit(initial=...)`: inference that starts from given weights."""

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl import inference, likelihoods
from tests.scenarios import trained_network

pytestmark = pytest.mark.usefixtures("without_xla")

STILL = inference.Adam(1e-9)  # a fit by which no weight moves


@pytest.fixture(scope="module")
def trained():
    """Return a trained Keras model, its data and its root mean squared error."""
    network, x, y = trained_network()
    rmse = float(np.sqrt(np.mean((network.predict(x, verbose=0) - y) ** 2)))
    assert rmse < 0.2
    return network, x, y, rmse


@pytest.mark.parametrize("method", [STILL, inference.Ensemble(STILL, 3)], ids=["one", "members"])
@pytest.mark.parametrize("prior", [None, "learned"])
def test_the_error_of_the_keras_model_is_kept_at_the_start(trained, method, prior):
    network, x, y, rmse = trained
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(), prior, method)
    model.fit(x, y, epochs=1, verbose=0, initial="keras")
    assert model.evaluate(x, y)["rmse"] == pytest.approx(rmse, rel=1e-3)
    model.fit(x, y, epochs=1, verbose=0)
    assert model.evaluate(x, y)["rmse"] > 2 * rmse  # without the argument, weights are drawn anew


def test_the_last_layer_is_inferred_where_the_others_are_frozen(trained):
    network, x, y, rmse = trained
    frozen = keras.models.clone_model(network)
    frozen.set_weights(network.get_weights())
    frozen.layers[0].trainable = False
    model = bnnrl.BayesianModel(frozen, likelihoods.Gaussian(0.1), method="bbb")
    model.fit(x, y, epochs=30, verbose=0, initial="keras")
    assert model.posterior.mean().shape == (17,)
    assert model.evaluate(x, y)["rmse"] < 1.3 * rmse
    np.testing.assert_array_equal(frozen.layers[0].kernel, network.layers[0].kernel)


def test_samples_of_an_earlier_posterior_are_a_start(trained):
    network, x, y, _ = trained
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=inference.Ensemble(inference.Adam(0.02), 3))
    model.fit(x, y, epochs=2, verbose=0)
    theta = model.posterior.sample(3, 0)
    again = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=inference.Ensemble(STILL, 3))
    again.fit(x, y, epochs=1, verbose=0, initial=theta)
    np.testing.assert_allclose(again.posterior.sample(3, 0), theta, atol=1e-6)
    svgd = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=inference.SVGD(size=3))
    svgd.fit(x, y, epochs=1, verbose=0, initial=theta)


@pytest.mark.parametrize(
    ("method", "initial", "words"),
    [
        (STILL, "kears", "`initial`: expected one of .*'keras'.*'kears'"),
        (STILL, np.zeros(3), r"`initial`: expected shape \(49,\).*\(3,\)"),
        (inference.Ensemble(STILL, 3), np.zeros([2, 49]), r"expected shape \(3, 49\) or \(49,\).*\(2, 49\)"),
        (inference.SVGD(size=3), "keras", r"each particle of SVGD, \(3, 49\)"),
        (STILL, np.full(49, np.nan), "`initial`: .*finite"),
    ],
)
def test_mistakes_are_told(trained, method, initial, words):
    network, x, y, _ = trained
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=method)
    with pytest.raises(ValueError, match=words):
        model.fit(x, y, epochs=1, verbose=0, initial=initial)
