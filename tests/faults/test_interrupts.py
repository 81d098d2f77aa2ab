"""Ctrl-C in runs and fits: exit code 130, a line on how to go on, and a sound run folder."""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest

from bnnrl.cli.interrupt import GRACE
from bnnrl.storage import checkpoint
from tests.faults import processes
from tests.faults.processes import TRAIN, leftovers, run, start, state

pytestmark = pytest.mark.slow

INTERRUPTS = int(os.environ.get("FAULT_INTERRUPTS", "20"))
MOST_OF_A_RUN = 8
BEGIN = [*TRAIN, "--trials", "3", "--folder"]
# A call of TensorFlow that takes ten minutes, in which Python handles no signal.
COMPILED = """
import sys
import tensorflow as tf
from bnnrl import cli
from bnnrl.rl.pilco import PILCO
def improve(self, trial):
    count = tf.function(lambda most: tf.while_loop(lambda i: i < most, lambda i: (i + 1,), (tf.constant(0),)))
    print("begun", flush=True)
    count(tf.constant(2**31 - 1))
PILCO._improve = improve
sys.exit(cli.main(sys.argv[1:]))
"""


def interrupt(process) -> tuple[int, str, float]:
    """Send SIGINT, and return the exit code, the errors, and the seconds until the end."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    return process.returncode, error, time.monotonic() - began


def test_a_compiled_call_does_not_hold_the_process(tmp_path, fresh_python):
    folder = tmp_path / "run"
    command = [*fresh_python, "-c", COMPILED, *BEGIN, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "begun\n"
    time.sleep(1.0)
    code, error, seconds = interrupt(process)
    assert code == 130
    assert error.splitlines() == [
        f"Interrupted: stopping within {GRACE:g} s. Press Ctrl-C again to stop at once.",
        f"Stopped. Finished trials kept: 1. Resume: bnnrl train --resume {folder}",
    ]
    print(f"ended {seconds:.2f} s after Ctrl-C in a compiled call")
    code, _, error = run(fresh_python, "train", "--resume", str(folder))
    assert (code, leftovers(folder)) == (0, []), error


def test_runs_interrupted_at_random_moments_end_as_if_uninterrupted(tmp_path, fresh_python):
    whole, interrupts, runs, longest = tmp_path / "whole", 0, 0, 0.0
    with processes.seconds() as elapsed:
        assert run(fresh_python, *BEGIN, str(whole))[0] == 0
    chance, duration = processes.generator("interrupts"), elapsed()
    while interrupts < INTERRUPTS:
        folder, code, own = tmp_path / f"run{runs}", 130, 0
        while code == 130:
            begun = (folder / "config.json").exists()
            process = start(fresh_python, *(["train", "--resume", str(folder)] if begun else [*BEGIN, str(folder)]))
            assert process.stdout and process.stdout.readline() == "begun\n"
            if own == MOST_OF_A_RUN:
                error, code = process.communicate(timeout=240)[1], process.returncode
                break
            time.sleep(chance.uniform(0, duration / chance.choice((1, 2, 4))))
            code, error, seconds = interrupt(process)
            assert code in (0, 130) and "Traceback" not in error, error
            if code == 130:
                own, longest = own + 1, max(longest, seconds)
                assert error.splitlines()[-1].startswith(("Interrupted.", "Stopped.")), error
                # Before a command has read its arguments, and while it makes its folder, it has nothing to say.
                assert "Resume: bnnrl train --resume" in error or not begun or error == "Interrupted.\n", error
        assert code == 0, error
        assert state(folder) == state(whole) and leftovers(folder) == []
        interrupts, runs = interrupts + own, runs + 1
    print(f"{interrupts} interrupts of {runs} runs, all equal bit for bit; the longest took {longest:.1f} s to end")


def test_fits_interrupted_at_random_moments_leave_a_whole_model_or_none(tmp_path, fresh_python):
    table, whole, counts, longest = tmp_path / "rows.csv", tmp_path / "whole", Counter(), 0.0
    table.write_text("x,y\n" + "".join(f"{i},{i % 3}.5\n" for i in range(20)))
    fit = ["fit", str(table), "--method", "adam", "--hidden", "2", "--epochs", "3", "--samples", "2", "--folder"]
    with processes.seconds() as elapsed:
        assert run(fresh_python, *fit, str(whole))[0] == 0
    chance, duration = processes.generator("interrupts of fits"), elapsed()
    for i in range(INTERRUPTS):
        folder = tmp_path / f"fit{i}"
        process = start(fresh_python, *fit, str(folder))
        assert process.stdout and process.stdout.readline() == "begun\n"
        time.sleep(chance.uniform(0, duration))
        code, error, seconds = interrupt(process)
        assert code in (0, 130) and "Traceback" not in error, error
        longest, kept = max(longest, seconds), checkpoint.newest_step(folder) is not None
        counts["ended before" if code == 0 else "model kept" if kept else "no model"] += 1
        if kept:
            assert code == 0 or f"Write its report: bnnrl report {folder}\n" in error, error
            assert run(fresh_python, "report", str(folder))[0] == 0 and (folder / "report.html").exists()
        else:
            made = (folder / "metrics.csv").exists()
            assert f"remove {folder}, and start again.\n" in error or not made, error
            shutil.rmtree(folder, ignore_errors=True)
            assert run(fresh_python, *fit, str(folder))[0] == 0
        assert model(folder) == model(whole) and leftovers(folder) == []
    print(f"{dict(counts)}, all models equal bit for bit; the longest took {longest:.1f} s to end")


def model(folder):
    """Return the configuration and the arrays of a fitted model, bit for bit."""
    config, arrays = checkpoint.read(folder / "checkpoints" / f"step_{checkpoint.newest_step(folder)}")
    return config, {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}
