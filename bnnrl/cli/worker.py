"""A run in a process of its own, supervised by `bnnrl compare`: `python -m bnnrl.cli.worker THREADS train ...`.

The supervisor holds the other end of this process's standard input. When that end closes, because the supervisor
stopped the run or died, this process stops too, so that no orphan goes on writing into a run folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from bnnrl import _tensorflow
from bnnrl.comparison.jobs import GRACE
from bnnrl.exit_codes import INTERRUPTED


def watch() -> None:
    """Interrupt this process when its standard input ends, and end it after GRACE seconds if it has not stopped."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE)
        os._exit(INTERRUPTED)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Run the command line with a limited number of threads, and return its exit code."""
    watch()
    from bnnrl import cli

    try:
        _tensorflow.limit_threads(int(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
