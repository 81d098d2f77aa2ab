"""The program of a run that another process watches over: `python -m bnnrl.child THREADS train ...`.

Its standard input is a lifeline: when it ends, the watcher has closed it or has died, and the run stops. So no run is
left behind that nobody knows of, to write into a folder that another has taken over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

INTERRUPTED = 130  # the exit code that shells report for Ctrl-C
GRACE = 3.0  # seconds to stop in; less than a successor needs to load TensorFlow and read the run's folder


def watch() -> None:
    """Interrupt this process when its standard input ends, and end it if that does not help."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started deaf to it

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE)
        os._exit(INTERRUPTED)

    threading.Thread(target=wait, daemon=True).start()


def limit_threads(threads: int) -> None:
    """Give TensorFlow `threads` threads, and as many to operations side by side."""
    import bnnrl

    bnnrl._import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def main() -> int:
    """Run the command line under a thread budget, and return its exit code."""
    watch()
    from bnnrl import cli

    try:
        limit_threads(int(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
