"""Divisions of rows into folds, and models that are fitted to the rows outside of each fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bnnrl import data
from bnnrl.checks import check_count
from bnnrl.data.split import ranks
from bnnrl.keras_conventions import already_told
from bnnrl.model import inputs
from bnnrl.seeds import host_seed


class Split(NamedTuple):
    """Indices of the rows that a model is fitted to, and of those that it is scored on, both in increasing order."""

    train: np.ndarray  # [n]
    held_out: np.ndarray  # [m]


def splits(rows: int, folds: int, seed: int, labels=None, groups=None, times=None) -> list[Split]:
    """Return the divisions of rows for k-fold cross-validation, by the splitters of scikit-learn.

    Args:
        rows: N, the number of rows.
        folds: K, the number of divisions.
        seed: of random divisions.
        labels: classes [N], of which all folds are to get the same shares; None for a division without regard to them.
        groups: the group of each row, [N], for folds of whole groups; None without.
        times: the time of each row, [N]. The distinct times are cut into K + 1 blocks in their order; division k trains
            on the first k blocks and holds out the next. None without.

    Raises:
        ValueError: if there are fewer rows, groups or times than needed, or a class has fewer rows than there are
            folds.
    """
    # The import takes a second, and the core has to import without scikit-learn.
    from sklearn import model_selection

    _check_most(check_count("folds", folds, least=2), rows, f"{rows} rows")
    how = {"n_splits": folds, "shuffle": True, "random_state": host_seed(seed)}
    if times is not None:
        if labels is not None or groups is not None:
            raise ValueError("Invalid `times`: expected None with `stratify` or `groups`. Received: both.")
        rank = ranks("times", times, rows)
        count = rank.max() + 1
        _check_most(folds, count - 1, f"{count} distinct times")
        blocks = model_selection.TimeSeriesSplit(folds).split(np.arange(count))
        return [Split(*(np.flatnonzero(np.isin(rank, part)) for part in block)) for block in blocks]
    if groups is not None:
        groups = ranks("groups", groups, rows)
        _check_most(folds, groups.max() + 1, f"{groups.max() + 1} groups")
    if labels is not None:
        labels = ranks("stratify", labels, rows)
        fewest = np.bincount(labels).min()
        _check_most(folds, fewest, f"{fewest} rows of the rarest class")
    if groups is None:
        splitter = model_selection.KFold if labels is None else model_selection.StratifiedKFold
    else:
        splitter = model_selection.GroupKFold if labels is None else model_selection.StratifiedGroupKFold
    nothing = np.zeros(rows)
    return [Split(*found) for found in splitter(**how).split(nothing, labels, groups)]


def _check_most(folds: int, most: int, there_are: str) -> None:
    if folds > most:
        raise ValueError(f"Invalid `folds`: expected at most {most}, for {there_are}. Received: folds={folds}.")


def fitted(
    make: Callable[[], Any], x: inputs.Arrays, y: np.ndarray, divisions: list[Split], like: Any, **how: Any
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield, for each division, a model fitted to its training rows, and the indices of the rows held out.

    The training rows are standardised by themselves if the model's are, so that a model has seen nothing of the rows
    that are held out.

    Args:
        make: makes a BayesianModel that is not fitted.
        x: inputs in their own units.
        y: targets in their own units.
        divisions: of the rows.
        like: the adapter of a model of all rows, which tells what is standardised.
        **how: arguments of `BayesianModel.fit`.
    """
    scaler = lambda given, rows: None if given is None else data.Scaler.fit(rows.reshape(-1, rows.shape[-1]))
    for k, division in enumerate(divisions):
        rows = inputs.take(x, division.train), y[division.train]
        scalers = scaler(like.x_scaler, rows[0]), scaler(like.y_scaler, rows[1])
        given = data.Data(rows, None, None, *scalers, None, None, "rows outside of a fold", like.columns)
        with already_told():
            model = make()
            try:
                model.fit(given, None, **how)
            except Exception as error:
                error.add_note(f"The fit was that of fold {k + 1} of {len(divisions)}.")
                raise
        yield model, division.held_out
