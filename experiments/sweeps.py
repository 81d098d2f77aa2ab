"""What the experiments share: runs side by side, and their rows as files."""

from __future__ import annotations

import csv
import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from bnnrl.files import replacing

RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]
Found = TypeVar("Found")


def quiet_single_thread() -> None:
    """Import TensorFlow without its chatter, for one thread: runs side by side share no core."""
    import bnnrl

    bnnrl._import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run_all(function: Callable[..., Found], calls: Iterable[Sequence[Any]], jobs: int) -> Iterator[Found]:
    """Yield what `function(*call)` returns for each call, in their order, `jobs` of them at a time.

    Each has a process of its own, so that nothing of one run can leak into the next.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        for future in [pool.submit(function, *call) for call in calls]:
            yield future.result()


def outcome(last: Row) -> str:
    """Return how an agent's run ended, from the row of its last trial."""
    return f"solved at trial {last['trial']}" if last["solved"] else f"not solved in {last['trial']} trials"


def spread(values: Iterable[float], show: Callable[[float], str]) -> str:
    """Return the median and the range of figures, each as `show` writes it."""
    values = sorted(values)
    median, low, high = map(show, (statistics.median(values), values[0], values[-1]))
    return f"{median} ({low} to {high})"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows with the same keys, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as unfinished, open(unfinished, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
