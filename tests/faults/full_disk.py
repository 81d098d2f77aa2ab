"""Commands that find the disk full at their n-th change of it, for every n, all in one process that ends with it."""

import contextlib
import errno
import io
import itertools
import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import bnnrl
from bnnrl import cli
from bnnrl.comparison import jobs
from bnnrl.rl.reporting import html
from bnnrl.storage import checkpoint
from bnnrl.storage.atomic import WriteError
from tests.faults import processes
from tests.faults.processes import ENV_ID, TRAIN

# Bytes that a file may have once the disk is full. None: no file and no folder can be made. Otherwise the limit of the
# operating system on the size of files acts as a disk that fills up while a file is written.
SIZES = (None, 100)
FINISHED = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--folder") + 1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.csv").write_text("trial,evaluation_cost,solved\\n1,0.5,True\\n")
"""


@contextlib.contextmanager
def full_from(folder: Path, number: int, size: int | None) -> Iterator[list[int]]:
    """Let the disk below a folder be full from a change of it on; yield a list that holds the number of changes."""
    count = [0]

    def before(change: int, event: str) -> None:
        count[0] = change
        if size is None and change >= number and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, "No space left on device")
        if size is not None and change == number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    processes.watch_writes(str(folder), before)
    try:
        yield count
    finally:
        processes.watch_writes(str(folder), lambda *_: None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def command(*arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit code and errors."""
    with contextlib.redirect_stderr(io.StringIO()) as error, contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(list(arguments))
    return code, error.getvalue()


def save(thing: Any, folder: Path) -> tuple[int, str]:
    """Save, and return what a command would."""
    try:
        thing.save(folder)
    except WriteError as error:
        return 1, f"{error}"
    return 0, ""


def at_every_change(
    folder: Path,
    prepare: Callable[[Path], object],
    act: Callable[[Path], tuple[int, str]],
    check: Callable[[Path], None],
) -> list[str]:
    """Act on a full disk, full from the first change on, from the second, and so on; return the errors that were told.

    Args:
        folder: where to work.
        prepare: makes what there was before, in a folder that it is given.
        act: acts, and returns an exit code and errors.
        check: called after each failure, when there is space again.
    """
    told = []
    for size in SIZES:
        for number in itertools.count(1):
            place = folder / f"{size}_{number}"
            prepare(place)
            with full_from(place, number, size) as count:
                code, error = act(place)
            if count[0] < number:
                assert code == 0, error
                break
            if code == 0:  # what came after that change needed no space
                continue
            assert code == 1 and "Traceback" not in error, error
            told.append(error.replace(str(place), "FOLDER"))
            check(place)
            shutil.rmtree(place, ignore_errors=True)
    return told


def train_begins(folder: Path) -> list[str]:
    html.write = processes.write_short_report
    begin = [*TRAIN, "--trials", "1", "--folder"]

    def check(place: Path) -> None:
        begun = (place / "config.json").exists()
        assert command(*(["train", "--resume", str(place)] if begun else [*begin, str(place)]))[0] == 0
        assert len(bnnrl.load(place).history) == 1 and processes.leftovers(place) == []

    return at_every_change(folder, lambda place: None, lambda place: command(*begin, str(place)), check)


def train_resumes(folder: Path) -> list[str]:
    html.write = processes.write_short_report
    run, whole = folder / "run", folder / "whole"
    assert command(*TRAIN, "--trials", "1", "--folder", str(run))[0] == 0
    resume = lambda place: command("train", "--resume", str(place), "--trials", "2")
    shutil.copytree(run, whole)
    assert resume(whole)[0] == 0
    expected = processes.state(whole)

    def check(place: Path) -> None:
        assert resume(place)[0] == 0
        assert processes.state(place) == expected and processes.leftovers(place) == []

    return at_every_change(folder, lambda place: shutil.copytree(run, place), resume, check)


def fit(folder: Path) -> list[str]:
    table = folder / "rows.csv"
    table.write_text("x,y\n" + "".join(f"{i},{i % 3}.5\n" for i in range(20)))
    options = ["fit", str(table), "--method", "adam", "--hidden", "2", "--epochs", "1", "--samples", "1", "--folder"]

    def check(place: Path) -> None:
        if checkpoint.newest_step(place) is not None:
            assert command("report", str(place))[0] == 0
        else:
            if (place / "config.json").exists():
                shutil.rmtree(place)
            assert command(*options, str(place))[0] == 0
        assert (place / "report.html").exists() and processes.leftovers(place) == []

    return at_every_change(folder, lambda place: None, lambda place: command(*options, str(place)), check)


def report_again(folder: Path) -> list[str]:
    run = folder / "run"
    assert command(*TRAIN, "--trials", "2", "--folder", str(run))[0] == 0
    before = (run / "report.html").read_bytes()

    def check(place: Path) -> None:
        assert (place / "report.html").read_bytes() == before

    return at_every_change(
        folder, lambda place: shutil.copytree(run, place), lambda place: command("report", str(place)), check
    )


def compare(folder: Path) -> list[str]:
    jobs.PROGRAM = (sys.executable, "-I", "-S", "-c", FINISHED)
    options = ["--methods", "adam,sgd", "--seeds", "1", "--trials", "1", "--jobs", "1", "--retries", "0", "--folder"]

    def check(place: Path) -> None:
        assert command("compare", ENV_ID, *options, str(place))[0] == 0
        assert (place / "comparison.png").exists() and processes.leftovers(place) == []

    return at_every_change(
        folder, lambda place: None, lambda place: command("compare", ENV_ID, *options, str(place)), check
    )


def save_model(folder: Path) -> list[str]:
    x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    network = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(), method="adam")
    model.fit(x, x, epochs=1, verbose=0)
    expected = model.predict(x, 1)

    def check(place: Path) -> None:
        np.testing.assert_array_equal(bnnrl.load(place / "model").predict(x, 1), expected)

    return at_every_change(
        folder, lambda place: model.save(place / "model"), lambda place: save(model, place / "model"), check
    )


def main() -> None:
    """Run the function that the first argument names in the folder of the second, and print the errors told."""
    tf.config.run_functions_eagerly(True)
    processes.draw_nothing()
    os.makedirs(sys.argv[2])
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
