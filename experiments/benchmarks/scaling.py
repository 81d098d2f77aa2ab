"""Measures time and memory of a policy update by the number of particles, the horizon and the width of the model.

    python experiments/benchmarks/scaling.py

An update is a rollout with gradient and a step of Adam, as in the policy search, for one RBF policy of 50 centres and
10 networks of two hidden layers. Each size is timed in a process of its own. Memory is the growth of that process from
before the update was compiled to its peak.

The arithmetic of an update is that of the networks' matrix products in units of 10⁹ operations (GFLOP): x W forward,
and the gradient for x backward, since the weights W are fixed. For each width, the same products are timed alone.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
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
    axes: tuple[str, ...] = tuple(SIZES)
    """What to vary."""
    name: str = "scaling"
    """Name of the result files."""


def measure(axis: str, size: int, repeats: int) -> Row:
    """Return milliseconds and MiB of one update."""
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

    sizes = BASE | {axis: size}
    particles, horizon, width, obs_size = sizes["particles"], sizes["horizon"], sizes["width"], 5
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

    layers = list(itertools.pairwise([obs_size + 1, width, width, 2 * obs_size]))
    state = adam.start(controller.init(4, 1, normal([100, obs_size], 5)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for i in range(repeats + 2):
        began = perf_counter()
        state = update(state, draws, start, tf.constant(i))
        state.theta.numpy()
        seconds.append(perf_counter() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # of KiB
    rows = particles // DRAWS
    gflop = 2 * horizon * 2e-9 * DRAWS * rows * sum(a * b for a, b in layers)
    milliseconds = 1e3 * statistics.median(seconds[2:])
    alone = 1e3 * horizon * sum(product_seconds(rows, a, b, repeats) for a, b in layers) if axis == "width" else ""
    more = {"gflop": gflop, "gflop_per_second": gflop / milliseconds * 1e3, "products_milliseconds": alone}
    spread = {"shortest": 1e3 * min(seconds[2:]), "longest": 1e3 * max(seconds[2:])}
    return {"axis": axis, **sizes, "milliseconds": milliseconds, **spread, "mebibytes": grown, **more}


def product_seconds(rows: int, inputs: int, outputs: int, repeats: int) -> float:
    """Return the seconds of a layer's two products alone, with a transposed copy of W for the second."""
    import tensorflow as tf

    from bnnrl.seeds import normal

    calls = 50
    x, w, transposed = (normal([DRAWS, *shape], 1) for shape in [(rows, inputs), (inputs, outputs), (outputs, inputs)])

    @tf.function(jit_compile=True)
    def products(x, w, transposed):
        again = lambda i, x: (i + 1, 1e-3 * tf.matmul(tf.matmul(x, w), transposed))
        return tf.while_loop(lambda i, _: i < calls, again, (0, x))[1]

    seconds = []
    for _ in range(repeats + 1):
        began = perf_counter()
        products(x, w, transposed).numpy()
        seconds.append((perf_counter() - began) / calls)
    return statistics.median(seconds[1:])


def summary(rows: list[Row]) -> str:
    """Return a Markdown table for each axis, with the cost for each unit of size relative to the axis's first row."""
    lines = []
    for axis in SIZES:
        own = [r for r in rows if r["axis"] == axis]
        if not own:
            continue
        fixed = ", ".join(f"{name} {value}" for name, value in BASE.items() if name != axis)
        columns = [axis, "ms an update (range)", "ms a unit, ratio to the row above", "MiB"]
        columns += ["GFLOP", "GFLOP a second", "products alone, ms"] if axis == "width" else []
        lines += [f"{axis} ({fixed}):", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        for last, row in zip([None, *own], own, strict=False):
            ratio = f"{_a_unit(row) / _a_unit(last):.2f}" if last else ""
            span = f"{row['milliseconds']:.2f} ({row['shortest']:.2f} to {row['longest']:.2f})"
            cells = [str(row[axis]), span, ratio, f"{row['mebibytes']:.0f}"]
            if axis == "width":
                cells += [
                    f"{row['gflop']:.2f}",
                    f"{row['gflop_per_second']:.1f}",
                    f"{row['products_milliseconds']:.2f}",
                ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _a_unit(row: Row) -> float:
    """Return milliseconds for each particle or step, or for each weight of a hidden layer."""
    return row["milliseconds"] / row[row["axis"]] ** (2 if row["axis"] == "width" else 1)


def main(args: Args) -> None:
    """Time all sizes and write the table."""
    calls = [(axis, size, args.repeats) for axis in args.axes for size in SIZES[axis]]
    tabulate(run_all(measure, calls, 1), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
