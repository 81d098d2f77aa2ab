"""Importing TensorFlow without its start-up messages, and limiting its threads."""

from __future__ import annotations

import os
import sys
import tempfile

# TensorFlow's C++ side reads this variable while it is being imported. A user's own setting is kept, and then the
# messages of the import are shown too.
_QUIET = "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def set_environment() -> None:
    """Set the environment variables that TensorFlow and Keras read when they are imported; keep a user's own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def import_tensorflow() -> None:
    """Import TensorFlow and TensorFlow Probability without their start-up messages.

    TensorFlow writes to file descriptor 2 during its import, before it reads any log level. This function therefore
    redirects the descriptor to a temporary file meanwhile, and shows that file if the import fails.
    """
    if "tensorflow" in sys.modules or not _QUIET:
        return
    with tempfile.TemporaryFile() as messages:
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
            import tensorflow_probability  # noqa: F401
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
