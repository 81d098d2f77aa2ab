"""Processor seconds of five learned policies on MC-PILCO's cart-pole, on one thread.

    python experiments/benchmarks/cartpole_trials.py --peers PYTHON

bnnrl learns for six trials of 3 s: one of exploration and five of learned policies, by the preset "mc-pilco", whether
or not the task is solved before. The real episodes and ten episodes of evaluation after each trial are included.

The code of MC-PILCO's authors is in no package index. Its seconds are those of the same work in PyTorch,
cartpole_torch.py: a training step of both Gaussian processes and a policy update are timed with 60 to 300 points, and
multiplied by the numbers of steps in the authors' settings for this task. These are 1501 training steps at each trial,
and at most 2000 updates at the first trial and 4000 at each later one. The authors end a policy search early when the
cost no longer falls, and leave out data that the model predicts well, so that their seconds may be fewer.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import tyro
from run import Entrant, make_peers

sys.path.insert(0, str(Path(__file__).parents[1]))
from sweeps import Row, quiet_single_thread, run_all, tabulate

MODEL_STEPS, UPDATES, EPISODE = 1501, (2000, 4000, 4000, 4000, 4000), 60


@dataclass
class Args:
    """Settings of the benchmark."""

    peers: Path | None = None
    """A Python interpreter with the packages in peers.txt. By default, an environment is made beside this file."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of bnnrl's runs."""
    turns: int = 5
    """Timed steps of the Gaussian processes for each number of points."""
    name: str = "cartpole-trials"
    """Name of the result files."""


def learn(seed: int) -> Row:
    """Return the seconds of bnnrl's trials."""
    quiet_single_thread()
    import bnnrl

    wall, cpu = perf_counter(), process_time()
    agent = bnnrl.PILCO(bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset="mc-pilco"), seed=seed)
    agent.learn(1 + len(UPDATES))
    wall, cpu = perf_counter() - wall, process_time() - cpu
    solved = next((t.trial - 1 for t in agent.history if t.solved), "")
    return {"what": "bnnrl", "seed": seed, "cpu_seconds": cpu, "seconds": wall, "solved_by_policy": solved}


def work(peers: Path, turns: int) -> Iterator[Row]:
    """Yield the processor seconds of each trial by Gaussian processes, and their sum."""
    total = 0.0
    for trial, updates in enumerate(UPDATES, start=1):
        points = str(EPISODE * trial)
        seconds = 0.0
        for part, steps in (("fit", MODEL_STEPS), ("update", updates)):
            entrant = Entrant(peers, ["cartpole_torch.py", "--points", points, "--part", part])
            figures = [entrant.turn() for _ in range(turns)]
            entrant.close()
            seconds += steps * statistics.median(turn["ms"] * turn["cores"] for turn in figures) / 1e3
        total += seconds
        yield {"what": f"MC-PILCO's work, trial {trial}", **_EMPTY, "cpu_seconds": seconds}
    yield {"what": "MC-PILCO's work, all trials", **_EMPTY, "cpu_seconds": total}


_EMPTY = {"seed": "", "cpu_seconds": 0.0, "seconds": "", "solved_by_policy": ""}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| | seed | processor seconds | seconds | solved by learned policy |", "|---|---|---|---|---|"]
    for r in rows:
        wall = f"{r['seconds']:.0f}" if r["seconds"] != "" else ""
        lines.append(f"| {r['what']} | {r['seed']} | {r['cpu_seconds']:.0f} | {wall} | {r['solved_by_policy']} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run both sides, and write the table."""
    ours = list(run_all(learn, [(seed,) for seed in args.seeds], 1))
    tabulate([*ours, *work(args.peers or make_peers(), args.turns)], args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
