"""Times steps of an ensemble of networks with two hidden layers, minibatches of 64 out of 1000 rows.

python experiments/benchmarks/ensemble.py --method swag --size 10 --width 64 --threads 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras
import tyro
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import SWAG, Adam, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

METHODS = {"adam": Adam(), "swag": SWAG()}


@dataclass
class Args:
    """Settings of the benchmark of an ensemble."""

    method: Literal["adam", "swag"] = "adam"
    size: int = 5
    """Number of members."""
    width: int = 200
    """Units in each hidden layer."""
    threads: int | None = None
    """Number of members computed at a time. 1 computes all of them in one compiled call."""
    steps: int = 200
    """Steps in a timed call."""


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    network = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(args.width, "relu"),
            keras.layers.Dense(args.width, "relu"),
            keras.layers.Dense(4),
        ]
    )
    problem = Problem(network, Gaussian(0.7), tfd.Normal(0.0, 1.0), 1000)
    method = Ensemble(METHODS[args.method], args.size)
    driver = Driver(problem, method, 64, threads=args.threads)
    data = normal([1000, 6], 0), normal([1000, 4], 1)
    state = method.init(problem, 2)
    serve(lambda: driver.run(state, data, args.steps, 3)[1].log_joint.numpy(), args.steps)


if __name__ == "__main__":
    main(tyro.cli(Args))
