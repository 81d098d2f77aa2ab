"""What the tests of processes share: the fake program, and waiting for processes."""

import os
import sys
import time
from pathlib import Path

ENV_ID = "bnnrl/CartPoleSwingUp-v0"
FAKE = (sys.executable, str(Path(__file__).with_name("fake_run.py")))


def alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds: float = 15.0) -> None:
    """Wait until a condition holds, and fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
