"""New rows by `BayesianModel.update`, compared with a fit to all rows from the start.

    python experiments/online.py                                        # Friedman's first function, from scikit-learn
    python experiments/online.py --folder UCI_Datasets --sets concrete

A fifth of the training rows of a split is there at first, and four more parts of the same size come one by one. After
each part, one model has been updated with it and another one fitted to all rows so far; both predict the test rows. The
network has one hidden layer of 50 ReLU units, a learned prior and a learned noise scale. A fit takes 100 epochs with
minibatches of 32 rows. An update of Laplace's approximation sees the new rows alone; that of an ensemble of five
continues from the present members for 20 epochs on all rows so far.

The splits are those of `uci.py`, and the number of a split is the seed of its fits and of the order of its rows. The
updated model keeps the standardisation of the first part; a fit has that of all its rows. One process runs a method on
all splits of a data set. Seconds are those of the update or the fit, with one thread.

Writes a row for each model and part, and a table, to experiments/results/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tyro
from sweeps import Row, check_names, collect, quiet_single_thread, run_all
from uci import BATCH, UNITS, Split, make, read

EPOCHS, MORE_EPOCHS, PARTS = 100, 20, 5
METHODS: dict[str, dict[str, Any]] = {
    "last layer": {"method": "laplace", "hyper_parameters": {"structure": "last_layer"}},
    "kronecker": {"method": "laplace", "hyper_parameters": {"structure": "kronecker"}},
    "full": {"method": "laplace", "hyper_parameters": {"structure": "full"}},
    "ensemble": {"method": "ensemble", "hyper_parameters": {}},
}


@dataclass
class Args:
    """Settings of the experiment."""

    folder: Path | None = None
    """Folder of the UCI data sets, see uci.py. Without it, Friedman's first function is taken."""
    sets: tuple[str, ...] = ("concrete",)
    """Folders there."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods."""
    splits: tuple[int, ...] = (0, 1, 2, 3, 4)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "online"
    """Name of the result files. Rows of other data sets that are there already are kept."""


def fitted(method: str, x: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """Return a model that is fitted to the rows from the start."""
    import keras

    import bnnrl

    layers = [keras.Input((x.shape[1],)), keras.layers.Dense(UNITS, "relu"), keras.layers.Dense(1)]
    model = bnnrl.BayesianModel(keras.Sequential(layers), "gaussian", "learned", **METHODS[method])
    model.fit(bnnrl.data.load((x, y), test=0.0, task="regression"), None, BATCH, EPOCHS, seed=seed, verbose=0)
    return model


def updated(model: Any, split: Split, old: int, new: int, seed: int) -> Any:
    """Return the model after the training rows from `old` to `new`."""
    rows = split.x[old:new], split.y[old:new]
    if model.method.linearised:
        model.update(*rows)
    else:
        model.update(*rows, (split.x[:old], split.y[:old]), BATCH, MORE_EPOCHS, seed=seed, verbose=0)
    return model


def timed(function: Callable[[], Any], split: Split, seed: int) -> tuple[Any, dict[str, float]]:
    """Return the model that a function returns, its scores on the test rows, and the seconds of the call."""
    started = perf_counter()
    model = function()
    seconds = perf_counter() - started
    scores = model.evaluate(split.x_test, split.y_test, seed=seed)
    return model, {"rmse": scores["rmse"], "nll": scores["nll"], "seconds": seconds}


def run(folder: Path | None, name: str, method: str, splits: tuple[int, ...]) -> list[Row]:
    """Run a method on each split, and return a row for each way and number of rows."""
    quiet_single_thread()
    return [row for number in splits for row in run_split(folder, name, method, number)]


def run_split(folder: Path | None, name: str, method: str, number: int) -> list[Row]:
    """Return a row for each way and number of rows of a split."""
    split = make(name, number) if folder is None else read(folder, name, number)
    order = np.random.default_rng(number).permutation(len(split.x))
    split = split._replace(x=split.x[order], y=split.y[order])
    ends = [round(len(order) * (i + 1) / PARTS) for i in range(PARTS)]
    rows: list[Row] = []

    def add(way: str, end: int, function: Callable[[], Any]) -> Any:
        found, scores = timed(function, split, number)
        rows.append({"set": name, "method": method, "way": way, "split": number, "rows": end, **scores})
        return found

    model = add("first", ends[0], lambda: fitted(method, split.x[: ends[0]], split.y[: ends[0]], number))
    for old, new in pairwise(ends):
        add("fit", new, lambda: fitted(method, split.x[:new], split.y[:new], number))  # noqa: B023
        model = add("update", new, lambda: updated(model, split, old, new, number))  # noqa: B023
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the runs of a method on a data set."""
    last = max(row["rows"] for row in rows)
    mean = lambda way: np.mean([row["nll"] for row in rows if row["way"] == way and row["rows"] == last])
    return (
        f"{rows[0]['set']}, {rows[0]['method']}, nll with all rows: update {mean('update'):.3f}, fit {mean('fit'):.3f}"
    )


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each data set: means over splits."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        counts = sorted({row["rows"] for row in own})
        head = " | ".join(f"{count} rows" for count in counts)
        lines += [f"## {name}", "", f"| method | | {head} | seconds |", f"|---|---|{'---|' * len(counts)}---|"]
        lines += [
            line(own, method, way, counts)
            for method in dict.fromkeys(r["method"] for r in own)
            for way in ("update", "fit")
        ]
        lines.append("")
    lines.append(
        f"NLL in nats / RMSE in the targets' units, means over {len({row['split'] for row in rows})} splits. Seconds: "
        "median of an update or a fit."
    )
    return "\n".join(lines) + "\n"


def line(rows: list[Row], method: str, way: str, counts: list[int]) -> str:
    """Return the line of a method and a way in the table."""
    own = [row for row in rows if row["method"] == method and row["way"] in ("first", way)]
    mean = lambda column, count: np.mean([row[column] for row in own if row["rows"] == count])
    cells = [f"{mean('nll', count):.2f} / {mean('rmse', count):.2f}" for count in counts]
    seconds = np.median([row["seconds"] for row in own if row["way"] == way])
    return f"| {method} | {way} | {' | '.join(cells)} | {seconds:.2f} |"


def main(args: Args) -> None:
    """Run all data sets and methods, and write the results."""
    quiet_single_thread()
    check_names("methods", args.methods, METHODS)
    sets = ("friedman1",) if args.folder is None else args.sets
    calls = [(args.folder, name, method, args.splits) for name in sets for method in args.methods]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=("set", "method", "way", "split", "rows"))


if __name__ == "__main__":
    main(tyro.cli(Args))
