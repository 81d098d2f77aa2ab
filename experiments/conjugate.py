"""Every inference method by its name alone on a Bayesian linear regression, whose posterior is known exactly.

    python experiments/conjugate.py

60 rows of 3 correlated inputs, noise of known standard deviation 0.5, N(0, 1) priors over the 3 weights and the bias.
The fit takes 500 epochs with minibatches of 20 rows, 1500 steps; methods that need all rows take 1500 steps, too.
MC dropout is left out, as it needs a hidden layer.

For each method: the largest distance of the posterior means of the four weights from the exact ones, in exact posterior
standard deviations; for samplers the same in Monte Carlo standard errors, by the effective sample size of their chains;
and the smallest and the largest ratio of a posterior standard deviation to the exact one. Theory says 0 for a point
estimate's width, 1 for exact methods, and for independent weights the standard deviation given all other weights, whose
ratios are in the row "independent weights".

Writes a row for each fit, and a table of the worst over seeds, to experiments/results/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tyro
from sweeps import Row, check_names, collect, quiet_single_thread, run_all

ROWS, NOISE, EPOCHS, BATCH, DRAWS = 60, 0.5, 500, 20, 4000
THEORY = "independent weights"


@dataclass
class Args:
    """Settings of the comparison on a linear regression."""

    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "conjugate"
    """Name of the result files."""


class Regression(NamedTuple):
    """Data, and the exact posterior N(mean, cov) of the weights and the bias."""

    x: np.ndarray  # [N, 3]
    y: np.ndarray  # [N, 1]
    mean: np.ndarray  # [4]
    cov: np.ndarray  # [4, 4]


def make(seed: int) -> Regression:
    """Return data drawn from the model, and their posterior."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 3)) @ np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 1.0]])
    design = np.column_stack([x, np.ones(ROWS)])
    y = design @ rng.normal(size=(4, 1)) + NOISE * rng.normal(size=(ROWS, 1))
    cov = np.linalg.inv(design.T @ design / NOISE**2 + np.eye(4))
    return Regression(x, y, (cov @ design.T @ y / NOISE**2)[:, 0], cov)


def fitted(method: str, data: Regression, seed: int) -> Any:
    """Return a model with a method by name, fitted."""
    import keras
    from tensorflow_probability import distributions as tfd

    import bnnrl

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    likelihood, prior = bnnrl.likelihoods.Gaussian(NOISE), tfd.Normal(0.0, 1.0)
    model = bnnrl.BayesianModel(network, likelihood, prior, method)
    epochs = EPOCHS * ROWS // BATCH if model.method.full_batch_only else EPOCHS
    model.fit(data.x, data.y, batch_size=BATCH, epochs=epochs, seed=seed, verbose=0)
    return model


def compare(model: Any, exact: Regression, seed: int) -> dict[str, float]:
    """Return the distances of a posterior from the exact one."""
    from bnnrl import diagnostics

    found, std = model.posterior, np.sqrt(np.diag(exact.cov))
    draws = np.asarray(found.sample(found.num_distinct or DRAWS, seed), np.float64)
    distance = np.abs(draws.mean(axis=0) - exact.mean) / std
    scores = {"distance": float(distance.max()), "errors": float("nan")}
    if diagnostics.are_chains(found):
        sizes = diagnostics.bulk_ess(diagnostics.chains(found))
        scores["errors"] = float(np.max(distance * np.sqrt(np.asarray(sizes))))
    ratio = draws.std(axis=0) / std
    return {**scores, "narrowest": float(ratio.min()), "widest": float(ratio.max())}


def run(method: str, seeds: tuple[int, ...]) -> list[Row]:
    """Fit a method to the data of each seed, and return a row for each."""
    quiet_single_thread()
    import warnings

    warnings.simplefilter("ignore", UserWarning)  # of chains that have not mixed
    rows: list[Row] = []
    for seed in seeds:
        exact = make(seed)
        if method == THEORY:
            ratio = 1.0 / np.sqrt(np.diag(np.linalg.inv(exact.cov)) * np.diag(exact.cov))
            scores = {"distance": 0.0, "errors": float("nan"), "narrowest": ratio.min(), "widest": ratio.max()}
        else:
            scores = compare(fitted(method, exact, seed), exact, seed)
        rows.append({"method": method, "seed": seed, **scores})
    return rows


def worst(rows: list[Row]) -> dict[str, float]:
    """Return the worst of each figure over seeds."""
    of = lambda column: [row[column] for row in rows]
    return {
        "distance": max(of("distance")),
        "errors": max(of("errors")),
        "narrowest": min(of("narrowest")),
        "widest": max(of("widest")),
    }


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method."""
    return f"{rows[0]['method']}: " + ", ".join(f"{name} {value:.3g}" for name, value in worst(rows).items())


def summary(rows: list[Row]) -> str:
    """Return a Markdown table of the worst over seeds."""
    lines = [
        "| method | distance of the mean, posterior standard deviations | distance, Monte Carlo errors | "
        "width, exact = 1 |",
        "|---|---|---|---|",
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        found = worst([row for row in rows if row["method"] == method])
        errors = "" if np.isnan(found["errors"]) else f"{found['errors']:.2f}"
        width = f"{found['narrowest']:.2f} to {found['widest']:.2f}"
        lines.append(f"| {method} | {found['distance']:.3f} | {errors} | {width} |")
    seeds = sorted({row["seed"] for row in rows})
    return "\n".join([*lines, "", f"The worst of four weights and of seeds {', '.join(map(str, seeds))}."]) + "\n"


def main(args: Args) -> None:
    """Run all methods, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import REGISTRY

    known = [*(name for name in REGISTRY if name != "dropout"), THEORY]
    check_names("methods", args.methods, known)
    calls = [(method, args.seeds) for method in args.methods or known]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=("method", "seed"))


if __name__ == "__main__":
    main(tyro.cli(Args))
