"""Commands of bnnrl in new processes that are killed or find the disk full, and the state of their run folders.

The commands run TensorFlow's functions eagerly, and write short reports and empty pictures: tracing and drawing would
take ten times as long as the small runs here.
"""

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bnnrl.storage import checkpoint, run_folder
from tests.small_runs import small_options

ENV_ID = "tests.faults.small_task:test/Small-v0"
SMALL = small_options(1, 2, 1, 4, 2, 2, 2, size=1, policy="linear", evaluation_episodes=1)
SMALL.append("--no-stop-when-solved")
TRAIN = ["train", ENV_ID, "--seed", "3", *SMALL]
COMMAND = "import sys; from tests.faults import processes; sys.exit(processes.main())"

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the command line as described above, with the fault that the environment variable FAULT describes."""
    import tensorflow as tf

    from bnnrl import cli
    from bnnrl.rl.reporting import html

    tf.config.run_functions_eagerly(True)
    html.write = write_short_report
    draw_nothing()
    fault = json.loads(os.environ.get("FAULT", "null"))
    if fault:
        watch_writes(fault["folder"], lambda count, _: _die(fault["cut"]) if count == fault["at"] else None)
    if "CLOCK" in os.environ:
        let_clock_jump(random.Random(os.environ["CLOCK"]))
    print("begun", flush=True)
    code = cli.main(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has ended
    print(f"changes of the disk: {_watchers[0][2][0] if fault else None}")
    return code


def write_short_report(folder: Path, *_: Any, **__: Any) -> None:
    """Stand for `html.write`."""
    from bnnrl import report

    report.write(folder / "report.html", "report", [])


def draw_nothing() -> None:
    """Let the files of pictures hold a signature and zeros."""
    from matplotlib.figure import Figure

    savefig: Any = lambda self, path, **_: Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    Figure.savefig = savefig


def let_clock_jump(chance: random.Random) -> None:
    """Let the time of day jump at each look at it, by up to ten years back or ahead."""
    real, years = time.time, 10 * 365 * 86400.0

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + chance.uniform(-years, years)
    time.time_ns = lambda: int(1e9 * time.time())
    run_folder.datetime = Jumping  # pyright: ignore[reportPrivateImportUsage]


def _die(cut: int | None) -> None:
    """Die at once, or within the next file, of which only `cut` bytes are written."""
    if cut is None:
        os.kill(os.getpid(), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (cut or 0, cut or 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


_watchers: list[tuple[str, Callable[[int, str], None], list[int]]] = []
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


def watch_writes(folder: str, before: Callable[[int, str], None]) -> None:
    """Call `before` before each change of the disk below a folder, with the change's number from 1 and its audit event.

    Changes are the opening of a file to write to it, and making, renaming and removing files and folders. An error that
    `before` raises is raised by the change.
    """
    if not _watchers:
        sys.addaudithook(_audit)  # cannot be removed
    _watchers[:] = [(folder, before, [0])]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in _CHANGES:
        path = arguments[0]
    else:
        return
    for folder, before, count in _watchers:
        if isinstance(path, str | Path) and os.fspath(path).startswith(folder):
            count[0] += 1
            before(count[0], event)


def start(python: tuple[str, ...], *arguments: str, fault: dict[str, Any] | None = None) -> subprocess.Popen:
    """Start a command of bnnrl in a new process with eager functions."""
    return subprocess.Popen(
        [*python, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAULT": json.dumps(fault)},
    )


def run(python: tuple[str, ...], *arguments: str, fault: dict[str, Any] | None = None) -> tuple[int, str, str]:
    """Run a command of bnnrl in a new process, and return its exit code, output and errors."""
    process = start(python, *arguments, fault=fault)
    output, error = process.communicate(timeout=240)
    return process.returncode, output, error


def metrics(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without timings."""
    with open(folder / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in csv.DictReader(file)]


def state(folder: Path) -> dict[str, Any]:
    """Return all that a run has learned, bit for bit: descriptions and arrays of its checkpoints, predictions, metrics.

    Timings are left out.
    """
    checkpoints = {}
    for path in sorted((folder / "checkpoints").iterdir()):
        config, arrays = checkpoint.read(path)
        history = [{k: v for k, v in t.items() if not k.endswith("_seconds")} for t in config["history"]]
        described = json.dumps({**config, "history": history}, sort_keys=True)
        checkpoints[path.name] = described, {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()}
    predictions = {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}
    return {"checkpoints": checkpoints, "predictions": predictions, "metrics": metrics(folder)}


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files of a run folder: a killed command leaves some behind, which the next one removes."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


@contextmanager
def seconds() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds since the block began."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began


def generator(name: str) -> random.Random:
    """Return a random generator whose seed is printed, and can be set by the environment variable FAULT_SEED."""
    seed = int(os.environ.get("FAULT_SEED", "0"))
    print(f"{name}: FAULT_SEED={seed}")
    return random.Random(f"{name} {seed}")
