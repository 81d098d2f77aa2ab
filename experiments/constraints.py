"""Violations of a constraint on real steps, with and without the constraint, and what the constraint costs in trials.

    python experiments/constraints.py --seeds 100 101 102

The cart-pole swing-up has a rail, |x| < 0.6 m. Agents with "rail" have to keep to it with a probability of 0.95; those
without are told of no rail, and leave it unpunished. Steps off the rail are counted in both, in the trials and in the
evaluation episodes after them.

Writes a row for each trial of each seed, and a summary, to experiments/results/.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import tyro
from sweeps import Row, check_names, collect, outcome, quiet_single_thread, run_all

RAIL = 0.6  # m
VARIANTS = ("without", "rail")


@dataclass
class Args:
    """Settings of the experiment."""

    preset: Literal["pilco", "deep-pilco", "mc-pilco"] = "mc-pilco"
    seeds: tuple[int, ...] = (100, 101, 102)
    variants: tuple[str, ...] = VARIANTS
    trials: int = 6
    probability: float = 0.95
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "constraints"
    """Name of the result files."""


def run(preset: str, variant: str, seed: int, trials: int, probability: float) -> list[Row]:
    """Train one agent, and return a row for each trial."""
    quiet_single_thread()
    import tensorflow as tf

    import bnnrl

    task = bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset=preset)
    if variant == "rail":
        on_rail = lambda obs, action, next_obs: tf.abs(next_obs[..., 0]) - RAIL
        task = replace(task, constraints={"rail": bnnrl.tasks.Constraint(on_rail, probability)})
    agent = bnnrl.PILCO(task, seed=seed)
    agent.learn(trials, stop_when_solved=True)
    off = [int((np.abs(episode.states[1:, 0]) >= RAIL).sum()) for episode in agent.episodes]
    return [
        {"preset": preset, "variant": variant, "seed": seed, **asdict(trial), "steps_off": steps}
        for trial, steps in zip(agent.history, off, strict=True)
    ]


def summary(rows: list[Row], trials: int) -> str:
    """Return a Markdown table of violations and of the trial that solved the task, by variant."""
    lines = [
        "| variant | seeds | trials from 2 on with a violation | runs without one | solved at, by seed | median |",
        "|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        later = [row for row in own if row["trial"] > 1]
        seeds = sorted({row["seed"] for row in own})
        violating = {row["seed"] for row in later if row["steps_off"]}
        solved = {s: next((row["trial"] for row in own if row["seed"] == s and row["solved"]), None) for s in seeds}
        cells = [
            variant,
            len(seeds),
            f"{sum(row['steps_off'] > 0 for row in later)} of {len(later)}",
            f"{len(seeds) - len(violating)} of {len(seeds)}",
            ", ".join(f"{s}: {t or f'>{trials}'}" for s, t in solved.items()),
            f"{statistics.median(t or trials + 1 for t in solved.values()):g}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all variants and seeds, and write the results."""
    check_names("variants", args.variants, VARIANTS)
    calls: list[Any] = [
        (args.preset, variant, seed, args.trials, args.probability) for variant in args.variants for seed in args.seeds
    ]
    collect(run_all(run, calls, args.jobs), args.name, _tell, partial(summary, trials=args.trials))


def _tell(run: list[Row]) -> str:
    """Return a line about a finished run."""
    off = " ".join(str(row["steps_off"]) for row in run)
    return f"{run[-1]['variant']}, seed {run[-1]['seed']}: {outcome(run[-1])}; steps off the rail by trial {off}"


if __name__ == "__main__":
    main(tyro.cli(Args))
