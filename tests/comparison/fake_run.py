"""Replaces `python -m bnnrl.cli.worker` in tests: the same arguments, watch on the parent and folder, no TensorFlow.

The environment variable FAKES says what happens to each run, such as {"sgd/1": {"dies": [2]}}. "dies" lists trials that
kill the run when they are begun for the first time, "hangs" lists trials that never end, and "fails" is an exit code.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import tyro

from bnnrl.cli import worker
from bnnrl.cli.baseline import Baseline
from bnnrl.cli.train import Train
from bnnrl.storage import run_folder


def main() -> int:
    worker.watch()
    cls, kind = {"train": (Train, run_folder.TRAIN), "baseline": (Baseline, run_folder.BASELINE)}[sys.argv[2]]
    train = tyro.cli(cls, args=sys.argv[3:])
    folder = Path(train.resume or train.folder or "")
    print("threads", sys.argv[1], os.environ["OMP_NUM_THREADS"])
    if train.resume:
        settings = kind.read_config(folder)["settings"]
    else:
        settings = vars(train)
        kind.create(folder, "", settings)
    (folder / "pid").write_text(str(os.getpid()))
    fate = json.loads(os.environ.get("FAKES", "{}")).get("/".join(folder.parts[-2:]), {})
    done = int((folder / "done").read_text()) if (folder / "done").exists() else 0
    for trial in range(done + 1, (train.trials or 0) + 1):
        mark = folder / f"begun_{trial}"
        if trial in fate.get("dies", []) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if trial in fate.get("hangs", []):
            mark.touch()
            time.sleep(600)
        step(folder, settings, trial)
    if "fails" in fate:
        print("\n".join(f"line {i}" for i in range(20)))
        return fate["fails"]
    return 0


def step(folder: Path, settings: dict, trial: int) -> None:
    rows = [
        {
            "trial": t,
            **({"steps": 100 * t} if "steps" in settings else {}),
            "evaluation_cost": 1 / t + 0.01 * settings["seed"],
            "success_rate": float(t >= 3),
            "solved": t >= 3,
            "fit_seconds": 1.0,
            "search_seconds": 2.0,
        }
        for t in range(1, trial + 1)
    ]
    run_folder.write_table(folder / "metrics.csv", list(rows[0]), rows)
    (folder / "done").write_text(str(trial))


if __name__ == "__main__":
    sys.exit(main())
