"""`load` from arrays: parts, scalers, files and mistakes."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.data import Scaler, load
from tests.scenarios import draws

_N = 60
_IDS = np.arange(_N, dtype=np.float32)
_ROWS = (np.stack([_IDS, _IDS**2], axis=1), 3.0 * _IDS + 1.0)


def _ids(part):
    return np.sort(part[0][:, 0])


def test_no_row_leaks_and_no_row_is_lost():
    data = load(*_ROWS, test=0.2, validation=0.15, seed=4)
    parts = [data.train, data.validation, data.test]
    assert [len(x) for x, _ in parts] == [39, 9, 12]
    np.testing.assert_array_equal(np.sort(np.concatenate([_ids(part) for part in parts])), _IDS)
    for x, y in parts:
        np.testing.assert_array_equal(y[:, 0], 3.0 * x[:, 0] + 1.0)  # each target stays with its row
        np.testing.assert_array_equal(x[:, 1], x[:, 0] ** 2)
    assert data.num_train == 39 and data.num_classes is None and data.class_names is None


def test_the_seed_decides_the_parts():
    of = lambda seed: _ids(load(_ROWS, seed=seed).test)
    np.testing.assert_array_equal(of(0), of(0))
    assert not np.array_equal(of(0), of(1))


def test_scalers_know_the_training_part_alone():
    x, y = draws(40, 3) * 5 + 2, draws(40, 2)
    x[:, 0] = np.linspace(0, 100, 40)  # so that parts differ
    data = load(x, y, test=0.5)
    assert data.x_scaler is not None and data.y_scaler is not None
    for scaler, own, everything in zip((data.x_scaler, data.y_scaler), data.train, (x, y), strict=True):
        np.testing.assert_array_equal(scaler.mean, Scaler.fit(own).mean)
        np.testing.assert_array_equal(scaler.std, Scaler.fit(own).std)
        assert np.all(scaler.mean != Scaler.fit(everything).mean)
    assert data.train[0].dtype == data.train[1].dtype == np.float32
    np.testing.assert_allclose(data.x_scaler.transform(data.train[0]).std(0), 1, rtol=1e-5)


def test_no_part_is_made_that_was_not_asked_for():
    data = load(_ROWS, test=0)
    assert data.test is None and data.validation is None
    np.testing.assert_array_equal(data.train[0], _ROWS[0])


def test_parts_that_are_given_stay_as_they_are():
    data = load(_ROWS, validation=(_ROWS[0][:5] + 0.5, _ROWS[1][:5]), test=0.25)
    np.testing.assert_array_equal(data.validation[0], _ROWS[0][:5] + 0.5)
    np.testing.assert_array_equal(np.sort(np.r_[_ids(data.train), _ids(data.test)]), _IDS)


@pytest.mark.parametrize(
    ("x", "y", "standardize", "scaled"),
    [
        (draws(20, 2), draws(20), "auto", (True, True)),
        (draws(20, 2), draws(20), "inputs", (True, False)),
        (draws(20, 2), draws(20), False, (False, False)),
        (draws(20, 2), np.arange(20) % 2, "auto", (True, False)),
        (draws(20, 2), np.arange(20) % 2, True, (True, False)),
        (np.arange(40).reshape(20, 2), draws(20), "auto", (True, True)),
        (draws(20, 4, 3), draws(20), "auto", (False, True)),
        (draws(20, 4, 3), draws(20), True, (True, True)),
    ],
)
def test_what_is_standardised(x, y, standardize, scaled):
    data = load(x, y, standardize=standardize)
    assert (data.x_scaler is not None, data.y_scaler is not None) == scaled
    if data.x_scaler:
        rows = data.x_scaler.transform(data.train[0]).reshape(-1, x.shape[-1])
        np.testing.assert_allclose(rows.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(rows.std(0), 1, rtol=1e-5)


def test_integers_stay_integers_where_they_are_tokens():
    tokens = np.arange(40).reshape(20, 2)
    assert load(tokens, draws(20), standardize=False).train[0].dtype == tokens.dtype
    assert load(tokens, draws(20)).train[0].dtype == np.float32


@pytest.mark.parametrize("standardize", ["auto", False])
def test_images_of_bytes_are_scaled_to_one(standardize):
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    data = load(x, np.arange(20) % 2, test=0, standardize=standardize)
    np.testing.assert_allclose(data.train[0], x / 255, rtol=1e-6)
    assert data.x_scaler is None and data.train[0].dtype == np.float32


def test_one_feature_and_one_target_have_an_axis_of_their_own():
    data = load(_IDS, _IDS)
    assert data.train[0].shape == data.train[1].shape == (48, 1)
    assert load(_IDS, _IDS[:, np.newaxis].astype(int) % 3).train[1].shape == (48,)


def test_strata():
    data = load(draws(50, 2), np.repeat(["a", "b"], [40, 10]), stratify=True)
    np.testing.assert_array_equal(np.bincount(data.test[1]), [8, 2])


def test_arrays_as_a_stream():
    plain, stream = load(_ROWS), load(_ROWS, stream=True)
    assert isinstance(stream.train, tf.data.Dataset) and stream.num_train == plain.num_train == 48
    np.testing.assert_array_equal([x for x, _ in stream.train.as_numpy_iterator()], plain.train[0])


@pytest.mark.parametrize("names", [("x", "y", None, None), ("x_train", "y_train", "x_test", "y_test")])
def test_npz_files(tmp_path, names):
    arrays = (*_ROWS, _ROWS[0][:7] + 0.5, _ROWS[1][:7])
    named: dict[str, Any] = {name: a for name, a in zip(names, arrays, strict=True) if name}
    np.savez(tmp_path / "own.npz", **named)
    data = load(tmp_path / "own.npz")
    assert data.name == "own" and len(data.test[0]) == (7 if names[2] else 12)
    assert load(str(tmp_path / "own.npz"), test=0).test is None


_BAD_X = _ROWS[0].copy()
_BAD_X[7, 1] = np.nan


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((_BAD_X, _ROWS[1]), {}, r"`x`: expected finite.*Received: nan in row 7, column 1, of the train part"),
        ((_ROWS[0], np.r_[np.inf, _ROWS[1][1:]]), {}, r"`y`: expected finite.*inf in row 0"),
        ((_ROWS[0].astype(float) * 1e39, _ROWS[1]), {}, "`x`: expected finite float32"),
        ((_ROWS[0], _ROWS[1][:-1]), {}, r"as many targets as rows.*\(60, 2\).*\(59, 1\)"),
        ((_ROWS,), {"test": 1.0}, r"`test`: expected a number in \[0, 1\)"),
        ((_ROWS,), {"test": 0.6, "validation": 0.4}, "add up to less than 1"),
        ((_ROWS,), {"test": 0.001}, "expected at least one row for each part"),
        ((_ROWS,), {"test": (_ROWS[0][:, :1], _ROWS[1])}, "rows of the same shape in each part"),
        ((_ROWS,), {"test": "digits"}, "parts of the same kind"),
        ((_ROWS,), {"standardize": "all"}, "Received: standardize='all'"),
        ((_ROWS,), {"stream": "yes"}, "stream='yes'"),
        ((_ROWS,), {"task": "regresion"}, "Did you mean 'regression'"),
        ((_ROWS,), {"seed": 0.5}, "Invalid `seed`"),
        ((_ROWS,), {"stratify": True}, "Invalid `stratify`"),
        ((_ROWS,), {"inputs": "a"}, "`inputs`, only where columns or features have names"),
        ((_ROWS[0],), {}, "For arrays give the targets"),
        ((np.array([["a"]] * 60), _ROWS[1]), {}, "array of numbers"),
        ((_ROWS[0][:0], _ROWS[1][:0]), {}, "at least one row"),
        (("nowhere.npz",), {}, "existing file"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments, **options)


def test_arrays_are_divided_by_whole_groups_or_in_time():
    data = load(*_ROWS, test=0.25, groups=_IDS // 5)
    assert len(data.test[0]) == 15 and not set(data.train[0][:, 0] // 5) & set(data.test[0][:, 0] // 5)
    np.testing.assert_array_equal(data.groups, data.train[0][:, 0] // 5)
    data = load(*_ROWS, test=0.25, times=-_IDS)
    np.testing.assert_array_equal(_ids(data.test), np.arange(15))
    np.testing.assert_array_equal(data.times, -data.train[0][:, 0])
    assert load(*_ROWS).groups is None and load(*_ROWS).times is None and load(*_ROWS).division == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": "patient"}, "expected the name of a column for a table only, and an array"),
        ({"times": "day"}, "or 'rows' for the order of the rows. Received: 'day'"),
        ({"groups": [1, 2]}, "expected a value for each of 60 rows"),
        ({"groups": _IDS, "stratify": True}, "expected one of `stratify`, `groups` and `times`"),
    ],
)
def test_groups_and_times_of_another_form(given, words):
    with pytest.raises(ValueError, match=words):
        load(*_ROWS, **given)


def test_a_stream_has_neither_groups_nor_times():
    with pytest.raises(ValueError, match="expected None for a stream"):
        load(tf.data.Dataset.from_tensor_slices(_ROWS), times=_IDS, stream=True)
