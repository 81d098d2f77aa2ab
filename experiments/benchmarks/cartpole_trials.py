"""Processor seconds of five learned policies on MC-PILCO's cart-pole, on one thread.

    python experiments/benchmarks/cartpole_trials.py --seeds 0 1 2

Each seed is a new process: an episode of exploration, then five times a fit of the model, a policy search and an
episode, whether or not the task is solved before. Imports and compilation count; evaluation on fresh episodes does too.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from sweeps import quiet_single_thread, spread

EXPLORATION, POLICIES = 1, 5


@dataclass
class Args:
    """Settings of the benchmark of whole trials."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs. With a single seed, the run is in this process."""


def learn(seed: int) -> None:
    """Run the trials of a seed, and print the processor seconds of the process and the policy that solved the task."""
    quiet_single_thread()
    import bnnrl

    task = bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset="mc-pilco")
    agent = bnnrl.PILCO(task, seed=seed)
    agent.learn(EXPLORATION + POLICIES, stop_when_solved=False)
    solved = next((t.trial - EXPLORATION for t in agent.history if t.solved), 0)
    print(process_time(), solved)


def main(args: Args) -> None:
    """Run all seeds, and print a line for each and the median."""
    if len(args.seeds) == 1:
        learn(args.seeds[0])
        return
    found = []
    for seed in args.seeds:
        call = [sys.executable, __file__, "--seeds", str(seed)]
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
        seconds, solved = done.stdout.split()[-2:]
        found.append(float(seconds))
        print(f"seed {seed}: {found[-1]:.1f} processor s, solved by learned policy {solved}", flush=True)
    print(f"median {spread(found, '{:.1f}'.format)} processor s")


if __name__ == "__main__":
    main(tyro.cli(Args))
