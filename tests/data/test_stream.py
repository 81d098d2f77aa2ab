"""`load` from a tf.data.Dataset, in memory and as a stream."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.data import load
from bnnrl.data.stream import Moments
from tests.scenarios import draws

_N = 90
_X = (draws(_N, 3) * [1.0, 30.0, 0.1] + [0.0, 5.0, 900.0]).astype(np.float32)
_X[:, 0] = np.arange(_N)
_CASES = {
    "regression": (_X, draws(_N)),
    "classes": (_X, np.arange(_N) % 4 * 10 - 10),
    "images": (np.random.default_rng(0).integers(0, 256, (_N, 4, 4, 1)).astype(np.uint8), np.arange(_N) % 2),
    "sequences": (draws(_N, 5, 2), np.arange(_N)[:, np.newaxis] % 3),
    "integers": (np.arange(2 * _N).reshape(_N, 2), draws(_N, 2)),
    "one feature": (_X[:, 0], draws(_N)),
}


def _dataset(case):
    return tf.data.Dataset.from_tensor_slices(_CASES[case])


def _arrays(part):
    x, y = zip(*part.as_numpy_iterator(), strict=True)
    return np.stack(x), np.stack(y)


@pytest.mark.parametrize(
    ("case", "standardize"),
    [*((case, "auto") for case in _CASES), ("images", True), ("sequences", True), ("integers", False)],
)
def test_a_stream_equals_arrays(case, standardize):
    options = {"validation": 0.1, "seed": 3, "standardize": standardize}
    plain = load(_CASES[case], **options)
    memory = load(_dataset(case), stream=False, **options)
    stream = load(_dataset(case), stream=True, **options)
    assert stream.num_train == plain.num_train == int(stream.train.cardinality()) == 63
    assert stream.class_names == memory.class_names == plain.class_names
    for part in ("train", "validation", "test"):
        for own, other, expected in zip(
            _arrays(getattr(stream, part)), getattr(memory, part), getattr(plain, part), strict=True
        ):
            assert own.dtype == other.dtype == expected.dtype
            np.testing.assert_array_equal(own, expected)
            np.testing.assert_array_equal(other, expected)
    for scaler in ("x_scaler", "y_scaler"):
        own, expected = getattr(stream, scaler), getattr(plain, scaler)
        assert (own is None) == (expected is None)
        if own:
            np.testing.assert_allclose(own.mean, expected.mean, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(own.std, expected.std, rtol=1e-6)


def test_no_row_leaks_and_each_pass_is_the_same():
    data = load(_dataset("classes"), stream=True, validation=0.2, test=0.3)
    ids = [_arrays(part)[0][:, 0] for part in (data.train, data.validation, data.test)]
    np.testing.assert_array_equal(np.sort(np.concatenate(ids)), np.arange(_N))
    np.testing.assert_array_equal(_arrays(data.train)[0][:, 0], ids[0])
    other = load(_dataset("classes"), stream=True, test=0.3, seed=1)
    assert not np.array_equal(_arrays(other.test)[0], _arrays(data.test)[0])


def test_parts_that_are_given_stay_as_they_are():
    data = load(_dataset("classes").take(60), stream=True, test=_dataset("classes").skip(60))
    np.testing.assert_array_equal(_arrays(data.test)[0], _X[60:])
    assert data.num_train == 60


@pytest.mark.parametrize("counted", [True, False])
def test_what_does_not_fit_into_memory_streams(counted):
    rows = _dataset("regression") if counted else _dataset("regression").filter(lambda *_: True)
    size = _N * (3 + 1) * 4
    assert isinstance(load(rows, max_bytes=size).train, tuple)
    stream = load(rows, max_bytes=size - 1)
    assert isinstance(stream.train, tf.data.Dataset) and stream.num_train == 72


def test_dictionaries_of_features():
    rows = tf.data.Dataset.from_tensor_slices({"a": _X[:, 0], "b": _X[:, 1:], "y": np.arange(_N) % 3})
    data = load(rows, "y", test=0)
    assert data.feature_names == ("a", "b[0]", "b[1]")
    np.testing.assert_array_equal(data.train[0], _X)
    np.testing.assert_array_equal(data.train[1], np.arange(_N) % 3)
    assert load(rows, targets=["a", "y"], inputs="b", test=0).train[1].shape == (_N, 2)
    pairs = rows.map(lambda row: ({"a": row["a"], "b": row["b"]}, row["y"]))
    np.testing.assert_array_equal(load(pairs, inputs=["b", "a"], test=0).train[0], _X[:, [1, 2, 0]])


def test_strings_are_classes_in_memory():
    rows = tf.data.Dataset.from_tensor_slices((_X, np.array(["b", "a", "c"])[np.arange(_N) % 3]))
    assert load(rows).class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="classes as integers, in a stream"):
        load(rows, stream=True)


def test_images_of_many_sizes_are_resized():
    sizes = lambda: (np.full([3 + i % 2, 4, 1], i, np.uint8) for i in range(6))
    images = tf.data.Dataset.from_generator(sizes, output_signature=tf.TensorSpec([None, 4, 1], tf.uint8))
    rows = tf.data.Dataset.zip((images, tf.data.Dataset.range(6).map(lambda i: i % 2)))
    data = load(rows, image_size=(2, 2), test=0)
    np.testing.assert_allclose(data.train[0][:, 1, 1, 0], np.arange(6) / 255, rtol=1e-6)
    for stream in (True, False):
        with pytest.raises(ValueError, match="rows of one known shape.*`image_size`"):
            load(rows, test=0, stream=stream)


def test_moments_of_values_far_from_zero():
    x = draws(1000, 2).astype(float) * 1e-3 + 1e4
    moments = Moments()
    for chunk in np.split(x, [1, 300, 777]):
        moments.update(chunk)
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(np.sqrt(moments.squares / moments.count), x.std(0), rtol=1e-7)


_BAD = _X.copy()
_BAD[70, 2] = np.inf


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (_dataset("classes").repeat(), {}, "expected finite datasets"),
        (_dataset("classes").shuffle(90), {"stream": True}, "same order at each pass"),
        (tf.data.Dataset.from_tensor_slices((_BAD, _X)), {"test": 0, "stream": True}, "`x`.*inf in row 70, column 2"),
        (tf.data.Dataset.from_tensor_slices((_X, _BAD)), {"test": 0, "stream": True}, "`y`.*inf in row 70, column 2"),
        (tf.data.Dataset.from_tensor_slices((_BAD, _X)), {}, "`x`.*inf in row 70, column 2"),
        (_dataset("classes").take(0), {"test": 0, "stream": True}, "at least one row"),
        (_dataset("classes").take(0), {"stream": False}, "at least one row"),
        (_dataset("classes").take(2), {"stream": True}, "expected at least one row for each part"),
        (_dataset("classes"), {"stream": True, "stratify": True}, "Invalid `stratify`"),
        (_dataset("classes"), {"targets": "y"}, "names only for rows that are dictionaries"),
        (tf.data.Dataset.range(9), {}, r"rows \(x, y\) or of dictionaries"),
        (tf.data.Dataset.from_tensor_slices({"a": _X, "y": _X}), {}, "expected features among"),
        (tf.data.Dataset.from_tensor_slices({"a": _X, "label": _X}), {"targets": "labl"}, "Did you mean 'label'"),
        (tf.data.Dataset.from_tensor_slices({"a": _X, "y": _X}), {"targets": "y", "inputs": ["y", "a"]}, "none of the"),
    ],
)
def test_mistakes_are_named(rows, options, message):
    with pytest.raises(ValueError, match=message):
        load(rows, **options)
