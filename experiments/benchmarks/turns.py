"""The loop of all timed scripts: after a first block, one more block for each line of standard input."""

import json
import os
import sys
from time import perf_counter, process_time


def serve(block, count, warm_up=None, at_end=None):
    """Run `block` once to compile and warm up, then once for each line of input, and print milliseconds per item.

    To use a script by hand, press return to run a block, and end the input to stop.

    Args:
        block: function without arguments.
        count: number of items of a block.
        warm_up: function without arguments that is called after the first block.
        at_end: function without arguments that is called after the last block.
    """
    started = perf_counter()
    block()
    first = perf_counter() - started
    if warm_up is not None:
        warm_up()
    _say(first_s=first)
    for _ in sys.stdin:
        wall, cpu = perf_counter(), process_time()
        block()
        wall, cpu = perf_counter() - wall, process_time() - cpu
        _say(ms=wall / count * 1e3, cores=cpu / wall)
    if at_end is not None:
        at_end()


def num_threads():
    """Return 2, or the number of processors that this process may use if that is less."""
    return min(2, len(os.sched_getaffinity(0)))


def _say(**figures):
    print(json.dumps(figures), flush=True)
