"""Ctrl-C: stops a command within some seconds, and says how to go on.

Python handles a signal between two of its instructions, and a compiled call of TensorFlow takes up to half a minute.
A thread therefore learns of the signal from the operating system at once. All files are written atomically, so the
process may end at any moment.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bnnrl.exit_codes import INTERRUPTED

GRACE = 5.0  # seconds that a command has to stop in by itself
_NOTICE = 0.5  # seconds after which the user is told that the command has not stopped yet
_RESERVE = 0.5  # seconds of the grace for the process to end in, after the command was given up
_REPEAT = 0.05  # seconds after which an ignored KeyboardInterrupt is repeated
_SHOW_CURSOR = "\x1b[?25h"


@dataclass
class _Command:
    """What is known of the running command: how to go on after it was stopped, and how long it may take to stop."""

    advice: Callable[[], str] = lambda: ""
    grace: float = GRACE
    repeats: int = 0  # how many of the next signals are repeated by `_repeating`, and not by the user


_command = _Command()


def configure(advice: Callable[[], str], grace: float = GRACE) -> None:
    """Set how the running command is described when it is stopped.

    Args:
        advice: returns what was kept, and how to go on.
        grace: seconds that the command has to stop in by itself.
    """
    _command.advice, _command.grace = advice, grace


def advice() -> str:
    """Return what the running command has kept, and how to go on; "" if there is nothing to say."""
    return _command.advice()


@contextmanager
def watch() -> Iterator[None]:
    """Watch for Ctrl-C during the block, which then gets a KeyboardInterrupt.

    If the block has not ended after a while, or at a second Ctrl-C, the process ends with exit code 130. Nothing is
    watched outside the main thread, on Windows, and where SIGINT is ignored, as in jobs that a shell runs in the
    background.
    """
    configure(lambda: "")
    handler = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if os.name != "posix" or not in_main_thread or handler in (signal.SIG_IGN, signal.SIG_DFL, None):
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    previous = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    thread = threading.Thread(target=_follow, args=(read_end,), daemon=True)
    thread.start()
    try:
        with _repeating():
            yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(write_end)  # ends the thread
        thread.join()
        os.close(read_end)


@contextmanager
def _repeating() -> Iterator[None]:
    """Repeat a KeyboardInterrupt that Python ignores, as one in a destructor or in the callback of a weak reference."""
    hook = sys.unraisablehook

    def repeat(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            hook(unraisable)
            return
        _command.repeats += 1
        # Later and from another thread: here, the interrupt would be ignored again.
        threading.Timer(_REPEAT, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _follow(read_end: int) -> None:
    """Wait for SIGINT, and end the process unless the watched block ends in time."""
    if _next_event(read_end) == "ended":
        return
    event = _next_event(read_end, _NOTICE)
    if event == "none":
        _say(f"Interrupted: stopping within {_command.grace:g} s. Press Ctrl-C again to stop at once.")
        event = _next_event(read_end, _command.grace - _NOTICE - _RESERVE)
    if event != "ended":
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)  # the live table hides it
        _say(f"Stopped. {advice()}".strip())
        os._exit(INTERRUPTED)


def _next_event(read_end: int, seconds: float | None = None) -> Literal["interrupted", "ended", "none"]:
    """Return what happened first: SIGINT, the end of the watched block, or nothing in a number of seconds."""
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        while selector.select(None if seconds is None else max(0.0, deadline - time.monotonic())):
            received = os.read(read_end, 1)
            if not received:
                return "ended"
            if received[0] == signal.SIGINT and _command.repeats == 0:
                return "interrupted"
            _command.repeats -= received[0] == signal.SIGINT
    return "none"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if hasattr(os, "register_at_fork"):  # Ctrl-C reaches the children of a process too, and counts once
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
