"""BayesianModel on data with scalers, with several inputs and outputs, and with batch normalisation."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.inference import Adam, Ensemble
from bnnrl.model.prediction import Predictor
from tests.scenarios import mlp

pytestmark = pytest.mark.usefixtures("without_xla")
L = keras.layers
PAIR = Ensemble(Adam(1e-2), 2)


def far_data(**kwargs) -> Any:
    rng = np.random.default_rng(0)
    x = 1000 + 50 * rng.normal(size=(120, 2))
    y = 1e4 + 300 * (x[:, :1] - 1000) / 50 + 30 * rng.normal(size=(120, 1))
    return bnnrl.data.load((x, y), seed=0, **kwargs)


@pytest.mark.parametrize("factor", [1e-20, 1e-8, 1e8])
def test_the_unit_of_the_targets_does_not_matter(factor):
    x = np.random.default_rng(0).normal(size=(120, 2))
    r2 = {}
    for unit in (1.0, factor):
        model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
        rows = bnnrl.data.load((x, unit * (1 + x[:, :1] - x[:, 1:] ** 2)), seed=0)
        model.fit(rows, epochs=40, verbose=0)
        r2[unit] = model.evaluate(rows.test)["r2"]
    assert r2[1.0] > 0.5
    np.testing.assert_allclose(r2[factor], r2[1.0], rtol=1e-3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_time_stamps_are_learned_as_seconds_are(dtype, stream, tmp_path):
    seconds = np.arange(200)[:, np.newaxis]
    y, found = np.sin(seconds / 30.0), []
    for start in (0, 1_700_000_000):
        model = bnnrl.BayesianModel(mlp(1, 1), "gaussian", method=Adam(1e-2))
        rows = bnnrl.data.load(((start + seconds).astype(dtype), y), seed=0, stream=stream)
        model.fit(rows, epochs=20, verbose=0)
        found.append(model.predict((start + seconds).astype(dtype)))
    np.testing.assert_allclose(*found, atol=1e-4)
    model.save(tmp_path / "m")
    again = bnnrl.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(1_700_000_000 + seconds), found[1])
    again.update(rows.train, replay=rows.train, epochs=1, verbose=0)
    model.cross_calibrate(rows.train if not stream else (1_700_000_000 + seconds, y), folds=2, level=0.5, epochs=1)


def test_data_in_any_units_are_fitted_in_standard_ones_and_predicted_in_their_own(tmp_path):
    bnn, rows = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=PAIR), far_data(validation=0.2)
    history = bnn.fit(rows, epochs=150, verbose=0).history
    assert len(history["val_nll"]) == 150  # the data's own validation part
    x, y = rows.test
    scores = bnn.evaluate(rows.test)
    assert scores["rmse"] < 60 and scores["nll"] < -norm.logpdf(0, scale=60) + 1
    mean, parts = bnn.predict(x), bnn.uncertainty(x)
    np.testing.assert_allclose(np.sqrt(np.mean((mean - y) ** 2)), scores["rmse"], rtol=1e-4)
    predictive: Any = bnn.predict_distribution(x)
    np.testing.assert_allclose(predictive.mean(), mean, rtol=1e-5)
    np.testing.assert_allclose(predictive.variance(), parts.total, rtol=1e-2)
    np.testing.assert_allclose(-np.mean(predictive.log_prob(y)), scores["nll"], rtol=1e-4)
    raw = bnn.predict_samples(x, 2)
    np.testing.assert_allclose(rows.y_scaler.inverse(raw.mean(axis=0)), mean, rtol=1e-5)
    bnn.save(tmp_path / "m")
    again = bnnrl.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(x), mean)
    again.fit(rows, epochs=150, verbose=0)  # the method was saved with it
    np.testing.assert_array_equal(again.predict(x), mean)


def test_a_fit_without_scalers_forgets_those_of_the_last():
    bnn, rows = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=PAIR), far_data()
    bnn.fit(rows, epochs=1, verbose=0)
    assert bnn.x_scaler is rows.x_scaler and bnn.y_scaler is rows.y_scaler
    bnn.fit(*rows.train, epochs=1, verbose=0)
    assert bnn.x_scaler is None and bnn.y_scaler is None


def test_a_likelihood_of_no_location_and_scale_comes_back_to_the_targets_units():
    likelihood = lambda outputs: tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros([*outputs.shape, 2])),
        tfd.Normal(tf.stack([outputs - 1.0, outputs + 1.0], axis=-1), 1.0),
    )
    bnn, rows = bnnrl.BayesianModel(mlp(2, 1), likelihood, method=Adam(1e-2)), far_data()
    bnn.fit(rows, epochs=2, verbose=0)
    x, y = rows.test
    raw, z = bnn.predict_samples(x, 1)[0], rows.y_scaler.transform(y)
    density = 0.5 * (norm.pdf(z, raw - 1, 1) + norm.pdf(z, raw + 1, 1)) / rows.y_scaler.std
    predictive: Any = bnn.predict_distribution(x)
    np.testing.assert_allclose(predictive.log_prob(y), np.log(density).sum(axis=1), rtol=1e-4)


def test_counts_cannot_be_standardised():
    rng = np.random.default_rng(0)
    rows = bnnrl.data.load((rng.normal(size=(60, 2)), rng.poisson(3.0, size=(60, 1)).astype(float)))
    with pytest.raises(ValueError, match=r"`y_scaler`: expected none.*standardize"):
        bnnrl.BayesianModel(mlp(2, 1), "poisson").fit(rows, verbose=0)


def test_a_stream_of_data_is_standardised_too(monkeypatch):

    monkeypatch.setattr("bnnrl.model.device_data.IN_MEMORY_BYTES", 100)
    monkeypatch.setattr("bnnrl.model.device_data.SHARD_BYTES", 12 * 32)
    bnn, rows = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=PAIR), far_data(stream=True)
    bnn.fit(rows, epochs=100, batch_size=16, verbose=0)
    assert bnn.evaluate(rows.test)["rmse"] < 60


def test_predictions_normalise_by_the_training_rows_statistics_under_each_draw():
    network = keras.Sequential([keras.Input((2,)), L.Dense(4), L.BatchNormalization(), L.ReLU(), L.Dense(1)])
    bnn = bnnrl.BayesianModel(network, "gaussian", method=PAIR)
    x = 5 + 3 * np.random.default_rng(0).normal(size=(80, 2)).astype("f")
    y = x[:, :1] - x[:, 1:]
    bnn.fit(x, y, batch_size=16, epochs=200, verbose=0)
    at, problem = x[:7] + 1, bnn._problem
    for sample, theta in zip(bnn.predict_samples(at, 2), bnn.posterior.sample(2, 0), strict=True):
        weights = [np.asarray(a) for a in problem.network.unflatten(problem.split(theta)[0])]
        kernel, bias, gamma, beta, last, offset = weights
        hidden = x @ kernel + bias
        z = gamma * (at @ kernel + bias - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-3) + beta
        np.testing.assert_allclose(sample, np.maximum(z, 0) @ last + offset, rtol=1e-3, atol=1e-3)
    assert bnn.evaluate(x, y)["rmse"] < 0.5 * y.std()


def test_draws_one_after_another_predict_what_a_batch_of_them_does(monkeypatch):
    a, b = keras.Input((3,)), keras.Input((2,))
    h = L.BatchNormalization()(L.Concatenate()([L.Dense(4)(a), b]))
    network = keras.Model([a, b], [L.Dense(1)(h), L.Dense(2)(h)])
    likelihood = lambda outputs: tfd.Normal(outputs[0], 1.0)
    bnn = bnnrl.BayesianModel(network, likelihood, method=PAIR)
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(40, 3)), rng.normal(size=(40, 2))]
    bnn.fit(x, x[0][:, :1], epochs=2, verbose=0)
    batched = bnn.predict_samples(x, 2)
    monkeypatch.setattr("bnnrl.model.prediction._BATCHED", 1)
    compiled_anew = Predictor(bnn._problem, bnn._adapter)
    compiled_anew.reference = bnn._predictor.reference
    bnn._predictor = compiled_anew
    single = bnn.predict_samples(x, 2)
    assert [part.shape for part in single] == [(2, 40, 1), (2, 40, 2)]
    for one, other in zip(single, batched, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_several_inputs_and_outputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    h = L.Concatenate()([L.Dense(8, "tanh")(a), b])
    network = keras.Model([a, b], {"mean": L.Dense(1)(h), "scale": L.Dense(1)(h)})
    likelihood = lambda outputs: tfd.Normal(outputs["mean"], 1e-2 + tf.math.softplus(outputs["scale"]))
    bnn = bnnrl.BayesianModel(network, likelihood, method=PAIR)
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(60, 3)), rng.normal(size=(60, 2))]
    y = x[0][:, :1] - x[1][:, :1]
    loss = bnn.fit(x, y, batch_size=10, epochs=100, verbose=0).history["loss"]
    assert bnn._trainer is not None and bnn._trainer.driver.num_traces == 1
    assert loss[-1] < loss[0] and bnn.evaluate((x, y))["rmse"] < 0.5
    outputs = bnn.predict_samples(x, 2)
    assert {name: value.shape for name, value in outputs.items()} == {"mean": (2, 60, 1), "scale": (2, 60, 1)}
    np.testing.assert_allclose(bnn.predict(x), outputs["mean"].mean(axis=0), rtol=1e-5)
    predictive: Any = bnn.predict_distribution(x)
    np.testing.assert_allclose(-np.mean(predictive.log_prob(y)), bnn.evaluate(x, y)["nll"], rtol=1e-4)
    dataset = tf.data.Dataset.from_tensor_slices((tuple(x), y))
    np.testing.assert_allclose(bnn.evaluate(dataset)["nll"], bnn.evaluate(x, y)["nll"], rtol=1e-5)
    for bad, words in (
        (x[0], "an array for each of the network's inputs.*Received: ndarray"),
        ([x[0], x[1][:5]], "as many rows of each input"),
        ([x[1], x[0]], "of shapes"),
        ([x[0], np.full_like(x[1], np.nan)], r"`x \(b\)`: expected finite.*row 0, column 0"),
    ):
        with pytest.raises(ValueError, match=words):
            bnn.predict(bad)
