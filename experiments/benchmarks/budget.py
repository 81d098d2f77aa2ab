"""Measures the memory of posterior samples of a large network, on Linux.

    python experiments/benchmarks/budget.py [--draws 1000] [--width 1000]

The network is 8-W-W-1; W = 1000 gives about a million weights, of which 1000 samples take 4 GB. Each posterior and
each call is a process of its own. Memory is what the process's peak adds to the resident memory before the call, in
MiB. The posteriors are a normal one, which draws samples on demand, a low-rank normal one (SWAG's), and the samples of
a chain, which are in memory before the call.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from memory import added_mebibytes, reset_peak
from sweeps import Row, quiet_single_thread, run_all, tabulate

KINDS = ("MeanField", "LowRank", "Samples")
CALLS = ("posterior.sample", "predict", "evaluate", "uncertainty", "diagnose", "save")


@dataclass
class Args:
    """Settings of the benchmark."""

    draws: int = 1000
    """Number of posterior samples."""
    width: int = 1000
    """Units of a hidden layer."""
    rows: int = 100
    """Rows to predict."""
    kinds: tuple[str, ...] = KINDS
    """The posteriors."""
    calls: tuple[str, ...] = CALLS
    """The calls; "diagnose" is for Samples alone."""
    name: str = "budget"
    """Name of the result files."""


def measure(kind: str, call: str, draws: int, width: int, rows: int) -> Row:
    """Return seconds and memory of a call."""
    quiet_single_thread()
    import keras
    import tensorflow as tf

    import bnnrl
    from bnnrl.posterior import LowRank, MeanField, Samples
    from bnnrl.seeds import normal

    layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
    network = keras.Sequential([keras.Input((8,)), *layers])
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(0.7))
    size = model._problem.num_params
    loc, scale = normal([size], 0) * 0.03, tf.fill([size], 0.01)
    model._loaded_posterior = {
        "MeanField": lambda: MeanField(loc, scale),
        "LowRank": lambda: LowRank(loc, scale, 0.01 * normal([20, size], 1)),
        "Samples": lambda: Samples(MeanField(loc, scale).sample(draws, 2)),
    }[kind]()
    x, y = np.zeros((rows, 8), np.float32), np.zeros((rows, 1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            "posterior.sample": lambda: model.posterior.sample(draws, 3),
            "predict": lambda: model.predict(x, draws),
            "evaluate": lambda: model.evaluate(x, y, draws),
            "uncertainty": lambda: model.uncertainty(x, draws),
            "diagnose": lambda: model.diagnose(x),
            "save": lambda: model.save(Path(folder) / "model"),
        }
        gc.collect()
        before, began = reset_peak(), perf_counter()
        calls[call]()
        seconds, added = perf_counter() - began, added_mebibytes(before)
    return {
        "posterior": kind,
        "call": call,
        "draws": draws,
        "weights": size,
        "draws_mebibytes": 4 * draws * size / 2**20,
        "seconds": seconds,
        "mebibytes": added,
    }


def summary(rows: list[Row]) -> str:
    """Return a Markdown table."""
    first = rows[0]
    about = f"{first['draws']} samples of {first['weights']:,} weights, {first['draws_mebibytes']:.0f} MiB."
    lines = [about, "", "| posterior | call | MiB added at the peak | seconds |", "|---|---|---|---|"]
    lines += [f"| {r['posterior']} | {r['call']} | {r['mebibytes']:.0f} | {r['seconds']:.1f} |" for r in rows]
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Measure all calls, and write the table."""
    calls = [
        (kind, call, args.draws, args.width, args.rows)
        for kind in args.kinds
        for call in args.calls
        if kind == "Samples" or call != "diagnose"
    ]
    tabulate(run_all(measure, calls, 1), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
