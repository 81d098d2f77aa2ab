"""Networks as functions of one flat vector: values, gradients, initialisers."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from bnnrl.network import Network
from tests.scenarios import draws, mlp, two_inputs

L = keras.layers
S, B = 3, 4


class Subclassed(keras.Model):
    """A model whose `call` has no argument `training`, as in many users' models."""

    def __init__(self):
        super().__init__()
        self.hidden, self.drop, self.norm, self.head = L.Dense(4), L.Dropout(0.9), L.BatchNormalization(), L.Dense(2)

    def call(self, x):
        return self.head(self.drop(self.norm(self.hidden(x))))


def subclassed():
    model = Subclassed()
    model(np.zeros([1, 3], np.float32))
    return model


NETWORKS = {
    "dense": (mlp, [(3,)]),
    "dense on sequences": (lambda: keras.Sequential([keras.Input((S, 3)), L.Dense(4), L.Dense(2)]), [(S, 3)]),
    "frozen layer": (
        lambda: keras.Sequential([keras.Input((3,)), L.Dense(4, trainable=False), L.Dense(2)]),
        [(3,)],
    ),
    "dropout": (lambda: keras.Sequential([keras.Input((3,)), L.Dense(4), L.Dropout(0.5), L.Dense(2)]), [(3,)]),
    "batch norm": (
        lambda: keras.Sequential([keras.Input((3,)), L.Dense(4), L.BatchNormalization(), L.Dense(2)]),
        [(3,)],
    ),
    "subclassed": (subclassed, [(3,)]),
    "two inputs": (two_inputs, [(3,), (2,)]),
    "convolution": (
        lambda: keras.Sequential([keras.Input((6, 6, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2)]),
        [(6, 6, 1)],
    ),
    "lstm": (lambda: keras.Sequential([keras.Input((5, 3)), L.LSTM(4), L.Dense(2)]), [(5, 3)]),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    build, shapes = NETWORKS[request.param]
    inputs = [tf.constant(draws(S, B, *shape, seed=i)) for i, shape in enumerate(shapes)]
    return build(), inputs if len(shapes) > 1 else inputs[0]


def keras_call(model, theta, x):
    """Write θ into the model's variables and call it as Keras does."""
    for variable, value in zip(model.trainable_variables, Network(model).unflatten(theta), strict=True):
        variable.assign(value)
    return model(x, training=False)


def at(x, s):
    return tf.nest.map_structure(lambda a: a[s], x)


def test_outputs_equal_keras_single_and_stacked(case):
    model, x = case
    network = Network(model)
    theta = tf.constant(0.5 * draws(S, network.num_params))
    stacked = network(theta, x)
    for s in range(S):
        single = network(theta[s], at(x, s))
        np.testing.assert_allclose(stacked[s], single, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(single, keras_call(model, theta[s], at(x, s)), rtol=1e-5, atol=1e-6)


def reference_grads(model, theta, x):
    """Return the gradients of Σ sin(outputs) in θ and x, through Keras's own call on its variables."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.sin(keras_call(model, theta, x)))
    *weights, by_x = tape.gradient(loss, [*(v.value for v in model.trainable_variables), x])
    return Network(model).flatten(weights), by_x


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_gradients_of_dense_chains_equal_those_through_keras(compiled):
    model = mlp()
    network = Network(model)
    theta, x = tf.constant(0.5 * draws(S, network.num_params)), tf.constant(draws(S, B, 3))
    expected = [reference_grads(model, theta[s], x[s]) for s in range(S)]

    def grads(theta, x):
        with tf.GradientTape() as tape:
            tape.watch([theta, x])
            loss = tf.reduce_sum(tf.sin(network(theta, x)))
        return tape.gradient(loss, [theta, x])

    function = tf.function(grads, autograph=False, jit_compile=True) if compiled else grads
    stacked = function(theta, x)
    for s in range(S):
        single = grads(theta[s], x[s])
        for part in range(2):
            np.testing.assert_allclose(stacked[part][s], expected[s][part], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(single[part], expected[s][part], rtol=1e-5, atol=1e-6)


def test_weights_from_stack_can_be_used_several_times():
    network = Network(mlp(3, 3))
    theta, x = tf.constant(0.5 * draws(S, network.num_params)), tf.constant(draws(S, B, 3))
    with tf.GradientTape() as tape:
        tape.watch(theta)
        y = tf.reduce_sum(network(theta, network(theta, x)) ** 2)
    expected = tape.gradient(y, theta)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        weights = network.stack(theta)
        y = tf.reduce_sum(network.forward(weights, network.forward(weights, x)) ** 2)
    np.testing.assert_allclose(tape.gradient(y, theta), expected, rtol=1e-5, atol=1e-5)


def test_flatten_inverts_unflatten(case):
    network = Network(case[0])
    theta = tf.constant(draws(S, network.num_params))
    assert [w.shape for w in network.unflatten(theta)] == [(S, *shape) for shape in network.shapes]
    np.testing.assert_array_equal(network.flatten(network.unflatten(theta)), theta)
    np.testing.assert_array_equal(network.flatten(network.unflatten(theta[0])), theta[0])


def test_init_is_deterministic_and_changes_neither_weights_nor_global_generators(case):
    model, _ = case
    network = Network(model)
    before = [v.numpy() for v in model.weights]
    keras.utils.set_random_seed(1)
    expected = np.random.rand(), tf.random.normal([]).numpy(), keras.random.normal([]).numpy()  # noqa: NPY002
    keras.utils.set_random_seed(1)
    theta = network.init(7, 3)
    found = np.random.rand(), tf.random.normal([]).numpy(), keras.random.normal([]).numpy()  # noqa: NPY002
    assert found == expected
    assert theta.shape == (3, network.num_params)
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, variable)
    np.testing.assert_array_equal(network.init(7, 3), theta)
    np.testing.assert_array_equal(network.init(7, 2), theta[:2])
    others = [theta[0], theta[1], theta[2], network.init(8, 1)[0]]
    assert all(np.any(a != b) for i, a in enumerate(others) for b in others[:i])


def test_init_draws_from_each_layers_own_initialiser():
    normal: Any = keras.initializers.RandomNormal(stddev=3.0)  # Keras types it as a name only
    model = keras.Sequential([keras.Input((40,)), L.Dense(50, kernel_initializer=normal), L.LayerNormalization()])
    kernel, bias, gamma, beta = Network(model).unflatten(Network(model).init(0, 2))
    assert abs(np.std(kernel[0]) - 3.0) < 0.2
    assert (bias.numpy() == 0).all() and (gamma.numpy() == 1).all() and (beta.numpy() == 0).all()
    assert abs(np.corrcoef(kernel[0].numpy().ravel(), kernel[1].numpy().ravel())[0, 1]) < 0.1


def test_the_forget_bias_of_an_lstm_is_initialised_to_one():
    model = keras.Sequential([keras.Input((5, 3)), L.LSTM(4)])
    bias = Network(model).unflatten(Network(model).init(0, 1))[2]
    np.testing.assert_array_equal(bias[0], np.repeat([0.0, 1.0, 0.0, 0.0], 4))


def test_a_layer_of_the_users_own_gets_permutations_of_its_weights():
    class Scale(L.Layer):
        def build(self, shape):
            self.factors = self.add_weight(shape=(shape[-1],), initializer="normal")

        def call(self, x):
            return x * self.factors

    model = keras.Sequential([keras.Input((30,)), Scale(name="scale")])
    theta = Network(model).init(0, 2)
    np.testing.assert_array_equal(np.sort(theta[0]), np.sort(model.trainable_variables[0].numpy()))
    assert np.any(theta[0].numpy() != theta[1].numpy())


def test_models_without_weights_are_refused():
    with pytest.raises(ValueError, match="expected a built Keras model.*Received: 'later'.*Input layer"):
        Network(keras.Sequential([L.Dense(1)], name="later"))
    model = mlp()
    model.trainable = False
    with pytest.raises(ValueError, match="at least one trainable weight.*Received.*trainable = True"):
        Network(model)


def test_inputs_may_be_integers():
    network = Network(mlp())
    theta, x = tf.constant(draws(S, network.num_params)), tf.ones([S, B, 3], tf.int32)
    np.testing.assert_array_equal(network(theta, x), network(theta, tf.ones([S, B, 3])))


def test_a_layer_used_twice_and_an_activation_with_weights():
    shared = L.Dense(3, activation="tanh")
    inputs = keras.Input((3,))
    twice = keras.Model(inputs, L.Dense(2)(shared(shared(inputs))))
    learned: Any = L.PReLU()  # Keras types it as a name or function only
    rectified = keras.Sequential([keras.Input((3,)), L.Dense(4, activation=learned), L.Dense(2)])
    rectified(np.zeros([1, 3]))  # Keras builds such an activation at the first call
    for model in (twice, rectified):
        network = Network(model)
        theta, x = tf.constant(draws(S, network.num_params)), tf.constant(draws(S, B, 3))
        found = network(theta, x)
        for s in range(S):
            np.testing.assert_allclose(found[s], keras_call(model, theta[s], x[s]), rtol=1e-5, atol=1e-6)


def test_a_mixed_policy_gives_float32():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, L.Dense(2, dtype="mixed_bfloat16")(inputs))
    network = Network(model)
    assert network(network.init(0, S), tf.constant(draws(S, B, 3))).dtype == tf.float32
    chain = Network(keras.Sequential([keras.Input((3,)), L.Dense(2, dtype="mixed_bfloat16")]))
    found = chain(chain.init(0, 1)[0], tf.constant(draws(B, 3)))
    np.testing.assert_array_equal(found, tf.cast(tf.cast(found, tf.bfloat16), tf.float32))  # computed in 16 bits


def test_weights_of_another_type_are_refused():
    with pytest.raises(ValueError, match=r"float32. Received: others at \['net/odd/kernel'.*set_dtype_policy"):
        Network(keras.Sequential([keras.Input((3,)), L.Dense(2), L.Dense(1, dtype="float64", name="odd")], name="net"))


@pytest.mark.parametrize("shape", [(B, 3), (S, B, 2), (2, B, 3), (S, B, 3, 3)], ids=str)
def test_inputs_that_do_not_fit_the_draws_or_the_network_are_refused(shape):
    network = Network(mlp())
    with pytest.raises(ValueError, match=r"`x`: expected shape \[S, B.*Received"):
        network(network.init(0, S), tf.zeros(shape))
    if len(shape) != 2:
        with pytest.raises(ValueError, match=r"`x`: expected shape \[B, F\] with F = 3.*Received"):
            network(network.init(0, 1)[0], tf.zeros(shape))


# Training mode


def normalised():
    return keras.Sequential(
        [
            keras.Input((3,)),
            L.Dense(4),
            L.BatchNormalization(),
            L.Activation("tanh"),
            L.BatchNormalization(),
            L.Dense(2),
        ]
    )


def test_batch_statistics_are_those_of_the_rows_layer_by_layer():
    network = Network(normalised())
    theta, x = tf.constant(0.5 * draws(S, network.num_params)), tf.constant(3 + 2 * draws(S, 50, 3, seed=1))
    mean, variance, second_mean, second_variance = network.statistics(theta, x)
    for s in range(S):
        kernel, bias, gamma, beta, *_ = network.unflatten(theta[s])
        hidden = (x[s] @ kernel + bias).numpy()
        np.testing.assert_allclose(mean[s], hidden.mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance[s], hidden.var(axis=0), rtol=1e-4)
        scaled = np.tanh(gamma * (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-3) + beta)
        np.testing.assert_allclose(second_mean[s], scaled.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(second_variance[s], scaled.var(axis=0), rtol=1e-3)
        single = network.statistics(theta[s], x[s])
        np.testing.assert_allclose(single[0], mean[s], rtol=1e-5, atol=1e-6)


def test_inference_at_the_statistics_of_a_batch_is_training_on_it():
    network = Network(normalised())
    theta, x = tf.constant(0.5 * draws(S, network.num_params)), tf.constant(draws(S, 50, 3, seed=1))
    held = network(theta, x, statistics=network.statistics(theta, x))
    np.testing.assert_allclose(held, network(theta, x, training=True), rtol=1e-3, atol=1e-4)
    assert np.abs(held - network(theta, x)).max() > 0.1  # which the model's own running statistics do not give


def test_a_frozen_batch_normalisation_keeps_its_statistics():
    model = normalised()
    for layer in model.layers:
        layer.trainable = not isinstance(layer, L.BatchNormalization)
    network = Network(model)
    theta, x = tf.constant(draws(network.num_params)), tf.constant(draws(B, 3, seed=1))
    assert not network.has_statistics
    np.testing.assert_array_equal(network(theta, x, training=True), network(theta, x))


@pytest.mark.parametrize("layer", [L.Dropout(0.5), L.GaussianNoise(0.5), L.SpatialDropout1D(0.5)], ids=lambda a: a.name)
def test_noise_differs_between_thetas_and_repeats_with_its_seed(layer):
    network = Network(keras.Sequential([keras.Input((6, 3)), L.Dense(8), layer, L.Flatten(), L.Dense(2)]))
    assert network.draws_noise
    theta = tf.repeat(tf.constant(draws(1, network.num_params)), S, axis=0)
    x = tf.repeat(tf.constant(draws(1, B, 6, 3, seed=1)), S, axis=0)
    call = lambda seed: network(theta, x, training=True, seed=tf.constant([0, seed])).numpy()
    noisy = call(1)
    assert np.abs(noisy[0] - noisy[1]).min() > 0 and np.abs(noisy[1] - noisy[2]).min() > 0
    np.testing.assert_array_equal(call(1), noisy)
    assert np.abs(call(2) - noisy).min() > 0
    quiet = network(theta, x).numpy()
    np.testing.assert_array_equal(quiet[0], quiet[1])


def test_dropout_does_not_change_the_mean():
    network = Network(keras.Sequential([keras.Input((3,)), L.Dropout(0.4), L.Dense(1)]))
    theta, x = tf.constant(draws(network.num_params)), tf.ones([100_000, 3])
    noisy = network(theta, x, training=True, seed=tf.constant([0, 1])).numpy()[:, 0]
    assert abs(noisy.mean() - network(theta, x[:1]).numpy()[0, 0]) < 4 * noisy.std() / np.sqrt(len(noisy))


def test_a_subclass_without_the_argument_training_runs_in_training_mode():
    network = Network(subclassed())
    theta, x = tf.constant(draws(S, network.num_params)), tf.constant(draws(S, B, 3, seed=1))
    assert network.has_statistics and network.draws_noise
    assert np.abs(network(theta, x, training=True, seed=tf.constant([0, 1])) - network(theta, x)).min() > 0
