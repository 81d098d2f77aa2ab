"""Simulation-based calibration of every inference method on linear regressions, whose posterior is known exactly.

    python experiments/sbc.py

Each replication draws weights from the prior N(0, 1), and 30 rows of 3 inputs with noise of known standard deviation
0.5 from the model. A method by its name then takes 1500 steps, with minibatches of 10 rows unless it needs all rows.
Over replications, the rank of a true weight among independent draws of a right posterior is uniform (Talts et al.,
"Validating Bayesian Inference Algorithms with Simulation-Based Calibration", 2018). The ranks are among 9 draws, which
are evenly spaced in chains. There are two sets of inputs: independent ones, and two with a correlation of 0.95.

For each set and method, over all replications:

- p: the smallest p-value of the four weights, times four, for uniform ranks. The test is by the largest excess of any
  rank's cumulative count over its standard deviation, as in the bands of Säilynoja et al. ("Graphical test for discrete
  uniformity and its applications in goodness-of-fit evaluation and multiple sample comparison", Statistics and
  Computing 2022); its distribution is simulated.
- bias: the mean of (truth - posterior mean) / exact posterior standard deviation, in standard errors of that mean; the
  largest of the four weights.
- error: the root mean square of (posterior mean - exact mean) / exact posterior standard deviation; the largest.
- spread: the root mean square of (truth - posterior mean) / posterior standard deviation; 1 for a right posterior, more
  for one that is too narrow or whose mean is wrong.
- width: the median ratio of a posterior standard deviation to the exact one, and the range over the four weights.

MC dropout is left out, as it needs a hidden layer. Point estimates have no width, so that they have no spread.

Writes a row for each weight, set and method, and a table, to experiments/results/.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tyro
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all

ROWS, NOISE, STEPS, BATCH, RANKED, DRAWS = 30, 0.5, 1500, 10, 9, 400
CORRELATIONS = {"independent": 0.0, "correlated": 0.95}


@dataclass
class Args:
    """Settings of the calibration."""

    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    replications: int = 200
    """Data sets for each set of inputs and method."""
    seed: int = 0
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "sbc"
    """Name of the result files."""


class Replication(NamedTuple):
    """A true θ, data drawn from the model with it, and the exact posterior's mean and standard deviation."""

    theta: np.ndarray  # [4]
    x: np.ndarray  # [N, 3]
    y: np.ndarray  # [N, 1]
    mean: np.ndarray  # [4]
    std: np.ndarray  # [4]


class Found(NamedTuple):
    """What a method found in a replication."""

    rank: np.ndarray  # [4] of the truth among RANKED draws
    mean: np.ndarray  # [4]
    std: np.ndarray  # [4]


def make(correlation: float, seed: int, replication: int) -> Replication:
    """Return a replication: θ from the prior, inputs whose first two entries are correlated, and targets."""
    rng = np.random.default_rng([seed, replication])
    x = rng.normal(size=(ROWS, 3))
    x[:, 1] = correlation * x[:, 0] + np.sqrt(1 - correlation**2) * x[:, 1]
    design, theta = np.column_stack([x, np.ones(ROWS)]), rng.normal(size=4)
    y = design @ theta + NOISE * rng.normal(size=ROWS)
    cov = np.linalg.inv(design.T @ design / NOISE**2 + np.eye(4))
    return Replication(theta, x, y[:, np.newaxis], cov @ design.T @ y / NOISE**2, np.sqrt(np.diag(cov)))


def make_problem() -> Any:
    """Return the log joint of the regression."""
    import keras
    from tensorflow_probability import distributions as tfd

    from bnnrl.likelihoods import Gaussian
    from bnnrl.problem import Problem

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    return Problem(network, Gaussian(NOISE), tfd.Normal(0.0, 1.0), ROWS)


def fit(problem: Any, name: str, data: Replication, seed: tuple[int, int]) -> Any:
    """Return the posterior of a method by name; programs are shared with all earlier fits of that name."""
    import tensorflow as tf

    from bnnrl.inference import Driver, Run, for_run

    method = for_run(name, Run(STEPS, ROWS, BATCH, problem.num_params))
    batch_size = None if method.full_batch_only else BATCH
    rows = tuple(tf.constant(a, tf.float32) for a in (data.x, data.y))
    state = Driver(problem, method, batch_size).run(method.init(problem, seed), rows, STEPS, seed)[0]
    return method.posterior(problem, state)


def judge(posterior: Any, truth: np.ndarray, seed: tuple[int, int]) -> Found:
    """Return the rank of the truth among draws of a posterior, and the posterior's mean and standard deviation."""
    from bnnrl import diagnostics

    if diagnostics.are_chains(posterior):
        draws = diagnostics.chains(posterior).reshape(-1, len(truth))
    else:
        draws = np.asarray(posterior.sample(DRAWS, seed), np.float64)
    every = len(draws) / RANKED
    ranked = draws[(every * (np.arange(RANKED) + 0.5)).astype(int)]
    return Found((ranked < truth).sum(axis=0), draws.mean(axis=0), draws.std(axis=0))


def excess(counts: np.ndarray) -> np.ndarray:
    """Return the largest distance of cumulative counts of ranks from uniform ones, in standard deviations.

    Args:
        counts: [..., R] how often each of R ranks occurred.
    """
    total = counts.sum(axis=-1, keepdims=True)
    expected = np.arange(1, counts.shape[-1]) / counts.shape[-1]
    distance = np.cumsum(counts, axis=-1)[..., :-1] - total * expected
    return np.max(np.abs(distance) / np.sqrt(total * expected * (1 - expected)), axis=-1)


def p_value(ranks: np.ndarray) -> float:
    """Return the probability of a distance as large as that of `ranks` [n] or larger, if ranks are uniform."""
    uniform = np.random.default_rng(0).multinomial(len(ranks), [1 / (RANKED + 1)] * (RANKED + 1), 20_000)
    found = excess(np.bincount(ranks, minlength=RANKED + 1))
    return float((1 + (excess(uniform) >= found - 1e-9).sum()) / 20_001)


def run(kind: str, name: str, replications: int, seed: int) -> list[Row]:
    """Calibrate a method on a set of inputs, and return a row for each weight."""
    quiet_single_thread()
    started, problem = perf_counter(), make_problem()
    data = [make(CORRELATIONS[kind], seed, i) for i in range(replications)]
    found = [judge(fit(problem, name, a, (seed, i)), a.theta, (seed, i)) for i, a in enumerate(data)]
    seconds = perf_counter() - started
    return [
        {"inputs": kind, "method": name, "weight": i, **scores(data, found, i), "seconds": seconds} for i in range(4)
    ]


def scores(data: list[Replication], found: list[Found], i: int) -> dict[str, float]:
    """Return the scores of weight i over all replications."""
    error = np.array([a.theta[i] - b.mean[i] for a, b in zip(data, found, strict=True)])
    exact, std = (np.array([a.std[i] for a in each]) for each in (data, found))
    relative = error / exact
    distance = np.array([b.mean[i] - a.mean[i] for a, b in zip(data, found, strict=True)]) / exact
    bias = relative.mean() / (relative.std(ddof=1) / np.sqrt(len(relative)))
    is_point = np.max(std / exact) < 1e-3
    spread = float("nan") if is_point else np.sqrt(np.mean(np.square(error / std)))
    p = p_value(np.array([b.rank[i] for b in found]))
    error_of_mean = float(np.sqrt(np.mean(np.square(distance))))
    return {"p": p, "bias": bias, "error": error_of_mean, "spread": spread, "width": float(np.median(std / exact))}


def worst(rows: list[Row]) -> Row:
    """Return the row of a table from the rows of all weights of a set and method."""
    of = lambda column: np.array([row[column] for row in rows])
    return {
        "p": min(1.0, len(rows) * of("p").min()),
        "bias": of("bias")[np.argmax(np.abs(of("bias")))],
        "error": of("error").max(),
        "spread": of("spread")[np.argmax(np.abs(of("spread") - 1))],
        "narrowest": of("width").min(),
        "widest": of("width").max(),
    }


def tell(rows: list[Row]) -> str:
    """Return a line about a method on a set of inputs."""
    shown = ", ".join(f"{name} {value:.3g}" for name, value in worst(rows).items())
    return f"{rows[0]['inputs']}, {rows[0]['method']}: {shown}, {rows[0]['seconds']:.0f} s"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each set of inputs."""
    lines: list[str] = []
    for kind in dict.fromkeys(row["inputs"] for row in rows):
        lines += heading(f"{kind.capitalize()} inputs", ("method", "p", "bias", "error", "spread", "width"))
        for name in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if row["method"] == name and row["inputs"] == kind]
            lines += [line_of(name, worst(own))] if own else []
        lines.append("")
    return "\n".join(lines)


def line_of(name: str, found: Row) -> str:
    """Return the line of a method; a p-value below 0.01 is bold."""
    p = "< 0.001" if found["p"] < 1e-3 else f"{found['p']:.3f}"
    p = f"**{p}**" if found["p"] < 0.01 else p
    spread = "" if np.isnan(found["spread"]) else f"{found['spread']:.2f}"
    error = "" if np.isnan(found["error"]) else f"{found['error']:.3f}"
    width = f"{found['narrowest']:.2f} to {found['widest']:.2f}"
    return f"| {name} | {p} | {found['bias']:.1f} | {error} | {spread} | {width} |"


def main(args: Args) -> None:
    """Calibrate all methods on all sets of inputs, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import REGISTRY

    known = [name for name in REGISTRY if name != "dropout"]
    check_names("methods", args.methods, known)
    calls = [(kind, name, args.replications, args.seed) for kind, name in product(CORRELATIONS, args.methods or known)]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=("inputs", "method", "weight"))


if __name__ == "__main__":
    main(tyro.cli(Args))
