"""Time of `make demo` on a machine that has compiled nothing yet, and of the second run: seconds of each part.

    python experiments/benchmarks/demo.py --rounds 3
    PYTHONPATH=OTHER:OTHER/envs python experiments/benchmarks/demo.py   # another copy of the repository

Each round begins with an empty cache of compiled programs. Processor seconds hardly depend on other load, and exceed
wall seconds where two cores work at the same time. "compile" is contained in no other part: it traces and compiles the
policy search, or reads its programs. "other" is what no part contains, such as starting Python.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import tyro

_Parts = dict[str, tuple[float, float]]  # part -> (wall, processor) seconds


@dataclass
class Args:
    """Settings of the benchmark of the demo."""

    rounds: int = 1
    """Number of rounds of a first and a second run."""
    options: str = "bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0"
    """Arguments of `bnnrl train`."""


class _Stopwatch:
    """Adds up the seconds of functions that do not call each other."""

    def __init__(self):
        self.parts: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, whose calls count as a part."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            begun = perf_counter(), process_time()
            try:
                return function(*args, **kwargs)
            finally:
                for i, now in enumerate((perf_counter(), process_time())):
                    self.parts[part][i] += now - begun[i]

        return wrapper

    def watch(self, part: str, owner: Any, name: str) -> None:
        """Time a method of a class, or a function of a module."""
        setattr(owner, name, self.timed(part, getattr(owner, name)))


def train(arguments: list[str]) -> dict[str, Any]:
    """Run `bnnrl train` in this process, and return the seconds of its parts."""
    stopwatch = _Stopwatch()
    stopwatch.timed("import", _import)()
    import bnnrl
    from bnnrl import cli
    from bnnrl.rl.reporting import html
    from bnnrl.rl.reporting.run import Run
    from bnnrl.rl.search import Searcher
    from bnnrl.rl.simulator.learned_env import LearnedEnv

    stopwatch.watch("make the agent", bnnrl.PILCO, "__init__")
    stopwatch.watch("fit", LearnedEnv, "fit")
    stopwatch.watch("compile", Searcher, "compile")
    stopwatch.watch("search", Searcher, "search")
    stopwatch.watch("episodes", bnnrl.PILCO, "_run_episodes")
    stopwatch.watch("evaluation", bnnrl.PILCO, "_evaluate")
    stopwatch.watch("checkpoints and pictures", Run, "on_trial_end")
    stopwatch.watch("report", html, "write")
    if cli.main(["train", *arguments]):
        raise SystemExit(f"bnnrl train {arguments} failed.")
    return stopwatch.parts


def _import() -> None:
    import bnnrl
    from bnnrl.cli import train  # noqa: F401

    bnnrl.PILCO  # noqa: B018


def run(options: str, cache: str) -> _Parts:
    """Return the seconds of each part of `bnnrl train` in a new process, "other" and "all" among them."""
    with tempfile.TemporaryDirectory() as parent:
        command = [sys.executable, __file__, "--one", *options.split(), "--folder", str(Path(parent) / "run")]
        begun, before = perf_counter(), os.times()
        done = subprocess.run(command, env=os.environ | {"BNNRL_CACHE": cache}, stdout=subprocess.PIPE, check=True)
        wall, after = perf_counter() - begun, os.times()
    parts = {part: tuple(seconds) for part, seconds in json.loads(done.stdout.splitlines()[-1]).items()}
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    rest = [total - sum(seconds[i] for seconds in parts.values()) for i, total in enumerate((wall, cpu))]
    return parts | {"other": (rest[0], rest[1]), "all": (wall, cpu)}


def main(args: Args) -> None:
    """Time all rounds, and print a table of the medians."""
    rounds: list[tuple[_Parts, _Parts]] = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as cache:
            rounds.append((run(args.options, cache), run(args.options, cache)))
        print("first and second run, processor s:", *(f"{parts['all'][1]:.1f}" for parts in rounds[-1]), flush=True)
    print("| part | first run, s | of a processor, s | second run, s | of a processor, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for part in rounds[0][0]:
        figures = [median(r[second].get(part, (0.0, 0.0))[i] for r in rounds) for second in (0, 1) for i in (0, 1)]
        print(f"| {part} | {' | '.join(f'{figure:.1f}' for figure in figures)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(train(sys.argv[2:])))
    else:
        main(tyro.cli(Args))
