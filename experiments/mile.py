"""Methods by name on the regressions of the paper on microcanonical Langevin ensembles (MILE), by its protocol.

    python experiments/mile.py --folder mile

Sommer et al., ICLR 2025, arXiv:2502.06335. The published figures are those of the authors' package, bde (Arvanitis et
al., 2025), whose network is taken here too: four hidden layers of 16 ReLU units, and two outputs, the mean and the
scale of each target. Inputs and targets are standardized. A random split leaves 70 % of the rows for training, 10 % for
validation, which are not used here, and 20 % for tests. RMSE and negative log-likelihood are of the standardized
targets. All weights have the learned prior. Samplers have eight chains, and take 1000 steps with all rows, half of them
Adam's; the ensemble has eight members, and is fitted for 100 epochs with minibatches of 32 rows.

`--folder` holds airfoil.data and bikesharing.data, tables without a header whose last column is the target. Adds a row
for each fit to a CSV file in experiments/results/, in the place of an earlier row of the same fit, and writes a table
of all its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tyro
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all
from uci import Split

UNITS, BATCH, MEMBERS = (16, 16, 16, 16), 32, 8
FULL_BATCH_STEPS, EPOCHS = 1000, 100
METHODS = ("adam", "ensemble", "laplace", "hmc", "nuts", "mclmc")
COLUMNS = ("rmse", "nll", "picp_95", "seconds")
FIT = ("set", "method", "seed")  # columns that say which fit a row is of

# Mean RMSE and NLL of five runs, ± standard deviation, in the paper on bde (scikit-learn-contrib/bde, paper/paper.md,
# December 2025).
PUBLISHED = {
    "airfoil": {
        "bde (MILE)": ("0.1215 ± 0.0042", "-0.9126 ± 0.0131"),
        "TabPFN v2": ("0.1359 ± 0.0028", "-0.9338 ± 0.0195"),
        "deep ensemble": ("0.3650 ± 0.0038", "0.1760 ± 0.0043"),
    },
    "bikesharing": {
        "bde (MILE)": ("0.2261 ± 0.0016", "-0.7315 ± 0.0098"),
        "TabPFN v2": ("0.2103 ± 0.0008", "-0.6856 ± 0.0063"),
        "deep ensemble": ("0.2880 ± 0.0052", "-0.4550 ± 0.0173"),
    },
}


@dataclass
class Args:
    """Settings of the experiment."""

    folder: Path
    """Folder of airfoil.data and bikesharing.data."""
    sets: tuple[str, ...] = tuple(PUBLISHED)
    methods: tuple[str, ...] = ("ensemble", "hmc", "mclmc")
    """Names of methods."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the splits and the fits."""
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "mile"
    """Name of the result files."""


def read(folder: Path, name: str, seed: int) -> Split:
    """Return a split of a set, with inputs and targets standardized by the training rows.

    Raises:
        FileNotFoundError: if the folder lacks the file of the set.
    """
    path = folder / f"{name}.data"
    if not path.is_file():
        raise FileNotFoundError(f"Invalid `folder`: expected the file {path}. Received: none.")
    rows = np.loadtxt(path)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    first, last = round(0.7 * len(rows)), round(0.8 * len(rows))
    mean, std = rows[:first].mean(axis=0), rows[:first].std(axis=0)
    rows = ((rows - mean) / np.where(std > 0, std, 1.0)).astype(np.float32)
    x, y = rows[:, :-1], rows[:, -1:]
    return Split(x[:first], y[:first], x[last:], y[last:])


def make_model(method: str, num_inputs: int) -> Any:
    """Return a BayesianModel with a method by name."""
    import keras

    import bnnrl

    hidden = [keras.layers.Dense(units, "relu") for units in UNITS]
    network = keras.Sequential([keras.Input((num_inputs,)), *hidden, keras.layers.Dense(2)])
    several = {"ensemble": "size", "hmc": "chains", "nuts": "chains", "mclmc": "chains"}
    given = {several[method]: MEMBERS} if method in several else None
    return bnnrl.BayesianModel(network, "heteroscedastic", "learned", method, hyper_parameters=given)


def run(folder: Path, name: str, method: str, seeds: tuple[int, ...]) -> list[Row]:
    """Fit with each seed, and return a row for each."""
    quiet_single_thread()
    import warnings

    from bnnrl.diagnostics import SamplingWarning

    warnings.simplefilter("ignore", SamplingWarning)
    rows: list[Row] = []
    for seed in seeds:
        split = read(folder, name, seed)
        model = make_model(method, split.x.shape[1])
        epochs = FULL_BATCH_STEPS if model.method.full_batch_only else EPOCHS
        started = perf_counter()
        model.fit(split.x, split.y, batch_size=BATCH, epochs=epochs, seed=seed, verbose=0)
        seconds = perf_counter() - started
        scores = {**model.evaluate(split.x_test, split.y_test, seed=seed), "seconds": seconds}
        rows.append({"set": name, "method": method, "seed": seed, **{column: scores[column] for column in COLUMNS}})
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method to a data set."""
    shown = ", ".join(f"{column} {np.median([row[column] for row in rows]):.4g}" for column in COLUMNS)
    return f"{rows[0]['set']}, {rows[0]['method']}: {shown}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each data set: medians over seeds, and ranges."""
    lines: list[str] = []
    for name in dict.fromkeys(row["set"] for row in rows):
        lines += heading(name, ("method", "RMSE", "NLL", "PICP 95 %", "seconds", "seeds"))
        own = [row for row in rows if row["set"] == name]
        for method in dict.fromkeys(row["method"] for row in own):
            values = {c: [row[c] for row in own if row["method"] == method] for c in COLUMNS}
            cells = [f"{np.median(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in list(values.values())[:3]]
            cells += [f"{np.median(values['seconds']):.0f}", str(len(values["seconds"]))]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines += [f"| {who}, published | {' | '.join(cells)} | | | |" for who, cells in PUBLISHED[name].items()]
        lines.append("")
    lines.append("Medians over seeds, and ranges; targets are standardized, NLL in nats.")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all sets and methods, and write the results."""
    quiet_single_thread()
    check_names("sets", args.sets, PUBLISHED)
    check_names("methods", args.methods, METHODS)
    for name in args.sets:
        try:
            read(args.folder, name, 0)
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from error
    calls = [(args.folder, name, method, args.seeds) for name in args.sets for method in args.methods]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=FIT)


if __name__ == "__main__":
    main(tyro.cli(Args))
