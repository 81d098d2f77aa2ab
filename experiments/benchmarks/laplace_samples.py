"""Time and accuracy of Laplace's approximation by samples, `bnnrl.laplace(structure="samples")`, beside "full".

Rows have eight inputs and y = sin(2 x₁) + x₂ x₃ + 0.1 e. A Keras network with two hidden layers of tanh units is
trained by Adam for 4000 steps on minibatches of 128 rows. Laplace's approximation is made with the learned prior, and
compared at 300 new inputs: the standard deviations of the network's outputs over 400 posterior draws. "full" is left
out where the network has more than 4000 weights.

    python experiments/benchmarks/laplace_samples.py
    python experiments/benchmarks/laplace_samples.py --sizes 2000x28
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tyro

import bnnrl
from bnnrl._tensorflow import limit_threads
from bnnrl.inference.laplace import MAX_ENTRIES

STEPS, BATCH, DRAWS, NOISE = 4000, 128, 400, 0.1


@dataclass
class Args:
    """Settings of the benchmark."""

    sizes: tuple[str, ...] = ("2000x28", "11000x64")
    """Rows and units of a hidden layer."""


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [N, 8] and targets [N, 1]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 8))
    y = np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + NOISE * rng.normal(size=(count, 1))
    return x.astype(np.float32), y.astype(np.float32)


def trained(x: np.ndarray, y: np.ndarray, units: int) -> keras.Model:
    """Return a trained network."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, "tanh") for _ in range(2)]
    network: Any = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(3e-3), "mse")
    network.fit(x, y, batch_size=BATCH, epochs=max(1, STEPS * BATCH // len(x)), verbose=0)
    return network


def main(args: Args) -> None:
    """Print a row for each structure."""
    limit_threads(1)
    print("| rows | weights | structure | seconds | of processor time | NLL | std over that of full |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for size in args.sizes:
        count, units = map(int, size.split("x"))
        x, y = rows(count, 0)
        test_x, test_y = rows(300, 1)
        network = trained(x, y, units)
        weights = network.count_params()
        std: dict[str, np.ndarray] = {}
        for structure in ("full", "samples") if weights <= MAX_ENTRIES else ("samples",):
            wall, processor = time.perf_counter(), time.process_time()
            model = bnnrl.laplace(network, (x, y), "gaussian", structure)
            spent = f"{time.perf_counter() - wall:.1f} | {time.process_time() - processor:.1f}"
            std[structure] = np.std(model.predict_samples(test_x, DRAWS), axis=0).ravel()
            nll = model.evaluate(test_x, test_y)["nll"]
            ratio = std[structure] / std.get("full", np.nan)
            shown = f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})" if "full" in std else ""
            print(f"| {count} | {weights} | {structure} | {spent} | {nll:.3f} | {shown} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
