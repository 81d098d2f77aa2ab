"""Times one policy update through the learned model: rollout, gradient, clipping, Adam.

    python experiments/benchmarks/rollout.py --policy rbf --defaults

100 particles, 25 steps, 10 networks of two hidden layers of 200 units, 5 observation entries, 1 action, heteroscedastic
noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import tensorflow as tf
import tyro
from tensorflow_probability import distributions as tfd
from turns import serve

from bnnrl.inference import Adam
from bnnrl.inference.adam import AdamState
from bnnrl.likelihoods import Gaussian
from bnnrl.rl.policies import MLP, RBF, Controller
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.regression import NetworkDraws
from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import fold_in, normal

DRAWS, PER_DRAW, HORIZON, OBS, ACTIONS = 10, 10, 25, 5, 1
MODEL = Dynamics(hidden=(200, 200))


@dataclass
class Args:
    """Settings of the benchmark of a policy update."""

    policy: Literal["mlp", "rbf"] = "mlp"
    defaults: bool = False
    """Whether to use the package's default activation and noise model, and fresh noise at each update. Otherwise the
    work is the same as that of the JAX and PyTorch benchmarks."""
    groups: int = 1
    """Number of groups of draws that are computed in parallel."""
    updates: int = 20
    """Updates in a timed call."""


class ClippedGaussian(Gaussian):
    """The noise model of the JAX and PyTorch benchmarks: the second half of the outputs is a clipped log-scale."""

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution of the targets for outputs [..., 2 O]."""
        mean, log_scale = tf.split(outputs, 2, axis=-1)
        return tfd.Normal(mean, tf.exp(tf.clip_by_value(log_scale, -5.0, -2.0)))


def gradient_in_groups(cost, groups: int):
    """Return a function (params, draws, start, noise) -> (cost [R], its gradient [R, K]) for several cores.

    Particles of different draws do not interact. Each group of draws is therefore a compiled call of its own, and
    TensorFlow runs the calls in parallel. (A policy search divides its policies into groups instead.)
    """

    @tf.function(autograph=False, jit_compile=True)
    def value_and_grad(params: tf.Tensor, draws: NetworkDraws, start: tf.Tensor, noise: tf.Tensor):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(params)
            value = cost(params, draws, start, noise)
        return value, tape.gradient(value, params)

    def in_groups(params: tf.Tensor, draws: NetworkDraws, start: tf.Tensor, noise: tf.Tensor):
        n = math.gcd(groups, DRAWS)
        thetas, starts, noises = tf.split(draws.theta, n), tf.split(start, n), tf.split(noise, n, axis=1)
        parts = [
            value_and_grad(params, draws._replace(theta=theta), s, e)
            for theta, s, e in zip(thetas, starts, noises, strict=True)
        ]
        return tf.add_n([value for value, _ in parts]) / n, tf.add_n([grad for _, grad in parts]) / n

    return in_groups


def main(args: Args) -> None:
    """Time blocks of updates for `run.py`, which starts this script."""
    dynamics = (
        MODEL
        if args.defaults
        else replace(MODEL, activation="relu", likelihood=ClippedGaussian(MODEL.likelihood.scale))
    )
    features = Features(OBS)
    model = DynamicsModel(dynamics, features, ACTIONS)
    theta = model.problem.init(0, DRAWS)
    size = OBS + ACTIONS
    draws = NetworkDraws(theta, tf.zeros(size), tf.ones(size), tf.zeros(OBS), tf.fill([OBS], 0.1))
    policy = RBF(50) if args.policy == "rbf" else MLP((50,))
    controller = Controller(policy, features, -tf.ones(ACTIONS), tf.ones(ACTIONS))
    start = normal([DRAWS, PER_DRAW, OBS], 1)
    noise = normal([HORIZON, DRAWS, PER_DRAW, OBS], 2)
    adam = Adam()

    def cost(obs, action, next_obs):
        return 1.0 - tf.exp(-0.5 * tf.reduce_sum(tf.square(next_obs), axis=-1))

    def mean_cost(params, draws: NetworkDraws, start, noise):
        def act(obs, t):
            action = controller(params, tf.reshape(obs, [1, -1, OBS]))
            return tf.reshape(action, [*obs.shape[:-1], ACTIONS])

        return tf.reduce_mean(rollout_cost(SimulatedEnv(model.make_step(draws), cost), act, start, noise))[tf.newaxis]

    gradient = gradient_in_groups(mean_cost, args.groups)

    @tf.function(jit_compile=True)
    def step(state: AdamState, grad):
        return adam.update(state, tf.clip_by_norm(grad, 1.0))

    @tf.function
    def run(state: AdamState, draws: NetworkDraws, start, noise, num_updates):
        def update(i, state, _):
            eps = normal(noise.shape, fold_in(3, i)) if args.defaults else noise
            value, grad = gradient(state.theta, draws, start, eps)
            return i + 1, step(state, grad), value

        return tf.while_loop(lambda i, *_: i < num_updates, update, (tf.constant(0), state, tf.zeros([1])))[1:]

    state = adam.start(controller.init(4, 1, normal([100, OBS], 5)))
    serve(lambda: run(state, draws, start, noise, tf.constant(args.updates))[1].numpy(), args.updates)


if __name__ == "__main__":
    main(tyro.cli(Args))
