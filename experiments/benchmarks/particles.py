"""Measures time and memory of many particles: prediction, scoring, and a policy update, on Linux.

    python experiments/benchmarks/particles.py [--sizes 1000 10000 100000]

Prediction and scoring are those of the policy search, `SearchObjective.predict` and a call of `SearchObjective`. The
model is 10 networks 64-64, the horizon 60 steps, and the policy an RBF policy of 50 units. Each size and call is a
process of its own. Memory is what the peak of a second call adds to the resident memory of the process before it.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import gc
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from memory import added_mebibytes, reset_peak
from sweeps import Row, quiet_single_thread, run_all, tabulate

DRAWS, HORIZON, OBS = 10, 60, 4
CALLS = ("predict", "score", "update")


@dataclass
class Args:
    """Settings of the benchmark."""

    sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    """Numbers of particles."""
    calls: tuple[str, ...] = CALLS
    """What to measure."""
    repeats: int = 5
    """Timed calls, whose median is reported."""
    name: str = "particles"
    """Name of the result files."""


def measure(call: str, particles: int, repeats: int) -> Row:
    """Return seconds and MiB of a call."""
    quiet_single_thread()
    import tensorflow as tf

    from bnnrl.rl.policies import RBF, Controller
    from bnnrl.rl.search.initial_states import InitialStates
    from bnnrl.rl.search.objective import SearchObjective
    from bnnrl.rl.search.settings import PolicySearch
    from bnnrl.rl.simulator.dynamics import DynamicsModel
    from bnnrl.rl.simulator.features import Features
    from bnnrl.rl.simulator.regression import NetworkDraws
    from bnnrl.rl.simulator.rollout import SimulatedEnv
    from bnnrl.rl.simulator.settings import Dynamics
    from bnnrl.seeds import normal

    features = Features(OBS)
    model = DynamicsModel(Dynamics(), features, 1)
    draws = NetworkDraws(
        model.problem.init(0, DRAWS), *(tf.zeros(OBS + 1), tf.ones(OBS + 1), tf.zeros(OBS), tf.fill([OBS], 0.1))
    )
    controller = Controller(RBF(50), features, -tf.ones(1), tf.ones(1))
    cost = lambda obs, action, next_obs: 1.0 - tf.exp(-0.5 * tf.reduce_sum(tf.square(next_obs), axis=-1))
    make_env = lambda draws: SimulatedEnv(model.make_step(draws), cost)
    objective = SearchObjective(PolicySearch(), controller, make_env, HORIZON, DRAWS, particles // DRAWS)
    states = InitialStates.kernel_density(normal([50, OBS], 1).numpy())
    params, seed = controller.init(4, 1, normal([100, OBS], 5)), tf.constant([0, 1])

    @tf.function(jit_compile=True)
    def score(params, draws, states, seed):
        return objective(params, draws, states, seed)

    @tf.function(jit_compile=True)
    def update(params, draws, states, seed):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(params)
            value = objective(params, draws, states, seed)
        return tape.gradient(value, params)

    @tf.function(jit_compile=True)
    def predict(params, draws, states, seed):
        return objective.predict(params[0], draws, states, seed)

    function = {"predict": predict, "score": score, "update": update}[call]
    run = lambda: tf.nest.map_structure(lambda a: a[..., :1].numpy(), function(params, draws, states, seed))
    run()
    gc.collect()
    before, seconds = reset_peak(), []
    for _ in range(repeats):
        began = perf_counter()
        run()
        seconds.append(perf_counter() - began)
    span = {"seconds": statistics.median(seconds), "shortest": min(seconds), "longest": max(seconds)}
    return {"call": call, "particles": particles, **span, "mebibytes": added_mebibytes(before)}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| call | particles | ms (range) | µs a particle | MiB added |", "|---|---|---|---|---|"]
    for r in rows:
        span = f"{1e3 * r['seconds']:.0f} ({1e3 * r['shortest']:.0f} to {1e3 * r['longest']:.0f})"
        share = 1e6 * r["seconds"] / r["particles"]
        lines.append(f"| {r['call']} | {r['particles']:,} | {span} | {share:.1f} | {r['mebibytes']:.0f} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Measure all calls and sizes, and write the table."""
    calls = [(call, size, args.repeats) for call in args.calls for size in args.sizes]
    tabulate(run_all(measure, calls, 1), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
