"""Reader of image folders, which hold one sub-folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import PARTS, Source
from bnnrl.seeds import host_seed

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


def read(folders: dict[str, str | os.PathLike[str]], settings: ReadSettings) -> Source:
    """Return images as datasets of rows (uint8 [H, W, C], class []), in an order that the seed fixes.

    Args:
        folders: a folder for each part. If there is only one, its sub-folders may be the parts, "train", "validation"
            and "test", and their sub-folders the classes.
        settings: `image_size` and `color_mode`, by default those of the first image, and `seed`.

    Raises:
        ValueError: if no sub-folder holds an image, or a setting is invalid.
    """
    roots = {part: Path(folder) for part, folder in folders.items()}
    name = roots["train"].resolve().name
    inner = {p.name for p in roots["train"].iterdir() if p.is_dir()}
    if len(roots) == 1 and "train" in inner and inner <= set(PARTS):
        roots = {part: roots["train"] / part for part in PARTS if part in inner}
    files = {part: _files(root) for part, root in roots.items()}
    class_names = sorted({label for found in files.values() for _, label in found})
    size, channels = _format(files["train"][0][0], settings)

    def decode(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        return tf.ensure_shape(resize(image, size), [*size, channels]), label

    parts = {}
    for part, found in files.items():
        # Files are sorted by class, so a shuffle buffer that is smaller than a class would never mix the classes.
        order = np.random.default_rng(host_seed(settings.seed)).permutation(len(found))
        paths = [os.fspath(found[i][0]) for i in order]
        labels = np.array([class_names.index(found[i][1]) for i in order], np.int32)
        rows = tf.data.Dataset.from_tensor_slices((paths, labels))
        parts[part] = rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return Source(name, parts, class_names=tuple(class_names))


def check_size(size) -> tuple[int, int]:
    """Return `size` as (height, width), or raise ValueError."""
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(f"Invalid `image_size`: expected (height, width) in pixels. Received: {size!r}.")
    return height, width


def resize(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Return an image [H, W, C] resized to (height, width), in the same type."""
    resized = tf.image.resize(image, size)
    return tf.cast(tf.round(resized) if image.dtype.is_integer else resized, image.dtype)


def _format(image: Path, settings: ReadSettings) -> tuple[tuple[int, int], int]:
    """Return the (height, width) and the number of channels of all images; those of `image` where not set."""
    first = tf.io.decode_image(tf.io.read_file(os.fspath(image)), expand_animations=False)
    mode, size = settings.color_mode, settings.image_size
    if mode is not None and mode not in _CHANNELS:
        raise ValueError(f"Invalid `color_mode`: expected one of {list(_CHANNELS)}. Received: {mode!r}.")
    channels = first.shape[-1] if mode is None else _CHANNELS[mode]
    return check_size(first.shape[:2] if size is None else size), channels


def _files(root: Path) -> list[tuple[Path, str]]:
    """Return the paths of all images below `root`, sorted, each with its class, the name of the sub-folder."""
    found = sorted(
        (path, path.relative_to(root).parts[0])
        for path in root.glob("[!.]*/**/*")
        if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not found:
        raise ValueError(
            f"Invalid `source`: expected a folder with a sub-folder of images ({', '.join(_SUFFIXES)}) for each class. "
            f"Received: {os.fspath(root)!r}."
        )
    return found
