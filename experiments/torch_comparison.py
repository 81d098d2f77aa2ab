"""Comparison with PyTorch packages: bnnrl's results on diabetes, and a table of both sides.

    python experiments/torch_comparison.py --seeds 0 1 2

The work is that of peers/torch_peers.py: the same rows, a network 10-50-1 with ReLU, N(0, 1) priors, noise fixed at 0.7
times the standard deviation of the training targets, 100 epochs, minibatches of 32 rows, 100 posterior samples, one
thread. There are 353 training rows. Here an epoch has 11 minibatches and leaves out one row; there, that row is a
minibatch of its own. `seconds` and `cpu_seconds` include compilation; `again_seconds` are those of a second fit of the
same model, which does not compile.

Writes a row for each run, with the columns of peers/results-peers.csv, to experiments/results/torch_comparison.csv, and
a table of both files and of digits.csv to torch_comparison.md.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import tyro
from sweeps import RESULTS, Row, check_names, quiet_single_thread, run_all, spread, tabulate

PEERS = Path(__file__).parent / "peers" / "results-peers.csv"
EPOCHS, BATCH, DRAWS, UNITS, NOISE = 100, 32, 100, 50, 0.7
SCORES = {"digits": ("accuracy", "nll", "ece"), "diabetes": ("rmse", "nll")}


def methods(steps: int, rate: float | None = None) -> dict[str, Any]:
    """Return each method for a run of `steps` minibatches, with the learning rate `rate` unless that is None.

    Each method's own learning rate is the best of a grid of four by negative log-likelihood on seed 100, as on
    PyTorch's side.
    """
    from bnnrl import inference as bi

    falling = lambda own: bi.Schedule(rate or own, (rate or own) / 100, steps)
    adam, half = bi.Adam(falling(1e-3)), steps // 2
    return {
        "adam": adam,
        "ensemble": bi.Ensemble(adam, 5),
        "sgld": bi.SGLD(rate or 1e-5, half, max(1, (steps - half) // DRAWS), DRAWS),
        "bbb": bi.BBB(falling(1e-2)),
        "laplace": bi.Laplace(adam, steps - 2 * (steps // EPOCHS)),
        "ivon": bi.IVON(falling(1e-2), hess_init=0.5),
    }


@dataclass
class Args:
    """Settings of the comparison with PyTorch packages."""

    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    rate: float | None = None
    """Learning rate of all methods; their own by default."""
    name: str = "torch_comparison"
    """Name of the result files."""


def run(name: str, seed: int, rate: float | None) -> Row:
    """Fit twice, to time the fit with and without compilation, and return a row."""
    quiet_single_thread()
    import warnings

    import keras
    from sklearn.datasets import load_diabetes

    import bnnrl
    from bnnrl.diagnostics import SamplingWarning

    warnings.simplefilter("ignore", SamplingWarning)
    x, y = load_diabetes(return_X_y=True)
    x, y = np.asarray(x), np.asarray(y)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = np.split(order, [int(0.8 * len(x))])
    x = (x - x[train].mean(0)) / x[train].std(0)
    scale = y[train].std()
    y = ((y - y[train].mean()) / scale)[:, np.newaxis]
    network = keras.Sequential([keras.Input((10,)), keras.layers.Dense(UNITS, "relu"), keras.layers.Dense(1)])
    method = methods(len(train) // BATCH * EPOCHS, rate)[name]
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(NOISE), method=method)
    fit = lambda: model.fit(x[train], y[train], batch_size=BATCH, epochs=EPOCHS, seed=seed, verbose=0)
    times = []
    for _ in range(2):
        wall, cpu = perf_counter(), process_time()
        fit()
        times.append((perf_counter() - wall, process_time() - cpu))
    scores = model.evaluate(x[test], y[test], DRAWS, seed)
    return {
        "stack": "bnnrl",
        "dataset": "diabetes",
        "method": name,
        "seed": seed,
        "accuracy": "",
        "rmse": round(scores["rmse"] * scale, 5),
        "nll": round(scores["nll"] + float(np.log(scale)), 5),
        "ece": "",
        "seconds": round(times[0][0], 2),
        "cpu_seconds": round(times[0][1], 2),
        "again_seconds": round(times[1][0], 2),
    }


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each data set: medians and ranges over seeds."""
    lines = []
    for dataset, scores in SCORES.items():
        own = [row for row in rows if row["dataset"] == dataset]
        lines += [f"## {dataset}", "", f"| stack | method | {' | '.join(scores)} | seconds | seconds, again |"]
        lines.append("|---|---|" + "---|" * (len(scores) + 2))
        for stack, method in sorted({(row["stack"], row["method"]) for row in own}):
            runs = [row for row in own if (row["stack"], row["method"]) == (stack, method)]
            column = lambda name: [float(row[name]) for row in runs if row.get(name)]  # noqa: B023
            digits = lambda name: "{:.1f}" if name == "rmse" else "{:.3f}"
            cells = [spread(column(name), digits(name).format) for name in scores]
            again = column("again_seconds")
            cells += [f"{median(column('seconds')):.1f}", f"{median(again):.1f}" if again else ""]
            lines.append(f"| {stack} | {method} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(
        "Medians and ranges over the seeds. In the seconds of bnnrl is compilation, in those of its second fit none."
    )
    return "\n".join(lines) + "\n"


def read(path: Path, **more: str) -> list[Row]:
    """Return the rows of a CSV file, each with the entries `more`."""
    with open(path, newline="") as file:
        return [{**row, **more} for row in csv.DictReader(file)]


def main(args: Args) -> None:
    """Run all methods and seeds, and write the results."""
    quiet_single_thread()
    known = list(methods(EPOCHS))
    check_names("methods", args.methods, known)
    calls = [(name, seed, args.rate) for name in args.methods or known for seed in args.seeds]
    others = [*read(RESULTS / "digits.csv", stack="bnnrl", dataset="digits"), *read(PEERS)]
    tabulate(run_all(run, calls, args.jobs), args.name, lambda rows: summary([*rows, *others]))


if __name__ == "__main__":
    main(tyro.cli(Args))
