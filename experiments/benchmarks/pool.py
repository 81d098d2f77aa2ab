"""What a pool of runs gains over one process: the same short runs by `--jobs 1` and by `--jobs N`, in turn.

    python experiments/benchmarks/pool.py --runs 4 --jobs 2 --rounds 3

Each run has one thread in either case, so that the ratio is that of throughputs at equal work. What the machine does
beside falls on both alike, though a busy second core leaves nothing to gain.
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
    """Throughput of a pool of runs over that of one process."""

    runs: int = 4
    """In a turn; a multiple of `jobs`, or cores stand idle at its end."""
    jobs: int = 2
    rounds: int = 3
    """In a round either has a turn."""
    trials: int = 3
    """Of a run; the first acts at random, the second compiles."""
    options: str = "--preset deep-pilco --method adam"
    """Of `bnnrl train`."""


def turn(args: Args, jobs: int) -> float:
    """Carry out all runs, `jobs` at a time with one thread each, and return the seconds that took."""
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
    ratios = []
    for i in range(args.rounds):
        # The order changes from round to round, lest a machine that warms up or cools down favour one.
        counts = (1, args.jobs) if i % 2 == 0 else (args.jobs, 1)
        seconds = {jobs: turn(args, jobs) for jobs in counts}
        ratios.append(seconds[1] / seconds[args.jobs])
        print(f"1 job {seconds[1]:.1f} s, {args.jobs} jobs {seconds[args.jobs]:.1f} s: {ratios[-1]:.2f}", flush=True)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{args.jobs} jobs have {median(ratios):.2f} times the throughput of one ({spread})")


if __name__ == "__main__":
    main(tyro.cli(Args))
