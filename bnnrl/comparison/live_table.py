"""`LiveTable`: the state of all runs, as a live table on a terminal, else as one line for each run that ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bnnrl.comparison.executors import JobState
from bnnrl.comparison.jobs import Job
from bnnrl.comparison.results import RunResult

# The order of rows: a terminal with few lines cuts off the last.
_ORDER: tuple[JobState, ...] = ("running", "failed", "waiting", "done")
_STYLES = {"failed": "red", "done": "green", "waiting": "dim"}


class LiveTable:
    """Shows the state of each run. Use it as a context manager around `run_jobs`, with `on_state` as the callback.

    Args:
        title: the title of the table.
        readers: for each job, a function that reads its result.
        done: the jobs that were done before.
        trials: the largest number of trials of a run.
        console: where to print; None for standard output.
    """

    def __init__(
        self,
        title: str,
        readers: Mapping[Job, Callable[[], RunResult]],
        done: set[Job],
        trials: int,
        console: Console | None = None,
    ):
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._title, self._readers, self._trials = title, readers, trials
        self._states: dict[Job, JobState] = {job: "done" if job in done else "waiting" for job in readers}
        self._starts = dict.fromkeys(readers, 0)
        terminal = self._console.is_terminal
        # Each refresh reads the results from files, which may be on another machine: once a second is enough.
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=1) if terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def on_state(self, job: Job, state: JobState) -> None:
        """Record the new state of a job, and print a line if it has ended and there is no terminal."""
        self._states[job] = state
        self._starts[job] += state == "running"
        if self._live is None and state in ("done", "failed"):
            ended = sum(s in ("done", "failed") for s in self._states.values())
            outcome = "failed" if state == "failed" else self._outcome(self._readers[job]())
            self._console.print(f"{job.name}: {outcome} ({ended} of {len(self._states)})")

    def _outcome(self, result: RunResult) -> str:
        if result.solved is not None:
            return f"solved at trial {result.solved}"
        done = result.progress(self._trials).replace("/", " of ")
        return done if result.is_baseline else f"{done} trials"

    def _table(self) -> Table:
        states = list(self._states.values())
        caption = ", ".join(f"{states.count(state)} {state}" for state in _ORDER if state in states)
        table = Table(title=self._title, caption=caption, title_justify="left", caption_justify="left")
        for heading in ("run", "state", "starts", "trials", "evaluation cost", "seconds"):
            table.add_column(heading, justify="left" if heading in ("run", "state") else "right")
        for job, state in sorted(self._states.items(), key=lambda item: _ORDER.index(item[1])):
            result = self._readers[job]()
            cost = result.final("evaluation_cost")
            table.add_row(
                job.name,
                state,
                str(self._starts[job]),
                result.progress(self._trials),
                "-" if cost is None else f"{cost:.3f}",
                f"{result.seconds:.0f}",
                style=_STYLES.get(state),
            )
        return table
