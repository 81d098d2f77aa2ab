"""A last layer with a distribution, on hidden units and on random features, against an ensemble: width in a gap.

    python experiments/gap.py

40 rows of y = sin(3 x) + N(0, 0.1²), half of them from [−2, −0.7], half from [0.7, 2]. The noise is known, the prior
N(0, 1). Networks have one hidden layer of 50 tanh units; those with random features have 100 features of length scale 1
after it, and "features alone" has them on the input. Every fit takes 2000 steps on all rows.

The table has the predictive standard deviation of the function at the data, in the gap [−0.4, 0.4] and beyond, at |x|
in [3, 4], and the errors of the mean there, each a root mean square. A width that can be trusted is at least the error.

Writes a row for each fit, and a table of medians over seeds, to experiments/results/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from sweeps import Row, check_names, collect, quiet_single_thread, run_all

STEPS, NOISE, DRAWS = 2000, 0.1, 200
FITS = {
    "ensemble": ("tanh", "ensemble"),
    "laplace": ("tanh", "laplace"),
    "vbll": ("tanh", "vbll"),
    "laplace, deep kernel": ("tanh, features", "laplace"),
    "vbll, deep kernel": ("tanh, features", "vbll"),
    "laplace, features alone": ("features", "laplace"),
    "vbll, features alone": ("features", "vbll"),
}


@dataclass
class Args:
    """Settings of the comparison in a gap."""

    methods: tuple[str, ...] = ()
    """Names of fits; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "gap"
    """Name of the result files."""


def make(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets, [40, 1] each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.7, 2.0, (40, 1)) * np.where(np.arange(40) % 2, 1, -1)[:, np.newaxis]
    return x, np.sin(3 * x) + NOISE * rng.normal(size=x.shape)


def make_model(fit: str) -> Any:
    """Return the model of a fit, with its method by name."""
    import keras

    import bnnrl

    hidden, method = FITS[fit]
    layers: list[Any] = [keras.layers.Dense(50, "tanh")] if "tanh" in hidden else []
    layers += [bnnrl.layers.RandomFeatures(100)] if "features" in hidden else []
    network = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])
    return bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(NOISE), method=method)


def run(fit: str, seeds: tuple[int, ...]) -> list[Row]:
    """Fit the data of each seed, and return a row for each."""
    quiet_single_thread()
    at = {"data": np.r_[-2:-0.7:30j, 0.7:2:30j], "gap": np.r_[-0.4:0.4:30j], "beyond": np.r_[-4:-3:30j, 3:4:30j]}
    rows: list[Row] = []
    for seed in seeds:
        model, (x, y) = make_model(fit), make(seed)
        model.fit(x, y, batch_size=None, epochs=STEPS, seed=seed, verbose=0)
        row: Row = {"fit": fit, "seed": seed}
        for place, points in at.items():
            z = points[:, np.newaxis]
            outputs = np.asarray(model.predict_samples(z, DRAWS, seed=seed))[..., 0]  # [S, B]
            error = outputs.mean(axis=0) - np.sin(3 * points)
            row[place] = float(np.sqrt(np.mean(outputs.var(axis=0))))
            row[f"{place} error"] = float(np.sqrt(np.mean(np.square(error))))
        rows.append(row)
    return rows


def _median(rows: list[Row], column: str) -> float:
    return float(np.median([row[column] for row in rows]))


def tell(rows: list[Row]) -> str:
    """Return a line about a fit: medians over seeds."""
    columns = [column for column in rows[0] if column not in ("fit", "seed")]
    return f"{rows[0]['fit']}: " + ", ".join(f"{column} {_median(rows, column):.3g}" for column in columns)


def summary(rows: list[Row]) -> str:
    """Return a Markdown table: width / error in each place, medians over seeds."""
    lines = ["| fit | at the data | in the gap | beyond |", "|---|---|---|---|"]
    for fit in dict.fromkeys(row["fit"] for row in rows):
        own = [row for row in rows if row["fit"] == fit]
        cells = [f"{_median(own, p):.3f} / {_median(own, f'{p} error'):.3f}" for p in ("data", "gap", "beyond")]
        lines.append(f"| {fit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nStandard deviation of the function / error of its mean.\n"


def main(args: Args) -> None:
    """Run all fits, and write the results."""
    check_names("methods", args.methods, FITS)
    collect(run_all(run, [(fit, args.seeds) for fit in args.methods or FITS], args.jobs), args.name, tell, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
