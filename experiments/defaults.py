"""Every inference method by its name alone, with the settings that follow from the run, on data sets of many kinds.

    python experiments/defaults.py
    python experiments/defaults.py --folder UCI_Datasets --methods adam ensemble swag

The sets: images (digits) and tumours (cancer) of scikit-learn, for classification; diabetes and 500 rows of Friedman's
function (noise 1) of scikit-learn, for regression; counts, 600 rows whose logarithmic rate is a smooth function of
three inputs; and series, of which the next value follows from the last eight, a Mackey-Glass series with noise that is
divided in time. With `--folder`, five sets of UCI come with them, in the layout that experiments/uci.py describes.

The network has one hidden layer of 50 ReLU units. Its prior is learned, unless `--prior normal` asks for N(0, 1). It is
fitted for 100 epochs with minibatches of 32 rows; methods that need all rows at every step take 300 steps. A fifth of
the rows are test rows, divided by `default_rng(seed).permutation`; those of UCI have the published splits.

A method that raises an error, or whose score is not finite, fails. The table marks it, and whatever is more than 0.05
nats behind Adam. Adds a row for each fit to a CSV file in experiments/results/, in the place of an earlier row of the
same fit, and writes tables of all its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import tyro
import uci
from sweeps import Row, check_names, collect, quiet_single_thread, run_all

UNITS, EPOCHS, BATCH, FULL_BATCH_STEPS = 50, 100, 32, 300
CLASSES = {"digits": 10, "cancer": 2}
SHIPPED = ("digits", "cancer", "diabetes", "friedman1", "counts", "series")
OF_FOLDER = ("bostonHousing", "concrete", "energy", "wine-quality-red", "yacht")
NORMAL = ", N(0, 1)"  # follows a method's name in the tables where the prior is not learned
BEHIND = 0.05  # nats by which a method may be behind Adam
SCORES = ("nll", "error", "calibration", "seconds")
FIT = ("set", "method", "prior", "seed")  # columns that say which fit a row is of


@dataclass
class Args:
    """Settings of the comparison of methods by name."""

    folder: Path | None = None
    """Folder of the UCI data sets; without it, they are left out."""
    sets: tuple[str, ...] = ()
    """Names of data sets; all by default."""
    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    prior: Literal["learned", "normal"] = "learned"
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "defaults"
    """Name of the result files."""


def make(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [N, F] and targets [N] of a set that needs no files."""
    from sklearn import datasets

    if name == "counts":
        rng = np.random.default_rng(seed)
        x = rng.uniform(-2, 2, (600, 3))
        return x, rng.poisson(np.exp(0.8 + np.sin(2 * x[:, 0]) + 0.4 * x[:, 1]))
    if name == "series":
        values = mackey_glass(700) + 0.03 * np.random.default_rng(seed).normal(size=700)
        return np.lib.stride_tricks.sliding_window_view(values[:-1], 8), values[8:]
    load = {"digits": datasets.load_digits, "cancer": datasets.load_breast_cancer, "diabetes": datasets.load_diabetes}
    x, y = load[name](return_X_y=True) if name in load else datasets.make_friedman1(500, noise=1.0, random_state=0)
    return np.asarray(x), np.asarray(y)


def mackey_glass(count: int) -> np.ndarray:
    """Return values of dx/dt = 0.2 x(t − 17) / (1 + x(t − 17)¹⁰) − 0.1 x(t), six units of time apart (Science, 1977).

    Steps of Euler's method are 0.1 long.
    """
    delay, stride, burn_in = 170, 60, 3000
    x = np.full(delay + burn_in + stride * count, 1.2)
    for t in range(delay, len(x) - 1):
        past = x[t - delay]
        x[t + 1] = x[t] + 0.1 * (0.2 * past / (1 + past**10) - 0.1 * x[t])
    return x[-stride * count :: stride]


def load(folder: Path | None, name: str, seed: int, validation: float = 0.0) -> Any:
    """Return the standardised data of a set, with a share of the training rows as validation rows."""
    import bnnrl

    common: dict[str, Any] = {"validation": validation, "seed": seed}
    if name in OF_FOLDER:
        split = uci.read(folder or Path(), name, seed)
        return bnnrl.data.load((split.x, split.y), test=(split.x_test, split.y_test), task="regression", **common)
    x, y = make(name, seed)
    order = np.arange(len(x)) if name == "series" else np.random.default_rng(seed).permutation(len(x))
    train, test = np.split(order, [round(0.8 * len(x))])
    task = "classification" if name in CLASSES else "regression"
    scaled = "inputs" if name == "counts" else "auto"
    test_rows = x[test], y[test]
    return bnnrl.data.load((x[train], y[train]), test=test_rows, task=task, standardize=scaled, **common)


def make_model(name: str, method: str, prior: str, num_inputs: int) -> Any:
    """Return the model of a data set, with a method by name and the prior "learned" or "normal"."""
    import keras

    import bnnrl

    likelihood = "categorical" if name in CLASSES else "poisson" if name == "counts" else "gaussian"
    hidden, last = keras.layers.Dense(UNITS, "relu"), keras.layers.Dense(CLASSES.get(name, 1))
    network = keras.Sequential([keras.Input((num_inputs,)), hidden, last])
    return bnnrl.BayesianModel(network, likelihood, "learned" if prior == "learned" else None, method)


def fit(model: Any, data: Any, seed: int) -> dict[str, float]:
    """Fit a model, and return its scores on the test rows and the seconds of the fit."""
    started = perf_counter()
    epochs = FULL_BATCH_STEPS if model.method.full_batch_only else EPOCHS
    model.fit(data, batch_size=BATCH, epochs=epochs, seed=seed, verbose=0)
    seconds = perf_counter() - started
    scores = model.evaluate(data.test, seed=seed)
    of_classes = "accuracy" in scores
    error = 1.0 - scores["accuracy"] if of_classes else scores["rmse"]
    return {
        "nll": scores["nll"],
        "error": error,
        "calibration": scores["ece" if of_classes else "picp_95"],
        "seconds": seconds,
    }


def run(folder: Path | None, name: str, method: str, prior: str, seeds: tuple[int, ...]) -> list[Row]:
    """Fit a method to a set with each seed, and return a row for each fit; NaN stands for a fit that failed."""
    quiet_single_thread()
    import warnings

    from bnnrl.inference import Diverged

    warnings.simplefilter("ignore", UserWarning)  # of chains that have not mixed
    rows: list[Row] = []
    for seed in seeds:
        data = load(folder, name, seed)
        scores: dict[str, float] = dict.fromkeys(SCORES, float("nan"))
        told = ""
        try:
            scores = fit(make_model(name, method, prior, data.train[0].shape[1]), data, seed)
        except (ValueError, Diverged) as error:
            told = str(error).splitlines()[0]
        rows.append({"set": name, "method": method, "prior": prior, "seed": seed, **scores, "failure": told})
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method to a data set: medians over seeds."""
    failures = {row["failure"] for row in rows} - {""}
    shown = ", ".join(f"{column} {np.median([row[column] for row in rows]):.3g}" for column in SCORES)
    return f"{rows[0]['set']}, {rows[0]['method']}: {shown}{'; '.join(['', *failures])}"


def summary(rows: list[Row]) -> str:
    """Return Markdown tables with a row for each method and a column for each data set: medians over seeds."""
    rows = [{**row, "method": row["method"] + (NORMAL if row["prior"] == "normal" else "")} for row in rows]
    sets, methods = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "method"))

    def median(method: str, name: str, column: str) -> float:
        own = [row[column] for row in rows if row["method"] == method and row["set"] == name]
        return float(np.median(own)) if own else float("nan")

    def cell(method: str, name: str, column: str) -> str:
        if not any(row["method"] == method and row["set"] == name for row in rows):
            return ""
        value = median(method, name, column)
        if not np.isfinite(value):
            return "**failed**"
        shown = f"{value:.3g}" if column == "seconds" else f"{value:.3f}"
        adam = "adam" + (NORMAL if method.endswith(NORMAL) else "")
        behind = column == "nll" and value > median(adam, name, "nll") + BEHIND
        return f"**{shown}**" if behind else shown

    titles = {
        "nll": f"Negative log-likelihood in nats; bold is more than {BEHIND} behind Adam",
        "error": "Share of wrong classes, or RMSE in the targets' own units",
        "calibration": "Expected calibration error of classes, or the share of targets within the 95 % interval",
        "seconds": "Seconds of a fit, on one thread",
    }
    lines: list[str] = []
    for column, title in titles.items():
        lines += [f"## {title}", "", f"| method | {' | '.join(sets)} |", "|---|" + "---|" * len(sets)]
        lines += [f"| {m} | {' | '.join(cell(m, name, column) for name in sets)} |" for m in methods]
        lines.append("")
    seeds = sorted({row["seed"] for row in rows})
    lines.append(f"Medians over seeds {', '.join(map(str, seeds))}. Priors are learned, but where N(0, 1) is named.")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all sets, methods and seeds, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import REGISTRY

    known = SHIPPED if args.folder is None else (*SHIPPED, *OF_FOLDER)
    check_names("sets", args.sets, known)
    check_names("methods", args.methods, REGISTRY)
    # Gauss-Newton learning covers real targets alone.
    covers = lambda method, name: method != "gauss_newton" or name not in (*CLASSES, "counts")
    pairs = [pair for pair in product(args.methods or REGISTRY, args.sets or known) if covers(*pair)]
    calls = [(args.folder, name, method, args.prior, args.seeds) for method, name in pairs]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=FIT)


if __name__ == "__main__":
    main(tyro.cli(Args))
