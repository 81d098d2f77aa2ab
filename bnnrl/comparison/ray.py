"""Runs as Ray tasks, on a cluster or on this machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

from bnnrl.comparison import executors
from bnnrl.comparison.executors import Job

WAIT = 30.0  # seconds that a cluster has to answer
_TICK = 0.5
_PROBE = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"


class Ray:
    """Ray tasks: on the cluster at RAY_ADDRESS, or on one begun for the purpose on this machine.

    A task whose worker or node dies fails like any other, and is tried again where Ray finds room. The jobs' folders
    must be on storage that all nodes share, and bnnrl be installed on each.

    Args:
        jobs: how many tasks at a time, each with its share of the cores; None leaves it to Ray, a core for each.
        wait: seconds that the cluster has to answer.

    Raises:
        ValueError: if Ray is not installed, or there is no cluster at RAY_ADDRESS that answers.
    """

    def __init__(self, jobs: int | None = None, wait: float = WAIT):
        try:
            import ray
        except ImportError as error:
            raise ValueError(
                "Invalid `engine`: expected one that is installed. Received: engine='ray', and Ray cannot be imported "
                f'({error}). Run `pip install "bnnrl[ray]"`, or take engine local.'
            ) from error
        self._ray: Any = ray
        address = os.environ.get("RAY_ADDRESS")
        quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            _check_answers(address, wait)
            ray.init(address, **quiet)
        else:
            ray.init("local", num_cpus=executors.cores(), include_dashboard=False, **quiet)
        threads = 1
        if jobs is not None:
            of_nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
            # More than the smallest node has could leave nodes without work, or a task without a node.
            threads = max(1, min([sum(of_nodes) // jobs, *filter(None, of_nodes)]))
        self._jobs, self._threads = jobs or sys.maxsize, threads
        # Ray's own retries would count what failed before a job's checkpoint and after it alike; `drive` counts.
        self._task = ray.remote(max_retries=0, num_cpus=threads)(_carry_out)
        self._tasks: dict[Any, Job] = {}

    @property
    def free(self) -> int:
        return self._jobs - len(self._tasks)

    def start(self, job: Job) -> None:
        self._tasks[self._task.remote(job, self._threads)] = job

    def poll(self) -> list[tuple[Job, str | None]]:
        ended, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=_TICK)
        jobs = [(self._tasks.pop(task), task) for task in ended]
        return [(job, self._reason(job, task)) for job, task in jobs]

    def stop(self) -> None:
        for task in self._tasks:
            self._ray.cancel(task, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _reason(self, job: Job, task: Any) -> str | None:
        try:
            reason = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        if reason is None and not job.folder.is_dir():
            return f"it ended on a node whose {job.folder} cannot be seen from here; take a folder all nodes share"
        return reason


def _carry_out(job: Job, threads: int) -> str | None:
    process = executors.launch(job, threads)
    try:
        return executors.finish(process)
    finally:
        executors.halt([process])


def _check_answers(address: str, wait: float) -> None:
    """Raise ValueError unless there is a cluster at the address.

    Another process tries, since an attempt that finds nobody can take minutes, or take its process with it.
    """
    expected = "Invalid RAY_ADDRESS: expected the address of a Ray cluster, such as 10.0.0.1:6379"
    remedy = "Start one by `ray start --head`, or unset the variable for one on this machine."
    try:
        command = [sys.executable, "-P", "-c", _PROBE, address]
        found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=wait)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{expected}. Received: {address!r}, where nobody answered in {wait:g} s. {remedy}") from None
    if found.returncode:
        lines = found.stderr.strip().splitlines()
        raise ValueError(f"{expected}. Received: {address!r} ({lines[-1] if lines else 'no reason given'}). {remedy}")
