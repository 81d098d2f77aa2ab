"""Times HMC transitions: 4 chains, 20 leapfrog steps each, a network 4-50-1 and 200 rows."""

from __future__ import annotations

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import HMC, Driver
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

STEPS = 100


def main() -> None:
    """Serve timed blocks to run.py."""
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(50, "tanh"), keras.layers.Dense(1)])
    problem = Problem(network, Gaussian(0.1), tfd.Normal(0.0, 1.0), 200)
    # Every draw is kept, because BlackJAX returns every draw.
    method = HMC(0.005, num_leapfrog=20, burn_in=0, max_draws=STEPS, target_accept=None)
    driver = Driver(problem, method, None)
    x = normal([200, 4], 0)
    state = method.init(problem, 1)
    data = x, tf.sin(tf.reduce_sum(x, axis=-1, keepdims=True))
    serve(lambda: driver.run(state, data, STEPS, 3)[0].theta.numpy(), STEPS)


if __name__ == "__main__":
    main()
