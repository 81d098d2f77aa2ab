"""The loop of all timed scripts: after a first block, one more block for each line of standard input."""

import json
import sys
from time import perf_counter, process_time


def serve(block, count):
    """Run `block` once to compile and warm up, then once for each line of input, and print milliseconds per item.

    To use a script by hand, press return to run a block, and end the input to stop.

    Args:
        block: function without arguments.
        count: number of items of a block.
    """
    started = perf_counter()
    block()
    _say(first_s=perf_counter() - started)
    for _ in sys.stdin:
        wall, cpu = perf_counter(), process_time()
        block()
        wall, cpu = perf_counter() - wall, process_time() - cpu
        _say(ms=wall / count * 1e3, cores=cpu / wall)


def _say(**figures):
    print(json.dumps(figures), flush=True)
