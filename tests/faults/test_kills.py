"""Training runs that are killed again and again, and resumed, end as the run that was never killed, bit for bit.

A kill comes at a random moment, at a random change of the disk, or within a file, of which a random part is written.
"""

import os
import subprocess
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.faults import processes
from tests.faults.processes import TRAIN, leftovers, run, start, state

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULT_KILLS", "30"))
MOST_KILLS_OF_A_RUN = 12
NEVER = 10**9
BEGIN = [*TRAIN, "--trials", "3", "--folder"]


class Killer:
    """Kills commands.

    Args:
        python: the start of a command in a new process.
        chance: says when.
        duration: seconds of a run that is not killed.
        num_changes: changes of the disk of a run that is not killed.
    """

    def __init__(self, python: tuple[str, ...], chance: Random, duration: float, num_changes: int):
        self.python, self.chance, self.duration, self.num_changes = python, chance, duration, num_changes

    def run(self, how: str, folder: Path) -> tuple[int, str]:
        """Begin or resume a run, kill it unless it ends before, and return its exit code and errors."""
        begun = (folder / "config.json").exists()
        arguments = ["train", "--resume", str(folder)] if begun else [*BEGIN, str(folder)]
        if how in ("change", "part"):
            # A resumed run has less to do than a whole one: three of four kills come in the first half.
            at = self.chance.randint(1, self.num_changes // self.chance.choice((1, 2, 3, 4)))
            cut = self.chance.randrange(4000) if how == "part" else None
            code, _, error = run(self.python, *arguments, fault={"folder": str(folder), "at": at, "cut": cut})
            return code, error
        process = start(self.python, *arguments)
        moment = self.chance.uniform(0, self.duration / self.chance.choice((1, 2, 3, 4)))
        try:
            error = process.communicate(timeout=moment if how == "moment" else 240)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            error = process.communicate()[1]
        return process.returncode, error


def test_killed_runs_end_as_if_uninterrupted(tmp_path, fresh_python):
    whole, found, runs = tmp_path / "whole", Counter(), 0
    never = {"folder": str(whole), "at": NEVER, "cut": None}
    with processes.seconds() as elapsed:
        code, output, error = run(fresh_python, *BEGIN, str(whole), fault=never)
    assert (code, error) == (0, "")
    killer = Killer(fresh_python, processes.generator("kills"), elapsed(), int(output.split()[-1]))
    while found["kills"] < KILLS:
        folder, kills = tmp_path / f"run{runs}", 0
        while True:
            how = "not at all" if kills == MOST_KILLS_OF_A_RUN else killer.chance.choice(("moment", "change", "part"))
            code, error = killer.run(how, folder)
            assert "Traceback" not in error and "error" not in error
            if code == 0:
                break
            assert code < 0
            kills += 1
            found.update(["kills", how, "with a temporary file left behind"] if temporary(folder) else ["kills", how])
        assert state(folder) == state(whole) and leftovers(folder) == [] and (folder / "report.html").exists()
        runs += 1
        print(f"{dict(found)} of {runs} runs of {killer.num_changes} changes of the disk, all equal bit for bit")


def temporary(folder: Path) -> list[str]:
    return [name for name in leftovers(folder) if not name.endswith(".lock")]
