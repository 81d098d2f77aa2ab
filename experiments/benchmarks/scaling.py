"""Measures time and memory of a policy update by the number of particles, the horizon and the width of the model.

    python experiments/benchmarks/scaling.py

An update is a rollout with gradient and a step of Adam, as in the policy search, for one RBF policy of 50 centres and
10 networks of two hidden layers. Each size is timed in a process of its own. Memory is the growth of that process from
before the update was compiled to its peak.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from sweeps import Row, quiet_single_thread, run_all, tabulate

DRAWS = 10
BASE = {"particles": 100, "horizon": 25, "width": 64}
SIZES = {
    "particles": (10, 30, 100, 300, 1000, 3000, 10_000),
    "horizon": (10, 25, 50, 100, 200),
    "width": (32, 64, 128, 256, 512),
}


@dataclass
class Args:
    """Settings of the benchmark."""

    repeats: int = 7
    """Timed calls of each size, whose median is reported."""
    name: str = "scaling"
    """Name of the result files."""


def make_update(particles: int, horizon: int, width: int) -> Callable[[int], object]:
    """Return the function that takes the i-th update and waits for it. TensorFlow is imported here."""
    import tensorflow as tf

    from bnnrl.inference import Adam
    from bnnrl.rl.policies import RBF, Controller
    from bnnrl.rl.simulator.dynamics import DynamicsModel
    from bnnrl.rl.simulator.features import Features
    from bnnrl.rl.simulator.regression import NetworkDraws
    from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
    from bnnrl.rl.simulator.settings import Dynamics
    from bnnrl.seeds import fold_in, normal

    obs_size = 5
    model = DynamicsModel(Dynamics(hidden=(width, width)), Features(obs_size), 1)
    draws = NetworkDraws(
        model.problem.init(0, DRAWS),
        *(tf.zeros(obs_size + 1), tf.ones(obs_size + 1), tf.zeros(obs_size), tf.fill([obs_size], 0.1)),
    )
    controller, adam = Controller(RBF(50), Features(obs_size), -tf.ones(1), tf.ones(1)), Adam()
    start = normal([DRAWS, particles // DRAWS, obs_size], 1)

    @tf.function(jit_compile=True)
    def update(state, draws: NetworkDraws, start, index):
        def act(obs, t):
            action = controller(state.theta, tf.reshape(obs, [1, -1, obs_size]))
            return tf.reshape(action, [*obs.shape[:-1], 1])

        cost = lambda obs, action, next_obs: 1.0 - tf.exp(-0.5 * tf.reduce_sum(tf.square(next_obs), axis=-1))
        noise = normal([horizon, *start.shape], fold_in(3, index))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.theta)
            value = tf.reduce_mean(rollout_cost(SimulatedEnv(model.make_step(draws), cost), act, start, noise))
        return adam.update(state, tape.gradient(value, state.theta))

    state = adam.start(controller.init(4, 1, normal([100, obs_size], 5)))

    def run(i: int) -> object:
        nonlocal state
        state = update(state, draws, start, tf.constant(i))
        return state.theta.numpy()

    return run


def measure(axis: str, size: int, repeats: int) -> Row:
    """Return milliseconds and MiB of one update."""
    quiet_single_thread()
    sizes = BASE | {axis: size}
    update = make_update(**sizes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for i in range(repeats + 2):
        began = perf_counter()
        update(i)
        seconds.append(perf_counter() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # of KiB
    return {"axis": axis, **sizes, "milliseconds": 1e3 * statistics.median(seconds[2:]), "mebibytes": grown}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each axis, with the cost for each unit of size relative to the axis's first row."""
    lines = []
    for axis in SIZES:
        own = [r for r in rows if r["axis"] == axis]
        fixed = ", ".join(f"{name} {value}" for name, value in BASE.items() if name != axis)
        lines += [f"{axis} ({fixed}):", "", f"| {axis} | ms an update | ms a unit, ratio to the row above | MiB |"]
        lines += ["|---|---|---|---|"]
        for last, row in zip([None, *own], own, strict=False):
            ratio = f"{_a_unit(row) / _a_unit(last):.2f}" if last else ""
            lines.append(f"| {row[axis]} | {row['milliseconds']:.2f} | {ratio} | {row['mebibytes']:.0f} |")
        lines.append("")
    return "\n".join(lines)


def _a_unit(row: Row) -> float:
    """Return milliseconds for each particle or step, or for each weight of a hidden layer."""
    return row["milliseconds"] / row[row["axis"]] ** (2 if row["axis"] == "width" else 1)


def main(args: Args) -> None:
    """Time all sizes and write the table."""
    calls = [(axis, size, args.repeats) for axis, sizes in SIZES.items() for size in sizes]
    tabulate(run_all(measure, calls, 1), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
