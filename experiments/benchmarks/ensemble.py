"""Times steps of Adam for a deep ensemble: 5 networks with layers 200-200, minibatches of 64 out of 1000 rows."""

from __future__ import annotations

import keras
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import Adam, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

STEPS = 200


def main() -> None:
    """Serve timed blocks to run.py."""
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
    serve(lambda: driver.run(state, data, STEPS, 3)[1].log_joint.numpy(), STEPS)


if __name__ == "__main__":
    main()
