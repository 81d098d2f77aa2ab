"""Division of rows into training, validation and test parts: at random, by whole groups, or in the order of time."""

from __future__ import annotations

import numpy as np

from bnnrl.checks import as_array
from bnnrl.data.source import PARTS
from bnnrl.seeds import host_seed


def assign(
    n: int, fractions: dict[str, float], seed, labels: np.ndarray | None = None, groups=None, times=None
) -> np.ndarray:
    """Return for each of n rows the index of its part in `PARTS`, uint8 [n].

    The test part does not depend on the fraction for validation.

    Args:
        n: number of rows.
        fractions: the fractions of the rows for "validation" and "test", in (0, 1). A part without a fraction is empty.
        seed: integer, or stateless seed pair, of the permutation.
        labels: classes [n], if each part is to have the same share of every class.
        groups: the group of each row, [n], if no group is to be in two parts. The fractions are then those of groups.
        times: the time of each row, [n], if the test part is to hold the latest rows and the validation part those
            before. Rows of the same time are in one part.

    Raises:
        ValueError: if a part would be empty, or a class has too few rows to be divided.
    """
    if groups is not None:
        of_row = ranks("groups", groups, n)
        return _assign(int(of_row.max()) + 1, fractions, seed, None, "groups")[of_row]
    if times is not None:
        return _in_time(ranks("times", times, n), fractions)
    return _assign(n, fractions, seed, labels, "rows")


def _counts(n: int, fractions: dict[str, float], what: str) -> dict[str, int]:
    """Return the number of rows or groups of the test and the validation part."""
    counts = {part: round(fractions[part] * n) for part in ("test", "validation") if part in fractions}
    kept = n - sum(counts.values())
    for part, count in {**counts, "train": kept}.items():
        if count < 1:
            wanted = " and ".join(f"{share:g} for {name}" for name, share in fractions.items())
            raise ValueError(
                f"Invalid `{'test' if part == 'train' else part}`: expected at least one row for each part. "
                f"Received: {n} {what} and fractions {wanted}, which leave none for {part}."
            )
    return counts


def _in_time(rank: np.ndarray, fractions: dict[str, float]) -> np.ndarray:
    """Return the parts of rows whose times have these ranks: the latest rows for the test part."""
    counts, codes = _counts(len(rank), fractions, "rows"), np.zeros(len(rank), np.uint8)
    ordered = np.sort(rank)
    for part, count in counts.items():
        earliest = ordered[max(0, len(ordered) - count)]
        if earliest == 0:
            raise ValueError(
                f"Invalid `{part}`: expected a time before all rows of the {part} part, as rows of one time are in one "
                f"part. Received: {rank.max() + 1} distinct times, and fractions {fractions}."
            )
        codes[(rank >= earliest) & (codes == 0)] = PARTS.index(part)
        ordered = ordered[ordered < earliest]
    return codes


def _assign(n: int, fractions: dict[str, float], seed, labels: np.ndarray | None, what: str) -> np.ndarray:
    """Return the part of each of n rows or groups, divided at random."""
    counts = _counts(n, fractions, what)
    codes, rest, seed = np.zeros(n, np.uint8), np.arange(n), host_seed(seed)
    if labels is None and counts:
        rest = np.random.default_rng(seed).permutation(n)
    for part, count in counts.items():
        if labels is None:
            chosen, rest = rest[:count], rest[count:]
        else:
            rest, chosen = _stratified(rest, count, labels[rest], seed)
        codes[chosen] = PARTS.index(part)
    return codes


def _stratified(rows: np.ndarray, count: int, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `rows` without `count` of them, and those, with equal shares of every class."""
    if labels.ndim != 1:
        raise ValueError(
            f"Invalid `stratify`: expected one class for each row. Received: targets of shape {labels.shape}."
        )
    from sklearn.model_selection import train_test_split  # takes a second to import

    try:
        rest, chosen = train_test_split(rows, test_size=count, stratify=labels, random_state=seed)
    except ValueError as error:  # a class of a single row, or more classes than rows in a part
        raise ValueError(
            f"Invalid `stratify`: expected classes with rows for every part. Received: {error} Pass `stratify=False`."
        ) from error
    return np.asarray(rest), np.asarray(chosen)


def ranks(name: str, values, rows: int) -> np.ndarray:
    """Return the rank of each value among the distinct values, [N].

    Args:
        name: of the argument, for the error.
        values: numbers, strings or dates, [N].
        rows: N.

    Raises:
        ValueError: if there is not one value for each row, or a value is missing.
    """
    array = as_array(name, values)
    if array.shape != (rows,):
        raise ValueError(f"Invalid `{name}`: expected a value for each of {rows} rows. Received: shape {array.shape}.")
    missing = np.array([value is None or value != value for value in array.tolist()])  # NaN differs from itself
    if missing.any():
        raise ValueError(
            f"Invalid `{name}`: expected a value for each row. Received: none in {missing.sum()} rows, the first of "
            f"which is row {np.argmax(missing)}. Fill them in, or leave these rows out."
        )
    try:
        return np.unique(array, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            f"Invalid `{name}`: expected values of one type, which can be sorted. Received: others ({error})."
        ) from error
