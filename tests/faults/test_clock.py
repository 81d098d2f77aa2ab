"""A clock that jumps by years at every look at it changes neither what a run learns nor how it is resumed."""

import re

import pytest

from tests.faults import processes
from tests.faults.processes import TRAIN, leftovers, run, state

pytestmark = pytest.mark.slow


def test_a_jumping_clock(tmp_path, fresh_python, monkeypatch):
    whole, began = tmp_path / "whole", 4
    assert run(fresh_python, *TRAIN, "--trials", "3", "--folder", str(whole))[0] == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(processes.ROOT))
    for i in range(began):
        monkeypatch.setenv("CLOCK", str(i))
        code, _, error = run(fresh_python, *TRAIN, "--trials", "2" if i else "1")
        assert (code, error) == (0, "")
    folders = sorted((tmp_path / "runs" / "test" / "Small-v0" / "ensemble").iterdir())
    assert len(folders) == began and all(re.fullmatch(r"3-\d{8}-\d{6}", folder.name) for folder in folders)
    for i, folder in enumerate(folders):
        monkeypatch.setenv("CLOCK", str(i + 100))
        code, _, error = run(fresh_python, "train", "--resume", str(folder), "--trials", "3")
        assert (code, error) == (0, "")
        assert state(folder) == state(whole) and leftovers(folder) == []
    names = [folder.name for folder in folders]
    print(f"{began} runs and resumed runs with a jumping clock, in {names}: all equal bit for bit")
