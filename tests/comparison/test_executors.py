"""Processes on this machine: they share the cores, stop with their parent, and are killed if they do not."""

import subprocess
import sys

import pytest

from bnnrl.comparison import comparison, executors, jobs
from tests.comparison.processes import ENV_ID, FAKE, alive, wait_for


def test_a_run_does_not_outlive_its_watcher(tmp_path, fakes):
    fakes(f_0={"hangs": [1]})
    job = jobs.Job("f", tmp_path / "f/0", ("train", ENV_ID, "--trials", "1", "--folder", str(tmp_path / "f/0")), ())
    code = "import os, time; from pathlib import Path; from bnnrl.comparison import jobs\n"
    code += f"jobs.PROGRAM = {FAKE!r}\n"
    code += "p = jobs.launch(jobs.Job(" + ", ".join(
        (repr(job.name), f"Path({str(job.folder)!r})", repr(job.begin), "()")
    )
    watcher = subprocess.Popen([sys.executable, "-c", code + "), 1); time.sleep(600)"])
    try:
        wait_for((tmp_path / "f/0/begun_1").exists)
    finally:
        watcher.kill()
        watcher.wait()
    pid = int((tmp_path / "f/0/pid").read_text())
    wait_for(lambda: not alive(pid), jobs.GRACE + 5)


def test_a_run_that_is_deaf_to_requests_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", -1.5)
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c", deaf))
    local, job = executors.LocalExecutor(1, 1), jobs.Job("f", tmp_path / "f/0", (), ())
    local.start(job)
    wait_for(lambda: "deaf" in job.log_tail()[-1])
    local.stop()
    assert local.free == 1


@pytest.mark.parametrize("left", [["checkpoints"], ["checkpoints", ".config.json.new"], []])
def test_a_run_that_died_while_it_made_its_folder_begins_anew(tmp_path, fakes, left):
    (tmp_path / "f/0").mkdir(parents=True)
    for name in left:
        (tmp_path / "f/0" / name).touch() if "." in name else (tmp_path / "f/0" / name).mkdir()
    job = jobs.Job("f", tmp_path / "f/0", ("train", ENV_ID, "--trials", "1", "--folder", str(tmp_path / "f/0")), ())
    assert executors.run_jobs(executors.LocalExecutor(1, 1), [job], 0, lambda job, state: None) == {}


def test_the_cores_are_shared(monkeypatch):
    monkeypatch.setattr(jobs, "cores", lambda: 8)
    for num_parallel, num_jobs, expected in ((None, 20, (8, 1)), (None, 3, (3, 2)), (2, 20, (2, 4)), (16, 20, (16, 1))):
        local = comparison.make_executor("local", num_jobs, num_parallel)
        assert isinstance(local, executors.LocalExecutor) and (local._num_parallel, local._threads) == expected
