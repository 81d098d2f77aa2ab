"""Output activations, regularisers and constraints of Keras models."""

import warnings
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.keras_conventions import KerasModelWarning, without_output_activation
from bnnrl.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from bnnrl.network import Network
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")
L = keras.layers


def chain(*last) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), L.Dense(5, "tanh"), *last])


def graph(*last) -> keras.Model:
    x = keras.Input((3,))
    y = L.Concatenate()([x, L.Dense(5, "tanh")(x)])
    for layer in last:
        y = layer(y)
    return keras.Model(x, y)


def per_step(*last) -> keras.Model:
    return keras.Sequential([keras.Input((4, 3)), L.LSTM(5, return_sequences=True, unroll=True), *last])


ENDS: dict[str, Any] = {
    "in a chain": lambda: chain(L.Dense(2, "softmax")),
    "as a layer": lambda: chain(L.Dense(2), L.Softmax()),
    "as an activation": lambda: chain(L.Dense(2), L.Activation("softmax")),
    "in a graph": lambda: graph(L.Dense(2, "softmax")),
    "as a layer of a graph": lambda: graph(L.Dense(2), L.Softmax()),
    "as an operation": lambda: graph(L.Dense(2), keras.activations.softmax),
    "in a nested chain": lambda: chain(keras.Sequential([keras.Input((5,)), L.Dense(2, "softmax")])),
    "in a nested graph": lambda: graph(keras.Sequential([keras.Input((8,)), L.Dense(2), L.Softmax()])),
    "at each step": lambda: per_step(L.TimeDistributed(L.Dense(2, "softmax"))),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_softmax_is_left_out_and_the_weights_are_shared(end):
    model = ENDS[end]()
    before = model.to_json()
    with pytest.warns(KerasModelWarning, match=r"ends with softmax, in '.*Categorical likelihood takes logits"):
        logits = without_output_activation(model, Categorical())
    assert model.to_json() == before and logits.name == model.name
    pairs = zip(logits.trainable_variables, model.trainable_variables, strict=True)
    assert all(own is other for own, other in pairs)
    x = draws(6, *model.input_shape[1:])
    np.testing.assert_allclose(tf.nn.softmax(logits(x)), model(x), rtol=1e-5)
    network, theta = Network(logits), Network(model).init(0, 2)
    np.testing.assert_allclose(tf.nn.softmax(network(theta[0], x)), Network(model)(theta[0], x), rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert without_output_activation(logits, Categorical()) is logits
        assert without_output_activation(model, Gaussian()) is model
    assert keras.models.model_from_json(logits.to_json()).count_params() == model.count_params()


@pytest.mark.parametrize(
    ("likelihood", "activation", "said"),
    [(Bernoulli(), "sigmoid", "logits"), (Categorical(), "sigmoid", "logits"), (Poisson(), "exponential", "log rates")],
)
def test_other_activations_that_a_likelihood_has_itself(likelihood, activation, said):
    with pytest.warns(KerasModelWarning, match=rf"ends with {activation}, .*takes {said}"):
        model = without_output_activation(chain(L.Dense(2, activation)), likelihood)
    assert model.layers[-1].activation is keras.activations.linear


def test_what_is_no_probability_stays():
    for model in (chain(L.Dense(2, "log_softmax")), chain(L.Dense(2, "tanh"), L.Dropout(0.1)), chain(L.Dense(2))):
        assert without_output_activation(model, Categorical()) is model


def test_predictions_are_those_of_a_model_of_logits_and_so_is_a_saved_model(tmp_path):
    x = draws(120, 3)
    y = (x[:, 0] > 0).astype(int)

    def fitted(*last):
        model = bnnrl.BayesianModel(chain(*last), "categorical", method=bnnrl.inference.Adam(1e-2))
        model.fit(x, y, epochs=20, verbose=0)
        return model

    with pytest.warns(KerasModelWarning):
        model = fitted(L.Dense(2, "softmax"))
    np.testing.assert_allclose(model.predict(x), fitted(L.Dense(2)).predict(x), rtol=1e-4)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "m").predict(x), model.predict(x))  # without a warning


def test_laplace_takes_a_trained_model_that_ends_with_probabilities():
    x = draws(80, 3)
    y = (x[:, :1] > 0).astype("float32")
    model = chain(L.Dense(1, "sigmoid"))
    with pytest.warns(KerasModelWarning, match="Bernoulli"):
        bayesian = bnnrl.laplace(model, (x, y), "bernoulli")
    np.testing.assert_allclose(tf.sigmoid(bayesian.keras_model(x)), model(x), rtol=1e-5)


class Probabilities(keras.Model):
    def __init__(self, units, activation):
        super().__init__()
        self.dense, self.activation = L.Dense(units), activation

    def call(self, x):
        return self.activation(self.dense(x))


@pytest.mark.parametrize(("likelihood", "units"), [("categorical", 3), ("bernoulli", 1)])
def test_probabilities_of_a_subclass_of_model_are_refused(likelihood, units):
    x = draws(20, 3)
    y = np.zeros([20]) if units > 1 else np.zeros([20, 1])
    for activation in (keras.ops.softmax if units > 1 else keras.ops.sigmoid, lambda outputs: outputs):
        model = Probabilities(units, activation)
        model(x)
        bayesian = bnnrl.BayesianModel(model, likelihood)
        if activation in (keras.ops.softmax, keras.ops.sigmoid):
            with pytest.raises(ValueError, match=r"Invalid network: expected .*logits.*Leave out"):
                bayesian.fit(x, y, epochs=1, verbose=0)
        else:
            bayesian.fit(x, y, epochs=1, verbose=0)


def test_regularisers_and_constraints_are_named():
    layer = L.Dense(2, kernel_regularizer="l2", activity_regularizer="l1", bias_constraint="non_neg", name="last")
    with pytest.warns(KerasModelWarning) as found:
        model = bnnrl.BayesianModel(chain(layer), "gaussian")
    texts = [str(warning.message) for warning in found]
    assert len(texts) == 2
    assert "regularisers of" in texts[0] and "last/kernel, last in" in texts[0] and "The prior takes" in texts[0]
    assert "constraints of" in texts[1] and "last/bias" in texts[1] and "softplus" in texts[1]
    assert all(warning.filename == __file__ for warning in found)
    x = draws(20, 3)
    model.fit(x, x[:, :2], epochs=1, verbose=0)
    model.cross_calibrate(x, x[:, :2], folds=2, level=0.5, epochs=1)  # copies do not warn again


def test_activity_of_a_layer_of_its_own_and_of_a_frozen_one():
    frozen: Any = L.Dense(5, kernel_regularizer="l2", trainable=False)
    with pytest.warns(KerasModelWarning, match="activity") as found:
        bnnrl.BayesianModel(chain(frozen, L.Dense(2), L.ActivityRegularization(l2=1.0, name="activity")), "gaussian")
    assert len(found) == 1 and frozen.kernel.path not in str(found[0].message)


def test_spectral_normalization_is_named_in_a_fit_and_not_after_a_training_by_keras():
    network, x = chain(L.SpectralNormalization(L.Dense(4, "tanh"), name="normed"), L.Dense(1)), draws(20, 3)
    network.compile("sgd", "mse")
    network.fit(x, x[:, :1], epochs=1, verbose=cast(Any, 0))
    bayesian = bnnrl.laplace(network, (x, x[:, :1]), "gaussian")  # a warning would be an error
    np.testing.assert_allclose(bayesian.keras_model(x), network(x), rtol=1e-6)
    with pytest.warns(KerasModelWarning, match=r"normed.*SpectralDense.*bnnrl.laplace") as found:
        bnnrl.BayesianModel(network, "gaussian").fit(x, x[:, :1], epochs=1, verbose=0)
    assert len(found) == 1 and found[0].filename == __file__
