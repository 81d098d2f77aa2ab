"""`load`: rows from arrays, tables, folders, datasets or names, divided into parts, with scalers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_flag, check_fraction, check_positive
from bnnrl.data import arrays, readers, stream
from bnnrl.data.casting import STANDARDIZE
from bnnrl.data.columns import Columns
from bnnrl.data.scaler import Scaler
from bnnrl.data.settings import Divided, DivideSettings, ReadSettings
from bnnrl.data.source import PARTS, Source
from bnnrl.data.targets import check_task
from bnnrl.seeds import as_seed


@dataclass(frozen=True, eq=False)
class Data:
    """Rows in original units, divided into disjoint parts, with the scalers of the training part.

    A part is a pair of arrays (x [N, ...], y), or, for a stream, a finite tf.data.Dataset of unbatched rows (x, y) with
    the same order in every pass. y is float32 [N, K] for real targets and int32 [N] for classes. A scaler standardizes
    the last axis: z = (x − mean) / std. Rows that have a scaler and that float32 would round too coarsely, such as time
    stamps, are float64.
    """

    train: Any  # Rows, as are the other parts; with the union type, each use would need an isinstance check
    validation: Any  # None if not requested
    test: Any  # None if not requested
    x_scaler: Scaler | None
    y_scaler: Scaler | None
    class_names: tuple[str, ...] | None  # names of the classes, by index; None for real targets
    feature_names: tuple[str, ...] | None  # names of x's last axis, where the source has them
    name: str
    columns: Columns | None = None  # what the columns of a table were taken for
    groups: Any = None  # of the rows of the training part, [N], as `load` was given them
    times: Any = None  # of the rows of the training part, [N], as `load` was given them
    division: str = ""  # how `groups` or `times` divided the rows, in words

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None for real targets."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def num_train(self) -> int:
        """The number of rows N of the training part."""
        return len(self.train[0]) if isinstance(self.train, tuple) else int(self.train.cardinality())


def load(
    source,
    targets=None,
    *,
    test: Any = 0.2,
    validation: Any = 0.0,
    seed=0,
    stratify: bool = False,
    groups: Any = None,
    times: Any = None,
    task: str | None = None,
    standardize: str | bool = "auto",
    inputs: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    split: str | Mapping[str, str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    color_mode: str | None = None,
    stream: str | bool = "auto",
    max_bytes: float = 2e9,
) -> Data:
    """Return the rows of `source`, divided into training, validation and test parts, with scalers.

    Args:
        source: where the rows come from, one of the following.

            - (x, y), or x with `targets`: arrays [N, ...].
            - A pandas DataFrame, or the path of a .csv, .tsv, .txt or .dat file or of a Parquet file. Text files may
              be UTF-8, UTF-16 or Latin-1, separated by commas, semicolons, tabs or bars, .txt and .dat files also by
              blanks. Columns of strings, booleans and categories are one-hot encoded as "column=category", with the
              categories of all parts. Text of numbers, such as "$1,234" or "0,5", becomes numbers, and dates become
              days since 1970-01-01. Missing numbers and dates, also marked "?" or "-", become the median of the
              training part, missing categories a category "missing", and rows without a target are left out. Text
              that differs in most rows, and integers named like an identifier, are left out unless `inputs` names
              them. `Data.columns` says what each column was taken for.
            - The path of an .npz file with arrays x and y, or x_train and y_train. Arrays x_validation, y_validation,
              x_test and y_test are parts of their own.
            - A folder with a sub-folder of images for each class, or with sub-folders "train" and "test" that hold
              such sub-folders.
            - A finite, unbatched tf.data.Dataset of rows (x, y), or of dictionaries of features.
            - A name. Without `data_dir`, "breast_cancer", "diabetes", "digits", "friedman1", "iris" and "wine" are the
              data sets of scikit-learn, and the name of an existing folder is that folder. Every other name is a data
              set that TensorFlow Datasets (TFDS) has prepared, such as "mnist" or "my_dataset/config:1.0.0". Nothing
              is downloaded.
        targets: the targets [N, ...] if `source` is an array, or the names of the columns or features that are
            targets. By default, the last column of a table, and TFDS's supervised target.
        test: the test part: a fraction in [0, 1) of the rows, or the rows themselves, as a source of the same kind. A
            source that has a test part keeps it whatever the fraction; a fraction of 0 leaves it out.
        validation: the validation part, given like `test`.
        seed: integer, or stateless seed pair, of the random division.
        stratify: whether all parts get the same share of every class. Not available for streams.
        groups: the group of each row, such as the patient or the machine that it is of: no group is in two parts, and
            fractions are those of groups. The name of a column of a table, which is then no input unless `inputs` names
            it, or an array [N]. Not available for streams.
        times: the time of each row: the test part gets the latest rows and the validation part those before, whole
            times each. The name of a column of numbers or dates of a table, which remains an input unless `exclude`
            names it; an array [N]; or "rows" for the order of the rows. Not available for streams.
        task: "classification", "regression", or None to infer it from the targets: real numbers mean regression;
            integers, booleans, strings and categories are classes, numbered in sorted order over all parts.
        standardize: which scalers to fit. "auto": for inputs [N, F], integers included, and for real targets.
            "inputs": for inputs [N, F] only, as for counts with a Poisson likelihood. True: for inputs of any shape,
            along the last axis, and for real targets. False: none, and integer inputs, such as tokens, stay integers.
            Images of bytes are divided by 255 in every case, and get a scaler only with True.
        inputs: the names of the columns or features that are inputs. By default, all that are not targets.
        exclude: the names of columns of a table that are no inputs.
        split: TFDS split for each part, such as {"train": "train[:90%]", "test": "test"}, or one split that is divided
            like any other source. By default, the data set's own splits.
        data_dir: the folder where TFDS prepared data sets. If given, a name always means a TFDS data set.
        image_size: (height, width) that images are resized to. By default, the size of a folder's first image.
        color_mode: "grayscale", "rgb" or "rgba", for an image folder. By default, that of its first image.
        stream: True for parts that are datasets, False for arrays. "auto" gives datasets if the source is a dataset or
            an image folder whose rows need more than `max_bytes` together.
        max_bytes: the largest number of bytes that arrays may take with `stream="auto"`.

    Raises:
        ValueError: if an argument is invalid, a name is unknown, a part would be empty, or a value is not finite, or
            missing in anything but a table. Also if more than one of `stratify`, `groups` and `times` is given.
        ImportError: if pandas or pyarrow is needed and not installed.

    Warns:
        bnnrl.data.ColumnWarning: if columns or rows of a table are left out.
    """
    check_task(task)
    as_seed(seed)
    max_bytes = check_positive("max_bytes", max_bytes, infinite=True)
    standardize = _check_mode("standardize", standardize, STANDARDIZE)
    stream, stratify = _check_mode("stream", stream, ("auto", True, False)), check_flag("stratify", stratify)
    if stratify + (groups is not None) + (times is not None) > 1:
        raise ValueError(
            "Invalid division: expected one of `stratify`, `groups` and `times` at most. Received: several of them."
        )
    given, fractions = _given_and_fractions({"validation": validation, "test": test})
    reading = ReadSettings(targets, inputs, exclude, split, data_dir, image_size, color_mode, seed, groups, times)
    found = readers.read({"train": source, **given}, reading)
    of_rows = {"groups": _of_rows("groups", groups, found.groups), "times": _of_rows("times", times, found.times)}
    found = found._replace(parts=_wanted(found, fractions, split))
    fractions = {part: share for part, share in fractions.items() if share and part not in found.parts}
    settings = DivideSettings(fractions, seed, stratify, task, standardize, **of_rows)
    divided = _divide(found, settings, stream, max_bytes)
    train, validation, test = (divided.parts.get(part) for part in PARTS)
    return Data(
        train,
        validation,
        test,
        divided.x_scaler,
        divided.y_scaler,
        divided.class_names,
        found.feature_names,
        found.name,
        divided.columns,
        divided.groups,
        divided.times,
        _in_words(groups, times) if fractions else "",
    )


def _of_rows(name: str, given: Any, from_column: np.ndarray | None) -> Any:
    """Return the group or the time of each training row, or "rows" for times in the order of the rows.

    Raises:
        ValueError: if a column is named of something else than a table.
    """
    if given is None or from_column is not None:
        return from_column
    if isinstance(given, str) and (name, given) != ("times", "rows"):
        words = ", or 'rows' for the order of the rows" if name == "times" else ""
        raise ValueError(
            f"Invalid `{name}`: expected the name of a column for a table only, and an array [N] for other sources"
            f"{words}. Received: {given!r}."
        )
    return given


def _in_words(groups: Any, times: Any) -> str:
    """Return how rows are divided by groups or times; nothing for a division at random."""
    named = lambda column, other: repr(column) if isinstance(column, str) and column != "rows" else other
    if groups is not None:
        return f"divided by whole groups of {named(groups, 'rows')}"
    return f"divided in the order of {named(times, 'rows')}, the training rows first" if times is not None else ""


def _check_mode(name: str, value: Any, modes: tuple[str | bool, ...]) -> str | bool:
    """Return `value`, or raise ValueError unless it is one of the modes."""
    if not isinstance(value, str | bool | np.bool_) or value not in modes:
        raise ValueError(f"Invalid `{name}`: expected one of {list(modes)}. Received: {name}={value!r}.")
    return value if isinstance(value, str) else bool(value)


def _given_and_fractions(parts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the parts that are given as rows, and the fractions of the training rows that become the others."""
    given = {part: rows for part, rows in parts.items() if not isinstance(rows, int | float | np.number)}
    fractions = {part: check_fraction(part, share) for part, share in parts.items() if part not in given}
    if sum(fractions.values()) >= 1:
        raise ValueError(f"Invalid `test`: expected fractions that add up to less than 1. Received: {fractions}.")
    return given, fractions


def _wanted(source: Source, fractions: dict[str, float], split) -> dict[str, Any]:
    """Return the source's parts without those whose fraction is 0, unless `split` names them."""
    named = split if isinstance(split, Mapping) else {}
    return {part: rows for part, rows in source.parts.items() if fractions.get(part) != 0 or part in named}


def _divide(source: Source, settings: DivideSettings, streamed: str | bool, max_bytes: float) -> Divided:
    """Divide the source's rows as a stream or as arrays; arguments as for `load`."""
    parts = cast(Any, source.parts)
    if not isinstance(parts["train"], tf.data.Dataset):
        divided = arrays.divide(source, parts, settings)
        if streamed is True:
            slices = {part: tf.data.Dataset.from_tensor_slices(rows) for part, rows in divided.parts.items()}
            return divided._replace(parts=slices)
        return divided
    if streamed is False or (streamed == "auto" and stream.fits(parts, max_bytes)):
        return arrays.divide(source, {part: stream.into_memory(rows, part) for part, rows in parts.items()}, settings)
    if settings.stratify:
        raise ValueError("Invalid `stratify`: expected False for a stream. Received: stratify=True.")
    if settings.groups is not None or settings.times is not None:
        raise ValueError(
            "Invalid `groups` or `times`: expected None for a stream. Received: one of them. Pass `stream=False`, or "
            "the parts as `validation` and `test`."
        )
    return stream.divide(source, parts, settings)
