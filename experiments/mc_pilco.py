"""MC-PILCO's cart-pole: the share of seeds that have solved the task by each learned policy.

    python experiments/mc_pilco.py --seeds 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19

The published shares are those of 50 seeds, with Gaussian processes as models (Amadio et al., "Model-Based Policy Search
Using Monte Carlo Gradient Estimation With Real Systems Application", IEEE T-RO 2022, table of the simulated cart-pole).
The paper counts the trials of learned policies: five after an episode of exploration (`num_trials` in the authors'
code). In bnnrl, trial 1 is the exploration, so trial n + 1 here is trial n there. The table counts as the paper does.

Writes a row for each trial, a table and a picture to experiments/results/.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import swingup
import tyro
from sweeps import Row, collect, outcome, run_all

POLICIES = 5
PUBLISHED = {
    "MC-PILCO": (0, 14, 78, 94, 100),
    "PILCO": (2, 4, 20, 36, 42),
    "Black-DROPS": (0, 4, 30, 68, 70),
}


@dataclass
class Args:
    """Settings of the MC-PILCO experiment."""

    seeds: tuple[int, ...] = tuple(range(20))
    variant: str = "default"
    """Name of a variant in swingup.py."""
    trials: int = 1 + POLICIES
    """Number of trials, including the exploration."""
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "mc-pilco"
    """Name of the result files."""


def shares(rows: list[Row]) -> list[float]:
    """Return the share of seeds, in per cent, that had solved the task by each of the learned policies 1 to 5."""
    seeds = {r["seed"] for r in rows}
    return [100 * len({r["seed"] for r in rows if r["solved"] and r["trial"] <= 1 + n}) / len(seeds) for n in _BY]


_BY = range(1, 1 + POLICIES)


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with the shares, and the trial that solved the task for each seed."""
    ours = {f"bnnrl, {len({r['seed'] for r in rows})} seeds": shares(rows)}
    lines = ["| solved by learned policy, % | " + " | ".join(map(str, _BY)) + " |", "|---|" + "---|" * POLICIES]
    lines += [
        f"| {name} | " + " | ".join(f"{v:g}" for v in values) + " |" for name, values in (ours | PUBLISHED).items()
    ]
    first = {s: next((r["trial"] for r in rows if r["seed"] == s and r["solved"]), None) for s in _seeds(rows)}
    most = max(r["trial"] for r in rows)
    trials = ", ".join(f"{seed}: {trial or f'>{most}'}" for seed, trial in first.items())
    median = statistics.median(trial or most + 1 for trial in first.values())
    seconds = sorted(next(r["run_seconds"] for r in rows if r["seed"] == s) for s in _seeds(rows))
    lines += ["", f"Trial solved at, by seed, that of exploration counted: {trials}. Median {median:g}.", ""]
    lines += [f"Seconds a run: {statistics.median(seconds):.0f} ({seconds[0]:.0f} to {seconds[-1]:.0f})."]
    return "\n".join(lines) + "\n"


def _seeds(rows: list[Row]) -> list[int]:
    """Return the seeds of the rows, sorted."""
    return sorted({r["seed"] for r in rows})


def draw(rows: list[Row], path: Path) -> None:
    """Draw the shares and the published shares."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.4))
    axis.plot(_BY, shares(rows), marker="o", linewidth=2.5, label=f"bnnrl, {len(_seeds(rows))} seeds")
    for name, values in PUBLISHED.items():
        axis.plot(_BY, values, marker="o", linestyle="--", label=f"{name}, as published")
    axis.set(xlabel="learned policy", ylabel="seeds that have solved it, %", xticks=list(_BY), ylim=(-3, 103))
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(args: Args) -> None:
    """Run all seeds, and write the results."""
    calls = [("mc-pilco", args.variant, seed, args.trials) for seed in args.seeds]
    tell = lambda run: f"seed {run[-1]['seed']}: {outcome(run[-1])}, {run[-1]['run_seconds']:.0f} s"
    collect(run_all(swingup.run, calls, args.jobs), args.name, tell, summary, draw)


if __name__ == "__main__":
    main(tyro.cli(Args))
