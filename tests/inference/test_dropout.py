"""MC dropout against its equations in NumPy, and against Keras's dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.inference import Driver, Ensemble, MCDropout
from bnnrl.posterior import Dropout
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from tests.inference.test_adam import adam_in_numpy
from tests.scenarios import draws, linear_regression, mlp

N = 24


def test_golden_steps_of_linear_regression():
    """Masks of the inputs: seven rows are split into three parts with one mask each."""
    line, theta, method = linear_regression(N), draws(3), MCDropout(0.05, input_rate=0.4, masks=3)
    batches = [np.arange(7), np.arange(9, 16), np.arange(17, 24)]
    state = method.init(line.problem, 0, tf.constant(theta))
    masks = [np.asarray(method.posterior(line.problem, state).masks([3], as_seed(t))[0]) for t in range(3)]
    assert {0.0, np.float32(1 / 0.6)} == set(np.unique(masks))

    def grad(theta, t):
        total = theta / line.prior**2 / N
        for k in range(3):
            rows, z = batches[t][k::3], np.r_[masks[t][k], 1.0]
            own = line.grad(z * theta, rows) - z * theta / line.prior**2 / N  # the gradient of the likelihood
            total = total + z * own * len(rows) / 7
        return total

    for t, (theta_np, m, v) in enumerate(adam_in_numpy(theta.astype(np.float64), grad, range(3), lambda t: 0.05)):
        batch = (tf.constant(line.x[batches[t]]), tf.constant(line.y[batches[t]]))
        state, _ = method.step(line.problem, state, batch, as_seed(t))
        np.testing.assert_allclose(state.theta, theta_np, rtol=1e-5)
        np.testing.assert_allclose(state.m, m, rtol=1e-5)
        np.testing.assert_allclose(state.v, v, rtol=1e-5)


def test_a_draw_is_keras_dropout_in_distribution():
    """Moments of the outputs over masks agree with those of Keras's Dropout layers in training mode."""
    width, rate = 20, 0.3
    dense = lambda units, activation=None: keras.layers.Dense(units, activation)
    layers = [dense(width, "tanh"), dense(width, "tanh"), dense(1)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    theirs = keras.Sequential(
        [
            keras.Input((2,)),
            layers[0],
            keras.layers.Dropout(rate, seed=1),
            layers[1],
            keras.layers.Dropout(rate, seed=2),
            layers[2],
        ]
    )
    problem = Problem(model, likelihoods.Gaussian(1.0), tfd.Normal(0.0, 1.0), N)
    method = MCDropout(rate=rate)
    theta = problem.network.flatten([tf.convert_to_tensor(v) for v in model.trainable_variables])
    found = method.posterior(problem, method.init(problem, 0, theta))
    x = tf.tile(tf.constant([[0.7, -1.2]]), [6000, 1])
    ours = problem.apply(found.sample(6000, 0), x[:, tf.newaxis])[:, 0, 0].numpy()
    keras_draws = theirs(x, training=True)[:, 0].numpy()
    error = np.sqrt((ours.var() + keras_draws.var()) / 6000)
    assert abs(ours.mean() - keras_draws.mean()) < 4 * error
    np.testing.assert_allclose(ours.std(), keras_draws.std(), rtol=0.05)  # standard error 1.3 %
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(ours, quantiles), np.quantile(keras_draws, quantiles), atol=8 * error)


def test_hidden_kernels_are_dropped_and_the_first_on_demand():
    problem = Problem(mlp(hidden=(5, 4)), "gaussian", tfd.Normal(0.0, 1.0), N)
    method = MCDropout(rate=0.2)
    found = method.posterior(problem, method.init(problem, 0))
    assert isinstance(found, Dropout)
    assert found.rates == (0.0, 0.2, 0.0, 0.2, 0.0)  # one layer has no bias
    assert MCDropout(rate=0.2, input_rate=0.05)._dropout(problem, found.theta).rates == (0.05, 0.2, 0.0, 0.2, 0.0)
    assert found.theta.shape == (problem.num_params,)  # includes the likelihood's own parameters


@pytest.fixture(scope="module")
def padded():
    """A problem, a driver of two members, and their initial state."""
    line, method = linear_regression(12), Ensemble(MCDropout(0.05, input_rate=0.2), 2)
    return line, Driver(line.problem, method, None), method.init(line.problem, 3)


@pytest.mark.parametrize("num_data", [2, 9])
def test_padding_does_not_matter_even_when_a_part_has_no_real_row(padded, num_data):
    line, driver, start = padded
    outcomes = []
    for padding in (0.0, np.nan):
        x, y = np.full([12, 2], padding, np.float32), np.full([12, 1], padding, np.float32)
        x[:num_data], y[:num_data] = line.x[:num_data], line.y[:num_data]
        state, _ = driver.run(start, (tf.constant(x), tf.constant(y)), 7, seed=0, num_data=num_data)
        outcomes.append(state.theta.numpy())
    assert np.isfinite(outcomes).all()
    np.testing.assert_array_equal(*outcomes)


def test_more_masks_make_a_less_noisy_gradient_and_the_same_on_average():
    problem = Problem(mlp(hidden=(8,)), likelihoods.Gaussian(0.5), tfd.Normal(0.0, 1.0), 16)
    batch, theta = (tf.constant(draws(16, 3)), tf.constant(draws(16, 2))), problem.init(0, 1)[0]
    grads = {}
    for masks in (1, 8):
        method = MCDropout(rate=0.5, masks=masks, learning_rate=1e-9)
        state = method.init(problem, 0, theta)
        step = tf.function(lambda seed: method.step(problem, state, batch, seed)[0].m / 0.1, autograph=False)  # noqa: B023
        grads[masks] = np.array([step(as_seed(t)) for t in range(400)])
    variance = {masks: g.var(0).sum() for masks, g in grads.items()}
    assert variance[8] < 0.6 * variance[1]  # not 1/8, as each mask sees fewer rows
    error = np.sqrt((grads[1].var(0) + grads[8].var(0)) / 400) + 1e-6
    assert np.abs((grads[1].mean(0) - grads[8].mean(0)) / error).max() < 4.5


def test_a_network_without_a_hidden_layer_is_refused():
    with pytest.raises(ValueError, match=r"MCDropout: expected a hidden layer.*Received.*`input_rate`"):
        MCDropout().init(linear_regression().problem, 0)


@pytest.mark.parametrize("bad", [{"learning_rate": 0}, {"rate": 1.0}, {"input_rate": -0.1}, {"masks": 0}])
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        MCDropout(**bad)
