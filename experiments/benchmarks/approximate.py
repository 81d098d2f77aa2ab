"""Times a step of SGLD and of variational inference, and Laplace's curvature, for one network 200-200 and 1000 rows.

The prior is N(0, 1) over each weight, and the noise of the targets is fixed. SGLD and variational inference take
minibatches of 64 and one draw a step. Laplace's approximation is that of the last layer with a full matrix of 804
weights: an item is the curvature of all rows, in 4 batches of 250.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras
import tyro
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import BBB, SGLD, Driver, Laplace
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

ROWS, FEATURES, TARGETS, WIDTH, NOISE = 1000, 6, 4, 200, 0.7


@dataclass
class Args:
    """Settings of the benchmark."""

    method: Literal["sgld", "vi", "laplace"] = "sgld"
    """The inference method."""
    count: int = 200
    """Items in a block: steps, or for Laplace's approximation passes over the rows."""


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    hidden = [keras.layers.Dense(WIDTH, "relu") for _ in range(2)]
    network = keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(TARGETS)])
    problem = Problem(network, Gaussian(NOISE), tfd.Normal(0.0, 1.0), ROWS)
    methods = {"sgld": SGLD(1e-6, burn_in=10**8, max_draws=1), "vi": BBB(), "laplace": Laplace(start=4)}
    method, passes = methods[args.method], args.method == "laplace"
    driver = Driver(problem, method, 250 if passes else 64)
    data = normal([ROWS, FEATURES], 0), normal([ROWS, TARGETS], 1)
    state, per_item = method.init(problem, 2), 4 if passes else 1
    if passes:
        state, _ = driver.run(state, data, 4, 3)  # the steps of the optimiser
    start = 4 if passes else 0
    serve(lambda: driver.run(state, data, args.count * per_item, 3, start=start)[1].log_joint.numpy(), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
