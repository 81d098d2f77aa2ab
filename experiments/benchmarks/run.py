"""Time bnnrl against other stacks, alternating, and write the table to experiments/results/benchmarks.md.

python experiments/benchmarks/run.py [--peers PYTHON] [--rounds 9]
"""

from __future__ import annotations

import fcntl
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

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "benchmarks.md"

# For each comparison: bnnrl first, then what it is compared with. A script in peers/ runs in the peers' environment.
COMPARISONS: dict[str, dict[str, list[str]]] = {
    "Policy update, MLP policy": {
        "bnnrl": ["rollout.py", "--policy", "mlp"],
        "JAX": ["peers/rollout_jax.py", "mlp"],
        "PyTorch": ["peers/rollout_torch.py", "mlp"],
        "bnnrl, two groups": ["rollout.py", "--policy", "mlp", "--groups", "2"],
        "bnnrl, its defaults": ["rollout.py", "--policy", "mlp", "--defaults"],
        "bnnrl, its defaults, two groups": ["rollout.py", "--policy", "mlp", "--defaults", "--groups", "2"],
    },
    "Policy update, RBF policy": {
        "bnnrl": ["rollout.py", "--policy", "rbf"],
        "JAX": ["peers/rollout_jax.py", "rbf"],
        "PyTorch": ["peers/rollout_torch.py", "rbf"],
        "bnnrl, two groups": ["rollout.py", "--policy", "rbf", "--groups", "2"],
        "bnnrl, its defaults": ["rollout.py", "--policy", "rbf", "--defaults"],
        "bnnrl, its defaults, two groups": ["rollout.py", "--policy", "rbf", "--defaults", "--groups", "2"],
    },
    "Adam step of an ensemble of five": {
        "bnnrl": ["ensemble.py"],
        "PyTorch, batched": ["peers/ensemble_torch.py"],
        "keras.Model.fit, one member": ["keras_fit.py"],
    },
}


@dataclass
class Args:
    """bnnrl against other stacks."""

    peers: Path | None = None
    """A Python with the packages of peers.txt; without it, an environment is made beside this file."""
    rounds: int = 7
    """How often each script is run; in a round, each once."""
    lock: Path | None = None
    """A file to lock during each round, on a machine where other work takes the same lock."""


def make_peers() -> Path:
    """Return the Python of the peers' environment, made if need be."""
    folder = HERE / ".venv-peers"
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = (HERE / "peers.txt").read_text()
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(HERE / "peers.txt")], check=True)
        ready.write_text(wanted)
    return python


@contextmanager
def locked(path: Path | None):
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(command: list[str], peers: Path) -> tuple[float, float]:
    """Run one script; return its milliseconds and its seconds of compilation."""
    script, *rest = command
    python = peers if script.startswith("peers/") else Path(sys.executable)
    done = subprocess.run([str(python), str(HERE / script), *rest], capture_output=True, text=True)
    found = re.search(r"([\d.]+) ms, compiled in ([\d.]+) s", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return float(found[1]), float(found[2])


def table(times: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    lines = [
        "| Work | Stack | min, ms | median, ms | max, ms | bnnrl / this | compile, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for work, stacks in times.items():
        ours = [ms for ms, _ in stacks["bnnrl"]]
        for stack, pairs in stacks.items():
            ms = [value for value, _ in pairs]
            ratio = median(a / b for a, b in zip(ours, ms, strict=True))
            cells = [f"{min(ms):.2f}", f"{median(ms):.2f}", f"{max(ms):.2f}", f"{ratio:.2f}"]
            lines.append(f"| {' | '.join([work, stack, *cells, f'{median(s for _, s in pairs):.1f}'])} |")
    return "\n".join(lines)


def machine() -> str:
    cpus = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    )
    name = cpus[0] if cpus else platform.processor()
    return f"{len(cpus) or '?'} × {name}"


def versions(peers: Path) -> str:
    code = (
        "import importlib.metadata as m, platform; print(platform.python_version(), *map(m.version, ['jax', 'torch']))"
    )
    python, jax, torch = subprocess.run(
        [str(peers), "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    ours = f"Python {platform.python_version()}, TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    return f"{ours}; peers: Python {python}, JAX {jax}, PyTorch {torch}"


def main(args: Args) -> None:
    peers = args.peers or make_peers()
    times = {work: {stack: [] for stack in stacks} for work, stacks in COMPARISONS.items()}
    for i in range(args.rounds):
        for work, stacks in COMPARISONS.items():
            with locked(args.lock):
                for stack, command in stacks.items():
                    times[work][stack].append(measure(command, peers))
        print(f"round {i + 1} of {args.rounds}", file=sys.stderr)
    text = f"{table(times)}\n\n{args.rounds} rounds, each script once a round. {machine()}. {versions(peers)}.\n"
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(f"# Benchmarks\n\nWritten by experiments/benchmarks/run.py, which says what is timed.\n\n{text}")


if __name__ == "__main__":
    main(tyro.cli(Args))
