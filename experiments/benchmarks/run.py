"""Times bnnrl and other packages in turns, and writes tables to experiments/results/benchmarks.md and peers.md.

Each script is a process that compiles and warms up before it is timed. The processes then run short blocks in turns,
A B C A B C ..., so that other work on the machine affects all of them equally. The figures of all rounds are in
benchmarks.csv and peers.csv. A comparison that is not run again keeps its figures there, or its table if that is older.

    python experiments/benchmarks/run.py [--peers PYTHON] [--rounds 9] [--only NUTS] [--cores 1] [--lock FILE]
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"

# For each table, the scripts of its comparisons. Ratios are relative to the first script, and to the second if it is
# bnnrl's, too.
TABLES: dict[str, dict[str, dict[str, list[str]]]] = {
    "benchmarks": {
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
    },
    "peers": {
        "Policy update on MC-PILCO's cart-pole, one thread": {
            "bnnrl": ["cartpole.py"],
            **{f"MC-PILCO's work, {n} points": ["cartpole_torch.py", "--points", str(n)] for n in (60, 120, 180, 300)},
            "MC-PILCO's work, 60 points, float32": ["cartpole_torch.py", "--points", "60", "--float32"],
            "TorchRL's PILCO, 60 points": ["cartpole_torch.py", "--stack", "torchrl", "--points", "60"],
        },
        "Training step of the ensemble of PETS": {
            "bnnrl": ["pets.py"],
            "mbrl-lib": ["pets_torch.py"],
        },
        "An action of PETS by CEM": {
            "bnnrl": ["pets.py", "--part", "plan", "--count", "1"],
            "mbrl-lib": ["pets_torch.py", "--part", "plan", "--count", "1"],
        },
        **{
            f"Transition of {method.upper()}, four chains": {
                "bnnrl": ["samplers.py", "--method", method],
                "BlackJAX": ["samplers_jax.py", "--package", "blackjax", "--method", method],
                "NumPyro": ["samplers_jax.py", "--package", "numpyro", "--method", method],
            }
            for method in ("hmc", "nuts")
        },
        "Step of SGLD": {
            "bnnrl": ["approximate.py"],
            "BlackJAX": ["approximate_jax.py"],
            "posteriors": ["approximate_torch.py"],
        },
        "Step of variational inference": {
            "bnnrl": ["approximate.py", "--method", "vi"],
            "BlackJAX": ["approximate_jax.py", "--method", "vi"],
            "NumPyro": ["approximate_jax.py", "--method", "vi", "--package", "numpyro"],
            "posteriors": ["approximate_torch.py", "--method", "vi"],
        },
        **{
            f"{title} by Laplace's approximation, {structure.replace('_', ' ')}": {
                stack: [script, "--method", method, "--structure", structure, "--width", width, "--count", count]
                for stack, script in (("bnnrl", "approximate.py"), ("laplace-torch", "approximate_torch.py"))
            }
            for structure, width, count in (
                ("last_layer", "200", "1"),
                ("diagonal", "200", "1"),
                ("kronecker", "200", "1"),
                ("full", "20", "1"),
            )
            for title, method in (("Fit", "laplace"), ("Prediction", "predict"))
        },
    },
}
_DRAWS_IN_BLOCK = 100  # of the samplers
_LIMIT_S = 600  # for an answer of a script, which takes some seconds, or a minute to compile


@dataclass
class Args:
    """Settings of the benchmarks."""

    peers: Path | None = None
    """A Python interpreter with the packages in peers.txt. By default, an environment is made beside this file."""
    rounds: int = 9
    """Number of rounds. In a round, every script has one turn."""
    only: tuple[str, ...] = ()
    """Words of the titles of the comparisons to run, all if none is given."""
    cores: int | None = None
    """Number of processors that the scripts may use, all by default."""
    lock: Path | None = None
    """A file to lock during the measurement, for machines where other work takes the same lock."""


class NotRunError(RuntimeError):
    """A script that stopped or did not answer, with the reason."""


Row = dict[str, Any]


class Entrant:
    """A warm process that runs timed blocks on request."""

    def __init__(self, python: Path, script: list[str]):
        self._name, self._errors = " ".join(script), tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._is_late = False
        self._process = subprocess.Popen(
            [str(python), str(HERE / script[0]), *script[1:]],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )
        self.first_s = self._answer()["first_s"]

    def turn(self) -> dict[str, float]:
        """Run one block, and return its figures.

        Raises:
            NotRunError: if the script has stopped, or does not answer in ten minutes.
        """
        with suppress(BrokenPipeError):  # a script that has stopped: `_answer` tells why
            print(file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process, if it has not stopped, and delete its messages."""
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, float]:
        limit = threading.Timer(_LIMIT_S, self._give_up)
        limit.start()
        # Packages print lines of their own.
        line = next((line for line in self._process.stdout or () if line.startswith("{")), "")
        limit.cancel()
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            reason = f"did not answer in {_LIMIT_S} s" if self._is_late else f"stopped: {last}"
            self.close()
            raise NotRunError(f"{self._name} {reason}")
        return json.loads(line)

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()


def timed(entrants: dict[str, Entrant], rounds: int) -> list[dict[str, dict[str, float]]]:
    """Return the figures of all processes for each round, after one turn that does not count, and end the processes.

    Raises:
        NotRunError: if a script stops, or does not answer in time.
    """
    try:
        for entrant in entrants.values():
            entrant.turn()
        return [{name: entrant.turn() for name, entrant in entrants.items()} for _ in range(rounds)]
    finally:
        for entrant in entrants.values():
            entrant.close()


def compare(title: str, scripts: dict[str, list[str]], peers: Path, args: Args) -> list[Row]:
    """Return a row for each stack and round of a comparison, and one for each stack that could not be run."""
    entrants: dict[str, Entrant] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, locked(args.lock):
        for stack, script in scripts.items():
            python = peers if script[0].endswith(("_jax.py", "_torch.py")) else Path(sys.executable)
            more = ["--outputs", f"{folder}/{stack}.npy"] if script[0].startswith("samplers") else []
            try:
                entrants[stack] = Entrant(python, [*script, *more])
                entrants[stack].turn()
            except NotRunError as error:
                entrants.pop(stack, None)
                rows.append({"comparison": title, "stack": stack, "missing": str(error)})
        try:
            rounds = timed(entrants, args.rounds)
        except NotRunError as error:
            rounds = []
            rows.append({"comparison": title, "stack": "the other stacks", "missing": str(error)})
        sizes = {stack: _effective_size(Path(folder) / f"{stack}.npy") for stack in entrants}
    for i, turns in enumerate(rounds):
        for stack, turn in turns.items():
            more = {"first_s": entrants[stack].first_s, "ess": sizes[stack]}
            rows.append({"comparison": title, "stack": stack, "round": i, **turn, **more})
    return rows


def _effective_size(path: Path) -> float | str:
    """Return the median effective sample size of a block's chains over the outputs in a file; "" without a file."""
    if not path.exists():
        return ""
    from bnnrl.diagnostics import bulk_ess  # imports TensorFlow

    return float(np.median(bulk_ess(np.load(path))))


def table(title: str, rows: list[Row]) -> list[str]:
    """Return the lines of the table of a comparison."""
    own = [row for row in rows if row["comparison"] == title]
    stacks = list(dict.fromkeys(row["stack"] for row in own if not row.get("missing")))
    of = {s: {int(r["round"]): r for r in own if r["stack"] == s and not r.get("missing")} for s in stacks}
    bases = [s for s in stacks[:2] if s.startswith("bnnrl")]
    sampled = any(row.get("ess") for row in own)
    columns = ["min, ms", "median, ms", "max, ms", *(f"{base} / this" for base in bases), "cores", "first block, s"]
    columns += ["processor ms (range)", *(f"{base} / this, processor" for base in bases)]
    columns += ["ESS a second", "ESS a processor second"] if sampled else []
    lines = [f"## {title}", "", f"| Stack | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for stack in stacks:
        turns = of[stack]
        ms = [float(turn["ms"]) for turn in turns.values()]
        cells = [f"{value:.2f}" for value in (min(ms), median(ms), max(ms))]
        cells += [_median_ratio(of[base], turns, _wall_ms) for base in bases]
        cores = median(float(turn["cores"]) for turn in turns.values())
        cells += [f"{cores:.1f}", f"{float(turns[0]['first_s']):.1f}"]
        used = [_processor_ms(turn) for turn in turns.values()]
        cells += [f"{median(used):.2f} ({min(used):.2f} to {max(used):.2f})"]
        cells += [_median_ratio(of[base], turns, _processor_ms) for base in bases]
        if sampled:
            share = float(turns[0]["ess"]) / _DRAWS_IN_BLOCK
            cells += [f"{share / (median(ms) / 1e3):.1f}", f"{share / (median(used) / 1e3):.1f}"]
        lines.append(f"| {stack} | {' | '.join(cells)} |")
    missing = [f"Not run: {row['stack']}. {row['missing']}" for row in own if row.get("missing")]
    rounds = max((len(turns) for turns in of.values()), default=0)
    return [*lines, "", f"{rounds} rounds.", "", *missing, *([""] if missing else [])]


def _wall_ms(turn: Row) -> float:
    return float(turn["ms"])


def _processor_ms(turn: Row) -> float:
    return float(turn["ms"]) * float(turn["cores"])


def _median_ratio(ours: dict[int, Row], theirs: dict[int, Row], ms: Callable[[Row], float]) -> str:
    """Return the median over the rounds of the ratio of two stacks' times."""
    return f"{median(ms(ours[i]) / ms(turn) for i, turn in theirs.items()):.2f}"


def read_rows(name: str) -> list[Row]:
    """Return the rows of earlier runs."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(name: str, rows: list[Row]) -> None:
    """Write rows to a CSV file."""
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(_COLUMNS), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


_FOOTER = "Medians of the ratios within a round."
_COLUMNS: tuple[str, ...] = ("comparison", "stack", "round", "ms", "cores", "first_s", "ess", "missing")


@contextmanager
def locked(path: Path | None):
    """Hold a lock on a file, if one is given."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check(args: Args) -> None:
    """Exit with a message if an argument is invalid."""
    available = len(os.sched_getaffinity(0))
    if args.rounds < 1:
        raise SystemExit(f"Invalid `--rounds`: expected at least 1. Received: {args.rounds}.")
    if args.cores is not None and not 1 <= args.cores <= available:
        raise SystemExit(f"Invalid `--cores`: expected 1 to {available}, which are here. Received: {args.cores}.")
    if args.peers is not None and not os.access(args.peers, os.X_OK):
        raise SystemExit(f"Invalid `--peers`: expected a Python interpreter. Received: {args.peers}.")
    titles = [title for comparisons in TABLES.values() for title in comparisons]
    for word in args.only:
        if not any(word in title for title in titles):
            raise SystemExit(f"Invalid `--only`: expected a part of one of {titles}. Received: {word!r}.")


def make_peers() -> Path:
    """Return the Python interpreter of the environment of other packages, which is made if necessary."""
    folder = HERE / ".venv-peers"
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = "".join(file.read_text() for file in _peer_files())
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        with_deps, without = _peer_files()
        if _installed(python, with_deps) & _installed(python, without, "--no-deps"):
            ready.write_text(wanted)
    return python


def _installed(python: Path, listed: Path, *options: str) -> bool:
    """Install the packages that a file lists, one by one if they fail together, and return whether all are there.

    The scripts whose packages are missing stop, and the tables say so.
    """
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
    if subprocess.run([*pip, "-r", str(listed)]).returncode == 0:
        return True
    packages = [line for line in listed.read_text().splitlines() if line and not line.startswith("#")]
    missing = [package for package in packages if subprocess.run([*pip, package]).returncode]
    print(f"Not installed: {', '.join(missing) or 'none'}.", flush=True)
    return not missing


def _peer_files() -> tuple[Path, Path]:
    """Return the lists of packages that are installed with and without their dependencies."""
    return HERE / "peers.txt", HERE / "peers_no_deps.txt"


def machine() -> str:
    """Return the number and the model of the processors."""
    info = Path("/proc/cpuinfo")
    cpus = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return f"{len(cpus) or os.cpu_count()} × {cpus[0] if cpus else platform.processor()}"


def versions(peers: Path) -> str:
    """Return the versions of Python and of all packages."""
    lines = _peer_files()[0].read_text().splitlines()
    names = {line.split("==")[0].lower() for line in lines if "==" in line} | {"mbrl", "laplace-torch"}
    listed = subprocess.run([str(peers), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
    found = [line.replace("==", " ") for line in listed.stdout.splitlines() if line.split("==")[0].lower() in names]
    ours = f"Python {platform.python_version()}, TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    return f"{ours}; peers: {', '.join(found)}"


def write(name: str, rows: list[Row], peers: Path) -> None:
    """Write the rows and the tables of their comparisons."""
    write_rows(name, rows)
    about = "Written by experiments/benchmarks/run.py; README.md there says what is timed."
    lines = [f"# {name.capitalize()}", "", about, ""]
    known = list(TABLES[name])
    tables = earlier_tables(name) | {row["comparison"]: table(row["comparison"], rows) for row in rows}
    place = lambda title: next((i for i, own in enumerate(known) if title.startswith(own)), len(known))
    for title in sorted(tables, key=place):
        lines += tables[title]
    lines.append(f"{_FOOTER} {machine()}. {versions(peers)}.")
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


def earlier_tables(name: str) -> dict[str, list[str]]:
    """Return the lines of the tables that were written before, by title: some are older than the CSV file."""
    path = RESULTS / f"{name}.md"
    found: dict[str, list[str]] = {}
    own: list[str] = []
    for line in path.read_text().partition(_FOOTER)[0].splitlines() if path.exists() else ():
        if line.startswith("## "):
            own = found[line.removeprefix("## ")] = []
        own.append(line)
    return found


def main(args: Args) -> None:
    """Run the comparisons, and write the tables after each."""
    check(args)
    peers = args.peers or make_peers()
    if args.cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])  # the scripts inherit it
    suffix = "" if args.cores is None else f", {args.cores} processor{'s' * (args.cores > 1)}"
    for name, comparisons in TABLES.items():
        for title, scripts in comparisons.items():
            if args.only and not any(word in title for word in args.only):
                continue
            title += suffix
            found = compare(title, scripts, peers, args)
            rows = [row for row in read_rows(name) if row["comparison"] != title] + found
            print("\n".join(table(title, rows)), flush=True)
            write(name, rows, peers)


if __name__ == "__main__":
    main(tyro.cli(Args))
