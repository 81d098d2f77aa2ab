"""A run of `bnnrl train` as a process: how it is started, awaited and stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bnnrl._tensorflow import cores as cores
from bnnrl.storage import run_folder
from bnnrl.storage.atomic import explained

PROGRAM = (sys.executable, "-P", "-m", "bnnrl.cli.worker")
# Seconds that a run has to stop in. A successor that resumes the run waits longer than this for the folder's lock.
GRACE = 3.0
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """A run and the commands that begin and resume it."""

    name: str
    folder: Path
    begin: tuple[str, ...]  # arguments of `bnnrl` for an empty folder
    resume: tuple[str, ...]  # arguments of `bnnrl` for a folder that holds a part of the run

    @property
    def log(self) -> Path:
        """Log file `<folder>.log`, outside the run folder, which `bnnrl train` requires to be empty."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def log_tail(self, lines: int = 10) -> list[str]:
        """Return the last lines of the log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return [f"(no log at {self.log})"]


def launch(job: Job, threads: int) -> subprocess.Popen[bytes]:
    """Start the process of a job, which resumes the run if its folder holds a part of it.

    The process has a session of its own, so that Ctrl-C on the terminal does not reach it. It stops when its standard
    input is closed (see `bnnrl.cli.worker`).

    Raises:
        WriteError: if the operating system refuses to write the log.
    """
    with explained(job.log):
        job.folder.parent.mkdir(parents=True, exist_ok=True)
    begun = any(kind.matches(job.folder) for kind in (run_folder.TRAIN, run_folder.BASELINE))
    arguments = job.resume if begun else job.begin
    env = {**os.environ, **dict.fromkeys(_THREAD_LIMITS, str(threads))}
    # `import bnnrl` sets this value in the parent. In the child, the variable must be unset for `import bnnrl` to
    # silence TensorFlow in the same way.
    if env.get("TF_CPP_MIN_LOG_LEVEL") == "3":
        del env["TF_CPP_MIN_LOG_LEVEL"]
    with explained(job.log), open(job.log, "a") as log:
        print(f"$ bnnrl {shlex.join(arguments)}", file=log, flush=True)
        return subprocess.Popen(
            [*PROGRAM, str(threads), *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )


def wait(process: subprocess.Popen[bytes]) -> str | None:
    """Wait until a process ends, and return the reason if it failed, else None."""
    code = process.wait()
    if process.stdin:
        process.stdin.close()
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


def stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to stop by closing their standard input, and kill those that have not stopped soon after GRACE."""
    for process in processes:
        if process.stdin:
            process.stdin.close()
    deadline = time.monotonic() + GRACE + 2
    try:
        for process in processes:
            process.wait(max(0.1, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C means: do not wait any longer
        pass
    finally:
        for process in processes:
            process.kill()
            process.wait()
