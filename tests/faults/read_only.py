"""Commands whose folder cannot be written any more, in a process that gives up its privileges first if it has any."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import tensorflow as tf

import bnnrl
from tests.faults.full_disk import command, save
from tests.faults.processes import TRAIN, state

NOBODY = 65534


def main() -> None:
    """Print the exit code and the errors of each command, by its name."""
    tf.config.run_functions_eagerly(True)
    place = Path(tempfile.mkdtemp(prefix="bnnrl-"))  # a folder that others can reach, unlike that of the test
    try:
        if os.geteuid() == 0:  # permissions do not bind root
            os.chown(place, NOBODY, NOBODY)
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        print(json.dumps(_try_all(place)))
    finally:
        _set_writable(place, True)
        shutil.rmtree(place, ignore_errors=True)


def _try_all(place: Path) -> dict[str, tuple[int, str]]:
    run, rows = place / "run", place / "rows.csv"
    rows.write_text("x,y\n" + "".join(f"{i / 20},{i / 10}\n" for i in range(20)))
    assert command(*TRAIN, "--trials", "2", "--folder", str(run))[0] == 0
    before, agent = state(run), bnnrl.load(run)
    _set_writable(place, False)
    found = {
        "train": command(*TRAIN, "--trials", "1", "--folder", str(place / "new")),
        "resume": command("train", "--resume", str(run), "--trials", "3"),
        "report": command("report", str(run)),
        "fit": command("fit", str(rows), "--method", "adam", "--epochs", "1", "--folder", str(place / "fit")),
        "compare": command("compare", TRAIN[1], "--methods", "adam", "--folder", str(place / "compare")),
        "save": save(agent, place / "agent"),
    }
    assert state(run) == before
    _set_writable(place, True)
    assert command("train", "--resume", str(run), "--trials", "3")[0] == 0
    return {name: (code, error.replace(str(place), "FOLDER")) for name, (code, error) in found.items()}


def _set_writable(place: Path, writable: bool) -> None:
    for path in (place, *(p for p in place.rglob("*") if p.is_dir())):
        path.chmod(0o700 if writable else 0o500)


if __name__ == "__main__":
    sys.exit(main())
