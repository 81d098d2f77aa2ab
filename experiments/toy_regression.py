"""Every inference method on two regressions with one input, inside and outside the range of the data.

    python experiments/toy_regression.py --seeds 0 1 2

"cubic": y = x³ + e, e ~ N(0, 3²), 20 rows, x ~ U(−4, 4) (Hernández-Lobato and Adams 2015).
"wiggle": y = x + 0.3 sin 2π(x + e) + 0.3 sin 4π(x + e) + e, e ~ N(0, 0.02²), 100 rows, x ~ U(0, 0.5) (Blundell et al.
2015).

The network has 50 tanh units and N(0, 1) priors. Inputs and targets are standardized, and the temperature is 1. For
"cubic", the model knows the noise scale, because a point estimate that learns the scale from 20 rows explains the curve
as noise. For "wiggle", the model learns one noise scale, although the true scale varies with x, because e shifts x,
too. The settings of the methods are those of one_layer.py. A seed determines the data and the fit.

Writes a row for each run to experiments/results/toy_regression.csv, a table to toy_regression.md, and a picture of the
first seed for each data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tyro
from one_layer import DRAWS, UNITS, fits
from sweeps import RESULTS, Row, check_names, quiet_single_thread, run_all, spread, tabulate

TEST_ROWS = 1000
COLUMNS = ("nll", "rmse", "picp_95", "sd_inside", "sd_outside", "seconds")


class Toy(NamedTuple):
    """A regression with one input."""

    function: Callable[[np.ndarray, Any], np.ndarray]  # (x, noise e) -> y
    noise: float  # standard deviation of e
    rows: int
    low: float  # lower end of the range of x
    high: float  # upper end of the range of x
    beyond: float  # distance that the grid extends beyond both ends
    known: bool  # whether the model knows the noise scale

    def data(self, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return random inputs and targets, each [rows, 1]."""
        x = rng.uniform(self.low, self.high, (rows, 1))
        return x, self.function(x, rng.normal(0.0, self.noise, x.shape))

    def grid(self) -> np.ndarray:
        """Return inputs inside and outside the range of the data, [201, 1]."""
        return np.linspace(self.low - self.beyond, self.high + self.beyond, 201)[:, np.newaxis]


TOYS = {
    "cubic": Toy(lambda x, e: x**3 + e, 3.0, 20, -4.0, 4.0, 2.0, True),
    "wiggle": Toy(
        lambda x, e: x + 0.3 * np.sin(2 * np.pi * (x + e)) + 0.3 * np.sin(4 * np.pi * (x + e)) + e,
        0.02,
        100,
        0.0,
        0.5,
        0.25,
        False,
    ),
}


class Bands(NamedTuple):
    """Predictive distribution of a fit on the grid, and its training rows, in units of the data."""

    mean: np.ndarray  # [G]
    epistemic: np.ndarray  # [G], standard deviation of the function
    total: np.ndarray  # [G], standard deviation of a new target
    x: np.ndarray  # [N]
    y: np.ndarray  # [N]


@dataclass
class Args:
    """Settings of the experiment on toy regressions."""

    methods: tuple[str, ...] = ()
    """Names of methods in one_layer.py; all by default."""
    toys: tuple[str, ...] = tuple(TOYS)
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "toy_regression"
    """Name of the result files."""


def run(toy_name: str, name: str, seed: int) -> tuple[Row, Bands]:
    """Fit once, and return a row and the bands."""
    quiet_single_thread()
    import keras
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from bnnrl import metrics
    from bnnrl.data import Scaler
    from bnnrl.inference import Driver
    from bnnrl.likelihoods import Gaussian
    from bnnrl.problem import Problem

    toy, fit, rng = TOYS[toy_name], fits()[name], np.random.default_rng(seed)
    (x, y), (x_test, y_test), grid = toy.data(toy.rows, rng), toy.data(TEST_ROWS, rng), toy.grid()
    x_scaler, y_scaler = Scaler.fit(x), Scaler.fit(y)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(UNITS, "tanh"), keras.layers.Dense(1)])
    scale = float(y_scaler.std[0])
    likelihood = Gaussian(toy.noise / scale if toy.known else "learned")
    problem = Problem(network, likelihood, tfd.Normal(0.0, 1.0), toy.rows)
    data = tf.constant(x_scaler.transform(x)), tf.constant(y_scaler.transform(y))
    started = perf_counter()
    driver = Driver(problem, fit.method, fit.batch_size)
    state, _ = driver.run(fit.method.init(problem, seed), data, fit.steps, seed)
    seconds = perf_counter() - started
    posterior = fit.method.posterior(problem, state)
    theta = posterior.sample(min(DRAWS, posterior.num_distinct or DRAWS), seed)

    def predictive(x: np.ndarray) -> tfd.Distribution:
        """Return the distribution of standardized targets for each posterior sample, batch shape [S, B]."""
        inputs = tf.tile(tf.constant(x_scaler.transform(x))[tf.newaxis], [len(theta), 1, 1])
        return problem.likelihood(problem.apply(theta, inputs), problem.split(theta)[1])

    scores = metrics.scores(predictive(x_test), y_scaler.transform(y_test))
    on_grid = predictive(grid)
    mean = y_scaler.inverse(np.mean(on_grid.mean(), axis=0))[:, 0]
    parts = metrics.uncertainty(on_grid)
    epistemic, total = (scale * np.sqrt(part)[:, 0] for part in (parts.epistemic, parts.total))
    inside = (grid[:, 0] >= toy.low) & (grid[:, 0] <= toy.high)
    row: Row = {
        "toy": toy_name,
        "method": name,
        "seed": seed,
        "nll": scores["nll"] + float(np.log(scale)),
        "rmse": scores["rmse"] * scale,
        "picp_95": scores["picp_95"],
        "sd_inside": float(np.mean(total[inside])),
        "sd_outside": float(np.mean(total[~inside])),
        "seconds": seconds,
    }
    return row, Bands(mean, epistemic, total, x[:, 0], y[:, 0])


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each data set: medians and ranges over seeds."""
    lines = []
    for toy in dict.fromkeys(row["toy"] for row in rows):
        titles = "NLL | RMSE | PICP 95 % | sd inside | sd outside | seconds"
        lines += [f"## {toy}", "", f"| method | {titles} |", "|---|" + "---|" * len(COLUMNS)]
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if row["toy"] == toy and row["method"] == method]
            cells = [spread((row[column] for row in own), "{:.3g}".format) for column in COLUMNS]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def picture(toy: Toy, bands: dict[str, Bands], path) -> None:
    """Draw mean and bands of two standard deviations of each method, the true function and the data."""
    from bnnrl.plots.style import GRID, MODEL, REAL, make_figure, save, style_axes

    columns, grid = 5, toy.grid()
    lines, x, truth = -(-len(bands) // columns), grid[:, 0], toy.function(grid, 0.0)[:, 0]
    figure = make_figure(2.4 * columns, 1.9 * lines + 0.4)
    panels = np.atleast_1d(figure.subplots(lines, columns, sharex=True, sharey=True)).ravel()
    for axes, (method, own) in zip(panels, bands.items(), strict=False):
        for end in (toy.low, toy.high):
            axes.axvline(end, color=GRID, linewidth=1.5)
        for sd, alpha in ((own.total, 0.15), (own.epistemic, 0.32)):
            axes.fill_between(x, own.mean - 2 * sd, own.mean + 2 * sd, color=MODEL, alpha=alpha, linewidth=0)
        axes.plot(x, own.mean, color=MODEL, linewidth=1.4)
        axes.plot(x, truth, color=REAL, linewidth=1, linestyle="--")
        axes.scatter(own.x, own.y, s=4, color="black", alpha=0.6, linewidth=0, zorder=3)
        axes.set_title(method, fontsize=9, loc="left")
        style_axes(axes)
    near = truth[(x >= toy.low) & (x <= toy.high)]
    margin = 0.75 * np.ptp(near)
    panels[0].set_ylim(near.min() - margin, near.max() + margin)
    for axes in panels[len(bands) :]:
        axes.set_axis_off()
    figure.suptitle(
        "Mean and two standard deviations of the function (dark) and of a new target (light); the true function "
        "dashed; upright lines end the data's range.",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    save(figure, path)


def main(args: Args) -> None:
    """Run all methods and seeds, and write the results."""
    quiet_single_thread()
    check_names("methods", args.methods, fits())
    check_names("toys", args.toys, TOYS)
    bands: dict[str, dict[str, Bands]] = {toy: {} for toy in args.toys}
    calls = [(toy, name, seed) for toy in args.toys for name in args.methods or fits() for seed in args.seeds]

    def rows() -> Iterator[Row]:
        for row, own in run_all(run, calls, args.jobs):
            bands[row["toy"]].setdefault(row["method"], own)  # bands of the first seed
            yield row

    tabulate(rows(), args.name, summary)
    for toy in args.toys:
        picture(TOYS[toy], bands[toy], RESULTS / f"{args.name}-{toy}.png")


if __name__ == "__main__":
    main(tyro.cli(Args))
