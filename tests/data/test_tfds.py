"""`load` from data sets of TensorFlow Datasets, prepared here from scikit-learn's data."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn import datasets
from tensorflow_datasets.core import constants

from bnnrl.data import load

_DIGITS, _LABELS = map(np.asarray, datasets.load_digits(return_X_y=True))
_DIGITS = _DIGITS.reshape(-1, 8, 8, 1).astype(np.uint8)[:60]
_DIABETES, _PROGRESS = map(np.asarray, datasets.load_diabetes(return_X_y=True))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Return a folder with "my_digits:1.0.0", divided, and "my_diabetes/full:2.0.0" of one split."""
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    images = [(i, {"image": x, "label": int(y)}) for i, (x, y) in enumerate(zip(_DIGITS, _LABELS, strict=False))]
    tfds.dataset_builders.store_as_tfds_dataset(
        "my_digits",
        "1.0.0",
        tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
        ),
        {"train": images[:40], "test": images[40:]},
        data_dir=folder,
    )
    people = [
        (i, {"age": x[0], "sex": int(x[1] > 0), "serum": x[4:].astype(np.float32), "progress": y})
        for i, (x, y) in enumerate(zip(_DIABETES[:50], _PROGRESS, strict=False))
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        "my_diabetes",
        "2.0.0",
        tfds.features.FeaturesDict(
            {
                "age": np.float32,
                "sex": tfds.features.ClassLabel(names=["one", "other"]),
                "serum": tfds.features.Tensor(shape=(6,), dtype=np.float32),
                "progress": np.float32,
            }
        ),
        {"people": people},
        config="full",
        data_dir=folder,
    )
    return folder


def _sorted(x):
    return x[np.lexsort(x.reshape(len(x), -1).T)]


@pytest.mark.parametrize("name", ["my_digits", "my_digits:1.0.0", "my_digits:1.*.*"])
def test_a_data_set_keeps_its_own_parts(data_dir, name):
    data = load(name, "label", data_dir=data_dir)
    assert data.name.startswith("my_digits") and data.name.endswith("1.0.0")
    assert data.class_names == tuple("0123456789") and data.x_scaler is None and data.validation is None
    np.testing.assert_allclose(_sorted(data.train[0]), _sorted(_DIGITS[:40] / np.float32(255)), rtol=1e-6)
    np.testing.assert_array_equal(np.sort(data.test[1]), np.sort(_LABELS[40:60]))
    assert load(name, "label", data_dir=data_dir, test=0).test is None


def test_splits_are_chosen_by_name(data_dir):
    split = {"train": "train[:75%]", "validation": "train[75%:]", "test": "test"}
    data = load("my_digits", "label", data_dir=data_dir, split=split)
    assert [len(x) for x, _ in (data.train, data.validation, data.test)] == [30, 10, 20]
    assert load("my_digits", "label", data_dir=data_dir, split="train[:20]", test=0.5).num_train == 10


@pytest.mark.parametrize("stream", [False, True])
def test_features_are_joined_and_the_only_split_is_cut(data_dir, stream):
    options = {"targets": "progress", "inputs": ["sex", "serum", "age"], "data_dir": data_dir}
    data = load("my_diabetes/full", test=0.2, stream=stream, **options)
    assert data.feature_names == ("sex=one", "sex=other", *(f"serum[{i}]" for i in range(6)), "age")
    assert data.class_names is None and data.y_scaler is not None and data.num_train == 40
    x = np.concatenate([[x for x, _ in part] if stream else part[0] for part in (data.train, data.test)])
    expected = np.c_[_DIABETES[:50, 1] <= 0, _DIABETES[:50, 1] > 0, _DIABETES[:50, 4:], _DIABETES[:50, 0]]
    np.testing.assert_allclose(_sorted(x[:, ::-1]), _sorted(expected.astype(np.float32)[:, ::-1]))
    assert load("my_diabetes", "sex", inputs="serum", data_dir=data_dir).class_names == ("one", "other")


def test_a_stream_equals_memory(data_dir):
    stream = load("my_digits", "label", data_dir=data_dir, max_bytes=1000)
    memory = load("my_digits", "label", data_dir=data_dir)
    assert stream.num_train == 40 and stream.class_names == memory.class_names
    for i in range(2):
        np.testing.assert_array_equal([row[i] for row in stream.test.as_numpy_iterator()], memory.test[i])


def test_loading_is_quiet_and_fetches_nothing(data_dir, capfd, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    load("my_digits", "label", data_dir=data_dir)
    with pytest.raises(ValueError, match="prepared in"):
        load("mnist", data_dir=data_dir)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {}, r"\['my_diabetes/full:2.0.0', 'my_digits:1.0.0'\].*`tfds build mnist --data_dir .*load\('mnist'"),
        ("my_digit", {}, "Received: 'my_digit'. Did you mean 'my_digits'"),
        ("mnits", {}, "Did you mean 'mnist'"),
        ("my_digits:7.0.0", {}, "Ask for one of those prepared"),
        ("iris", {}, "`tfds build iris"),  # a folder that is given means TFDS
        ("my_digits", {}, r"expected the names of `inputs` and `targets` among \['image', 'label'\]"),
        ("my_digits", {"targets": "lable"}, "Did you mean 'label'"),
        ("my_digits", {"targets": "label", "split": {"test": "test"}}, "a split for each of"),
        ("my_digits", {"targets": "label", "split": "tran"}, "splits made of.*'tran' for train"),
        ("my_digits", {"targets": "label", "split": {"train": "train[:80%]", "test": "train[70%:]"}}, "share no rows"),
        ("my_digits", {"targets": "label", "test": (_DIGITS, _LABELS)}, "parts of the same kind"),
    ],
)
def test_mistakes_are_named(data_dir, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, data_dir=data_dir, **options)


def test_an_unknown_name_without_a_folder_lists_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="one of .*'diabetes'.*Received: 'diabets'. Did you mean 'diabetes'"):
        load("diabets")
