"""A live table of runs on a terminal; elsewhere a line for each that ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bnnrl.comparison.executors import Job
from bnnrl.comparison.results import RunResult

_ORDER = ("runs", "failed", "waits", "done")  # what matters most stands where a small terminal still shows it
_STYLES = {"failed": "red", "done": "green", "waits": "dim"}


class Board:
    """Shows how each run stands. Use it as a context manager around `drive`, to which `tell` is given.

    Args:
        title: above the table.
        jobs: each run's job, and how to read its result.
        done: those that ended before.
        trials: that a run has at most.
        console: where to; None is standard output.
    """

    def __init__(
        self,
        title: str,
        jobs: Mapping[Job, Callable[[], RunResult]],
        done: set[Job],
        trials: int,
        console: Console | None = None,
    ):
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._title, self._jobs, self._trials = title, jobs, trials
        self._states = {job: "done" if job in done else "waits" for job in jobs}
        self._starts = dict.fromkeys(jobs, 0)
        terminal = self._console.is_terminal
        # Read files no oftener than the table changes: a folder may be on another machine.
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=1) if terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def tell(self, job: Job, state: str) -> None:
        """Take note of a job's state: "runs", "waits", "done" or "failed"."""
        self._states[job] = state
        self._starts[job] += state == "runs"
        if self._live is None and state in ("done", "failed"):
            ended = sum(s in ("done", "failed") for s in self._states.values())
            outcome = "failed" if state == "failed" else self._outcome(self._jobs[job]())
            self._console.print(f"{job.name}: {outcome} ({ended} of {len(self._states)})")

    def _outcome(self, result: RunResult) -> str:
        if result.solved is not None:
            return f"solved at trial {result.solved}"
        return f"{len(result.rows)} of {self._trials} trials"

    def _table(self) -> Table:
        count = {state: list(self._states.values()).count(state) for state in _ORDER}
        caption = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        table = Table(title=self._title, caption=caption, title_justify="left", caption_justify="left")
        for heading in ("run", "state", "starts", "trials", "evaluation cost", "seconds"):
            table.add_column(heading, justify="left" if heading in ("run", "state") else "right")
        for job, state in sorted(self._states.items(), key=lambda item: _ORDER.index(item[1])):
            result = self._jobs[job]()
            cost = result.final("evaluation_cost")
            table.add_row(
                job.name,
                state,
                str(self._starts[job]),
                f"{len(result.rows)}/{self._trials}",
                "-" if cost is None else f"{cost:.3f}",
                f"{result.seconds:.0f}",
                style=_STYLES.get(state),
            )
        return table
