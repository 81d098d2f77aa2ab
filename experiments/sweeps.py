"""Functions that all experiments share: parallel runs, and result files."""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from bnnrl._tensorflow import limit_threads
from bnnrl.storage.atomic import atomic_write

RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]
Found = TypeVar("Found")


def quiet_single_thread() -> None:
    """Import TensorFlow without its messages, with one thread, so that parallel runs do not share a core."""
    limit_threads(1)


def check_names(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Exit with a message unless all given names are known."""
    known = list(known)
    if unknown := sorted(set(given) - set(known)):
        raise SystemExit(f"Invalid `{argument}`: expected some of {known}. Received: {unknown}.")


def run_all(function: Callable[..., Found], calls: Iterable[Sequence[Any]], jobs: int) -> Iterator[Found]:
    """Yield the result of `function(*call)` for each call, in the order of the calls, `jobs` of them at a time.

    Each call runs in its own process, so that no run can affect another. A call that raises ends all calls.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, max_tasks_per_child=1)
    try:
        for future in [pool.submit(function, *call) for call in calls]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def outcome(last: Row) -> str:
    """Return a text about how an agent's run ended, from the row of its last trial."""
    return f"solved at trial {last['trial']}" if last["solved"] else f"not solved in {last['trial']} trials"


def spread(values: Iterable[float], show: Callable[[float], str]) -> str:
    """Return a text with the median and the range of figures, each formatted by `show`."""
    values = sorted(values)
    median, low, high = map(show, (statistics.median(values), values[0], values[-1]))
    return f"{median} ({low} to {high})"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows with the same keys to a CSV file, atomically."""
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as unfinished, open(unfinished, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def heading(title: str, columns: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown section from its title to the head of its table."""
    return [f"## {title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a CSV file; what can be read as a number becomes one."""

    def value(text: str) -> Any:
        for number in (int, float):
            with contextlib.suppress(ValueError):
                return number(text)
        return text

    with open(path, newline="") as file:
        return [{key: value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def collect(
    found: Iterable[list[Row]],
    name: str,
    tell: Callable[[list[Row]], str],
    summary: Callable[[list[Row]], str],
    draw: Callable[[list[Row], Path], None] | None = None,
    kept_by: Sequence[str] = (),
) -> None:
    """Print a line and add rows to a CSV file for each finished run; at the end, write and print a summary, and draw.

    Args:
        found: the rows of each run.
        name: name of the result files.
        tell: returns a line from the rows of a run.
        summary: returns a Markdown table from all rows.
        draw: draws all rows to a PNG file.
        kept_by: columns that identify a row. If there are any, rows that the file has already are kept, unless a new
            row has the same values in these columns.
    """
    path = RESULTS / f"{name}.csv"
    rows = read_csv(path) if kept_by and path.exists() else []
    identity = lambda row: tuple(str(row[column]) for column in kept_by)
    for run in found:
        found_now = {identity(row) for row in run} if kept_by else set()
        rows = [row for row in rows if not kept_by or identity(row) not in found_now] + run
        print(tell(run), flush=True)
        write_csv(rows, path)
    table = summary(rows)
    (RESULTS / f"{name}.md").write_text(table)
    if draw is not None:
        draw(rows, RESULTS / f"{name}.png")
    print(table)


def tabulate(found: Iterable[Row], name: str, summary: Callable[[list[Row]], str]) -> None:
    """Print each row and add it to a CSV file; at the end, write and print a summary.

    Args:
        found: a row for each run.
        name: name of the result files.
        summary: returns a Markdown table from all rows.
    """

    def tell(run: list[Row]) -> str:
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in run[0].items() if v != ""}
        return ", ".join(f"{k} {v}" for k, v in shown.items())

    collect(([row] for row in found), name, tell, summary)
