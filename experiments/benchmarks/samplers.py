"""Times transitions of HMC and NUTS: 4 chains, a network 4-50-1 and 200 rows.

HMC takes 20 leapfrog steps in a transition, and NUTS at most 6 doublings. The step size is fixed, and every draw is
kept. The draws of a block go on where those of the last block ended. For the effective sample size, the outputs at 16
rows are written to a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
import tyro
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import HMC, NUTS, Driver
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

CHAINS, ROWS, STEPS, BURN_IN, STEP_SIZE = 4, 200, 100, 300, 0.005


@dataclass
class Args:
    """Settings of the benchmark."""

    method: Literal["hmc", "nuts"] = "hmc"
    """The sampler."""
    outputs: Path | None = None
    """File for the network's outputs along the chains of the last block, [C, K, 16]."""


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(50, "tanh"), keras.layers.Dense(1)])
    problem = Problem(network, Gaussian(0.1), tfd.Normal(0.0, 1.0), ROWS)
    # Every draw is kept, because the peers return every draw.
    fixed = {"chains": CHAINS, "burn_in": 0, "max_draws": STEPS, "target_accept": None}
    method = HMC(STEP_SIZE, 20, **fixed) if args.method == "hmc" else NUTS(STEP_SIZE, 6, **fixed)  # pyright: ignore[reportArgumentType]
    driver = Driver(problem, method, None)
    x = normal([ROWS, 4], 0)
    data = x, tf.sin(tf.reduce_sum(x, axis=-1, keepdims=True))
    state, taken = method.init(problem, 1), 0

    def block():
        nonlocal state, taken
        state, _ = driver.run(state, data, STEPS, 3, start=taken)
        taken += STEPS
        state.theta.numpy()

    def burn_in():
        for _ in range(BURN_IN // STEPS):
            block()

    def write():
        if args.outputs is not None:
            chains = [part.draws for part in method.posterior(problem, state).components]  # pyright: ignore[reportAttributeAccessIssue]
            outputs = [problem.apply(draws, tf.broadcast_to(x[:16], [STEPS, 16, 4]))[..., 0] for draws in chains]
            np.save(args.outputs, np.stack(outputs))

    serve(block, STEPS, burn_in, write)


if __name__ == "__main__":
    main(tyro.cli(Args))
