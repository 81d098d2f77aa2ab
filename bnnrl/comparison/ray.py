"""`RayExecutor`: runs as Ray tasks, on a cluster or on this machine."""

from __future__ import annotations

import sys
from typing import Any

from bnnrl._ray import CONNECT_TIMEOUT, connect, is_connected
from bnnrl.comparison import jobs
from bnnrl.comparison.jobs import Job

_POLL_INTERVAL = 0.5  # seconds that `poll` waits for a task to end


class RayExecutor:
    """Runs jobs as Ray tasks, on the cluster at RAY_ADDRESS or, if that is not set, on a new one on this machine.

    A task fails if its worker or node dies, and can be started again on any node. All nodes must share the storage of
    the jobs' folders, and have bnnrl installed. `stop` leaves a connection that the process already had.

    Args:
        num_parallel: how many tasks run at a time, each with an equal share of the cores. None starts all tasks at
            once, with one core each, and leaves the schedule to Ray.
        timeout: seconds that the cluster has to answer in.

    Raises:
        ValueError: if Ray is not installed, or no cluster answers at RAY_ADDRESS.
    """

    def __init__(self, num_parallel: int | None = None, timeout: float = CONNECT_TIMEOUT):
        self._was_connected = is_connected()
        ray = connect("use `--engine local`", timeout)
        self._ray: Any = ray
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
        if not self._was_connected:
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
