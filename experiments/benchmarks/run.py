"""Times bnnrl and other packages in turns, and writes a table to experiments/results/benchmarks.md.

Each script is a process that compiles and warms up before it is timed. The processes then run short blocks in turns,
A B C A B C ..., so that other work on the machine affects all of them equally.

    python experiments/benchmarks/run.py [--peers PYTHON] [--rounds 15] [--lock FILE]
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import subprocess
import sys
import venv
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import tyro

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "benchmarks.md"

# The scripts of each comparison. Ratios are relative to the first and to the second.
COMPARISONS: dict[str, dict[str, list[str]]] = {
    **{
        f"Policy update, {policy.upper()} policy": {
            "bnnrl": ["rollout.py", "--policy", policy],
            "bnnrl, two groups": ["rollout.py", "--policy", policy, "--groups", "2"],
            "bnnrl, its defaults": ["rollout.py", "--policy", policy, "--defaults"],
            "bnnrl, its defaults, two groups": ["rollout.py", "--policy", policy, "--defaults", "--groups", "2"],
            "JAX": ["rollout_jax.py", policy, "1"],
            "JAX, 5 steps unrolled": ["rollout_jax.py", policy, "5"],
            "PyTorch": ["rollout_torch.py", policy],
        }
        for policy in ("mlp", "rbf")
    },
    "Adam step of an ensemble of five": {
        "bnnrl": ["ensemble.py"],
        "PyTorch, batched": ["ensemble_torch.py"],
        "keras.Model.fit, one member": ["keras_fit.py"],
    },
    "Transition of HMC, four chains": {"bnnrl": ["hmc.py"], "BlackJAX": ["hmc_jax.py"]},
}


@dataclass
class Args:
    """Settings of the benchmarks."""

    peers: Path | None = None
    """A Python interpreter with the packages in peers.txt. By default, an environment is made beside this file."""
    rounds: int = 15
    """Number of rounds. In a round, every script has one turn."""
    lock: Path | None = None
    """A file to lock during the measurement, for machines where other work takes the same lock."""


class Entrant:
    """A warm process that runs timed blocks on request."""

    def __init__(self, python: Path, script: list[str]):
        self._name = " ".join(script)
        self._process = subprocess.Popen(
            [str(python), str(HERE / script[0]), *script[1:]],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.first_s = self._answer()["first_s"]

    def turn(self) -> dict[str, float]:
        """Run one block, and return its figures."""
        print(file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self._name} stopped. Run it alone to see why.")
        return json.loads(line)


def timed(entrants: dict[str, Entrant], rounds: int) -> list[dict[str, dict[str, float]]]:
    """Return the figures of all processes for each round, after one turn that does not count, and end the processes."""
    for entrant in entrants.values():
        entrant.turn()
    found = [{name: entrant.turn() for name, entrant in entrants.items()} for _ in range(rounds)]
    for entrant in entrants.values():
        entrant.close()
    return found


def compare(scripts: dict[str, list[str]], peers: Path, args: Args) -> list[str]:
    """Return the rows of the table of a comparison."""
    of = lambda script: peers if script[0].endswith(("_jax.py", "_torch.py")) else Path(sys.executable)
    entrants = {stack: Entrant(of(script), script) for stack, script in scripts.items()}
    with locked(args.lock):
        rounds = timed(entrants, args.rounds)
    first, second = list(entrants)[:2]
    rows = []
    for stack, entrant in entrants.items():
        ms = [turns[stack]["ms"] for turns in rounds]
        ratio = lambda base: median(turns[base]["ms"] / turns[stack]["ms"] for turns in rounds)  # noqa: B023
        cells = [f"{min(ms):.2f}", f"{median(ms):.2f}", f"{max(ms):.2f}", f"{ratio(first):.2f}"]
        cells += [f"{ratio(second):.2f}" if second.startswith("bnnrl") else ""]
        cells += [f"{median(turns[stack]['cores'] for turns in rounds):.1f}", f"{entrant.first_s:.1f}"]
        rows.append(f"| {stack} | {' | '.join(cells)} |")
    return rows


@contextmanager
def locked(path: Path | None):
    """Hold a lock on a file, if one is given."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_peers() -> Path:
    """Return the Python interpreter of the environment of other packages, which is made if necessary."""
    folder = HERE / ".venv-peers"
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = (HERE / "peers.txt").read_text()
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(HERE / "peers.txt")], check=True)
        ready.write_text(wanted)
    return python


def machine() -> str:
    """Return the number and the model of the processors."""
    info = Path("/proc/cpuinfo")
    cpus = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return f"{len(cpus) or os.cpu_count()} × {cpus[0] if cpus else platform.processor()}"


def versions(peers: Path) -> str:
    """Return the versions of Python and of all packages."""
    code = "import platform, jax, torch; print(platform.python_version(), jax.__version__, torch.__version__)"
    done = subprocess.run([str(peers), "-c", code], capture_output=True, text=True, check=True)
    python, jax, torch = done.stdout.split()
    ours = f"Python {platform.python_version()}, TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    return f"{ours}; peers: Python {python}, JAX {jax}, PyTorch {torch}"


def main(args: Args) -> None:
    """Run all comparisons, and write the table."""
    peers = args.peers or make_peers()
    lines = ["# Benchmarks", "", "Written by experiments/benchmarks/run.py; README.md there says what is timed.", ""]
    for work, scripts in COMPARISONS.items():
        table = [
            f"## {work}",
            "",
            "| Stack | min, ms | median, ms | max, ms | bnnrl / this | two groups / this | cores | first block, s |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *compare(scripts, peers, args),
            "",
        ]
        print("\n".join(table), flush=True)
        lines += table
    lines.append(f"{args.rounds} rounds, medians of the ratios within a round. {machine()}. {versions(peers)}.")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))
