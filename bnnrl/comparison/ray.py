"""`RayExecutor`: runs as Ray tasks, on a cluster or on this machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

from bnnrl.comparison import jobs
from bnnrl.comparison.jobs import Job

CONNECT_TIMEOUT = 30.0  # seconds
_POLL_INTERVAL = 0.5  # seconds that `poll` waits for a task to end
_PROBE = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"


class RayExecutor:
    """Runs jobs as Ray tasks, on the cluster at RAY_ADDRESS or, if that is not set, on a new one on this machine.

    A task fails if its worker or node dies, and can be started again on any node. All nodes must share the storage of
    the jobs' folders, and have bnnrl installed.

    Args:
        num_parallel: how many tasks run at a time, each with an equal share of the cores. None starts all tasks at
            once, with one core each, and leaves the schedule to Ray.
        timeout: seconds that the cluster has to answer in.

    Raises:
        ValueError: if Ray is not installed, or no cluster answers at RAY_ADDRESS.
    """

    def __init__(self, num_parallel: int | None = None, timeout: float = CONNECT_TIMEOUT):
        try:
            import ray
        except ImportError as error:
            raise ValueError(
                "Invalid `engine`: expected one that is installed. Received: engine='ray', and Ray cannot be imported "
                f'({error}). Run `pip install "bnnrl[ray]"`, or use `--engine local`.'
            ) from error
        self._ray: Any = ray
        address = os.environ.get("RAY_ADDRESS")
        quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            _check_answers(address, timeout)
            ray.init(address, **quiet)
        else:
            ray.init("local", num_cpus=jobs.cores(), include_dashboard=False, **quiet)
        threads = 1
        if num_parallel is not None:
            cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
            # A task that needs more cores than the smallest node has could leave that node without work, or find no
            # node at all.
            threads = max(1, min([sum(cores) // num_parallel, *filter(None, cores)]))
        self._num_parallel, self._threads = num_parallel or sys.maxsize, threads
        # `run_jobs` counts the retries.
        self._task = ray.remote(max_retries=0, num_cpus=threads)(_run_job)
        self._tasks: dict[Any, Job] = {}

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._num_parallel - len(self._tasks)

    def start(self, job: Job) -> None:
        """See `Executor`."""
        self._tasks[self._task.remote(job, self._threads)] = job

    def poll(self) -> list[tuple[Job, str | None]]:
        """See `Executor`."""
        ended, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=_POLL_INTERVAL)
        return [(job, self._failure(job, task)) for job, task in [(self._tasks.pop(task), task) for task in ended]]

    def stop(self) -> None:
        """See `Executor`."""
        for task in self._tasks:
            self._ray.cancel(task, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _failure(self, job: Job, task: Any) -> str | None:
        """Return why a task that has ended failed, or None if it succeeded."""
        try:
            reason = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        if reason is None and not job.folder.is_dir():
            return f"it ended on a node whose {job.folder} cannot be seen from here; use a folder that all nodes share"
        return reason


def _run_job(job: Job, threads: int) -> str | None:
    """Run a job to its end in the worker of a Ray task, and return why it failed, or None."""
    process = jobs.launch(job, threads)
    try:
        return jobs.wait(process)
    finally:
        jobs.stop_all([process])


def _check_answers(address: str, timeout: float) -> None:
    """Raise ValueError unless a cluster answers at the address.

    Another process tries to connect, because a failed attempt can take minutes or kill its process.
    """
    expected = "Invalid RAY_ADDRESS: expected the address of a Ray cluster, such as 10.0.0.1:6379"
    remedy = "Start a cluster with `ray start --head`, or unset the variable to use this machine."
    try:
        command = [sys.executable, "-P", "-c", _PROBE, address]
        found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{expected}. Received: {address!r}, which did not answer in {timeout:g} s. {remedy}"
        ) from None
    if found.returncode:
        lines = found.stderr.strip().splitlines()
        raise ValueError(f"{expected}. Received: {address!r} ({lines[-1] if lines else 'no reason given'}). {remedy}")
