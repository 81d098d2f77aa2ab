"""CV+: its definition on a deterministic regressor, coverage on exchangeable rows, saving and refusals."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import Info, Method
from bnnrl.inference.base import starting_point
from bnnrl.model.folds import splits
from bnnrl.posterior import Point
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


class State(NamedTuple):
    theta: tf.Tensor


@dataclass(frozen=True)
class LeastSquares(Method):
    """The least-squares estimate of a linear network, in one step on all rows."""

    full_batch_only: ClassVar[bool] = True

    def init(self, problem, seed, theta=None):
        return State(starting_point(problem, seed, theta))

    def step(self, problem, state, batch, seed):
        x, y, weight = batch
        design = weight[:, tf.newaxis] * tf.concat([x, tf.ones_like(x[:, :1])], axis=1)
        theta = tf.reshape(tf.linalg.lstsq(design, weight[:, tf.newaxis] * y, l2_regularizer=1e-6), [-1])
        return State(theta), Info.unadjusted(tf.constant(0.0), tf.constant(0.0))

    def posterior(self, problem, state):
        return Point(state.theta)


def least_squares(x, y, likelihood=None) -> bnnrl.BayesianModel:
    """Return a fitted linear model."""
    network = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, likelihood or likelihoods.Gaussian(0.5), method=LeastSquares())
    model.fit(x, y, batch_size=None, epochs=1, verbose=0)
    return model


def predicted(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the least-squares prediction at new rows in float64, [B]."""
    design = lambda x: np.c_[x, np.ones(len(x))].astype(np.float64)
    return design(at) @ np.linalg.lstsq(design(x), y[:, 0].astype(np.float64), rcond=None)[0]


@pytest.mark.parametrize("method", ["absolute", "normalized"])
def test_intervals_follow_from_the_definition(method, tmp_path):
    """23 rows in 4 folds, of 6 and 5; with a fixed noise of 0.5, both methods have the same intervals."""
    x, noise = draws(23, 2, seed=1), draws(23, 1, seed=2)
    y, new = x @ np.array([[1.0], [-2.0]], np.float32) + noise, draws(7, 2, seed=3)
    model = least_squares(x, y)
    found = model.cross_calibrate(x, y, folds=4, method=method, level=0.8, batch_size=None, epochs=1)
    assert [len(fold.scores) for fold in found.folds] == [6, 6, 6, 5] and found is model.calibrations["conformal"]
    held_out = [fold.held_out for fold in splits(23, 4, 0)]
    lower, upper = [], []
    for fold in held_out:
        others = np.setdiff1d(np.arange(23), fold)
        residuals = np.abs(y[fold, 0] - predicted(x[others], y[others], x[fold]))
        at_new = predicted(x[others], y[others], new)[:, np.newaxis]
        lower.append(at_new - residuals)
        upper.append(at_new + residuals)
    lower, upper = (np.sort(np.concatenate(ends, axis=1), axis=1) for ends in (lower, upper))
    expected = lower[:, math.floor(0.2 * 24) - 1], upper[:, math.ceil(0.8 * 24) - 1]
    np.testing.assert_allclose([end[:, 0] for end in model.interval(new, 0.8)], expected, atol=2e-3)
    model.save(tmp_path / "model")
    # The method is the test's own, which is code: the folds' models are loaded without it and predict.
    again = bnnrl.load(tmp_path / "model")
    np.testing.assert_array_equal(again.interval(new, 0.8), model.interval(new, 0.8))
    with pytest.raises(ValueError, match=r"at least 49 rows for level 0.98\. Received: 23 rows"):
        model.interval(new, 0.98)
    model.calibrate(draws(40, 2), draws(40, 1))
    assert model.calibrations["conformal"].method == "normalized"
    model.cross_calibrate(x, y, level=0.8, batch_size=None, epochs=1)
    model.fit(x, y, batch_size=None, epochs=1, verbose=0)
    assert not model.calibrations


def test_each_fold_is_standardised_by_the_rows_outside_of_it():
    x, y = 100 + draws(30, 2), 5 * draws(30, 1, seed=1)
    rows = bnnrl.data.load((x, y), test=0.0, task="regression")
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(1.0), method=LeastSquares())
    model.fit(rows, batch_size=None, epochs=1, verbose=0)
    found = model.cross_calibrate(rows, folds=3, level=0.9, batch_size=None, epochs=1)
    held_out = [fold.held_out for fold in splits(30, 3, 0)]
    train = np.asarray(rows.train[0])
    for fold, indices in zip(found.folds, held_out, strict=True):
        others = np.setdiff1d(np.arange(30), indices)
        np.testing.assert_allclose(fold.model.x_scaler.mean, train[others].mean(axis=0), rtol=1e-6)


def test_sets_follow_from_the_definition():
    x = draws(40, 2)
    labels = (x[:, 0] + draws(40, seed=1) > 0).astype(int)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model = bnnrl.BayesianModel(network, "categorical", method="adam")
    model.fit(x, labels, epochs=2, verbose=0)
    found = model.cross_calibrate(x, labels, folds=2, method="lac", level=0.8, epochs=2)
    new = draws(9, 2, seed=4)
    probs = [fold.model.predict(new).astype(np.float64) for fold in found.folds]
    exceeded = sum(
        (1 - p[:, :, np.newaxis] > fold.scores).sum(axis=2) for p, fold in zip(probs, found.folds, strict=True)
    )
    np.testing.assert_array_equal(model.predict_set(new, 0.8), exceeded < 0.8 * 41)


def test_too_few_rows_and_methods_without_folds_are_refused():
    x, y = draws(12, 2), draws(12, 1, seed=1)
    model = least_squares(x, y)
    with pytest.raises(ValueError, match=r"at least 19 rows for level 0\.95\. Received: 12 rows"):
        model.cross_calibrate(x, y)
    with pytest.raises(ValueError, match=r"`folds`: expected at most 12, for 12 rows\. Received: folds=13"):
        model.cross_calibrate(x, y, folds=13, level=0.8)
    with pytest.raises(ValueError, match="`folds`: expected"):
        model.cross_calibrate(x, y, folds=1, level=0.8)
    with pytest.raises(ValueError, match=r"'normalized' or 'absolute' for numbers.*Received: 'cqr'.*set aside"):
        model.cross_calibrate(x, y, method="cqr", level=0.8)
    with pytest.raises(ValueError, match="Call `fit`"):
        bnnrl.BayesianModel(model.keras_model, "gaussian").cross_calibrate(x, y)
    assert not model.calibrations


@pytest.mark.slow
def test_coverage_is_at_least_nominal_on_exchangeable_rows():
    """30 data sets of 40 rows with 50 new rows each; the data sets are independent, the rows of one are not."""
    shares = []
    for seed in range(30):
        x, noise = draws(90, 3, seed=seed), np.random.default_rng(1000 + seed).standard_t(3, size=(90, 1))
        y = (np.sin(2 * x[:, :1]) + noise).astype(np.float32)
        model = least_squares(x[:40], y[:40])
        model.cross_calibrate(x[:40], y[:40], folds=4, level=0.8, batch_size=None, epochs=1, seed=seed)
        low, high = model.interval(x[40:], 0.8)
        shares.append(np.mean((low <= y[40:]) & (y[40:] <= high)))
    error = np.std(shares, ddof=1) / np.sqrt(30)
    assert 0.8 - 2 * error < np.mean(shares) < 0.9
