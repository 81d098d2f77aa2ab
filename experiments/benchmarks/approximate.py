"""Times a step of SGLD and of variational inference, and Laplace's approximation, for networks of two hidden layers.

The prior is N(0, 1) over each weight, the noise of the targets is fixed, and there are 1000 rows. SGLD and variational
inference take minibatches of 64 and one draw a step. The item of "laplace" is a fit at given weights: the curvature of
all rows in 4 batches of 250, and the normal distribution ready to be drawn from. The item of "predict" is the variance
of the linearised network's predictions at all rows, by 100 draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
import tyro
from tensorflow_probability import distributions as tfd
from turns import serve

import bnnrl
from bnnrl.inference import BBB, SGLD, Adam, Driver, Laplace
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

ROWS, FEATURES, TARGETS, NOISE, BATCH, PASS, DRAWS = 1000, 6, 4, 0.7, 64, 250, 100
PRIOR = tfd.Normal(0.0, 1.0)


@dataclass
class Args:
    """Settings of the benchmark."""

    method: Literal["sgld", "vi", "laplace", "predict"] = "sgld"
    """What is timed."""
    structure: Literal["last_layer", "diagonal", "kronecker", "full"] = "last_layer"
    """The structure of Laplace's curvature."""
    width: int = 200
    """Units in each hidden layer."""
    count: int = 200
    """Items in a block."""


def network(width: int) -> keras.Model:
    """Return the network."""
    hidden = [keras.layers.Dense(width, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(TARGETS)])


def data() -> tuple[tf.Tensor, tf.Tensor]:
    """Return random inputs and targets."""
    return normal([ROWS, FEATURES], 0), normal([ROWS, TARGETS], 1)


def steps_of(args: Args) -> Callable:
    """Return a function that takes steps of SGLD or of variational inference."""
    problem = Problem(network(args.width), Gaussian(NOISE), PRIOR, ROWS)
    method = BBB() if args.method == "vi" else SGLD(1e-6, burn_in=10**8, max_draws=1)
    driver, state, rows = Driver(problem, method, BATCH), method.init(problem, 2), data()
    return lambda: driver.run(state, rows, args.count, 3)[1].log_joint.numpy()


def laplace_fits(args: Args) -> Callable:
    """Return a function that fits Laplace's approximation at given weights."""
    problem = Problem(network(args.width), Gaussian(NOISE), PRIOR, ROWS)
    method, batches = Laplace(start=1, structure=args.structure), ROWS // PASS
    driver, rows = Driver(problem, method, PASS), data()
    trained, _ = driver.run(method.init(problem, 2), rows, 1, 3)

    def block():
        for _ in range(args.count):
            # Step 4 begins an epoch, in whose 4 batches each row counts once.
            method.posterior(problem, driver.run(trained, rows, batches, 3, start=batches)[0])

    return block


def laplace_predictions(args: Args) -> Callable:
    """Return a function that predicts by the linearised network."""
    x, y = (np.asarray(a) for a in data())
    method = Laplace(Adam(), start=1, structure=args.structure)
    model = bnnrl.BayesianModel(network(args.width), Gaussian(NOISE), PRIOR, method)
    model.fit(x, y, batch_size=PASS, epochs=5, verbose=0)

    def block():
        for _ in range(args.count):
            model.uncertainty(x, DRAWS)

    return block


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    parts = {"laplace": laplace_fits, "predict": laplace_predictions}
    serve(parts.get(args.method, steps_of)(args), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
