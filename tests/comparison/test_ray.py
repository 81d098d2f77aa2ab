"""Runs as Ray tasks on a real cluster of two nodes, which loses a worker and a node during the runs."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")

from bnnrl.comparison.ray import RayExecutor  # noqa: E402
from tests.small_runs import small_options  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are many

ENV_ID = "bnnrl/CartPoleSwingUp-v0"
SMALL = small_options(policy="mlp", preset="deep-pilco")
COMPARE = [sys.executable, "-P", "-m", "bnnrl.cli", "compare", ENV_ID, *SMALL, "--seeds", "1", "--engine", "ray"]


def rows(folder: Path) -> int:
    try:
        with open(folder / "metrics.csv") as file:
            return len(list(csv.DictReader(file)))
    except OSError:
        return 0


def log(folder: Path) -> str:
    path = folder.with_name(f"{folder.name}.log")
    return path.read_text() if path.exists() else ""


def wait_for(condition, process: subprocess.Popen, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def worker_of(folder: Path) -> int:
    """Return the process id of the Ray worker that watches over the run in a folder."""
    found = subprocess.run(["ps", "-ewwo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in found.splitlines() if "bnnrl.cli.worker" in line and str(folder) in line]
    return int(lines[0].split()[0])


def test_a_lost_worker_and_a_lost_node_cost_no_more_than_a_trial(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    folder = tmp_path / "f"
    adam, sgd = folder / "adam/0", folder / "sgd/0"
    command = [*COMPARE, "--methods", "adam,sgd", "--trials", "3", "--retries", "3", "--folder", str(folder)]
    with open(tmp_path / "out", "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: rows(adam) and rows(sgd), process)
        os.kill(worker_of(adam), signal.SIGKILL)
        wait_for(lambda: "--resume" in log(adam), process)
        before = log(adam).count("$ bnnrl") + log(sgd).count("$ bnnrl")
        cluster.remove_node(second, allow_graceful=False)
        process.wait(400)
    finally:
        process.kill()
        process.wait()
        cluster.shutdown()
        print(out := (tmp_path / "out").read_text())
    assert process.returncode == 0
    starts = [line for folder in (adam, sgd) for line in log(folder).splitlines() if line.startswith("$")]
    assert before == 3 and len(starts) >= 4
    assert sum("--resume" in line for line in starts) == len(starts) - 2  # each began once, and then went on
    assert rows(adam) == rows(sgd) == 3
    assert "(2 of 2)" in out and (folder / "comparison.png").exists()


def test_a_cluster_of_its_own(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    found = subprocess.run(
        [*COMPARE, "--methods", "adam", "--trials", "1", "--jobs", "1", "--folder", str(tmp_path / "f")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert "adam, seed 0: 1 of 1 trials (1 of 1)" in found.stdout
    assert log(tmp_path / "f/adam/0").count("\n") == 2  # the command and its outcome, no chatter


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no address"])
def test_an_address_where_nobody_answers(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    started = time.monotonic()
    with pytest.raises(ValueError, match=rf"Invalid RAY_ADDRESS: .* Received: '{address}'.*`ray start --head`"):
        RayExecutor(timeout=10.0)
    assert time.monotonic() - started < 13
    assert not ray.is_initialized()


@pytest.mark.parametrize("connected", [False, True])
def test_only_a_connection_of_its_own_is_closed(monkeypatch, connected):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if connected:
        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        executor = RayExecutor()
        assert ray.is_initialized()
        executor.stop()
        assert ray.is_initialized() == connected
    finally:
        ray.shutdown()
