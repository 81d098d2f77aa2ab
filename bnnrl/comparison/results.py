"""Results of the runs of a comparison: read from their folders, summarized by method, as tables and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from bnnrl.comparison import statistics
from bnnrl.plots import Band
from bnnrl.storage import run_folder

FIGURES = {"evaluation_cost": "evaluation cost", "evaluation_return": "return", "seconds": "seconds"}

Row = dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """The result of a run, as far as it has got."""

    method: str
    seed: int
    rows: list[Row]  # the rows of its metrics.csv, one for each trial
    finished: bool
    total_steps: int | None = None  # real steps of a baseline; None for an agent, which is limited by trials

    @property
    def solved(self) -> int | None:
        """The number of the first trial that solved the task, or None."""
        return next((int(row["trial"]) for row in self.rows if row.get("solved")), None)

    @property
    def solved_steps(self) -> int | None:
        """The number of real steps after which the task was first solved, or None."""
        return next((row.get("steps") for row in self.rows if row.get("solved")), None)

    @property
    def is_baseline(self) -> bool:
        """Whether the run is one of a model-free baseline."""
        return self.total_steps is not None

    def progress(self, trials: int) -> str:
        """Return how far the run has got, of `trials` for an agent."""
        if self.total_steps is None:
            return f"{len(self.rows)}/{trials}"
        return f"{self.rows[-1]['steps'] if self.rows else 0}/{self.total_steps} steps"

    def within(self, trials: int) -> RunResult:
        """Return the result within the real steps of `trials` trials."""
        return replace(self, rows=[row for row in self.rows if row["trial"] <= trials])

    @property
    def seconds(self) -> float:
        """Seconds spent in model inference and policy search."""
        return sum(row.get(part) or 0.0 for row in self.rows for part in ("fit_seconds", "search_seconds"))

    def final(self, figure: str) -> float | None:
        """Return one of `FIGURES` at the last trial, or None if the run has no such figure."""
        if figure == "seconds":
            return self.seconds
        return self.rows[-1].get(figure) if self.rows else None


def read(
    folder: Path, method: str, seed: int, trials: int, stop_when_solved: bool, steps: int | None = None
) -> RunResult:
    """Return the result of the run in a folder; a run that has not begun has no rows.

    Args:
        folder: the run folder.
        method: the run's method.
        seed: the run's seed.
        trials: the number of trials after which a run is finished.
        stop_when_solved: whether a run is finished, too, when it has solved the task.
        steps: the number of real steps after which a baseline is finished; None for an agent.
    """
    try:
        rows = run_folder.read_table(folder / "metrics.csv")
    except OSError:
        rows = []
    complete = len(rows) >= trials and (steps is None or rows[-1]["steps"] >= steps)
    complete = complete or (stop_when_solved and any(row.get("solved") for row in rows))
    return RunResult(method, seed, rows, bool(rows) and complete, steps)


def write_rows(path: Path, results: Sequence[RunResult]) -> None:
    """Write a CSV file with a row for each run and trial, and the columns of all runs."""
    rows = [{"method": result.method, "seed": result.seed, **row} for result in results for row in result.rows]
    columns = list(dict.fromkeys(["method", "seed", *(column for row in rows for column in row)]))
    run_folder.write_table(path, columns, rows)


def summary(results: Sequence[RunResult], trials: int) -> list[Row]:
    """Return a row of statistics for each method, and one for each baseline after the real steps of the trials.

    Success is counted over all runs: a run that never finished counts as not solved. All other figures are those of the
    finished runs at their last trials.

    Args:
        results: the results of all runs.
        trials: the largest number of trials of a run.
    """
    has_success = _has_success(results)
    return [_method_row(name, runs, trials, has_success) for name, runs in _compared(results, trials).items()]


def _compared(results: Sequence[RunResult], trials: int) -> dict[str, list[RunResult]]:
    """Return the runs of each method, those of a baseline twice: within the steps of the trials, and to their end."""
    found = {}
    for method, runs in _by_method(results).items():
        if runs[0].is_baseline:
            found[f"{method}, {trials} trials"] = [run.within(trials) for run in runs]
        found[method] = runs
    return found


def _method_row(method: str, runs: Sequence[RunResult], trials: int, has_success: bool) -> Row:
    """Return one row of `summary`."""
    row: Row = {"method": method, "runs": len(runs), "finished": sum(run.finished for run in runs)}
    if has_success:
        solved = [run.solved if run.finished else None for run in runs]
        median = statistics.median_solved(solved)
        row["solved"] = sum(trial is not None for trial in solved)
        row["median_solved_trial"] = None if math.isinf(median) else median
        steps = statistics.median_solved([run.solved_steps if run.finished else None for run in runs])
        row["median_solved_steps"] = None if math.isinf(steps) else steps
        for trial, share in enumerate(statistics.success_by_trial(solved, trials), start=1):
            row[f"success_by_trial_{trial}"] = share
    for figure in FIGURES:
        estimate = statistics.estimate([run.final(figure) for run in runs if run.finished])
        named = zip(_columns(figure), estimate, strict=True)
        row |= {name: None if math.isnan(value) else value for name, value in named}
    return row


def table(rows: Sequence[Row], trials: int) -> Table:
    """Return the rows of `summary` as a table for the terminal."""
    caption = "Each figure: median over seeds, and below it the interquartile mean with its 95 % interval."
    found = Table(header_style="bold", caption=caption, caption_justify="left", box=box.SIMPLE_HEAD)
    has_success = "solved" in rows[0]
    figures = [figure for figure in FIGURES if any(row[f"{figure}_iqm"] is not None for row in rows)]
    has_steps = any(row.get("median_solved_steps") is not None for row in rows)
    headings = ["solved", "median trial", *(["median steps"] if has_steps else [])] if has_success else []
    found.add_column("method")
    for heading in ["finished", *headings, *(FIGURES[figure] for figure in figures)]:
        found.add_column(heading, justify="right")
    for row in rows:
        cells = [row["method"], f"{row['finished']}/{row['runs']}"]
        if has_success:
            median, steps = row["median_solved_trial"], row["median_solved_steps"]
            cells += [f"{row['solved']}/{row['runs']}", f"> {trials}" if median is None else f"{median:g}"]
            if has_steps:
                cells.append("-" if steps is None else f"{steps:g}")
        found.add_row(*cells, *(_figure_cell(row, figure) for figure in figures))
    return found


def _figure_cell(row: Row, figure: str) -> str:
    shown = ["-" if row[name] is None else f"{row[name]:.3g}" for name in _columns(figure)]
    median, iqm, low, high = shown
    return f"{median}\n{iqm}" + ("" if low == "-" else f" [{low}, {high}]")


def draw(path: Path, results: Sequence[RunResult], trials: int, title: str) -> None:
    """Draw the evaluation cost of finished runs and the success of all runs by trial, to a PNG file.

    With baselines, which make more steps, all is drawn by real steps on a logarithmic axis. For a task without success,
    the picture then shows the return in the place of the cost.

    Args:
        path: the PNG file.
        results: the results of all runs, at least one of them finished.
        trials: the largest number of trials of a run.
        title: the title of the picture.
    """
    from bnnrl import plots

    if any(result.is_baseline for result in results):
        plots.bands(path, curves_by_steps(results), "real steps", title, log_x=True)
        return
    by_method = {method: runs for method, runs in _by_method(results).items() if any(run.finished for run in runs)}
    curves = []
    for runs in by_method.values():
        costs = [[row.get("evaluation_cost") for row in run.rows] for run in runs if run.finished]
        columns = [statistics.estimate(list(column)) for column in statistics.carried(costs, trials).T]
        solved = [run.solved if run.finished else None for run in runs]
        success = statistics.success_by_trial(solved, trials)
        curves.append([[e.iqm for e in columns], [e.low for e in columns], [e.high for e in columns], success])
    cost, low, high, success = np.array(curves, float).transpose(1, 0, 2)
    plots.comparison(path, cost, low, high, success if _has_success(results) else None, list(by_method), title)


def curves_by_steps(found: Sequence[RunResult]) -> dict[str, dict[str, Band]]:
    """Return panels of curves by real steps, each method to the end of its longest run, for `bnnrl.plots.bands`.

    The panels are the evaluation cost of finished runs and the share of runs that have solved the task. For a task
    without success, there is one panel with the return.
    """
    by_method = {method: runs for method, runs in _by_method(found).items() if any(run.finished for run in runs)}
    has_success = _has_success(found)
    figure, label = ("evaluation_cost", "mean per step") if has_success else ("evaluation_return", "per episode")
    curves = {method: _by_steps([run for run in runs if run.finished], figure) for method, runs in by_method.items()}
    panels = {f"{figure.replace('_', ' ')}, {label}": curves}
    if has_success:
        panels["runs solved so far, %"] = {method: _solved_by_steps(runs) for method, runs in by_method.items()}
    return panels


def band(x: Sequence[Sequence[float]], series: Sequence[Sequence[float | None]]) -> Band:
    """Return the interquartile mean of figures over runs with its interval; see `statistics.carried_by_steps`."""
    grid, values = statistics.carried_by_steps(x, series)
    estimates = [statistics.estimate(list(column)) for column in values.T]
    return Band(grid, *([getattr(each, part) for each in estimates] for part in ("iqm", "low", "high")))


def _by_steps(runs: Sequence[RunResult], figure: str) -> Band:
    columns = [[row[column] for row in run.rows] for run in runs for column in ("steps", figure)]
    return band(columns[::2], columns[1::2])


def _solved_by_steps(runs: Sequence[RunResult]) -> Band:
    """Return the share of runs that have solved the task, in per cent, by real steps."""
    begun = [run for run in runs if run.rows]
    series = [[bool(row.get("solved")) and run.finished for row in run.rows] for run in begun]
    steps, solved = statistics.carried_by_steps([[row["steps"] for row in run.rows] for run in begun], series)
    share = 100 * np.maximum.accumulate(solved, axis=1).sum(axis=0) / len(runs)
    return Band(steps, share, share, share)


def _columns(figure: str) -> list[str]:
    return [f"{figure}_{part}" for part in statistics.Estimate._fields]


def _by_method(results: Sequence[RunResult]) -> Mapping[str, list[RunResult]]:
    methods = dict.fromkeys(result.method for result in results)
    return {method: [result for result in results if result.method == method] for method in methods}


def _has_success(results: Sequence[RunResult]) -> bool:
    """Return whether any run reports success, as runs do if the task defines it."""
    return any(row.get("success_rate") is not None or row.get("solved") for result in results for row in result.rows)
