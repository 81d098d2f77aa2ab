"""Adam steps of a deep ensemble: 5 networks 200-200, batches of 64 out of 1000 rows. Prints ms a step of all five."""

from __future__ import annotations

from time import perf_counter

import keras
from tensorflow_probability import distributions as tfd

from bnnrl.inference import Adam, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

STEPS = 3000


def main() -> None:
    network = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(200, "relu"),
            keras.layers.Dense(200, "relu"),
            keras.layers.Dense(4),
        ]
    )
    problem = Problem(network, Gaussian(0.7), tfd.Normal(0.0, 1.0), 1000)
    method = Ensemble(Adam(), 5)
    driver = Driver(problem, method, 64)
    data = normal([1000, 6], 0), normal([1000, 4], 1)
    state = method.init(problem, 2)
    started = perf_counter()
    driver.run(state, data, 1, 3)[1].log_joint.numpy()
    compiled = perf_counter() - started
    started = perf_counter()
    driver.run(state, data, STEPS, 3)[1].log_joint.numpy()
    print(f"{(perf_counter() - started) / STEPS * 1e3:.3f} ms, compiled in {compiled:.1f} s")


if __name__ == "__main__":
    main()
