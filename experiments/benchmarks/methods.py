"""Times a step of each inference method relative to a step of Adam for the same networks, in turns in one process.

    python experiments/benchmarks/methods.py [--rounds 15] [--methods bbb swag]

Minibatches have 64 out of 1000 rows. The networks are 5 with layers 200-200, and one with layers 64-64. Times are
processor times of the process, because wall time would depend on what other processes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import keras
import tensorflow as tf
import tyro
from tensorflow_probability import distributions as tfd

from bnnrl.inference import (
    BBB,
    BSAM,
    IVON,
    PSGLD,
    SGD,
    SGHMC,
    SGLD,
    SWAG,
    VADAM,
    VBLL,
    Adam,
    CyclicalSGLD,
    Driver,
    Ensemble,
    MCDropout,
    Method,
)
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

STEPS = 100
METHODS: dict[str, Method] = {
    "adam": Adam(),
    "sgd": SGD(),
    "dropout": MCDropout(),
    "swag": SWAG(start=1, every=10),
    "bbb": BBB(),
    "vbll": VBLL(),
    "vadam": VADAM(),
    "bsam": BSAM(),
    "ivon": IVON(),
    "sgld": SGLD(burn_in=1, max_draws=10),
    "psgld": PSGLD(burn_in=1, max_draws=10),
    "csgld": CyclicalSGLD(max_draws=10),
    "sghmc": SGHMC(burn_in=1, max_draws=10),
}
NETWORKS = {"5 x 200-200": (5, (200, 200)), "1 x 64-64": (1, (64, 64))}


@dataclass
class Args:
    """Settings of the benchmark of inference methods."""

    rounds: int = 15
    """Number of rounds. In a round, every method has one turn of 100 steps."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods, besides adam."""


def blocks(members: int, hidden: tuple[int, ...], names: list[str]) -> dict[str, tuple[Callable, float]]:
    """Return for each method a compiled function that takes STEPS steps, and the size of its state per weight."""
    layers = [keras.layers.Dense(width, "relu") for width in hidden]
    network = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(4)])
    problem = Problem(network, Gaussian(0.7), tfd.Normal(0.0, 1.0), 1000)
    data = normal([1000, 6], 0), normal([1000, 4], 1)

    def block(method):
        driver, state = Driver(problem, method, 64), method.init(problem, 2)
        run = lambda: driver.run(state, data, STEPS, 3)[1].log_joint.numpy()
        run()
        return run, sum(int(tf.size(a)) for a in tf.nest.flatten(state)) / problem.num_params / members

    return {name: block(Ensemble(METHODS[name], members) if members > 1 else METHODS[name]) for name in names}


def main(args: Args) -> None:
    """Time all methods, and print a table."""
    names = ["adam", *(name for name in args.methods if name != "adam")]
    for title, (members, hidden) in NETWORKS.items():
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        warm = blocks(members, hidden, names)
        for _ in range(args.rounds):
            for name, (run, _) in warm.items():
                wall, cpu = perf_counter(), process_time()
                run()
                times[name].append(((perf_counter() - wall) / STEPS * 1e3, (process_time() - cpu) / STEPS * 1e3))
        print(f"\n## {title}\n")
        print("| Method | min, ms | median, ms | median / Adam | processor time / Adam | state / weights |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for name in names:
            ratio = lambda i: median(own[i] / base[i] for own, base in zip(times[name], times["adam"], strict=True))  # noqa: B023
            wall = [turn[0] for turn in times[name]]
            cells = [min(wall), median(wall), ratio(0), ratio(1)]
            print(f"| {name} | {' | '.join(f'{c:.2f}' for c in cells)} | {warm[name][1]:.0f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
