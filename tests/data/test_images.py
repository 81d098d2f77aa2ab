"""`load` from image folders."""

import numpy as np
import pytest
from PIL import Image

from bnnrl.data import load


def _write(folder, classes, per_class=3, shape=(6, 5, 3)):
    """Write images of one shade each, a different one for each image."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            Image.fromarray(np.full(shape, 40 * k + 10 * i, np.uint8)).save(folder / name / f"{i}.png")


@pytest.mark.parametrize("stream", [False, True])
def test_a_folder_reads_back(tmp_path, stream):
    _write(tmp_path / "pets", ["dog", "cat", "eel"])
    data = load(tmp_path / "pets", test=0, stream=stream)
    rows = list(data.train.as_numpy_iterator()) if stream else list(zip(*data.train, strict=True))
    names = ("cat", "dog", "eel")
    assert data.class_names == names and data.name == "pets" and data.num_train == len(rows) == 9
    assert rows[0][0].shape == (6, 5, 3) and rows[0][0].dtype == np.float32
    assert all(np.all(x == x.flat[0]) for x, _ in rows)
    shade = {"dog": 0, "cat": 40, "eel": 80}
    expected = sorted((shade[name] + 10 * i, k) for k, name in enumerate(names) for i in range(3))
    assert sorted((round(255 * float(x.flat[0])), int(y)) for x, y in rows) == expected
    assert data.x_scaler is None


def test_classes_are_mixed_in_an_order_that_the_seed_decides(tmp_path):
    _write(tmp_path, ["a", "b"], per_class=20)
    labels = lambda seed: [int(y) for _, y in load(tmp_path, test=0, stream=True, seed=seed).train.as_numpy_iterator()]
    assert labels(0) == labels(0) != labels(1)
    assert sum(labels(0)[:20]) not in (0, 20)


def test_a_folder_that_is_divided_already(tmp_path):
    _write(tmp_path / "train", ["a", "b"])
    _write(tmp_path / "test", ["b", "c"], per_class=2)
    data = load(tmp_path)
    assert data.class_names == ("a", "b", "c") and data.num_train == 6
    np.testing.assert_array_equal(np.bincount(data.test[1]), [0, 2, 2])
    again = load(tmp_path / "train", test=tmp_path / "test")
    np.testing.assert_array_equal(again.test[0], data.test[0])


def test_size_and_colours_can_be_chosen(tmp_path):
    _write(tmp_path, ["a", "b"])
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a" / "large.png")
    assert load(tmp_path, test=0).train[0].shape == (7, 6, 5, 3)
    assert load(tmp_path, test=0, image_size=(4, 3), color_mode="grayscale").train[0].shape == (7, 4, 3, 1)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="a sub-folder of images"):
        load(tmp_path)
    with pytest.raises(ValueError, match="existing file or folder"):
        load(tmp_path / "nowhere")
    _write(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"Invalid `image_size`.*Received: \(4, 0\)"):
        load(tmp_path, image_size=(4, 0))
    with pytest.raises(ValueError, match="Invalid `color_mode`"):
        load(tmp_path, color_mode="cmyk")
