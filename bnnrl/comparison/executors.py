"""What carries out many runs, each a process of its own that is tried again, from its checkpoint, when it dies."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bnnrl.storage import run_folder

PROGRAM = (sys.executable, "-P", "-m", "bnnrl.cli.worker")
_BUDGETS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE = 3.0  # seconds a run has to stop in: fewer than its successor takes to load TensorFlow and open the folder
_TICK = 0.1  # seconds between looks at the processes


@dataclass(frozen=True)
class Job:
    """A run to be carried out."""

    name: str
    folder: Path
    begin: tuple[str, ...]  # arguments of `bnnrl`
    resume: tuple[str, ...]  # the same, where the folder holds a part of the run

    @property
    def log(self) -> Path:
        """Where its output goes: beside the folder, which a run wants to be empty when it begins."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def log_tail(self, lines: int = 10) -> list[str]:
        """Return the last lines of its output."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return [f"(no log at {self.log})"]


class Engine(Protocol):
    """Carries out jobs, some at a time."""

    @property
    def free(self) -> int:
        """How many more jobs it can take now."""
        ...

    def start(self, job: Job) -> None:
        """Begin or go on with a job, and return at once."""
        ...

    def poll(self) -> list[tuple[Job, str | None]]:
        """Wait a moment, and return the jobs that ended meanwhile, each with the reason if it failed."""
        ...

    def stop(self) -> None:
        """Stop what is under way, and wait for that."""
        ...


def drive(engine: Engine, jobs: Iterable[Job], retries: int, tell: Callable[[Job, str], None]) -> dict[Job, str]:
    """Carry out jobs; whatever happens, none is under way when this ends.

    Args:
        engine: what carries them out. It is stopped at the end.
        jobs: in the order they are started.
        retries: how often a job that failed is tried again, after the jobs that wait.
        tell: called with a job and "runs", "waits", "done" or "failed" when that becomes so.

    Returns:
        For each job that failed for good, the reason of its last failure.
    """
    waiting, under_way, tried = deque(jobs), 0, Counter[Job]()
    failed: dict[Job, str] = {}
    try:
        while waiting or under_way:
            while waiting and engine.free > 0:
                job = waiting.popleft()
                engine.start(job)
                under_way += 1
                tell(job, "runs")
            for job, reason in engine.poll():
                under_way -= 1
                tried[job] += 1
                if reason is None:
                    tell(job, "done")
                elif tried[job] <= retries:
                    waiting.append(job)
                    tell(job, "waits")
                else:
                    failed[job] = reason
                    tell(job, "failed")
    finally:
        engine.stop()
    return failed


class Local:
    """Processes on this machine.

    Args:
        jobs: how many at a time.
        threads: for each.
    """

    def __init__(self, jobs: int, threads: int):
        self._jobs, self._threads = jobs, threads
        self._processes: dict[Job, subprocess.Popen[bytes]] = {}

    @property
    def free(self) -> int:
        return self._jobs - len(self._processes)

    def start(self, job: Job) -> None:
        self._processes[job] = launch(job, self._threads)

    def poll(self) -> list[tuple[Job, str | None]]:
        time.sleep(_TICK)
        ended = [job for job, process in self._processes.items() if process.poll() is not None]
        return [(job, finish(self._processes.pop(job))) for job in ended]

    def stop(self) -> None:
        processes = list(self._processes.values())
        self._processes.clear()
        halt(processes)


def launch(job: Job, threads: int) -> subprocess.Popen[bytes]:
    """Start a job's process, which goes on where the folder holds a part of the run.

    It has a session of its own, out of reach of the terminal's Ctrl-C, and ends when its standard input does.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    begun = run_folder.TRAIN.matches(job.folder)
    if not begun:
        _clear(job.folder)
    arguments = job.resume if begun else job.begin
    env = {**os.environ, **dict.fromkeys(_BUDGETS, str(threads))}
    if env.get("TF_CPP_MIN_LOG_LEVEL") == "3":  # as `import bnnrl` sets it here, and does better where it is not set
        del env["TF_CPP_MIN_LOG_LEVEL"]
    with open(job.log, "a") as log:
        print(f"$ bnnrl {shlex.join(arguments)}", file=log, flush=True)
        return subprocess.Popen(
            [*PROGRAM, str(threads), *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes]) -> str | None:
    """Wait for a process, and return why it failed or None."""
    code = process.wait()
    if process.stdin:
        process.stdin.close()
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


def halt(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop processes by the end of their input, and kill those that take too long."""
    for process in processes:
        if process.stdin:
            process.stdin.close()
    deadline = time.monotonic() + GRACE + 2
    try:
        for process in processes:
            process.wait(max(0.1, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who presses Ctrl-C again is in a hurry
        pass
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _clear(folder: Path) -> None:
    """Remove what a run leaves that dies while it makes its folder, and nothing else."""
    if folder.is_dir():
        (folder / ".config.json.new").unlink(missing_ok=True)
        for empty in (folder / "checkpoints", folder):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
