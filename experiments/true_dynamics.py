"""The policy search on the true dynamics of a plant: does the search fail, or the learned model?

    python experiments/true_dynamics.py --plants DoublePendulum --seeds 100

The agent learns as always, with the default settings, but rollouts of its policies move by the equations of the plant,
differentiated through a Runge-Kutta integration in steps of 12.5 ms. What the agent does not reach here, it does not
reach with a learned model either; what it reaches here alone, it lacks a better model for.

Adds a row for each trial to a CSV file in experiments/results/, in the place of an earlier row of the same trial, and
writes a table of all its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tyro
from sweeps import Row, check_names, collect, heading, outcome, quiet_single_thread, run_all

from bnnrl_envs import cart_double_pendulum, double_pendulum, pendubot, pendulum
from bnnrl_envs.chain import SwingUp
from bnnrl_envs.plant import rk4

PLANTS = {
    "Pendulum": pendulum.SWING_UP,
    "DoublePendulum": double_pendulum.SWING_UP,
    "Pendubot": pendubot.SWING_UP,
    "CartDoublePendulum": cart_double_pendulum.SWING_UP,
}
LONGEST_STEP = 0.0125  # s, of the integration
COLUMNS = ("predicted_cost", "real_cost", "evaluation_cost", "success_rate", "solved", "search_seconds")


@dataclass
class Args:
    """Settings of the experiment."""

    plants: tuple[str, ...] = ("Pendulum", "DoublePendulum", "Pendubot")
    """Names of plants; CartDoublePendulum takes by far the longest."""
    seeds: tuple[int, ...] = (100,)
    trials: int = 4
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "true_dynamics"
    """Name of the result files."""


def true_step(plant: SwingUp) -> Callable:
    """Return the step function of a plant, (obs [..., O], action [..., A], noise) -> next_obs, without noise."""
    import tensorflow as tf

    def step(obs: Any, action: Any, noise: Any) -> Any:
        held = tf.unstack(action, axis=-1)
        rates = lambda state: plant.chain.rates(state, held, tf)
        return tf.stack(rk4(rates, tf.unstack(obs, axis=-1), plant.dt, LONGEST_STEP), axis=-1)

    return step


def run(name: str, seed: int, trials: int) -> list[Row]:
    """Train one agent, and return a row for each trial."""
    quiet_single_thread()
    import bnnrl

    # The model is fitted, as its data have the scale of a step, but its predictions are not used.
    agent = bnnrl.PILCO(f"bnnrl/{name}-v0", dynamics=bnnrl.Dynamics(method="adam", steps=20), seed=seed)
    agent.model.make_step = lambda draws: true_step(PLANTS[name])
    agent.learn(trials, stop_when_solved=True)
    rows = [{column: getattr(t, column) for column in COLUMNS} for t in agent.history]
    return [{"plant": name, "seed": seed, "trial": i, **row} for i, row in enumerate(rows, 1)]


def tell(rows: list[Row]) -> str:
    """Return a line about a run."""
    costs = " ".join(f"{row['evaluation_cost']:.3f}" for row in rows)
    return f"{rows[0]['plant']}, seed {rows[0]['seed']}: {outcome(rows[-1])}; evaluation costs {costs}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with a row for each trial that had a policy."""
    columns = ("plant", "seed", "trial", "predicted cost", "real cost", "cost of ten evaluations", "success")
    lines = heading("Policies that are searched for on the true dynamics", columns)
    for row in rows:
        if row["trial"] > 1:
            costs = " | ".join(f"{row[column]:.3f}" for column in COLUMNS[:3])
            lines.append(f"| {row['plant']} | {row['seed']} | {row['trial']} | {costs} | {row['success_rate']:.1f} |")
    return "\n".join([*lines, "", "The first trial, of random actions, is left out."]) + "\n"


def main(args: Args) -> None:
    """Run all plants and seeds, and write the results."""
    quiet_single_thread()
    check_names("plants", args.plants, PLANTS)
    calls = [(name, seed, args.trials) for name in args.plants for seed in args.seeds]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=("plant", "seed", "trial"))


if __name__ == "__main__":
    main(tyro.cli(Args))
