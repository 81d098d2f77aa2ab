"""Throughput of parallel runs relative to one process: the same short runs with one job and with N jobs, in turns.

    python experiments/benchmarks/pool.py --runs 4 --jobs 2 --rounds 3

Each run has one thread in both cases, so that the work is equal. Turns make other work on the machine affect both
cases equally; if another process keeps the second core busy, parallel runs gain nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import tyro

from bnnrl.comparison.executors import LocalExecutor, run_jobs
from bnnrl.comparison.jobs import Job

ENV_ID = "bnnrl/CartPoleSwingUp-v0"


@dataclass
class Args:
    """Settings of the benchmark of parallel runs."""

    runs: int = 4
    """Number of runs in a turn. Not a multiple of `jobs`, they would leave cores idle at the end."""
    jobs: int = 2
    """Number of parallel runs."""
    rounds: int = 3
    """Number of rounds. In a round, both cases have one turn."""
    trials: int = 3
    """Number of trials of a run. The first has random actions; the second compiles."""
    options: str = "--preset deep-pilco --method adam"
    """Options of `bnnrl train`."""


def turn(args: Args, jobs: int) -> float:
    """Carry out all runs, `jobs` at a time with one thread each, and return the elapsed seconds."""
    with tempfile.TemporaryDirectory() as parent:
        command = ("train", ENV_ID, *args.options.split(), "--trials", str(args.trials), "--no-stop-when-solved")
        todo = []
        for i in range(args.runs):
            folder = Path(parent) / str(i)
            todo.append(Job(f"run {i}", folder, (*command, "--folder", str(folder)), ()))
        started = perf_counter()
        failed = run_jobs(LocalExecutor(jobs, threads=1), todo, 0, lambda job, state: None)
        seconds = perf_counter() - started
        for job, reason in failed.items():
            raise SystemExit(f"{job.name} failed: {reason}.\n" + "\n".join(job.log_tail()))
    return seconds


def main(args: Args) -> None:
    """Time all rounds, and print the ratio."""
    ratios = []
    for i in range(args.rounds):
        # The order alternates, so that a machine that warms up or cools down favours neither case.
        counts = (1, args.jobs) if i % 2 == 0 else (args.jobs, 1)
        seconds = {jobs: turn(args, jobs) for jobs in counts}
        ratios.append(seconds[1] / seconds[args.jobs])
        print(f"1 job {seconds[1]:.1f} s, {args.jobs} jobs {seconds[args.jobs]:.1f} s: {ratios[-1]:.2f}", flush=True)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{args.jobs} jobs have {median(ratios):.2f} times the throughput of one ({spread})")


if __name__ == "__main__":
    main(tyro.cli(Args))
