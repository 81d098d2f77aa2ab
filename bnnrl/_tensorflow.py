"""Importing TensorFlow without its start-up messages, and limiting its threads."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

# TensorFlow's C++ side reads this variable while it is being imported. A user's own setting is kept, and then the
# messages of the import are shown too.
_QUIET = "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def set_environment() -> None:
    """Set the environment variables that TensorFlow and Keras read when they are imported; keep a user's own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def import_tensorflow() -> None:
    """Import TensorFlow and TensorFlow Probability without their start-up messages."""
    if "tensorflow" in sys.modules:
        return
    with _without_garbage_collection(), _without_messages() if _QUIET else nullcontext():
        import tensorflow  # noqa: F401
        import tensorflow_probability  # noqa: F401


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause Python's garbage collector, which takes a fifth of the import's time and finds next to nothing.

    The collector starts whenever the number of objects has grown, and an import makes a million objects that stay.
    They then join the oldest generation: as young objects, they would be visited at each of the next collections.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else a user's own frozen objects would be thawed
            gc.freeze()  # moves all objects out of their generations
            gc.unfreeze()  # moves them into the oldest one
        if was_enabled:
            gc.enable()


@contextmanager
def _without_messages() -> Iterator[None]:
    """Keep back what is written to file descriptor 2, and show it if an error is raised.

    TensorFlow writes there during its import, before it reads any log level. The descriptor is redirected to a
    temporary file meanwhile.
    """
    with tempfile.TemporaryFile() as messages:
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Give TensorFlow `threads` threads within an operation, and run as many operations at the same time."""
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
