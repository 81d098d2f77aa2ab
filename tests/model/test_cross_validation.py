"""k-fold cross-validation: folds, scores against their definition, coverage, and refusals."""

from typing import Any, cast

import keras
import numpy as np
import pytest
from sklearn.model_selection import KFold

import bnnrl
from bnnrl import likelihoods
from bnnrl.model.folds import splits
from bnnrl.seeds import host_seed
from tests.model.test_cross_conformal import LeastSquares, predicted
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


def linear(features: int = 2, outputs: int = 1, likelihood=None, method=None) -> bnnrl.BayesianModel:
    """Return a linear model that is not fitted."""
    network = keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs)])
    return bnnrl.BayesianModel(network, likelihood or likelihoods.Gaussian(0.5), method=method or LeastSquares())


def test_the_scores_of_all_folds_are_those_of_their_definition():
    """The predictions of fold k are those of least squares on the other rows, in float64."""
    x, noise = draws(23, 2, seed=1), draws(23, 1, seed=2)
    y = x @ np.array([[1.0], [-2.0]], np.float32) + noise
    model = linear()
    found = bnnrl.cross_validate(model, x, y, folds=4, level=0.8, batch_size=None, epochs=1, seed=3)
    mean = np.empty(23)
    for k, (train, held_out) in enumerate(KFold(4, shuffle=True, random_state=host_seed(3)).split(x)):
        mean[held_out] = predicted(x[train], y[train], x[held_out])
        np.testing.assert_array_equal(found.folds[k].held_out, held_out)
        assert found.folds[k].num_train == len(train)
        rmse = np.sqrt(np.mean((y[held_out, 0] - mean[held_out]) ** 2))
        assert found.folds[k].scores["rmse"] == pytest.approx(rmse, rel=1e-3)
    error = y[:, 0] - mean
    np.testing.assert_allclose(found.predictions[:, 0], mean, atol=2e-3)
    nll = np.mean(0.5 * (error / 0.5) ** 2) + np.log(0.5 * np.sqrt(2 * np.pi))
    expected = {"nll": nll, "rmse": np.sqrt(np.mean(error**2)), "r2": 1 - np.sum(error**2) / (23 * np.var(y))}
    assert {name: found.scores[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert found.coverage.share == np.mean(np.abs(error) < 1.2816 * 0.5) and found.coverage.rows == 23
    assert model._is_unfitted and found.num_rows == 23 and found.level == 0.8


def test_the_text_and_the_table_show_each_fold_and_all():
    x, y = draws(23, 2, seed=1), draws(23, 1, seed=2)
    found = bnnrl.cross_validate(linear(), x, y, folds=4, batch_size=None, epochs=1)
    title, head, *lines = str(found).splitlines()
    assert title == "4 folds, at random" and head.split()[:5] == ["fold", "rows", "nll", "rmse", "r2"]
    assert [line.split()[:2] for line in lines] == [["1", "6"], ["2", "6"], ["3", "6"], ["4", "5"], ["all", "23"]]
    assert len({len(line) for line in lines}) == 1
    last = found.table()[-1]
    assert last["rmse"] == found.scores["rmse"] and last["coverage low"] == found.coverage.low


@pytest.mark.parametrize(("outputs", "likelihood"), [(3, "categorical"), (1, "bernoulli")])
def test_classes_have_an_ece_of_all_rows_and_folds_of_equal_shares(outputs, likelihood):
    x = draws(60, 2)
    y = (x[:, 0] + 0.5 * draws(60, seed=1) > 0).astype(int)
    y = y + (x[:, 1] > 1) * (outputs == 3) if outputs == 3 else y[:, np.newaxis]
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs)])
    make = lambda: bnnrl.BayesianModel(network, likelihood, method="adam")
    found = bnnrl.cross_validate(make, x, y, folds=3, stratify=True, epochs=3)
    assert found.division == "at random, with equal shares of every class"
    counts = [np.bincount(y[fold.held_out].ravel(), minlength=3) for fold in found.folds]
    assert np.ptp(counts, axis=0).max() <= 1
    of_class = found.predictions if outputs == 3 else found.predictions[:, 0]
    assert found.scores["accuracy"] == pytest.approx(bnnrl.metrics.accuracy(y.ravel(), of_class))
    assert found.scores["ece"] == pytest.approx(bnnrl.metrics.ece(y.ravel(), of_class), abs=1e-6)
    assert found.scores["ace"] == pytest.approx(bnnrl.metrics.adaptive_ece(y.ravel(), of_class), abs=1e-6)
    assert 0.8 < found.coverage.share <= 1 and found.coverage.rows == 60
    assert "ece" in str(found)


def test_loaded_rows_are_standardised_by_the_training_rows_of_each_fold(monkeypatch):
    x, y = 100 + draws(40, 2), 5 * draws(40, 1, seed=1)
    rows = bnnrl.data.load((x, y), test=0.25, task="regression")
    seen = []
    fit = bnnrl.BayesianModel.fit
    monkeypatch.setattr(bnnrl.BayesianModel, "fit", lambda self, *a, **k: (fit(self, *a, **k), seen.append(self)))
    found = bnnrl.cross_validate(linear(), rows, folds=3, batch_size=None, epochs=1)
    train = np.asarray(rows.train[0])
    for model, fold in zip(seen, found.folds, strict=True):
        others = np.delete(train, fold.held_out, axis=0)
        np.testing.assert_allclose(model.x_scaler.mean, others.mean(axis=0), rtol=1e-6)
    assert found.num_rows == 30 and found.scores["rmse"] == pytest.approx(5, rel=0.4)  # in units of y


def test_no_group_is_in_two_folds():
    groups = np.array([f"patient {i // 3}" for i in range(30)])
    divided = splits(30, 4, 0, groups=groups)
    held_out = np.concatenate([fold.held_out for fold in divided])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(30))
    for fold in divided:
        assert not set(groups[fold.train]) & set(groups[fold.held_out])
        assert len(fold.train) + len(fold.held_out) == 30
    labels = np.arange(30) // 3 % 2
    assert all(set(labels[fold.held_out]) == {0, 1} for fold in splits(30, 4, 0, labels, groups))


def test_no_model_has_seen_the_future_or_a_part_of_the_present():
    times = np.repeat(np.array(["2024-01-03", "2024-01-01", "2024-01-02", "2024-01-04"], "datetime64[D]"), 5)
    divided = splits(20, 3, 0, times=times)
    assert [len(fold.train) for fold in divided] == [5, 10, 15] and all(len(fold.held_out) == 5 for fold in divided)
    for fold in divided:
        assert times[fold.train].max() < times[fold.held_out].min()


def test_rows_that_no_fold_holds_out_have_no_prediction():
    x, y = draws(12, 2), draws(12, 1, seed=1)
    found = bnnrl.cross_validate(linear(), x, y, folds=3, times=range(12), batch_size=None, epochs=1)
    np.testing.assert_array_equal(np.isnan(found.predictions[:, 0]), np.arange(12) < 3)
    assert found.num_rows == 9 and "in the order of time" in str(found)


def test_time_steps_that_are_masked_do_not_count():
    x = np.abs(draws(24, 4, 1)) + 1
    x[::2, 2:] = 0
    y = np.where(x[..., 0] > 1.5, 1, 0)
    layers = [keras.layers.Masking(), keras.layers.Dense(2)]
    model = bnnrl.BayesianModel(keras.Sequential([keras.Input((4, 1)), *layers]), "categorical", method="adam")
    found = bnnrl.cross_validate(model, x, y, folds=2, epochs=2)
    counts = x[..., 0] > 0
    assert found.predictions.shape == (24, 4, 2)
    accuracy = bnnrl.metrics.accuracy(y[counts], found.predictions[counts])
    assert found.scores["accuracy"] == pytest.approx(accuracy) and found.coverage.rows == counts.sum()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"folds": 13}, "expected at most 12, for 12 rows"),
        ({"folds": 1}, "Invalid `folds`: expected an integer of at least 2"),
        ({"groups": [0, 1] * 6}, "expected at most 2, for 2 groups"),
        ({"groups": [0, 1]}, r"Invalid `groups`: expected a value for each of 12 rows.*shape \(2,\)"),
        ({"groups": [*"abcdefghijk", None]}, "none in 1 rows, the first of which is row 11"),
        ({"times": [0, 1, 2] * 4, "folds": 3}, "expected at most 2, for 3 distinct times"),
        ({"times": range(12), "groups": range(12)}, "Invalid `times`: expected None with"),
        ({"stratify": True}, "Invalid `stratify`: expected False for targets that are not one class"),
        ({"level": 1.0}, "Invalid `level`"),
    ],
)
def test_mistakes_are_told(given, words):
    with pytest.raises(ValueError, match=words):
        bnnrl.cross_validate(linear(), draws(12, 2), draws(12, 1, seed=1), **given)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"expected a BayesianModel, or a function.*Received: 'swag'\."):
        bnnrl.cross_validate(cast(Any, "swag"), draws(12, 2), draws(12, 1))
    with pytest.raises(ValueError, match="which made int"):
        bnnrl.cross_validate(cast(Any, lambda: 3), draws(12, 2), draws(12, 1))


def test_a_class_with_fewer_rows_than_folds_cannot_be_shared():
    labels = np.array([0] * 10 + [1] * 2)
    with pytest.raises(ValueError, match="expected at most 2, for 2 rows of the rarest class"):
        splits(12, 3, 0, labels)
