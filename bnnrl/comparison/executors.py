"""Executors, which carry out jobs some at a time, and the loop that retries failed jobs from their checkpoints."""

from __future__ import annotations

import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from bnnrl.comparison import jobs
from bnnrl.comparison.jobs import Job

JobState = Literal["running", "waiting", "done", "failed"]

_POLL_INTERVAL = 0.1  # seconds between two looks at the processes


class Executor(Protocol):
    """Carries out jobs, some at a time."""

    @property
    def free(self) -> int:
        """The number of jobs that can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Begin or resume a job without waiting for it to end."""
        ...

    def poll(self) -> list[tuple[Job, str | None]]:
        """Wait for a moment, then return the jobs that have ended since, each with the reason if it failed."""
        ...

    def stop(self) -> None:
        """Stop all running jobs, and wait until they have stopped."""
        ...


def run_jobs(
    executor: Executor, queue: Iterable[Job], retries: int, on_state: Callable[[Job, JobState], None]
) -> dict[Job, str]:
    """Run jobs until each is done or has failed for good. No job is running any more on return, even by an exception.

    Args:
        executor: carries out the jobs, and is stopped at the end.
        queue: the jobs, in the order they are started.
        retries: how many times a failed job is started again, after the jobs that are waiting.
        on_state: called with a job and its new state at each change.

    Returns:
        For each job that failed for good, the reason of its last failure.
    """
    waiting, running, attempts = deque(queue), 0, Counter[Job]()
    failed: dict[Job, str] = {}
    try:
        while waiting or running:
            while waiting and executor.free > 0:
                job = waiting.popleft()
                executor.start(job)
                running += 1
                on_state(job, "running")
            for job, reason in executor.poll():
                running -= 1
                attempts[job] += 1
                if reason is None:
                    on_state(job, "done")
                elif attempts[job] <= retries:
                    waiting.append(job)
                    on_state(job, "waiting")
                else:
                    failed[job] = reason
                    on_state(job, "failed")
    finally:
        executor.stop()
    return failed


class LocalExecutor:
    """Runs jobs as processes on this machine.

    Args:
        num_parallel: how many processes run at a time.
        threads: the number of threads of each process.
    """

    def __init__(self, num_parallel: int, threads: int):
        self._num_parallel, self._threads = num_parallel, threads
        self._processes: dict[Job, subprocess.Popen[bytes]] = {}

    @classmethod
    def sharing_cores(cls, num_jobs: int, num_parallel: int | None = None) -> LocalExecutor:
        """Return an executor for `num_jobs` jobs that share this machine's cores evenly.

        Args:
            num_jobs: the number of jobs.
            num_parallel: how many run at a time at most; None for as many as there are cores.
        """
        cores = jobs.cores()
        num_parallel = min(num_parallel or cores, num_jobs)
        return cls(num_parallel, max(1, cores // num_parallel))

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._num_parallel - len(self._processes)

    def start(self, job: Job) -> None:
        """See `Executor`."""
        self._processes[job] = jobs.launch(job, self._threads)

    def poll(self) -> list[tuple[Job, str | None]]:
        """See `Executor`."""
        time.sleep(_POLL_INTERVAL)
        ended = [job for job, process in self._processes.items() if process.poll() is not None]
        return [(job, jobs.wait(self._processes.pop(job))) for job in ended]

    def stop(self) -> None:
        """See `Executor`."""
        processes = list(self._processes.values())
        self._processes.clear()
        jobs.stop_all(processes)
