"""Ctrl-C: what is said and when a process ends, in processes of their own without TensorFlow."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bnnrl.cli import interrupt

# PBKDF2 is, as a compiled call of TensorFlow, one call without the GIL in which Python handles no signal.
WATCHED = """
import hashlib, sys, time
from bnnrl.cli import interrupt
grace, rounds = float(sys.argv[1]), int(sys.argv[2])
try:
    with interrupt.watch():
        interrupt.configure(lambda: "Resume: by all means.", grace)
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", rounds) if rounds else time.sleep(60)
except KeyboardInterrupt:
    sys.exit(3)
"""
FOR_EVER, A_SECOND = 2**31 - 1, 2_000_000


# The first KeyboardInterrupt comes in the callback of a weak reference, where Python ignores it.
IGNORED = """
import sys, time, weakref
from bnnrl.cli import interrupt
class Thing: pass
thing = Thing()
def callback(_):
    print("ready", flush=True)
    time.sleep(60)
reference = weakref.ref(thing, callback)
try:
    with interrupt.watch():
        interrupt.configure(lambda: "", 30.0)
        del thing
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(3)
"""


def start(grace: float, rounds: int, code: str = WATCHED, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", code, str(grace), str(rounds)]
    # A shell starts its background jobs with SIGINT ignored, and a process inherits that.
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def interrupt_times(process: subprocess.Popen, times: int) -> str:
    """Send SIGINT, again after a second, and return what the process then says."""
    time.sleep(0.2)
    try:
        for i in range(times):
            time.sleep(1.0 if i else 0.0)
            process.send_signal(signal.SIGINT)
        return process.communicate(timeout=60)[1]
    finally:
        process.kill()  # a process that has not ended would keep a processor busy for hours


def test_python_code_gets_a_keyboard_interrupt_and_nothing_is_said():
    process = start(grace=30.0, rounds=0)
    assert interrupt_times(process, 1) == "" and process.returncode == 3


def test_a_keyboard_interrupt_that_python_ignores_is_repeated():
    process = start(grace=30.0, rounds=0, code=IGNORED)
    assert interrupt_times(process, 1) == "" and process.returncode == 3


def test_a_call_that_ends_in_time_is_waited_for():
    process = start(grace=30.0, rounds=A_SECOND)
    said = interrupt_times(process, 1)
    assert process.returncode == 3
    assert said in ("", "Interrupted: stopping within 30 s. Press Ctrl-C again to stop at once.\n")


def test_a_call_that_does_not_end_is_ended():
    process = start(grace=2.0, rounds=FOR_EVER)
    assert interrupt_times(process, 1).splitlines() == [
        "Interrupted: stopping within 2 s. Press Ctrl-C again to stop at once.",
        "Stopped. Resume: by all means.",
    ]
    assert process.returncode == 130


def test_a_second_time_ends_at_once():
    process = start(grace=600.0, rounds=FOR_EVER)
    assert interrupt_times(process, 2).endswith("at once.\nStopped. Resume: by all means.\n")
    assert process.returncode == 130


def test_where_the_signal_is_ignored_it_stays_ignored():
    process = start(grace=1.0, rounds=0, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.kill()
    process.communicate()


def test_other_threads_and_earlier_watchers_are_left_alone():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end)
    try:
        with interrupt.watch():
            pass
        assert signal.set_wakeup_fd(before) == write_end
    finally:
        os.close(read_end)
        os.close(write_end)
    entered = []

    def enter():
        with interrupt.watch():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered
