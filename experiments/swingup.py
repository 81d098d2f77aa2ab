"""Cart-pole swing-up over many seeds, with variants that lack one part of the policy search each.

    python experiments/swingup.py --preset deep-pilco --seeds 0 1 2 3 4 5 6 7 8 9
    python experiments/swingup.py --variants default "one restart" --seeds 0 1 2 3 4

Writes a row for each trial of each seed, and a summary, to experiments/results/.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Literal

import tyro
from sweeps import Row, check_names, collect, outcome, quiet_single_thread, run_all

# Differences from the defaults: arguments of PILCO, and of its parts "task", "search", "policy" and "dynamics".
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no screening": {"search": {"candidates": 8}},
    "no scouting rounds": {"search": {"rounds": 1, "scout_updates": 1}},
    "one restart": {"search": {"restarts": 1, "rounds": 1, "scout_updates": 1}},
    "whole horizon from the start": {"search": {"scout_horizon": 1.0}},
    "no settling": {"search": {"settling_width": 1.0, "effort": 0.0}},
    "settling to a quarter": {"search": {"settling_width": 0.25}},
    "settling to an eighth": {"search": {"settling_width": 0.125}},
    "no effort": {"search": {"effort": 0.0}},
    "no optimism": {"search": {"optimism": 0.0}},
    "unbounded gradients": {"search": {"adjoint_bound": 1e9}},
    "wide basis functions": {"policy": {"length_scale": 1.0}},
    "no warm-up": {"search": {"warmup": 1}},
    "50 centres": {"policy": {"num_centers": 50}},
    "planned to the end only": {"horizon": 25},
    "model given the position": {"task": {"invariant": ()}},
    "positions integrated": {"task": {"velocities": {0: 1, 2: 3}}},
    "positions learned": {"task": {"velocities": {}}},
    "model fitted to minibatches": {"dynamics": {"batch_size": 32, "learning_rate": 3e-3}},
}


@dataclass
class Args:
    """Settings of the swing-up experiment."""

    preset: Literal["pilco", "deep-pilco", "mc-pilco"] = "deep-pilco"
    seeds: tuple[int, ...] = tuple(range(10))
    variants: tuple[str, ...] = ("default",)
    trials: int = 8
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str | None = None
    """Name of the result files; the preset by default."""


def run(preset: str, variant: str, seed: int, trials: int) -> list[Row]:
    """Train one agent and return a row for each trial."""
    quiet_single_thread()
    import bnnrl

    changes = dict(VARIANTS[variant])
    started = perf_counter()
    task = bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset=preset)
    agent = bnnrl.PILCO(
        replace(task, **changes.pop("task", {})),
        dynamics=bnnrl.Dynamics(**changes.pop("dynamics", {})),
        policy=bnnrl.policies.RBF(**changes.pop("policy", {})),
        search=bnnrl.PolicySearch(**changes.pop("search", {})),
        seed=seed,
        **changes,
    )
    agent.learn(trials, stop_when_solved=True)
    seconds = perf_counter() - started
    return [
        {"preset": preset, "variant": variant, "seed": seed, **asdict(t), "run_seconds": seconds} for t in agent.history
    ]


def summary(rows: list[Row], trials: int) -> str:
    """Return a Markdown table with the trial that solved the task for each seed, and the median."""
    lines = [
        "| preset | variant | solved | trial solved at, by seed | median | seconds a run, median |",
        "|---|---|---|---|---|---|",
    ]
    for preset, variant in dict.fromkeys((r["preset"], r["variant"]) for r in rows):
        own = [r for r in rows if (r["preset"], r["variant"]) == (preset, variant)]
        seeds = sorted({r["seed"] for r in own})
        solved = {s: next((r["trial"] for r in own if r["seed"] == s and r["solved"]), None) for s in seeds}
        by_seed = ", ".join(f"{s}: {t or f'>{trials}'}" for s, t in solved.items())
        median = statistics.median(t or trials + 1 for t in solved.values())
        seconds = statistics.median(next(r["run_seconds"] for r in own if r["seed"] == s) for s in seeds)
        share = f"{sum(t is not None for t in solved.values())}/{len(seeds)}"
        lines.append(f"| {preset} | {variant} | {share} | {by_seed} | {median:g} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all variants and seeds, and write the results."""
    check_names("variants", args.variants, VARIANTS)
    calls = [(args.preset, variant, seed, args.trials) for variant in args.variants for seed in args.seeds]
    summarise = partial(summary, trials=args.trials)
    collect(run_all(run, calls, args.jobs), f"swingup-{args.name or args.preset}", _tell, summarise)


def _tell(run: list[Row]) -> str:
    """Return a line about a finished run."""
    last = run[-1]
    return f"{last['variant']}, seed {last['seed']}: {outcome(last)}, {last['run_seconds']:.0f} s"


if __name__ == "__main__":
    main(tyro.cli(Args))
