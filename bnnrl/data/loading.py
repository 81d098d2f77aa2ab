"""`load`: rows from arrays, tables, folders, datasets or names, divided into parts, with scalers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_fraction, check_positive
from bnnrl.data import sources
from bnnrl.data.scaler import Scaler
from bnnrl.data.source import PARTS, Rows, Source
from bnnrl.data.split import assign
from bnnrl.data.stream import divide, fits, into_memory
from bnnrl.data.targets import check_task, encode
from bnnrl.data.values import STANDARDIZE, as_inputs, scales_inputs, scales_targets
from bnnrl.seeds import as_seed


@dataclass(frozen=True, eq=False)
class Data:
    """Rows in original units, divided into parts that share none.

    A part is a pair of arrays (x [N, ...], y), or in a stream a finite tf.data.Dataset of rows (x, y), not batched, in
    an order that is the same at each pass. y is float32 [N, K] for real targets, int32 [N] for classes. Scalers belong
    to the training part alone, and to the last axis: z = (x − mean) / std.
    """

    train: Any  # Rows, as are the others; each use of a union would need a check
    validation: Any  # None where not asked for
    test: Any  # likewise
    x_scaler: Scaler | None
    y_scaler: Scaler | None
    class_names: tuple[str, ...] | None  # of classification; their positions are the targets
    feature_names: tuple[str, ...] | None  # of x's last axis, where they are known
    name: str

    @property
    def num_classes(self) -> int | None:
        """How many classes there are, None for real targets."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def num_train(self) -> int:
        """N, the number of rows of the training part."""
        return len(self.train[0]) if isinstance(self.train, tuple) else int(self.train.cardinality())


def load(
    source,
    targets=None,
    *,
    test: Any = 0.2,
    validation: Any = 0.0,
    seed=0,
    stratify: bool = False,
    task: str | None = None,
    standardize: str | bool = "auto",
    inputs: str | Sequence[str] | None = None,
    split: str | Mapping[str, str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    color_mode: str | None = None,
    stream: str | bool = "auto",
    max_bytes: float = 2e9,
) -> Data:
    """Return the data of `source`, divided into parts, with scalers of the training part.

    Args:
        source: where rows come from.
            (x, y), or x with `targets`: arrays [N, ...].
            A pandas DataFrame, or a .csv, .tsv, .txt or .dat (blanks between columns), or Parquet file. Columns of
            strings, booleans and categories are one-hot encoded, "column=category", over the categories of all rows.
            A .npz file of arrays x and y; x_train and y_train, and then x_test, x_validation, are parts of their own.
            A folder with a sub-folder of images for each class, or with sub-folders "train" and "test" of such.
            A finite tf.data.Dataset of rows (x, y), not batched, or of dictionaries of features.
            A name: "breast_cancer", "diabetes", "digits", "friedman1", "iris" or "wine" of scikit-learn, unless
            `data_dir` is given; else a folder of that name; else a data set that TFDS has prepared, such as "mnist" or
            "my_dataset/config:1.0.0". Nothing is downloaded.
        targets: the targets [N, ...] of an array, or the names of columns or features that are targets. By default a
            table's last column, and what TFDS calls supervised.
        test: a fraction in [0, 1) of the rows, or the rows themselves, of the kind that `source` is. A source that
            has parts of its own keeps them, and a fraction then says only whether the part is wanted.
        validation: likewise.
        seed: an integer, or a stateless pair, that decides which rows go where.
        stratify: whether to give each part the same share of every class. Not in a stream.
        task: "classification", "regression", or None to judge by the targets: real numbers are regression, integers,
            booleans, strings and categories are classes, numbered in sorted order over all parts.
        standardize: "auto" gives scalers for inputs [N, F], integers among them, and for real targets; "inputs" for
            inputs alone, as for counts with a Poisson likelihood; True for inputs of any shape too, along the last
            axis; False for none, and then integers, such as tokens, stay integers. Images of bytes are divided by
            255 whatever it says, and get a scaler only by True.
        inputs: the names of columns or features that are inputs; all but the targets by default.
        split: TFDS's names for the parts, such as {"train": "train[:90%]", "test": "test"}, or of one split to be
            cut. By default the data set's own parts, of which a fraction of 0 leaves out one.
        data_dir: where TFDS prepared data sets; a name is then TFDS's.
        image_size: (height, width) to which images are resized; that of a folder's first image by default.
        color_mode: "grayscale", "rgb" or "rgba" for an image folder; that of its first image by default.
        stream: True for parts that are datasets, False for arrays; "auto" for datasets where the source is one, or an
            image folder, and all rows together need more than `max_bytes`.
        max_bytes: of memory for the arrays.

    Raises:
        ValueError: if an argument is not as above; a name is not known, with the nearest that are; a part would be
            empty; a value is missing or not finite, with its row and column.
        ImportError: if pandas or pyarrow are needed and not installed.
    """
    check_task(task)
    as_seed(seed)
    max_bytes = check_positive("max_bytes", max_bytes, infinite=True)
    if standardize not in STANDARDIZE or stream not in ("auto", True, False):
        raise ValueError(
            f"Invalid `standardize` or `stream`: expected one of {list(STANDARDIZE)} and 'auto', True or False. "
            f"Received: standardize={standardize!r}, stream={stream!r}."
        )
    others = {"validation": validation, "test": test}
    given = {part: rows for part, rows in others.items() if not isinstance(rows, int | float | np.number)}
    shares = {part: check_fraction(part, share) for part, share in others.items() if part not in given}
    if sum(shares.values()) >= 1:
        raise ValueError(f"Invalid `test`: expected fractions that add up to less than 1. Received: {shares}.")
    found = sources.read({"train": source, **given}, targets, inputs, split, data_dir, image_size, color_mode, seed)
    named = split if isinstance(split, Mapping) else {}
    parts = {part: rows for part, rows in found.parts.items() if shares.get(part) != 0 or part in named}
    fractions = {part: share for part, share in shares.items() if share and part not in parts}
    datasets = cast(Any, {part: rows for part, rows in parts.items() if isinstance(rows, tf.data.Dataset)})
    if datasets and (stream is True or (stream == "auto" and not fits(datasets, max_bytes))):
        if stratify:
            raise ValueError("Invalid `stratify`: expected False for a stream. Received: True.")
        divided = divide(found, datasets, fractions, seed, task, standardize)
    else:
        arrays = cast(Any, {**parts, **{part: into_memory(rows, part) for part, rows in datasets.items()}})
        divided = _divide(found, arrays, fractions, seed, task, standardize, stratify)
    parts, class_names, x_scaler, y_scaler = divided
    if stream is True and not datasets:
        parts = {part: tf.data.Dataset.from_tensor_slices(rows) for part, rows in parts.items()}
    train, validation, test = (parts.get(part) for part in PARTS)
    return Data(train, validation, test, x_scaler, y_scaler, class_names, found.feature_names, found.name)


def _divide(
    found: Source,
    parts: dict[str, tuple[Any, Any]],
    fractions: dict[str, float],
    seed,
    task: str | None,
    standardize: str | bool,
    stratify: bool,
) -> tuple[dict[str, Rows], tuple[str, ...] | None, Scaler | None, Scaler | None]:
    """Return parts of arrays, the classes' names, and the scalers of inputs and targets, as `stream.divide` does."""
    x_scaled = scales_inputs(standardize, max(np.ndim(parts["train"][0]), 2))
    xs = {part: as_inputs(x, part, found.feature_names, x_scaled) for part, (x, _) in parts.items()}
    ys, class_names = encode({part: y for part, (_, y) in parts.items()}, task, found.class_names, found.target_names)
    for part, x in xs.items():
        if (
            len(x) != len(ys[part])
            or x.shape[1:] != xs["train"].shape[1:]
            or ys[part].shape[1:] != ys["train"].shape[1:]
        ):
            raise ValueError(
                f"Invalid `source`: expected as many targets as rows, and rows of the same shape in each part. "
                f"Received: x {x.shape} and y {ys[part].shape} in the {part} part, x {xs['train'].shape} and y "
                f"{ys['train'].shape} in the train part."
            )
    divided: dict[str, Rows] = {part: (x, ys[part]) for part, x in xs.items()}
    if stratify and class_names is None:
        raise ValueError("Invalid `stratify`: expected False for real targets. Received: True.")
    if fractions:
        x, y = xs["train"], ys["train"]
        codes = assign(len(x), fractions, seed, y if stratify else None)
        divided.update({part: (x[codes == i], y[codes == i]) for i, part in enumerate(PARTS) if (codes == i).any()})
    x, y = cast(Any, divided["train"])
    y_scaled = scales_targets(standardize, class_names is not None)
    by_last_axis = lambda a: Scaler.fit(a.reshape(-1, a.shape[-1]))
    return divided, class_names, by_last_axis(x) if x_scaled else None, by_last_axis(y) if y_scaled else None
