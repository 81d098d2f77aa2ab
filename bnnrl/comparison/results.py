"""How the runs of a comparison stand: read from their folders, summed up by method, written as tables and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from bnnrl.comparison import statistics
from bnnrl.storage import run_folder

FIGURES = {"evaluation_cost": "evaluation cost", "evaluation_return": "return", "seconds": "seconds"}

Row = dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """A run, as far as it went."""

    method: str
    seed: int
    rows: list[Row]  # of its metrics.csv, one for each trial
    finished: bool

    @property
    def solved(self) -> int | None:
        """The first trial that solved the task, or None."""
        return next((int(row["trial"]) for row in self.rows if row.get("solved")), None)

    @property
    def seconds(self) -> float:
        """Spent in inference and in the search for policies."""
        return sum(row.get(part) or 0.0 for row in self.rows for part in ("fit_seconds", "search_seconds"))

    def final(self, figure: str) -> float | None:
        """Return a figure of the last trial, or None where there is none."""
        if figure == "seconds":
            return self.seconds
        return self.rows[-1].get(figure) if self.rows else None


def read(folder: Path, method: str, seed: int, trials: int, stop_when_solved: bool) -> RunResult:
    """Return how the run in a folder stands; one without rows where it has not begun."""
    try:
        rows = run_folder.read_table(folder / "metrics.csv")
    except OSError:
        rows = []
    enough = len(rows) >= trials or (stop_when_solved and any(row.get("solved") for row in rows))
    return RunResult(method, seed, rows, bool(rows) and enough)


def write_rows(path: Path, standings: Sequence[RunResult]) -> None:
    """Write a row for each run and trial as CSV, with all columns that any run has."""
    rows = [{"method": s.method, "seed": s.seed, **row} for s in standings for row in s.rows]
    columns = list(dict.fromkeys(["method", "seed", *(column for row in rows for column in row)]))
    run_folder.write_table(path, columns, rows)


def summary(standings: Sequence[RunResult], trials: int) -> list[Row]:
    """Return a row for each method.

    Success is counted over all runs, so that one which never finished counts as not solved. The other figures are of
    the runs that finished, at their last trials.

    Args:
        standings: of all runs.
        trials: that a run has at most.
    """
    rows = []
    for method, runs in _by_method(standings).items():
        row: Row = {"method": method, "runs": len(runs), "finished": sum(s.finished for s in runs)}
        if _has_success(standings):
            solved = [s.solved if s.finished else None for s in runs]
            median = statistics.median_solved(solved)
            row["solved"] = sum(trial is not None for trial in solved)
            row["median_solved_trial"] = None if math.isinf(median) else median
            for trial, share in enumerate(statistics.success_by_trial(solved, trials), start=1):
                row[f"success_by_trial_{trial}"] = share
        for figure in FIGURES:
            found = statistics.estimate([s.final(figure) for s in runs if s.finished])
            row |= {name: None if math.isnan(v) else v for name, v in zip(_columns(figure), found, strict=True)}
        rows.append(row)
    return rows


def table(rows: Sequence[Row], trials: int) -> Table:
    """Return a summary's rows as a table for the terminal."""
    caption = "Of each figure the median over seeds, and below it the interquartile mean with its 95 % interval."
    found = Table(header_style="bold", caption=caption, caption_justify="left", box=box.SIMPLE_HEAD)
    success = "solved" in rows[0]
    figures = [figure for figure in FIGURES if any(row[f"{figure}_iqm"] is not None for row in rows)]
    headings = ["finished", *(("solved", "median trial") if success else ()), *(FIGURES[figure] for figure in figures)]
    found.add_column("method")
    for heading in headings:
        found.add_column(heading, justify="right")
    for row in rows:
        cells = [row["method"], f"{row['finished']}/{row['runs']}"]
        if success:
            median = row["median_solved_trial"]
            cells += [f"{row['solved']}/{row['runs']}", f"> {trials}" if median is None else f"{median:g}"]
        for figure in figures:
            shown = ["-" if row[name] is None else f"{row[name]:.3g}" for name in _columns(figure)]
            median, middle, low, high = shown
            cells.append(f"{median}\n{middle}" + ("" if low == "-" else f" [{low}, {high}]"))
        found.add_row(*cells)
    return found


def draw(path: Path, standings: Sequence[RunResult], trials: int, title: str) -> None:
    """Draw cost by trial of the runs that finished, at least one, and success by trial of all, to a PNG."""
    from bnnrl import plots

    by_method = {method: runs for method, runs in _by_method(standings).items() if any(run.finished for run in runs)}
    curves = []
    for runs in by_method.values():
        costs = [[row.get("evaluation_cost") for row in run.rows] for run in runs if run.finished]
        columns = [statistics.estimate(list(column)) for column in statistics.carried(costs, trials).T]
        solved = [run.solved if run.finished else None for run in runs]
        success = statistics.success_by_trial(solved, trials)
        curves.append([[e.iqm for e in columns], [e.low for e in columns], [e.high for e in columns], success])
    cost, low, high, success = np.array(curves, float).transpose(1, 0, 2)
    plots.comparison(path, cost, low, high, success if _has_success(standings) else None, list(by_method), title)


def _columns(figure: str) -> list[str]:
    return [f"{figure}_{part}" for part in statistics.Estimate._fields]


def _by_method(standings: Sequence[RunResult]) -> Mapping[str, list[RunResult]]:
    return {m: [s for s in standings if s.method == m] for m in dict.fromkeys(s.method for s in standings)}


def _has_success(standings: Sequence[RunResult]) -> bool:
    """Whether the task has a notion of success, as far as its runs tell."""
    return any(row.get("success_rate") is not None or row.get("solved") for s in standings for row in s.rows)
