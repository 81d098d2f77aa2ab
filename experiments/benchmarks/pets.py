"""Times the two parts of PETS: a training step of an ensemble, and the choice of an action by CEM.

Training: 5 networks 200-200-200 that predict means and variances, minibatches of 256 out of 1000 rows, Adam.
Planning: the same networks, CEM with 5 iterations, 350 action sequences of 15 steps, 35 elites and 20 particles each,
whose network changes at each step (TS1).
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

from bnnrl.inference import Adam, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.planners import CEM, Planning
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.regression import NetworkDraws
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import normal

MEMBERS, HIDDEN, ROWS, BATCH, OBS, ACTIONS = 5, (200, 200, 200), 1000, 256, 4, 1


@dataclass
class Args:
    """Settings of the benchmark."""

    part: Literal["train", "plan"] = "train"
    """What is timed."""
    count: int = 50
    """Training steps, or actions, in a block."""


def trained(count: int) -> Callable:
    """Return a function that takes training steps."""
    layers = [keras.layers.Dense(width, "relu") for width in HIDDEN]
    network = keras.Sequential([keras.Input((OBS + ACTIONS,)), *layers, keras.layers.Dense(2 * OBS)])
    problem = Problem(network, Gaussian("heteroscedastic", floor=1e-2), tfd.Normal(0.0, 1.0), ROWS)
    method = Ensemble(Adam(), MEMBERS)
    driver, state = Driver(problem, method, BATCH), method.init(problem, 2)
    data = normal([ROWS, OBS + ACTIONS], 0), normal([ROWS, OBS], 1)
    return lambda: driver.run(state, data, count, 3)[1].log_joint.numpy()


def planned(count: int) -> Callable:
    """Return a function that chooses actions."""
    model = DynamicsModel(Dynamics(hidden=HIDDEN, activation="relu", size=MEMBERS), Features(OBS), ACTIONS)
    inputs = OBS + ACTIONS
    draws = NetworkDraws(
        model.problem.init(0, MEMBERS),
        *(tf.zeros(inputs), tf.ones(inputs), tf.zeros(OBS), tf.fill([OBS], 0.1)),
    )
    cost = lambda obs, action, next_obs: 1.0 - tf.exp(-0.5 * tf.reduce_sum(tf.square(next_obs), axis=-1))
    make_env = lambda draws: SimulatedEnv(model.make_step(draws), cost)
    space = ActionSpace(-np.ones(ACTIONS, np.float32), np.ones(ACTIONS, np.float32))
    planning = Planning(CEM(15, 350, 35, 5), make_env, space, MEMBERS, 4, "ts1")
    plan, seed, obs = planning.begin(), tf.constant([0, 1]), normal([OBS], 6)

    def block():
        for _ in range(count):
            action, _ = planning.advance(obs, plan, draws, seed)
        action.numpy()

    return block


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    serve(trained(args.count) if args.part == "train" else planned(args.count), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
