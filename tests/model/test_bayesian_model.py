"""BayesianModel: known answers, fitting, callbacks, saving, samplers, and errors for bad input."""

import subprocess
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import load_diabetes, load_iris
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import compiled, inference, likelihoods, posterior
from bnnrl.diagnostics import SamplingWarning
from bnnrl.inference import HMC, SGLD, Adam, Ensemble, WarmStart
from bnnrl.model.prediction import Predictor

pytestmark = pytest.mark.usefixtures("without_xla")  # the tests of architectures fit with XLA


def linear(inputs=2, outputs=1):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])


def network(inputs, outputs, hidden=16):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(hidden, "tanh"), keras.layers.Dense(outputs)])


def with_draws(model, likelihood, *thetas):
    """Return a BayesianModel whose posterior is the equal mixture of the points `thetas`."""
    bnn = bnnrl.BayesianModel(model, likelihood)
    bnn._loaded_posterior = posterior.mixture([posterior.Point(tf.constant(t, tf.float32)) for t in thetas])
    return bnn


def fitted(likelihood="gaussian", outputs=1, n=40, seed=0, **kwargs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    y = x @ rng.normal(size=(2, 1)) if likelihood == "gaussian" else rng.integers(0, 2, n)
    bnn = bnnrl.BayesianModel(network(2, outputs), likelihood, method=Ensemble(Adam(1e-2), size=3))
    return bnn, x, y, bnn.fit(x, y, epochs=3, verbose=0, seed=seed, **kwargs)


X = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
W = np.array([[0.5, -1.0, 0.25], [1.5, 0.3, -0.5], [-0.2, 0.8, 0.1]], np.float32)  # three draws of (kernel, bias)
LOC = np.stack([X @ w[:2] + w[2] for w in W])  # [S, B]
Y = np.linspace(-2, 2, 7)


# Known answers.


def test_one_draw_is_the_closed_form():
    bnn = with_draws(linear(), likelihoods.Gaussian(scale=0.3), W[0])
    np.testing.assert_allclose(bnn.predict(X)[:, 0], LOC[0], rtol=1e-5)
    distribution = bnn.predict_distribution(X)
    np.testing.assert_allclose(distribution.log_prob(Y[:, None]), norm.logpdf(Y, LOC[0], 0.3), rtol=1e-4)
    total, aleatoric, epistemic = bnn.uncertainty(X)
    np.testing.assert_allclose(aleatoric, 0.09, rtol=1e-5)
    np.testing.assert_allclose(total, 0.09, rtol=1e-5)
    np.testing.assert_array_equal(epistemic, 0.0)
    scores = bnn.evaluate(X, Y)
    assert scores["nll"] == pytest.approx(-norm.logpdf(Y, LOC[0], 0.3).mean(), rel=1e-4)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((Y - LOC[0]) ** 2)), rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.01])  # at 0.01 the densities underflow float32
def test_mixture_of_gaussians(scale):
    bnn = with_draws(linear(), likelihoods.Gaussian(scale=scale), *W)
    expected = logsumexp(norm.logpdf(Y, LOC, scale), axis=0) - np.log(3)
    distribution = bnn.predict_distribution(X, num_samples=30)
    assert distribution.batch_shape == (7,) and distribution.event_shape == (1,)
    np.testing.assert_allclose(distribution.log_prob(Y[:, None]), expected, rtol=2e-4)
    assert bnn.evaluate(X, Y)["nll"] == pytest.approx(-expected.mean(), rel=1e-4)
    total, aleatoric, epistemic = bnn.uncertainty(X)
    np.testing.assert_allclose(epistemic[:, 0], LOC.var(axis=0), rtol=1e-4)
    np.testing.assert_allclose(total, aleatoric + epistemic)
    np.testing.assert_allclose(distribution.variance(), total, rtol=1e-4)
    np.testing.assert_allclose(distribution.mean(), bnn.predict(X), rtol=1e-5, atol=1e-6)


def test_each_draw_has_its_own_learned_scale():
    log_scale = np.array([-2.0, 0.0, 1.0])
    bnn = with_draws(linear(), likelihoods.Gaussian(floor=0.0), *np.concatenate([W, log_scale[:, None]], axis=1))
    log_prob = norm.logpdf(Y, LOC, np.exp(log_scale)[:, None])
    expected = logsumexp(log_prob, axis=0) - np.log(3)
    np.testing.assert_allclose(bnn.predict_distribution(X).log_prob(Y[:, None]), expected, rtol=1e-4)
    np.testing.assert_allclose(bnn.uncertainty(X).aleatoric, np.exp(2 * log_scale).mean(), rtol=1e-5)


def test_categorical_entropies_and_scores():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    thetas = [np.concatenate([np.zeros(6), np.log(p)]) for p in probs]  # zero kernels, the bias gives the classes
    bnn = with_draws(linear(2, 3), "categorical", *thetas)
    mean, y = probs.mean(axis=0), np.array([0, 1, 2, 2, 2, 0, 1])
    np.testing.assert_allclose(bnn.predict(X), np.tile(mean, [7, 1]), rtol=1e-5)
    entropy = lambda p: -np.sum(p * np.log(p), axis=-1)
    total, aleatoric, epistemic = bnn.uncertainty(X)
    assert total.shape == (7,)
    np.testing.assert_allclose(total, entropy(mean), rtol=1e-5)
    np.testing.assert_allclose(aleatoric, entropy(probs).mean(), rtol=1e-5)
    np.testing.assert_allclose(epistemic, entropy(mean) - entropy(probs).mean(), rtol=1e-4)
    scores = bnn.evaluate(X, y)
    assert scores["nll"] == pytest.approx(-np.log(mean[y]).mean(), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(3 / 7)
    assert scores["brier"] == pytest.approx(np.sum((mean - np.eye(3)[y]) ** 2, axis=-1).mean(), rel=1e-5)
    np.testing.assert_allclose(bnn.predict_distribution(X).prob(y), mean[y], rtol=1e-5)


def test_bernoulli_scores():
    bnn = with_draws(linear(2, 1), "bernoulli", [0, 0, np.log(4.0)], [0, 0, np.log(1.0)])  # p = 0.8 and 0.5
    y = np.array([1, 1, 1, 1, 0, 0, 1])
    scores = bnn.evaluate(X, y)
    assert scores["accuracy"] == pytest.approx(5 / 7)
    assert scores["brier"] == pytest.approx(np.mean((0.65 - y) ** 2), rel=1e-5)
    assert scores["nll"] == pytest.approx(-np.log(np.where(y == 1, 0.65, 0.35)).mean(), rel=1e-5)
    h = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)
    total, aleatoric, _ = bnn.uncertainty(X)
    np.testing.assert_allclose(total, h(0.65), rtol=1e-5)
    np.testing.assert_allclose(aleatoric, (h(0.8) + h(0.5)) / 2, rtol=1e-5)
    assert bnn.uncertainty(X).total.shape == (7, 1)


def student(outputs):
    return tfd.StudentT(5.0, outputs[..., 0], tf.nn.softplus(outputs[..., 1]))


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y"),
    [
        (likelihoods.Gaussian("heteroscedastic"), 4, np.ones((7, 2))),
        ("bernoulli", 2, np.eye(2)[[0, 1, 0, 1, 0, 1, 1]]),
        ("poisson", 2, np.arange(14).reshape(7, 2)),
        (student, 2, Y),
        (lambda outputs: tfd.Laplace(outputs, 1.0), 2, np.stack([Y, Y], axis=1)),  # batch [S, B, 2], no event
    ],
)
def test_mixture_and_evaluate_agree_for_every_likelihood(likelihood, outputs, y):
    thetas = np.random.default_rng(0).normal(size=(4, 3 * outputs))
    bnn = with_draws(linear(2, outputs), likelihood, *thetas)
    distribution = bnn.predict_distribution(X)
    assert distribution.batch_shape == (7,)
    log_prob = distribution.log_prob(tf.cast(y, distribution.dtype))
    assert bnn.evaluate(X, y)["nll"] == pytest.approx(-float(tf.reduce_mean(log_prob)), rel=1e-5)
    assert distribution.sample(3, seed=(0, 1)).shape == (3, *y.shape)
    assert bnn.predict(X).shape == y.shape and bnn.uncertainty(X).total.shape == y.shape


def test_a_likelihood_without_a_mean():
    bnn = with_draws(linear(2, 1), lambda outputs: _Nameless(outputs[..., 0], 1.0), *W)
    assert set(bnn.evaluate(X, Y)) == {"nll"}
    with pytest.raises(ValueError, match="which has none. Use `predict_distribution`"):
        bnn.predict(X)


class _Nameless(tfd.Normal):
    def _mean(self):
        raise NotImplementedError


def test_network_outputs_and_chunks_of_rows(monkeypatch):
    make = lambda: with_draws(linear(), "gaussian", *np.concatenate([W, np.zeros((3, 1))], axis=1))
    bnn = make()
    samples = bnn.predict_samples(X, num_samples=6)
    assert samples.shape == (6, 7, 1)
    np.testing.assert_allclose(np.unique(samples[:, 0, 0]), np.unique(LOC[:, 0]), rtol=1e-5)
    monkeypatch.setattr("bnnrl.model.prediction._ROWS", 2)  # the last chunk is padded
    np.testing.assert_allclose(bnn.predict_samples(X, num_samples=6), samples, rtol=1e-5)
    monkeypatch.setattr("bnnrl.model.prediction._BATCHED", 11)  # draw after draw
    np.testing.assert_allclose(make().predict_samples(X, num_samples=6), samples, rtol=1e-5)


def test_predictions_do_not_depend_on_how_many_draws_are_in_memory(monkeypatch):
    bnn = with_draws(linear(), "gaussian", *np.concatenate([W, np.zeros((3, 1))], axis=1))
    y = X[:, :1]
    at_once = bnn.predict(X), bnn.predict_samples(X, 5), bnn.evaluate(X, y), bnn.uncertainty(X)
    drawn = np.asarray(bnn.predict_distribution(X).mean())
    monkeypatch.setattr("bnnrl.model.prediction._DRAW_BYTES", 2 * 4 * bnn._problem.num_params)
    monkeypatch.setattr("bnnrl.model.prediction._BLOCK_OUTPUTS", 1)
    monkeypatch.setattr("bnnrl.model.prediction._ROWS", 3)
    assert [len(piece) for piece in bnn._samples(100, 0)] == [1, 1, 1]
    in_pieces = bnn.predict(X), bnn.predict_samples(X, 5), bnn.evaluate(X, y), bnn.uncertainty(X)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), in_pieces, at_once)
    np.testing.assert_allclose(bnn.predict_distribution(X).mean(), drawn, rtol=1e-5)


@pytest.mark.parametrize("call", ["predict_distribution", "predict_samples"])
def test_outputs_that_would_exhaust_the_memory_are_refused(monkeypatch, call):
    predict = getattr(with_draws(linear(), likelihoods.Gaussian(1.0), *W), call)
    monkeypatch.setattr("bnnrl.checks._ALWAYS_ALLOWED_BYTES", 0)
    monkeypatch.setattr("bnnrl.checks.available_bytes", lambda: 2 * 2 * 4 * len(X))  # the outputs of 2 draws, twice
    predict(X, num_samples=2)
    with pytest.raises(ValueError, match=r"`num_samples`: expected at most 2, .* Received: num_samples=3.*fewer rows"):
        predict(X, num_samples=3)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "poisson"])
def test_scores_and_uncertainty_hold_the_outputs_of_few_rows(monkeypatch, likelihood):
    size = 3 if likelihood == "categorical" else 2
    bnn = with_draws(linear(2, size), likelihood, *np.random.default_rng(0).normal(size=(4, 3 * size)))
    x = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
    y = np.arange(50) % 2 if likelihood == "categorical" else np.arange(100).reshape(50, 2) % 2
    expected = bnn.evaluate(x, y), bnn.uncertainty(x)
    monkeypatch.setattr("bnnrl.model.prediction._BLOCK_OUTPUTS", 4 * size * 7)
    seen, all_outputs = [], Predictor.all_outputs

    def watched(self, pieces, x):
        outputs, params = all_outputs(self, pieces, x)
        seen.append(outputs.shape.num_elements())
        return outputs, params

    monkeypatch.setattr(Predictor, "all_outputs", watched)
    assert bnn.uncertainty(x).total.shape == expected[1].total.shape and max(seen) == 4 * size * 7
    found = bnn.evaluate(x, y), bnn.uncertainty(x)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


# Fitting.


def test_learns_a_regression():
    x, y = map(np.asarray, load_diabetes(return_X_y=True))
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    bnn = bnnrl.BayesianModel(network(10, 1), likelihoods.Gaussian(), method=Ensemble(Adam(1e-2), size=5))
    history = bnn.fit(x[:342], y[:342], epochs=60, validation_data=(x[342:], y[342:]), verbose=0)
    assert history.epoch == list(range(60))
    assert history.history["loss"][-1] < history.history["loss"][0]
    scores = bnn.evaluate(x[342:], y[342:])
    assert set(history.history) == {"loss", "val_loss"} | {f"val_{name}" for name in scores}
    assert scores["nll"] == history.history["val_nll"][-1] == history.history["val_loss"][-1]
    assert scores["rmse"] < 0.8  # the mean alone is 1.0; least squares 0.70


def test_learns_a_classification_from_a_dataset():
    x, y = map(np.asarray, load_iris(return_X_y=True))
    order = np.random.default_rng(0).permutation(150)
    x, y = ((x - x.mean(axis=0)) / x.std(axis=0))[order], y[order]
    train = tf.data.Dataset.from_tensor_slices((x[:100], y[:100]))
    bnn = bnnrl.BayesianModel(network(4, 3), "categorical", method=Adam(2e-2))
    bnn.fit(train.batch(16), epochs=60, verbose=0)
    scores = bnn.evaluate(tf.data.Dataset.from_tensor_slices((x[100:], y[100:])))  # batched or not
    assert scores["accuracy"] > 0.9 and scores["nll"] < 0.4 and scores["brier"] < 0.2
    assert scores == bnn.evaluate((x[100:], y[100:])) == bnn.evaluate(x[100:], y[100:])


def test_the_map_of_a_linear_model_and_full_batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    y = x @ [1.0, -2.0] + 0.5 + 0.3 * rng.normal(size=30)
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.3), tfd.Normal(0.0, 0.5), Adam(1e-2))
    history = bnn.fit(x, y, batch_size=None, epochs=1500, verbose=0)
    design = np.column_stack([x, np.ones(30)])
    precision = design.T @ design / 0.09 + np.eye(3) / 0.25
    theta = np.linalg.solve(precision, design.T @ y / 0.09)
    np.testing.assert_allclose(bnn.posterior.sample(1, 0)[0], theta, atol=1e-3)
    log_joint = norm.logpdf(y, design @ theta, 0.3).sum() + norm.logpdf(theta, 0, 0.5).sum()
    assert history.history["loss"][-1] == pytest.approx(-log_joint / 30, rel=1e-3)


def test_the_seed_decides_and_each_fit_starts_anew():
    model = network(2, 1)
    before = [v.numpy() for v in model.weights]
    bnn = bnnrl.BayesianModel(model, "gaussian", method=Ensemble(size=2))
    predictions = []
    for seed in (3, 4, 3):
        bnn.fit(X, Y, epochs=2, verbose=0, seed=seed)
        predictions.append(bnn.predict(X))
    np.testing.assert_array_equal(predictions[0], predictions[2])
    assert np.abs(predictions[0] - predictions[1]).max() > 1e-3
    assert bnn._trainer is not None and bnn._trainer.driver.num_traces == 1
    for old, new in zip(before, model.weights, strict=True):  # the Keras model is as it was
        np.testing.assert_array_equal(old, new)


def test_folds_of_a_cross_validation_and_any_number_of_rows_to_predict_share_a_program(monkeypatch):
    monkeypatch.setattr(compiled, "SHARED", compiled.SharedPrograms())
    traces, rng = [], np.random.default_rng(0)
    for rows in (404, 405, 411):
        bnn = bnnrl.BayesianModel(network(2, 1), "gaussian", method=Adam(1e-2))
        x = rng.normal(size=(rows, 2))
        bnn.fit(x, x[:, :1], epochs=1, seed=rows, verbose=0)
        assert bnn._trainer is not None
        traces.append(bnn._trainer.driver.num_traces)
        whole = bnn.predict(x)
        np.testing.assert_allclose(bnn.predict(x[:100]), whole[:100], rtol=1e-5, atol=1e-6)
    assert traces == [1, 0, 0]


def test_few_rows_and_one_column():
    bnn = bnnrl.BayesianModel(network(1, 1), "gaussian")
    bnn.fit([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], epochs=1, verbose=0)  # fewer than a batch; rows of one number
    assert bnn.predict([1.5]).shape == (1, 1)


# Callbacks.


def test_callbacks_are_called_once_an_epoch_and_find_the_model():
    seen = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(("begin", self.params))

        def on_train_batch_end(self, batch, logs=None):
            seen.append(("batch", batch))

        def on_epoch_end(self, epoch, logs=None):
            assert self.model is not None
            seen.append((epoch, self.model.predict(X).shape, sorted(logs or {})))

        def on_train_end(self, logs=None):
            seen.append(("end",))

    bnn, _, _, history = fitted(callbacks=Recorder(), batch_size=10)
    assert seen[0] == ("begin", {"epochs": 3, "steps": 4, "verbose": 0})
    assert seen[1:3] == [("batch", 3), (0, (7, 1), ["loss"])] and seen[-1] == ("end",) and len(seen) == 8
    assert isinstance(history, keras.callbacks.History) and bnn.history is history


def test_data_too_large_for_float32_stop_the_first_step():
    x, y = np.full((8, 2), 1e30), np.full(8, 1e30)  # finite, but their square is not
    bnn = bnnrl.BayesianModel(network(2, 1), likelihoods.Gaussian(1.0))
    with pytest.raises(inference.Diverged, match="at step 0 with learning_rate=0.05.*standardise inputs and targets"):
        bnn.fit(x, y, epochs=5, verbose=0)


def test_logger_checkpoint_and_lambda_callbacks(tmp_path):
    ends = []
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch)),
    ]
    bnn, x, _, history = fitted(callbacks=callbacks)
    assert ends == [0, 1, 2] and len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert history.history["loss"][-1] == min(history.history["loss"])
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "best.keras").predict(x), bnn.predict(x))


def test_verbose(capsys):
    bnn = bnnrl.BayesianModel(network(2, 1), "gaussian")
    for verbose in (0, 1, 2, "auto"):
        bnn.fit(X, Y, epochs=2, verbose=verbose)
        out = capsys.readouterr().out
        assert ("Epoch 2/2" in out and "loss" in out) == (verbose != 0)


# Saving.

NEW_PROCESS = """
import sys, numpy as np, bnnrl
for folder in sys.argv[1:]:
    bnn, x = bnnrl.load(folder), np.load(folder + ".npy")
    total, samples = bnn.uncertainty(x).total, bnn.predict_samples(x, 5, seed=2)
    np.savez(folder + ".npz", predict=bnn.predict(x), samples=samples, total=total)
"""


def test_loaded_in_a_new_process_predictions_are_bit_equal(tmp_path, fresh_python):
    models = {"a": fitted("gaussian", 1), "b": fitted("categorical", 2)}
    for name, (bnn, x, *_) in models.items():
        bnn.save(tmp_path / name)
        np.save(tmp_path / f"{name}.npy", x)
    folders = [str(tmp_path / name) for name in models]
    subprocess.run([*fresh_python, "-c", NEW_PROCESS, *folders], check=True, capture_output=True)
    for name, (bnn, x, y, _) in models.items():
        out = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(out["predict"], bnn.predict(x))
        np.testing.assert_array_equal(out["samples"], bnn.predict_samples(x, 5, seed=2))
        np.testing.assert_array_equal(out["total"], bnn.uncertainty(x).total)
        assert bnnrl.load(tmp_path / name).evaluate(x, y) == bnn.evaluate(x, y)


def test_frozen_layers_are_saved(tmp_path):
    frozen = keras.layers.Dense(2, "tanh", trainable=False)
    model = keras.Sequential([keras.Input((2,)), frozen, keras.layers.Dense(1)])
    bnn = with_draws(model, likelihoods.Gaussian(0.3), W[0])
    bnn.save(tmp_path / "bnn")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "bnn").predict(X), bnn.predict(X))


def test_a_loaded_model_is_saved_again_and_one_without_its_prior_not_fitted_again(tmp_path):
    bnn = with_draws(linear(), likelihoods.Gaussian(0.3), *W)
    bnn.save(tmp_path / "a")
    loaded = bnnrl.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "b").predict(X), bnn.predict(X))
    assert loaded.likelihood == bnn.likelihood and loaded.method == bnn.method
    bnn.prior = tfd.Gumbel(0.0, 1.0)  # one that is not saved
    bnn.save(tmp_path / "b")
    loaded = bnnrl.load(tmp_path / "b")
    with pytest.raises(ValueError, match="loaded without. Build a new BayesianModel"):
        loaded.fit(X, Y)
    with pytest.raises(ValueError, match="`overwrite` is False"):
        bnn.save(tmp_path / "b", overwrite=False)


def test_code_is_not_saved(tmp_path):
    double = keras.layers.Lambda(lambda x: 2 * x)
    doubled = keras.Sequential([keras.Input((2,)), double, keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="without Lambda layers"):
        with_draws(doubled, likelihoods.Gaussian(0.3), W[0]).save(tmp_path / "a")
    with pytest.raises(ValueError, match="Code is never saved"):
        with_draws(linear(2, 2), lambda outputs: student(outputs), np.ones(6)).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


# Samplers.


def conjugate(n=20):
    """Return x, y, and the posterior mean and standard deviation of x w + b, for noise 0.5 and the prior N(0, 1)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    y = x @ [1.0, -0.5] + 0.3 + 0.5 * rng.normal(size=n)
    design = np.c_[x, np.ones(n)]
    cov = np.linalg.inv(design.T @ design / 0.25 + np.eye(3))
    return x, y, design @ cov @ design.T @ y / 0.25, np.sqrt(np.einsum("nd,de,ne->n", design, cov, design))


@pytest.mark.parametrize(
    "method",
    [
        HMC(burn_in=100, max_draws=300),
        pytest.param(WarmStart(HMC(burn_in=50, max_draws=300), steps=50), marks=pytest.mark.slow),
    ],
    ids=["cold", "warm"],
)
def test_hmc_by_fit(method, tmp_path):
    x, y, mean, std = conjugate()
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=method)
    history = bnn.fit(x, y, batch_size=None, epochs=400, verbose=0)
    assert len(history.history["loss"]) == 400
    draws = bnn.predict_samples(x, num_samples=1200)[..., 0]
    assert np.abs(draws.mean(0) - mean).max() < 0.2 * std.min()
    np.testing.assert_allclose(draws.std(0), std, rtol=0.15)
    bnn.save(tmp_path / "bnn")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "bnn").predict(x, 50, seed=3), bnn.predict(x, 50, seed=3))
    found = bnn.diagnose(x)
    assert found.rhat.shape == (20, 1) and (found.rhat < 1.05).all() and found.divergent == 0
    assert found.accept == pytest.approx(0.8, abs=0.15)


def test_scores_begin_with_the_first_draw():
    x, y, *_ = conjugate()
    method = WarmStart(HMC(num_leapfrog=2, burn_in=2, max_draws=3), steps=2)
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=method)
    history = bnn.fit(x, y, batch_size=None, epochs=7, verbose=0, validation_data=(x, y)).history
    assert len(history["loss"]) == 7 and len(history["val_nll"]) == 3


def test_sgld_by_fit_and_by_name():
    x, y, mean, std = conjugate()
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=Ensemble(SGLD(1e-3, 500, 20, 400), 4))
    bnn.fit(x, y, batch_size=5, epochs=1500, verbose=0)
    draws = bnn.predict_samples(x, num_samples=1000)[..., 0]
    assert np.abs(draws.mean(0) - mean).max() < 0.5 * std.min()
    assert bnnrl.BayesianModel(linear(), "gaussian", method="psgld").method == inference.PSGLD()


def test_chains_that_have_not_mixed_are_told():
    x, y, *_ = conjugate()
    method = HMC(1e-5, num_leapfrog=1, burn_in=0, target_accept=None, max_draws=10)
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=method)
    with pytest.warns(SamplingWarning) as caught:
        bnn.fit(x, y, batch_size=None, epochs=10, verbose=0)
    assert [str(w.message)[:6] for w in caught] == ["R-hat ", "Accept"]


def test_what_a_sampler_needs_of_a_fit():
    x, y, *_ = conjugate()
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=HMC())
    with pytest.raises(ValueError, match=r"`batch_size`: expected None, for all rows, with HMC"):
        bnn.fit(x, y, epochs=200, verbose=0)
    with pytest.raises(ValueError, match=r"`epochs`: expected at least 101, as .* burn-in.*Received: epochs=10"):
        bnn.fit(x, y, batch_size=None, verbose=0)
    with pytest.raises(ValueError, match=r"`epochs`: expected at least 251.*1001 steps, 4 an epoch"):
        bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=SGLD()).fit(x, y, batch_size=5, verbose=0)


def test_a_diverging_fit_keeps_the_last_finite_state():
    x, y, *_ = conjugate()
    bnn = bnnrl.BayesianModel(linear(), likelihoods.Gaussian(0.5), method=SGLD(1e3, burn_in=0))
    with pytest.raises(inference.Diverged, match=r"step \d+ with step_size=1e\+03"):
        bnn.fit(x, y, epochs=100, verbose=0)
    assert all(np.isfinite(a).all() for a in bnn.get_weights()) and np.isfinite(bnn.predict(x)).all()


# Bad input.


@pytest.mark.parametrize("call", ["predict", "predict_distribution", "predict_samples", "uncertainty"])
def test_before_fit_and_num_samples(call):
    with pytest.raises(ValueError, match="expected a fitted one.*Call `fit`"):
        getattr(bnnrl.BayesianModel(linear(), "gaussian"), call)(X)
    with pytest.raises(ValueError, match="Invalid `num_samples`: expected an integer of at least 1.*0"):
        getattr(with_draws(linear(), likelihoods.Gaussian(1.0), W[0]), call)(X, num_samples=0)
    with pytest.raises(ValueError, match=r"Invalid `x`.*input shape \(None, 2\).*\(7, 3\)"):
        getattr(with_draws(linear(), likelihoods.Gaussian(1.0), W[0]), call)(np.ones((7, 3)))


def test_save_and_posterior_before_fit(tmp_path):
    bnn = bnnrl.BayesianModel(linear(), "gaussian")
    with pytest.raises(ValueError, match="Call `fit`"):
        bnn.save(tmp_path / "bnn")
    with pytest.raises(ValueError, match="Call `fit`"):
        _ = bnn.posterior


def test_unbuilt_model_and_unknown_method():
    with pytest.raises(ValueError, match="expected a built Keras model.*Input layer"):
        bnnrl.BayesianModel(keras.Sequential([keras.layers.Dense(1)]), "gaussian")
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        bnnrl.BayesianModel(linear(), "gaussian", method="adm")


def replaced(array, row, value):
    array = np.array(array, float)
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (replaced(X, (3, 1), np.nan), Y, "Invalid `x`: expected finite .* nan in row 3, column 1, the first of 1"),
        (replaced(X, (2, 0), 1e300), Y, "Invalid `x`: expected finite .* inf in row 2, column 0"),
        (X, replaced(Y, 5, -np.inf), "Invalid `y`: expected finite .* -inf in row 5, the first of 1"),
        (X, Y[:5], "expected as many targets as rows. Received: 7 rows of x, y of shape"),
        (X, None, "expected x and y, a pair"),
        (X[:0], Y[:0], "expected at least one row"),
        (X[:, :1], Y, r"input shape \(None, 2\). Received: shape \(7, 1\)"),
        (X, np.ones((7, 2)), "Invalid targets"),
        (np.full((7, 2), "a"), Y, "expected an array of numbers"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).repeat(), None, "finitely many pairs"),
        (tf.data.Dataset.from_tensor_slices(X), None, "finitely many pairs"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).take(0), None, "at least one row"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        bnnrl.BayesianModel(linear(), "gaussian").fit(x, y, verbose=0)
    if y is not None:
        with pytest.raises(ValueError, match=message):
            with_draws(linear(), likelihoods.Gaussian(1.0), W[0]).evaluate(x, y)


@pytest.mark.parametrize(
    ("likelihood", "outputs", "label"),
    [("categorical", 3, 3), ("categorical", 3, -1), ("categorical", 3, 0.5), ("bernoulli", 1, 2), ("poisson", 1, -1)],
)
def test_labels_outside_the_likelihoods_support(likelihood, outputs, label):
    y = replaced(np.zeros(7), 4, label)
    with pytest.raises(ValueError, match=rf"expected integers from 0 to \w+ for .*Received: {float(label)} in row 4"):
        bnnrl.BayesianModel(linear(2, outputs), likelihood).fit(X, y, verbose=0)


@pytest.mark.parametrize("argument", ["epochs", "batch_size"])
def test_counts(argument):
    counts: dict[str, Any] = {argument: 0}
    with pytest.raises(ValueError, match=f"Invalid `{argument}`: expected an integer of at least 1"):
        bnnrl.BayesianModel(linear(), "gaussian").fit(X, Y, verbose=0, **counts)


def test_bad_validation_data_is_told_before_training_starts():
    bnn = bnnrl.BayesianModel(linear(), "gaussian")
    with pytest.raises(ValueError, match="Invalid `y`: expected finite"):
        bnn.fit(X, Y, validation_data=(X, replaced(Y, 0, np.nan)), verbose=0)
    assert bnn._trainer is None


def test_the_default_method_and_prior():
    bnn = bnnrl.BayesianModel(linear(), "gaussian")
    assert bnn.method == inference.Adam() and isinstance(bnn.prior, tfd.Normal)
