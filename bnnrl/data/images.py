"""Image folders: one sub-folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from bnnrl.data.source import PARTS, Source
from bnnrl.seeds import host_seed

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


def read(folders: dict[str, str | os.PathLike[str]], image_size, color_mode: str | None, seed) -> Source:
    """Return images as datasets of (bytes [H, W, C], class []), mixed in a fixed order.

    A folder with sub-folders "train" and "test" (and "validation"), which hold the classes, is divided already.

    Args:
        folders: by part.
        image_size: (height, width) to which images are resized, that of the first image if None.
        color_mode: "grayscale", "rgb" or "rgba"; that of the first image if None.
        seed: of the order.

    Raises:
        ValueError: if there are no images in sub-folders, or an argument is not as above.
    """
    roots = {part: Path(folder) for part, folder in folders.items()}
    name = roots["train"].resolve().name
    inner = {p.name for p in roots["train"].iterdir() if p.is_dir()}
    if len(roots) == 1 and "train" in inner and inner <= set(PARTS):
        roots = {part: roots["train"] / part for part in PARTS if part in inner}
    files = {part: _files(root) for part, root in roots.items()}
    class_names = sorted({label for found in files.values() for _, label in found})
    first = tf.io.decode_image(tf.io.read_file(os.fspath(files["train"][0][0])), expand_animations=False)
    if color_mode is not None and color_mode not in _CHANNELS:
        raise ValueError(f"Invalid `color_mode`: expected one of {list(_CHANNELS)}. Received: {color_mode!r}.")
    channels = first.shape[-1] if color_mode is None else _CHANNELS[color_mode]
    size = check_size(first.shape[:2] if image_size is None else image_size)

    def decode(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        return tf.ensure_shape(resize(image, size), [*size, channels]), label

    parts = {}
    for part, found in files.items():
        # In the order of the files a buffer would hold but a class or two to shuffle.
        order = np.random.default_rng(host_seed(seed)).permutation(len(found))
        paths = [os.fspath(found[i][0]) for i in order]
        labels = np.array([class_names.index(found[i][1]) for i in order], np.int32)
        rows = tf.data.Dataset.from_tensor_slices((paths, labels))
        parts[part] = rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return Source(name, parts, class_names=tuple(class_names))


def check_size(size) -> tuple[int, int]:
    """Return (height, width), or raise ValueError."""
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(f"Invalid `image_size`: expected (height, width) in pixels. Received: {size!r}.")
    return height, width


def resize(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Return an image [H, W, C] resized, of the same type."""
    resized = tf.image.resize(image, size)
    return tf.cast(tf.round(resized) if image.dtype.is_integer else resized, image.dtype)


def _files(root: Path) -> list[tuple[Path, str]]:
    """Return all images in sub-folders with the sub-folder's name, sorted."""
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
