"""Times training and prediction of one network 200-200, and measures its memory, on Linux.

    python experiments/benchmarks/supervised.py [--rounds 15] [--lock FILE]

Training: steps of Adam with minibatches of 64 out of 6400 rows, by BayesianModel.fit, by the driver below it, and by
keras.Model.fit. Each is a process that compiles and warms up first; the processes take turns as in run.py. A block has
ten epochs of 100 steps, the default number.

Prediction: BayesianModel.predict with 100 samples of a normal posterior, after a first call.

Memory: what 1000 posterior samples add to the resident memory of a new process, at the peak and afterwards, in units
of their 4 S D bytes.

Writes experiments/results/supervised.md.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import tyro
from memory import reset_peak, resident
from run import RESULTS, Entrant, locked, machine, timed
from turns import serve

ROWS, BATCH, EPOCHS, FEATURES, TARGETS, WIDTH = 6400, 64, 10, 6, 4, 200
STEPS = EPOCHS * (ROWS // BATCH)
DRAWS, HELD = 100, 1000
PREDICTED = (1000, 10_000)
TRAINING = {
    "bnnrl, BayesianModel.fit": "fit",
    "bnnrl, Driver.run": "driver",
    "keras.Model.fit": "keras",
    "keras.Model.fit, 100 steps an execution": "keras-fused",
}


@dataclass
class Args:
    """Settings of the benchmark of supervised learning."""

    part: Literal["all", "fit", "driver", "keras", "keras-fused", "predict", "memory"] = "all"
    """The part to run on its own, see turns.py. By default all parts run, and the table is written."""
    rows: int = PREDICTED[0]
    """Number of rows of the part "predict"."""
    rounds: int = 15
    """Number of rounds. In a round, every process has one turn."""
    lock: Path | None = None
    """A file to lock during the measurement, for machines where other work takes the same lock."""


def network():
    """Return the Keras network."""
    import keras

    layers = [keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(TARGETS)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers])


def data(rows: int = ROWS):
    """Return random inputs and targets."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, FEATURES)).astype("float32"), rng.normal(size=(rows, TARGETS)).astype("float32")


def train_by_fit() -> None:
    """Serve timed blocks of BayesianModel.fit."""
    import bnnrl

    model = bnnrl.BayesianModel(network(), bnnrl.likelihoods.Gaussian(0.7), method=bnnrl.inference.Adam())
    x, y = data()
    serve(lambda: model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0), STEPS)


def train_by_driver() -> None:
    """Serve timed blocks of the driver."""
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from bnnrl.inference import Adam, Driver
    from bnnrl.likelihoods import Gaussian
    from bnnrl.problem import Problem

    problem = Problem(network(), Gaussian(0.7), tfd.Normal(0.0, 1.0), ROWS)
    method, arrays = Adam(), tuple(map(tf.constant, data()))
    driver, state = Driver(problem, method, BATCH), method.init(problem, 0)
    serve(lambda: driver.run(state, arrays, STEPS, 0)[1].log_joint.numpy(), STEPS)


def train_by_keras(steps_per_execution: int) -> None:
    """Serve timed blocks of keras.Model.fit."""
    model, (x, y) = network(), data()
    model.compile(optimizer="adam", loss="mse", steps_per_execution=steps_per_execution)
    serve(lambda: model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0), STEPS)  # pyright: ignore[reportArgumentType]


def predict(rows: int) -> None:
    """Serve timed blocks of BayesianModel.predict."""
    import bnnrl

    # A normal posterior, because a point estimate or an ensemble has fewer distinct samples and predicts with those.
    model = bnnrl.BayesianModel(network(), bnnrl.likelihoods.Gaussian(0.7), method=bnnrl.inference.BBB())
    model.fit(*data(), batch_size=BATCH, epochs=1, verbose=0)
    x, _ = data(rows)
    serve(lambda: model.predict(x, DRAWS), rows)


def added(make: Callable) -> dict[str, float]:
    """Return what `make` adds to the resident memory, at the peak and afterwards, in units of the samples' bytes."""
    gc.collect()
    base = reset_peak()
    draws = make()
    peak = resident("VmHWM") - base
    gc.collect()
    size = 4 * draws.shape[0] * draws.shape[1]
    return {"megabytes": size / 1e6, "peak": peak / size, "held": (resident("VmRSS") - base) / size}


def memory() -> None:
    """Print the memory of posterior samples, as JSON."""
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from bnnrl.inference import SGLD, Driver
    from bnnrl.likelihoods import Gaussian
    from bnnrl.posterior import MeanField, Samples
    from bnnrl.problem import Problem

    problem = Problem(network(), Gaussian(0.7), tfd.Normal(0.0, 1.0), ROWS)
    method, arrays = SGLD(1e-6, burn_in=1, thin=1, max_draws=HELD), tuple(map(tf.constant, data()))
    driver = Driver(problem, method, BATCH)

    def chain():
        state, _ = driver.run(method.init(problem, 0), arrays, HELD + 1, 0)
        posterior = method.posterior(problem, state)
        if not isinstance(posterior, Samples):
            raise TypeError(f"Invalid posterior: expected Samples. Received: {type(posterior).__name__}.")
        return posterior.draws

    chain()  # compiles, so that the memory of the compiler is not counted
    normal = MeanField(tf.zeros([problem.num_params]), tf.ones([problem.num_params]))
    normal.sample(2, 0)
    found = {"a chain's posterior (Samples)": added(chain), "MeanField.sample": added(lambda: normal.sample(HELD, 0))}
    kept = Samples(chain())
    kept.sample(2, 0)
    found["Samples.sample, beside the posterior"] = added(lambda: kept.sample(HELD, 0))
    print(json.dumps(found), flush=True)


def command(part: str, *more: str) -> list[str]:
    """Return the command line of a part of this script."""
    return [Path(__file__).name, "--part", part, *more]


def table(args: Args) -> list[str]:
    """Run all parts, and return the lines of the tables."""
    python = Path(sys.executable)
    lines = ["## Training", "", "| | steps a second, median (range) | ms a step | times keras.Model.fit | cores |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    with locked(args.lock):
        rounds = timed({name: Entrant(python, command(part)) for name, part in TRAINING.items()}, args.rounds)
        predicted = {
            rows: timed({"bnnrl": Entrant(python, command("predict", "--rows", str(rows)))}, args.rounds)
            for rows in PREDICTED
        }
        # oneDNN, which TensorFlow may use, has an allocator that keeps freed memory.
        shown = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
        call = [sys.executable, str(Path(__file__).resolve()), "--part", "memory"]
        done = subprocess.run(call, capture_output=True, text=True, check=True, env=shown)
    for name in TRAINING:
        ms = [turns[name]["ms"] for turns in rounds]
        rate = f"{1e3 / median(ms):.0f} ({1e3 / max(ms):.0f} to {1e3 / min(ms):.0f})"
        ratios = [turns["keras.Model.fit"]["ms"] / turns[name]["ms"] for turns in rounds]
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cores = median(turns[name]["cores"] for turns in rounds)
        lines.append(f"| {name} | {rate} | {median(ms):.3f} | {ratio} | {cores:.1f} |")
    lines += [
        "",
        f"## Prediction, {DRAWS} draws",
        "",
        "| rows | ms a row, median (range) | cores |",
        "| --- | ---: | ---: |",
    ]
    for rows, turns in predicted.items():
        ms = [turn["bnnrl"]["ms"] for turn in turns]
        cores = median(turn["bnnrl"]["cores"] for turn in turns)
        lines.append(f"| {rows} | {median(ms):.4f} ({min(ms):.4f} to {max(ms):.4f}) | {cores:.1f} |")
    lines += ["", f"## Memory, {HELD} draws", "", "| | the draws' megabytes | added at the peak | added once made |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for name, own in json.loads(done.stdout).items():
        lines.append(f"| {name} | {own['megabytes']:.0f} | {own['peak']:.2f} | {own['held']:.2f} |")
    lines += ["", f"{args.rounds} rounds, ratios within a round; memory in units of 4 S D bytes. {machine()}."]
    return lines


def main(args: Args) -> None:
    """Run one part, or all parts and write the table."""
    parts = {
        "fit": train_by_fit,
        "driver": train_by_driver,
        "keras": lambda: train_by_keras(1),
        "keras-fused": lambda: train_by_keras(100),
        "predict": lambda: predict(args.rows),
        "memory": memory,
    }
    if args.part != "all":
        parts[args.part]()
        return
    head = ["# Training, prediction and memory", "", "Written by experiments/benchmarks/supervised.py.", ""]
    text = "\n".join([*head, *table(args)]) + "\n"
    (RESULTS / "supervised.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Args))
