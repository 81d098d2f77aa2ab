"""A run in its own process, started by `bnnrl compare`: `python -m bnnrl.cli.worker THREADS train ...`.

The parent holds the other end of this process's standard input. When the parent stops the run or dies, that end
closes, and this process stops, too: no orphan keeps writing to a run folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

from bnnrl import _tensorflow
from bnnrl.comparison.jobs import GRACE
from bnnrl.exit_codes import INTERRUPTED


def watch() -> None:
    """Start a thread that interrupts this process when its standard input ends, and exits after GRACE seconds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored

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
        if sys.argv[2] == "baseline":
            from bnnrl.rl import baselines

            with suppress(ValueError):  # if the package is missing, as the command says
                baselines.import_library()  # before TensorFlow, which the next line imports
        _tensorflow.limit_threads(int(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
