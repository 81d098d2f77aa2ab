"""Ctrl-C in a compiled call of a training run: exit code 130, a line on how to resume, and a sound run folder."""

import signal
import subprocess
import time

import pytest

from bnnrl.cli.interrupt import GRACE
from tests.faults.processes import TRAIN, leftovers, run

pytestmark = pytest.mark.slow

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
    assert run(fresh_python, "train", "--resume", str(folder))[0] == 0
    assert leftovers(folder) == []
