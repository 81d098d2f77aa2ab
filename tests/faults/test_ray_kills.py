"""Runs on a Ray cluster whose workers, runs and nodes are killed at random end as on a quiet machine, bit for bit."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from random import Random

import pytest

from tests.faults import processes
from tests.faults.processes import SMALL, TRAIN, leftovers, run, state

ray = pytest.importorskip("ray")

from bnnrl.comparison import jobs  # noqa: E402
from bnnrl.comparison import ray as engine  # noqa: E402
from bnnrl.comparison.executors import run_jobs  # noqa: E402
from bnnrl.comparison.jobs import Job  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are many

SECONDS = float(os.environ.get("FAULT_RAY_SECONDS", "40"))  # during which something is killed every few seconds
PAUSE = 2.0, 6.0  # seconds between two kills
TRIALS, SEEDS, NODES = 3, 3, 2  # nodes beside the head
PROGRAM_VARIABLE = "FAULT_RAY_PROGRAM"
CODE = "import sys; from tests.faults import test_ray_kills; sys.exit(test_ray_kills.work())"


def run_job(job: Job, threads: int) -> str | None:
    """Run a job as `RayExecutor` does, in a process that has TensorFlow loaded and runs functions eagerly."""
    jobs.PROGRAM = tuple(os.environ[PROGRAM_VARIABLE].split("\n"))
    return engine._run_job(job, threads)


def work() -> int:
    """Be the process of a run: `bnnrl.cli.worker` with eager functions."""
    from bnnrl.cli import worker

    worker.watch()
    sys.argv[1:] = sys.argv[2:]  # without the number of threads
    return processes.main()


class Killer(threading.Thread):
    """Kills a run, the Ray worker of a run, or a node, again and again for a while.

    Attributes:
        kills: the number of kills of each kind.
    """

    def __init__(self, cluster, chance: Random, marker: str):
        super().__init__(daemon=True)
        self.kills = Counter[str]()
        self.ended = threading.Event()
        self._cluster, self._chance, self._marker = cluster, chance, marker
        self._nodes = [cluster.add_node(num_cpus=1) for _ in range(NODES)]  # Ray adds none from another thread later

    def run(self) -> None:
        """Kill until the time is over."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not self.ended.wait(self._chance.uniform(*PAUSE)):
            kind = self._chance.choice(("run", "run", "worker", "worker", "node"))
            if kind == "node" and self._nodes:
                node = self._nodes.pop(self._chance.randrange(len(self._nodes)))
                self._cluster.remove_node(node, allow_graceful=False)
                self.kills[kind] += 1
            elif kind != "node" and (found := self._processes()):
                pid, parent = self._chance.choice(found)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid if kind == "run" else parent, signal.SIGKILL)
                    self.kills[kind] += 1

    def _processes(self) -> list[tuple[int, int]]:
        """Return the process ids of the runs and of their parents, the Ray workers."""
        found = subprocess.run(["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in found.splitlines() if self._marker in line and "fork_server" in line]
        return [(int(pid), int(parent)) for pid, parent, *_ in lines]


def test_jobs_end_with_the_same_results(tmp_path, fresh_python, monkeypatch):
    from ray.cluster_utils import Cluster

    expected, queue = {}, []
    for seed in range(SEEDS):
        options = ["train", *TRAIN[1:2], "--seed", str(seed), *SMALL, "--trials", str(TRIALS)]
        assert run(fresh_python, *options, "--folder", str(tmp_path / f"quiet{seed}"))[0] == 0
        folder = tmp_path / "disturbed" / str(seed)
        expected[folder] = state(tmp_path / f"quiet{seed}")
        begin, resume = (*options, "--folder", str(folder)), ("train", "--resume", str(folder))
        queue.append(Job(f"seed {seed}", folder, begin, resume))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(processes.ROOT), str(processes.ROOT / "envs")]))
    monkeypatch.setenv(PROGRAM_VARIABLE, "\n".join([*fresh_python, "-c", CODE]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        killer = Killer(cluster, processes.generator("Ray"), str(tmp_path / "disturbed"))
        executor = engine.RayExecutor()
        executor._task = ray.remote(max_retries=0, num_cpus=1)(run_job)
        killer.start()
        states = Counter[str]()
        failed = run_jobs(executor, queue, 1000, lambda job, state: states.update([state]))
        killer.ended.set()
        killer.join()
    finally:
        cluster.shutdown()
    assert failed == {} and states["done"] == SEEDS
    for folder, whole in expected.items():
        assert state(folder) == whole and leftovers(folder) == []
    print(f"{dict(killer.kills)} kills, {states['waiting']} new starts of {SEEDS} jobs, all equal bit for bit")
