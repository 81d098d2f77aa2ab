"""Whole runs on the plants of linked rods: at which trial is each one solved?

    python experiments/plants.py --plants DoublePendulum --seeds 100 101 102

Each agent has default settings but for the dynamics model and `PolicySearch.extrapolation`, and stops when the plant is
solved: nine of ten evaluation episodes must end with the rods upright for a second.

Adds a row for each trial to a CSV file in experiments/results/, in the place of an earlier row of the same trial, and
writes a table of all its runs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import tyro
from sweeps import Row, check_names, collect, heading, outcome, quiet_single_thread, run_all
from true_dynamics import PLANTS

RUN = ("plant", "method", "linkage", "extrapolation", "seed")  # the columns that identify a run


@dataclass
class Args:
    """Settings of the experiment."""

    plants: tuple[str, ...] = ("DoublePendulum",)
    """Names of plants."""
    methods: tuple[str, ...] = ("gauss_newton",)
    """Methods of `bnnrl.Dynamics`."""
    seeds: tuple[int, ...] = (100, 101, 102)
    extrapolation: float = 0.25
    """`PolicySearch.extrapolation`; inf for none."""
    linkage: bool = True
    """Whether models have the features of linked rods."""
    trials: int = 10
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "plants"
    """Name of the result files."""


def run(plant: str, method: str, linkage: bool, extrapolation: float, seed: int, trials: int) -> list[Row]:
    """Train one agent, and return a row for each trial."""
    quiet_single_thread()
    import bnnrl

    agent = bnnrl.PILCO(
        f"bnnrl/{plant}-v0",
        dynamics=bnnrl.Dynamics(method=method, linkage=linkage),
        search=bnnrl.PolicySearch(extrapolation=extrapolation),
        seed=seed,
    )
    agent.learn(trials, stop_when_solved=True)
    of_run = dict(zip(RUN, (plant, method, linkage, extrapolation, seed), strict=True))
    return [{**of_run, **asdict(trial)} for trial in agent.history]


def tell(rows: list[Row]) -> str:
    """Return a line about a run."""
    costs = " ".join(f"{row['evaluation_cost']:.3f}" for row in rows)
    return f"{', '.join(str(rows[0][column]) for column in RUN)}: {outcome(rows[-1])}; evaluation costs {costs}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with a row for each run."""
    columns = (
        "plant",
        "method",
        "features",
        "extrapolation",
        "seed",
        "solved at trial",
        "evaluation costs from trial 2",
    )
    lines = heading("Whole runs on the plants of linked rods", columns)
    identity = lambda row: tuple(str(row[column]) for column in RUN)
    for found in sorted(dict.fromkeys(map(identity, rows)), key=lambda found: (found[:-1], int(found[-1]))):
        own = sorted((row for row in rows if identity(row) == found), key=lambda row: int(row["trial"]))
        plant, method, linkage, extrapolation, seed = found
        limit = "none" if math.isinf(float(extrapolation)) else extrapolation
        solved = next((str(row["trial"]) for row in own if str(row["solved"]) == "True"), f"not in {len(own)}")
        costs = " ".join(f"{row['evaluation_cost']:.2f}" for row in own[1:])
        shown = (plant, method, "yes" if linkage == "True" else "no", limit, seed, solved, costs)
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all plants, methods and seeds, and write the results."""
    quiet_single_thread()
    check_names("plants", args.plants, PLANTS)
    common = args.linkage, args.extrapolation
    calls = [(p, m, *common, seed, args.trials) for p in args.plants for m in args.methods for seed in args.seeds]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=(*RUN, "trial"))


if __name__ == "__main__":
    main(tyro.cli(Args))
