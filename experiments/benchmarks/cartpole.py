"""Times a policy update on MC-PILCO's cart-pole: 400 particles and 60 steps, an RBF policy of 200 units.

The model is that of bnnrl's default agent: an ensemble of 10 networks 64-64 of which each propagates 40 particles. Its
time does not depend on the number of data. One thread, like the code of MC-PILCO's authors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from turns import serve

sys.path.insert(0, str(Path(__file__).parents[1]))
from sweeps import quiet_single_thread

DRAWS, PARTICLES, HORIZON, OBS, UNITS = 10, 400, 60, 4, 200


@dataclass
class Args:
    """Settings of the benchmark."""

    updates: int = 10
    """Updates in a timed block."""


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    quiet_single_thread()
    import tensorflow as tf

    from bnnrl.inference import Adam
    from bnnrl.rl.policies import RBF, Controller
    from bnnrl.rl.simulator.dynamics import DynamicsModel
    from bnnrl.rl.simulator.features import Features
    from bnnrl.rl.simulator.regression import NetworkDraws
    from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
    from bnnrl.rl.simulator.settings import Dynamics
    from bnnrl.seeds import fold_in, normal

    features = Features(OBS, angles=(2,), omitted=(0,))
    model = DynamicsModel(Dynamics(), features, 1, velocities={0: 1, 2: 3}, dt=0.05)
    inputs = features.size + 1
    draws = NetworkDraws(
        model.problem.init(0, DRAWS),
        *(tf.zeros(inputs), tf.ones(inputs), tf.zeros(OBS), tf.fill([OBS], 0.1)),
    )
    seen, limit, adam = Features(OBS, angles=(2,)), tf.fill([1], 10.0), Adam()
    controller = Controller(RBF(UNITS), seen, -limit, limit)
    start = 0.01 * normal([DRAWS, PARTICLES // DRAWS, OBS], 1)

    def cost(obs, action, next_obs):
        x, theta = next_obs[..., 0], next_obs[..., 2]
        return 1.0 - tf.exp(-tf.square((tf.abs(theta) - 3.14159) / 3.0) - tf.square(x))

    @tf.function(jit_compile=True)
    def update(state, index):
        def act(obs, t):
            action = controller(state.theta, tf.reshape(obs, [1, -1, OBS]))
            return tf.reshape(action, [*obs.shape[:-1], 1])

        noise = normal([HORIZON, *start.shape], fold_in(3, index))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.theta)
            value = tf.reduce_mean(rollout_cost(SimulatedEnv(model.make_step(draws), cost), act, start, noise))
        return adam.update(state, tape.gradient(value, state.theta))

    state = adam.start(controller.init(4, 1, seen(normal([PARTICLES, OBS], 5))))

    def block():
        nonlocal state
        for i in range(args.updates):
            state = update(state, tf.constant(i))
        state.theta.numpy()

    serve(block, args.updates)


if __name__ == "__main__":
    main(tyro.cli(Args))
