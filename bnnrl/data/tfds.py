"""Reader of data sets that TensorFlow Datasets (TFDS) has prepared before. Nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from bnnrl.checks import check_path, nearest, optional
from bnnrl.data import tf_data
from bnnrl.data.scikit_learn import EXAMPLES
from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import PARTS, Source


def read(name: str, settings: ReadSettings) -> Source:
    """Return a data set that TFDS has prepared.

    Args:
        name: such as "mnist", "mnist:3.0.1" or "glue/cola:2.0.0".
        settings: `data_dir` is the folder where data sets were prepared, by default TFDS's own. `split` is a TFDS split
            for each part, or one split, by default the data set's own. `inputs` and `targets` name features, by default
            TFDS's supervised keys. Images are resized to `image_size`.

    Raises:
        ValueError: if the data set is not prepared (the message says how to prepare it), a split or feature does not
            exist, or splits overlap.
    """
    import tensorflow_datasets as tfds  # takes seconds to import
    from tensorflow_datasets.core import read_only_builder

    data_dir = optional(check_path)("data_dir", settings.data_dir)
    try:
        # Read from files alone: the classes that generate data sets would look up their descriptions online.
        builder: Any = read_only_builder.builder_from_files(name, data_dir=data_dir and os.fspath(data_dir))
    except ValueError as error:
        raise _missing(name, data_dir, tfds) from error
    splits = _splits(builder.info, settings.split)
    _check_disjoint(builder.info, splits)
    features = dict(getattr(builder.info.features, "items", dict)())  # empty if a row is a single feature
    if settings.inputs is None and settings.targets is None:
        supervised = builder.info.supervised_keys
        if not supervised or not all(isinstance(key, str) for key in supervised[:2]):
            raise ValueError(
                f"Invalid `targets`: expected the names of `inputs` and `targets` among {sorted(features)}"
                f", as {name!r} has no supervised keys. Received: None."
            )
        settings = replace(settings, inputs=supervised[0], targets=supervised[1])
    parts = {part: builder.as_dataset(split=which, shuffle_files=False) for part, which in splits.items()}
    return tf_data.read(builder.info.full_name, parts, settings, features)


def _splits(info, split: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the TFDS split of each part: those that `split` gives, else the data set's own."""
    own = list(info.splits)
    if isinstance(split, str):
        return {"train": split}
    if split is not None:
        if not isinstance(split, Mapping) or "train" not in split or not set(split) <= set(PARTS):
            raise ValueError(f"Invalid `split`: expected a split for each of {list(PARTS)}. Received: {split!r}.")
        return dict(split)
    if "train" not in own and len(own) > 1:
        raise ValueError(
            f"Invalid `split`: expected a split for each part, as {info.full_name!r} has no split 'train'. It has "
            f"{own}. Received: None."
        )
    chosen = {"train": "train" if "train" in own else own[0]}
    for part, names in (("validation", ("validation", "valid", "val")), ("test", ("test",))):
        found = next((name for name in names if name in own and name != chosen["train"]), None)
        if found:
            chosen[part] = found
    return chosen


def _check_disjoint(info, chosen: dict[str, str]) -> None:
    """Raise ValueError if splits do not exist, are empty, or share rows."""
    rows: dict[str, list[Any]] = {}
    for part, split in chosen.items():
        try:
            rows[part] = [i for i in info.splits[split].file_instructions if i.take]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"Invalid `split`: expected splits made of {list(info.splits)}, not empty. Received: {split!r} for "
                f"{part}."
            ) from error
    for one, other in combinations(chosen, 2):
        for a in rows[one]:
            if any(
                a.filename == b.filename and a.skip < b.skip + b.take and b.skip < a.skip + a.take for b in rows[other]
            ):
                raise ValueError(
                    f"Invalid `split`: expected parts that share no rows. Received: {chosen[one]!r} for {one} and "
                    f"{chosen[other]!r} for {other}."
                )


def _missing(name: str, data_dir, tfds) -> ValueError:
    """Return the error for a data set that is not prepared, with the nearest names or the command that prepares it."""
    root = Path(tfds.core.constants.DATA_DIR if data_dir is None else data_dir).expanduser()
    # name[/config]/version/features.json
    found = sorted(
        {p.parent.relative_to(root).parts for depth in ("*/*", "*/*/*") for p in root.glob(f"{depth}/features.json")}
    )
    there = ["/".join(path[:-1]) + ":" + path[-1] for path in found]
    known = tfds.list_builders(with_community_datasets=False)
    base = name.split(":")[0].split("/")[0]
    if base in {path[0] for path in found}:
        hint = " Ask for one of those prepared."
    elif base in known:
        hint = (
            f" Prepare it once on a machine with a network: `tfds build {base} --data_dir {root}`, or in Python "
            f"`tensorflow_datasets.load({base!r}, data_dir={os.fspath(root)!r})`."
        )
    else:
        hint = nearest(base, {*known, *EXAMPLES, *(path[0] for path in found)})
    return ValueError(
        f"Invalid `source`: expected a file, a folder, one of {list(EXAMPLES)} (without `data_dir`), or a data set "
        f"that TFDS has prepared in {os.fspath(root)!r}, which are {there}. Received: {name!r}.{hint} Nothing is "
        "downloaded here."
    )
