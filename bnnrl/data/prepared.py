"""TensorFlow Datasets that were prepared before. Nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from bnnrl.checks import nearest
from bnnrl.data import records
from bnnrl.data.examples import EXAMPLES
from bnnrl.data.source import PARTS, Source


def read(name: str, *, data_dir=None, split=None, inputs=None, targets=None, image_size=None) -> Source:
    """Return a data set that TFDS has prepared.

    Args:
        name: such as "mnist", "mnist:3.0.1" or "glue/cola:2.0.0".
        data_dir: where data sets were prepared, TFDS's own default if None.
        split: a TFDS split for each part, such as {"train": "train[:90%]", "test": "test"}, or one split to be cut.
            None means the data set's own.
        inputs: as for `records.read`; what TFDS calls supervised if neither `inputs` nor `targets` is given.
        targets: likewise.
        image_size: as for `records.read`.

    Raises:
        ValueError: if it is not there, which says how to prepare it; if a split or feature does not exist, or splits
            overlap.
    """
    import tensorflow_datasets as tfds  # slow to import
    from tensorflow_datasets.core import read_only_builder

    try:
        # From files alone: the classes that generate data sets would look for their descriptions in the network.
        builder: Any = read_only_builder.builder_from_files(name, data_dir=data_dir and os.fspath(data_dir))
    except ValueError as error:
        raise _missing(name, data_dir, tfds) from error
    chosen = _splits(builder.info, split)
    _check_disjoint(builder.info, chosen)
    features = dict(getattr(builder.info.features, "items", dict)())  # none if a row is a single feature
    supervised = builder.info.supervised_keys
    if inputs is None and targets is None:
        if not supervised or not all(isinstance(key, str) for key in supervised[:2]):
            raise ValueError(
                f"Invalid `targets`: expected the names of `inputs` and `targets` among {sorted(features)}"
                f", as {name!r} does not say which they are. Received: None."
            )
        inputs, targets = supervised[:2]
    parts = {part: builder.as_dataset(split=which, shuffle_files=False) for part, which in chosen.items()}
    return records.read(builder.info.full_name, parts, inputs, targets, image_size, features)


def _splits(info, split: str | Mapping[str, str] | None) -> dict[str, str]:
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
    """Raise ValueError if splits do not exist, have no rows, or share some."""
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
    """Return the error for a data set that is not there, with the nearest names and the way to prepare it."""
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
            f" Prepare it once, where there is a network: `tfds build {base} --data_dir {root}`, or in Python "
            f"`tensorflow_datasets.load({base!r}, data_dir={os.fspath(root)!r})`."
        )
    else:
        hint = nearest(base, {*known, *EXAMPLES, *(path[0] for path in found)})
    return ValueError(
        f"Invalid `source`: expected a file, a folder, one of {list(EXAMPLES)} (without `data_dir`), or a data set "
        f"that TFDS has prepared in {os.fspath(root)!r}, which are {there}. Received: {name!r}.{hint} Nothing is "
        "downloaded here."
    )
