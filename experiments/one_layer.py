"""Every inference method compared with a long run of Hamiltonian Monte Carlo (HMC), for a network with one layer.

    python experiments/one_layer.py --seeds 0 1 2 3 4

The data are 100 rows y = sin(3 x) + N(0, 0.1²) with no x between −0.3 and 0.3. The network has 50 tanh units, N(0, 1)
priors over its 151 weights, and known noise. This defines one posterior, which all methods approximate at temperature
1. The reference is HMC with 16 chains, accepted only if split R-hat is at most 1.01 for every prediction.

Writes a row for each run to experiments/results/one_layer.csv, a summary to one_layer.md, and a picture of the bands of
the first seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tyro
from sweeps import RESULTS, Row, check_names, quiet_single_thread, run_all, spread, tabulate

NOISE, ROWS, UNITS, DRAWS = 0.1, 100, 50, 1000
GAP, EDGE = 0.3, 1.0  # |x| of the data lies between them
GRID = np.linspace(-1.5, 1.5, 121, dtype=np.float32)[:, np.newaxis]
_DISTANCE = np.abs(GRID[:, 0])
REGIONS = {
    "data": (_DISTANCE >= GAP) & (_DISTANCE <= EDGE),
    "gap": _DISTANCE < GAP,
    "outside": _DISTANCE > EDGE,
}


class Fit(NamedTuple):
    """A method, its number of steps, and the rows in a minibatch, None for all."""

    method: Any
    steps: int
    batch_size: int | None = None


def fits() -> dict[str, Fit]:
    """Return how each method is run: for about 10 s, with steps as long as the stiffest direction allows."""
    from bnnrl import inference as bi

    adam = lambda steps: bi.Adam(bi.Schedule(0.02, 1e-4, steps))
    return {
        "hmc": Fit(bi.HMC(0.005, burn_in=200, max_draws=250, mass="identity"), 450),
        "nuts": Fit(bi.NUTS(0.005, burn_in=200, max_draws=250, mass="identity"), 450),
        "mclmc": Fit(bi.MCLMC(0.005, burn_in=200, max_draws=250), 450),
        "sgld": Fit(bi.Ensemble(bi.SGLD(4e-6, 50_000, 400, 250), 4), 150_000),
        "psgld": Fit(bi.Ensemble(bi.PSGLD(4e-6, burn_in=50_000, thin=400, max_draws=250), 4), 150_000),
        "csgld": Fit(bi.Ensemble(bi.CyclicalSGLD(8e-6, 15_000, 0.5, 300, 250), 4), 150_000),
        "sghmc": Fit(bi.Ensemble(bi.SGHMC(1e-6, 0.01, 0.0, 50_000, 400, 250), 4), 150_000),
        "sgd": Fit(bi.SGD(bi.Schedule(1e-3, 1e-5, 20_000)), 20_000),
        "adam": Fit(adam(20_000), 20_000),
        "ensemble": Fit(bi.Ensemble(adam(20_000), 10), 20_000),
        "dropout": Fit(bi.MCDropout(bi.Schedule(0.01, 1e-4, 20_000)), 20_000),
        "swag": Fit(bi.SWAG(bi.Adam(0.01), start=10_000, every=50), 20_000, 20),
        "laplace, full": Fit(bi.Laplace(adam(20_000), 20_000, "full"), 20_001),
        "laplace, kronecker": Fit(bi.Laplace(adam(20_000), 20_000, "kronecker"), 20_001),
        "laplace, last layer": Fit(bi.Laplace(adam(20_000), 20_000), 20_001),
        "laplace, diagonal": Fit(bi.Laplace(adam(20_000), 20_000, "diagonal"), 20_001),
        "vbll": Fit(bi.VBLL(bi.Schedule(0.02, 1e-4, 20_000)), 20_000),
        "bbb": Fit(bi.BBB(bi.Schedule(0.01, 1e-4, 20_000), draws=4), 20_000),
        "vadam": Fit(bi.VADAM(bi.Schedule(0.01, 1e-4, 40_000)), 40_000, 1),
        "bsam": Fit(bi.BSAM(bi.Schedule(0.1, 1e-3, 20_000), s_init=100.0, clip_radius=0.1), 20_000, 20),
        "ivon": Fit(bi.IVON(bi.Schedule(0.02, 1e-4, 20_000), hess_init=100.0, clip_radius=0.1, draws=4), 20_000),
        "svgd": Fit(bi.SVGD(bi.Schedule(0.01, 1e-4, 20_000), 20), 20_000),
    }


@dataclass
class Args:
    """Settings of the experiment with one layer."""

    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    seeds: tuple[int, ...] = tuple(range(5))
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "one_layer"
    """Name of the result files."""


def setting() -> tuple[Any, tuple[Any, Any]]:
    """Return the problem and its data."""
    import keras
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from bnnrl.likelihoods import Gaussian
    from bnnrl.problem import Problem

    rng = np.random.default_rng(0)
    x = rng.uniform(GAP, EDGE, (ROWS, 1)) * rng.choice([-1, 1], (ROWS, 1))
    y = np.sin(3 * x) + NOISE * rng.normal(size=x.shape)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(UNITS, "tanh"), keras.layers.Dense(1)])
    problem = Problem(network, Gaussian(NOISE), tfd.Normal(0.0, 1.0), ROWS)
    return problem, (tf.constant(x, tf.float32), tf.constant(y, tf.float32))


def functions(problem) -> Callable[[Any], np.ndarray]:
    """Return the function from posterior samples to network outputs on the grid, [S, G]."""
    import tensorflow as tf

    def values(theta) -> np.ndarray:
        return problem.apply(theta, tf.tile(tf.constant(GRID)[tf.newaxis], [len(theta), 1, 1]))[..., 0].numpy()

    return values


def drawn(problem, posterior, seed: int) -> np.ndarray:
    """Return network outputs on the grid of draws of a posterior, [S, G], linearised if the posterior is."""
    from bnnrl.linearised import LinearisedProblem, expanded, is_linearised

    if is_linearised(posterior):
        problem, posterior = LinearisedProblem(problem), expanded(posterior)
    return functions(problem)(posterior.sample(min(DRAWS, posterior.num_distinct or DRAWS), seed))


def reference() -> dict[str, Any]:
    """Return mean, standard deviation and R-hat of the network outputs on the grid, by a long run of HMC."""
    quiet_single_thread()
    from bnnrl import diagnostics
    from bnnrl.inference import HMC, Driver

    problem, data = setting()
    method = HMC(0.005, chains=16, burn_in=1000, thin=2, max_draws=1000)
    started = perf_counter()
    state, info = Driver(problem, method, None).run(method.init(problem, 12345), data, 3000, 12345)
    values = diagnostics.chains(method.posterior(problem, state), functions(problem))  # [C, K, G]
    seconds = perf_counter() - started
    return {
        "mean": values.mean(axis=(0, 1)),
        "std": values.std(axis=(0, 1)),
        "rhat": diagnostics.split_rhat(values),
        "ess": diagnostics.bulk_ess(values),
        "accept": info.accept.numpy().mean(),
        "seconds": seconds,
    }


def run(name: str, seed: int, mean: np.ndarray, std: np.ndarray) -> tuple[Row, np.ndarray, np.ndarray]:
    """Fit once, and return the errors of mean and standard deviation on the grid, and both curves.

    Args:
        name: name of a fit in `fits`.
        seed: seed of the fit.
        mean: mean of the reference, [G].
        std: standard deviation of the reference, [G].
    """
    quiet_single_thread()
    from bnnrl.inference import Driver

    problem, data = setting()
    fit = fits()[name]
    started = perf_counter()
    driver = Driver(problem, fit.method, fit.batch_size)
    state, _ = driver.run(fit.method.init(problem, seed), data, fit.steps, seed)
    posterior = fit.method.posterior(problem, state)
    values = drawn(problem, posterior, seed)
    row: Row = {"method": name, "seed": seed, "seconds": perf_counter() - started}
    own_mean, own_std = values.mean(axis=0), values.std(axis=0)
    for region, inside in REGIONS.items():
        error = np.sqrt(np.mean(np.square(own_mean - mean)[inside]) / np.mean(np.square(std)[inside]))
        row[f"mean_error_{region}"] = float(error)
        row[f"std_ratio_{region}"] = float(np.sqrt(np.mean(np.square(own_std)[inside] / np.square(std)[inside])))
    return row, own_mean, own_std


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with a row for each method: medians and ranges over seeds."""
    lines = [
        "| method | " + " | ".join(f"{region}: mean's error, std's ratio" for region in REGIONS) + " | seconds |",
        "|---|" + "---|" * (len(REGIONS) + 1),
    ]
    for method in dict.fromkeys(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == method]
        column = lambda name: spread((r[name] for r in own), lambda v: f"{v:.2f}" if v < 10 else f"{v:.0f}")  # noqa: B023
        cells = [f"{column(f'mean_error_{r}')}; {column(f'std_ratio_{r}')}" for r in REGIONS]
        seconds = statistics.median(r["seconds"] for r in own)
        lines.append(f"| {method} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def picture(bands: dict[str, tuple[np.ndarray, np.ndarray]], mean: np.ndarray, std: np.ndarray, path) -> None:
    """Draw mean and two standard deviations of each method over those of the reference."""
    from bnnrl.plots.style import GRID as LINES
    from bnnrl.plots.style import MODEL, REAL, make_figure, save, style_axes

    columns, x = 5, GRID[:, 0]
    lines = -(-len(bands) // columns)
    figure = make_figure(2.4 * columns, 1.9 * lines + 0.4)
    panels = np.atleast_1d(figure.subplots(lines, columns, sharex=True, sharey=True)).ravel()
    for axes, (method, (own_mean, own_std)) in zip(panels, bands.items(), strict=False):
        axes.axvspan(-GAP, GAP, color=LINES, alpha=0.4, linewidth=0)
        axes.fill_between(x, mean - 2 * std, mean + 2 * std, color=MODEL, alpha=0.25, linewidth=0)
        axes.plot(x, own_mean, color=REAL, linewidth=1.2)
        for sign in (-2, 2):
            axes.plot(x, own_mean + sign * own_std, color=REAL, linewidth=0.8, linestyle="--")
        axes.set_title(method, fontsize=9, loc="left")
        axes.set_ylim(-4, 4)
        style_axes(axes)
    for axes in panels[len(bands) :]:
        axes.set_axis_off()
    figure.suptitle(
        "Two standard deviations of the function: long HMC (blue) and each method (red). No data in the grey gap and "
        "beyond ±1.",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    save(figure, path)


def main(args: Args) -> None:
    """Compute the reference, run all methods and seeds, and write the results."""
    quiet_single_thread()
    names = list(fits())
    check_names("methods", args.methods, names)
    (truth,) = run_all(reference, [()], 1)
    said = f"{truth['seconds']:.0f} s, acceptance {truth['accept']:.2f}, R-hat at most {truth['rhat'].max():.3f}, "
    print(f"Reference: {said}effective sample size at least {truth['ess'].min():.0f}", flush=True)
    if truth["rhat"].max() > 1.01:
        raise SystemExit("The reference has not converged: R-hat above 1.01. No table is made from it.")
    mean, std = truth["mean"], truth["std"]
    bands = {}
    calls = [(name, seed, mean, std) for name in args.methods or names for seed in args.seeds]

    def rows() -> Iterator[Row]:
        for row, *own in run_all(run, calls, args.jobs):
            bands.setdefault(row["method"], tuple(own))  # bands of the first seed
            yield row

    tabulate(rows(), args.name, summary)
    picture(bands, mean, std, RESULTS / f"{args.name}.png")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
