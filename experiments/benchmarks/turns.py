"""What every timed script shares: after a first block, one more block for each line of standard input."""

import json
import sys
from time import perf_counter, process_time


def serve(block, count):
    """Run `block`, which does `count` items, once to compile and warm up; then once a line, printing ms an item.

    By hand: press return for a time, end the input to stop.
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
