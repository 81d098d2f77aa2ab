"""Folders that cannot be written: the cause and the remedy are told, and the run in them can be resumed later."""

import json
import subprocess

import pytest

pytestmark = pytest.mark.slow

DENIED = r"Permission denied. Make the folder writable."


def test_every_command_in_a_folder_that_cannot_be_written(fresh_python):
    command = [*fresh_python, "-c", "from tests.faults import read_only; read_only.main()"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr[-3000:]
    told = json.loads(found.stdout.splitlines()[-1])
    for name in ("train", "fit", "compare"):
        code, error = told[name]
        assert code == 2 and "Invalid run folder: expected one that can be written." in error and DENIED in error
    code, error = told["resume"]
    assert (code, error) == (
        1,
        f"bnnrl: error: Cannot write FOLDER/run/.lock: {DENIED} Finished trials kept: 2. "
        "Resume: bnnrl train --resume FOLDER/run\n",
    )
    assert told["report"] == [1, f"bnnrl: error: Cannot write FOLDER/run/report.html: {DENIED}\n"]
    assert told["save"][0] == 1 and told["save"][1].endswith(DENIED)
    print(f"{len(told)} commands told")
