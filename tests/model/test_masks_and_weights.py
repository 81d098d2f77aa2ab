"""Masked time steps, weights of rows and Keras's other arguments of `fit`."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import Adam, GaussNewton
from bnnrl.inference.curvature import gauss_newton, gauss_newton_diagonal
from tests.scenarios import draws, mlp

pytestmark = pytest.mark.usefixtures("without_xla")
L = keras.layers
TOKENS = np.array([[1, 2, 3, 0, 0], [2, 2, 1, 3, 0], [3, 1, 2, 2, 1], [1, 0, 0, 0, 0]] * 10, np.float32)
MASK = TOKENS > 0


def per_step(outputs: int = 1) -> keras.Model:
    return keras.Sequential([keras.Input((5,)), L.Embedding(4, 3, mask_zero=True), L.Dense(outputs)])


def targets(padding: float) -> np.ndarray:
    return np.where(MASK, 0.5 * TOKENS, padding)[..., np.newaxis].astype(np.float32)


def test_the_log_likelihood_counts_no_masked_time_step_for_one_and_for_several_theta():
    problem = bnnrl.Problem(per_step(), likelihoods.Gaussian(0.5), tfd.Normal(0.0, 1.0), 40)
    theta, y = problem.init(0, 2), tf.constant(targets(100.0))
    x = tf.constant(TOKENS)
    outputs = np.asarray(problem.apply(theta[0], x))
    expected = np.sum(np.where(MASK, -0.5 * ((y - outputs)[..., 0] / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi)), 0))
    np.testing.assert_allclose(problem.log_likelihood(theta[0], (x, y)), expected, rtol=1e-5)
    both = problem.log_likelihood(theta, (tf.stack([x, x]), tf.stack([y, y])))
    np.testing.assert_allclose(both[0], expected, rtol=1e-5)


@pytest.mark.parametrize("masking", ["embedding", "masking"])
def test_what_stands_at_masked_time_steps_does_not_matter(masking):
    found = []
    for padding in (0.0, 100.0):
        if masking == "embedding":
            network, x = per_step(), TOKENS
        else:
            network = keras.Sequential([keras.Input((5, 1)), L.Masking(), L.Dense(4, "tanh"), L.Dense(1)])
            x = TOKENS[..., np.newaxis]
        model = bnnrl.BayesianModel(network, "gaussian", method=Adam(1e-2))
        history = model.fit(x, targets(padding), epochs=5, validation_data=(x, targets(padding)), verbose=0).history
        found.append([*model.evaluate(x, targets(padding)).values(), *history["loss"], *history["val_loss"]])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_scores_are_those_of_the_time_steps_that_count():
    model = bnnrl.BayesianModel(per_step(), likelihoods.Gaussian(0.5), method=Adam(1e-2))
    model.fit(TOKENS, targets(100.0), epochs=2, verbose=0)
    scores, mean = model.evaluate(TOKENS, targets(100.0)), model.predict(TOKENS)
    error = (mean - targets(0.0))[MASK]
    np.testing.assert_allclose(scores["rmse"], np.sqrt(np.mean(error**2)), rtol=1e-5)
    np.testing.assert_allclose(scores["mae"], np.mean(np.abs(error)), rtol=1e-5)
    log_prob = -0.5 * (error / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(scores["nll"], -log_prob.sum() / len(TOKENS), rtol=1e-5)


def test_classes_at_masked_time_steps_may_be_anything():
    y = np.where(MASK, TOKENS - 1, -1)
    model = bnnrl.BayesianModel(per_step(3), "categorical", method=Adam(0.1))
    model.fit(TOKENS, y, epochs=60, verbose=0)
    scores = model.evaluate(TOKENS, y)
    assert scores["accuracy"] == 1.0 and scores["ece"] < 0.2


def test_targets_may_be_nan_at_masked_time_steps_and_only_there():
    found = []
    for padding in (0.0, np.nan):
        model = bnnrl.BayesianModel(per_step(), "gaussian", method=Adam(1e-2))
        model.fit(TOKENS, targets(padding), epochs=3, validation_split=0.25, verbose=0)
        found.append([*model.evaluate(TOKENS, targets(padding)).values()])
    np.testing.assert_allclose(*found, rtol=1e-5)
    y = targets(np.nan)
    y[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"`y`.*row 3"):
        model.fit(TOKENS, y, epochs=1, verbose=0)
    classes = bnnrl.BayesianModel(per_step(3), "categorical", method=Adam(0.1))
    classes.fit(TOKENS, np.where(MASK, TOKENS - 1, np.nan), epochs=1, verbose=0)


def test_the_curvature_counts_no_masked_time_step():
    """Laplace's matrix for padded rows is that of the same network for the time steps that count, one by one."""
    padded, plain = per_step(), keras.Sequential([keras.Input((1,)), L.Embedding(4, 3), L.Dense(1)])
    for likelihood in ("gaussian", likelihoods.Gaussian(0.3), lambda o: likelihoods.Gaussian(0.3)(o, tf.zeros([0]))):
        prior = tfd.Normal(0.0, 1.0)
        problem, other = (bnnrl.Problem(network, likelihood, prior, 40) for network in (padded, plain))
        theta, batch = problem.init(0, 1)[0], (tf.constant(TOKENS), tf.constant(targets(1.0)))
        steps = tf.constant(TOKENS[MASK][:, np.newaxis]), tf.constant(targets(1.0)[MASK][:, np.newaxis])
        per_row = MASK.sum() / len(TOKENS)
        whole = lambda problem, theta, batch: gauss_newton(problem, theta, batch, 0)
        for function in (whole, gauss_newton_diagonal):
            expected = per_row * function(other, theta, steps)
            np.testing.assert_allclose(function(problem, theta, batch), expected, rtol=1e-4, atol=1e-6)


def test_gauss_newton_learning_refuses_masks_and_weights():
    model = bnnrl.BayesianModel(per_step(), "gaussian", method=GaussNewton(steps=5))
    with pytest.raises(ValueError, match=r"GaussNewton: expected .*masked time steps.*laplace"):
        model.fit(TOKENS, targets(0.0), batch_size=None, verbose=0)
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=GaussNewton(steps=5))
    with pytest.raises(ValueError, match=r"GaussNewton: expected .*Received: weights"):
        model.fit(X, Y, sample_weight=np.ones(60), batch_size=None, verbose=0)


X = draws(60, 2)
Y = X[:, :1] - 0.5 * X[:, 1:]
COUNTS = np.arange(60) % 3


def repeated(a: np.ndarray) -> np.ndarray:
    return np.repeat(a, COUNTS, axis=0)


def test_a_weight_is_a_number_of_repetitions_in_the_log_likelihood_and_in_scores():
    problem = bnnrl.Problem(mlp(2, 1), "gaussian", tfd.Normal(0.0, 1.0), 60)
    theta = problem.init(0, 1)[0]
    as_tensors = lambda *arrays: tuple(tf.constant(a, tf.float32) for a in arrays)
    weighted = problem.log_likelihood(theta, as_tensors(X, Y, COUNTS))
    np.testing.assert_allclose(weighted, problem.log_likelihood(theta, as_tensors(repeated(X), repeated(Y))), rtol=1e-5)
    # Rows of weight 0 are no part of the batch: 40 rows are left, which stand for 60.
    scaled = problem.scaled_log_likelihood(theta, as_tensors(X, Y, COUNTS))
    np.testing.assert_allclose(scaled, 60 / 40 * weighted, rtol=1e-5)
    curvature, kept = gauss_newton(problem, theta, as_tensors(X, Y, COUNTS), 0), repeated(X)
    expected = 60 / 40 * gauss_newton(problem, theta, as_tensors(kept, repeated(Y)), 0)
    own = problem.num_params - 1  # a learned scale is a parameter of every row alike
    np.testing.assert_allclose(curvature[:own, :own], expected[:own, :own], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_weighted_rows_are_fitted_and_scored_like_repeated_ones(batch_size):
    found = []
    for rows in ((X, Y, COUNTS), (repeated(X), repeated(Y))):
        model = bnnrl.BayesianModel(mlp(2, 1), likelihoods.Gaussian(0.3), method=Adam(2e-2))
        model.fit(rows, batch_size=batch_size, epochs=300 if batch_size is None else 40, verbose=0)
        found.append(model)
    atol = 1e-3 if batch_size is None else 0.1
    np.testing.assert_allclose(found[0].predict(X), found[1].predict(X), atol=atol)
    scores = found[0].evaluate(X, Y, sample_weight=COUNTS)
    expected = found[0].evaluate(repeated(X), repeated(Y))
    for name in ("nll", "rmse", "mae", "r2", "picp_95"):
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("batched", [False, True])
def test_a_dataset_of_triples_has_weights(batched):
    weight = np.arange(60) % 3 * 1.0
    rows = tf.data.Dataset.from_tensor_slices((X, Y, weight))
    dataset = rows.batch(7) if batched else rows
    found = []
    for data in ((X, Y, weight), dataset):
        model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
        history = model.fit(data, epochs=2, validation_data=data, verbose=0).history
        found.append([*model.evaluate(data).values(), *history["loss"], *history["val_nll"]])
    np.testing.assert_array_equal(*found)
    model.fit(dataset.repeat(), steps_per_epoch=2, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="finitely many triples"):
        model.fit(dataset.repeat(), epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"`y` or `sample_weight`: expected None"):
        model.fit(dataset, sample_weight=weight, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"a tf.data.Dataset of \(x, y, sample_weight\)"):
        model.fit(rows.map(lambda x, y, w: (x, y)), sample_weight=weight, epochs=1, verbose=0)


def test_weights_of_classes():
    y = (X[:, 0] > 0.5).astype(int)
    found, forms = [], ({"class_weight": {0: 1.0, 1: 3.0}}, {"sample_weight": np.where(y, 3.0, 1.0)})
    weights: Any
    for weights in forms:
        model = bnnrl.BayesianModel(mlp(2, 2), "categorical", method=Adam(1e-2))
        model.fit(X, y, epochs=3, verbose=0, **weights)
        found.append(model.predict(X))
    np.testing.assert_array_equal(*found)
    for weights in ({0: 1.0}, [1.0, 2.0], {0: -1.0, 1: 1.0}):
        with pytest.raises(ValueError, match=r"weight`: expected.*Received"):
            model.fit(X, y, epochs=1, verbose=0, class_weight=weights)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = slice(10 * index, 10 * index + 10)
        return X[rows], Y[rows]


def test_batches_of_python_are_the_rows_that_they_hold():
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    forms = (X, Y), (Batches(), None), ((Batches()[i] for i in range(6)), None)
    found = []
    for x, y in forms:
        model.fit(x, y, epochs=2, verbose=0)
        found.append(model.predict(X))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])

    def endless():
        while True:
            yield X, Y, np.ones(60)

    model.fit(endless(), steps_per_epoch=2, epochs=1, verbose=0)
    for bad in (iter([X]), iter([]), iter([(X, Y), (X, Y, np.ones(60))])):
        with pytest.raises(ValueError, match=r"Invalid data: expected .*batch"):
            model.fit(bad, epochs=1, verbose=0)


def test_a_share_for_validation_and_the_steps_of_an_epoch():
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    history = model.fit(X, Y, epochs=2, validation_split=0.25, verbose=0).history
    whole = bnnrl.BayesianModel(model.keras_model, "gaussian", method=Adam(1e-2))
    expected = whole.fit(X[:45], Y[:45], epochs=2, validation_data=(X[45:], Y[45:]), verbose=0).history
    np.testing.assert_array_equal(history["val_nll"], expected["val_nll"])
    model.fit(X, Y, batch_size=20, steps_per_epoch=7, epochs=3, verbose=0)
    assert model.optimizer.iterations == 21


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": np.ones(59)}, r"`sample_weight`: expected .*60 rows. Received: shape \(59,\)"),
        ({"sample_weight": -np.ones(60)}, r"`sample_weight`: expected .*at least 0.*Received: -1"),
        ({"sample_weight": np.zeros(60)}, r"`sample_weight`: expected a positive weight"),
        ({"sample_weight": np.ones([60, 5])}, r"`sample_weight`: .*Masking"),
        ({"validation_split": 1.0}, "`validation_split`"),
        ({"validation_split": 0.5, "validation_data": (X, Y)}, "`validation_split`: expected 0"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch`"),
        ({"initial_epoch": 3}, r"`initial_epoch`: expected 0.*`initial`"),
    ],
)
def test_other_arguments_are_refused(given, message):
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, epochs=1, verbose=0, **given)
