"""One HTML page that compares runs: the settings that differ, curves with bands over seeds, scores, links and films."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import plots, report
from bnnrl.comparison import results, statistics
from bnnrl.comparison.results import RunResult
from bnnrl.storage import run_folder
from bnnrl.storage.run_folder import RunKind

_KINDS = (run_folder.TRAIN, run_folder.BASELINE, run_folder.FIT)
_NOT_COMPARED = ("seed", "folder", "resume", "config", "track")  # settings that do not tell groups of runs apart
_FILM_BYTES = 1_000_000  # of all films inside a page; larger ones are linked, so that a page stays below 2 MB
_FILMS = (".mp4", ".gif")
_COLUMNS = ("method", "runs", "solved", "median_solved_trial", "median_solved_steps")
_LEAST_LOG = 5.0  # curves whose ends differ by more than this factor are drawn over a logarithmic axis


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it."""

    folder: Path
    kind: RunKind
    settings: Mapping[str, Any]
    rows: list[dict[str, Any]]  # of metrics.csv: one for each trial, evaluation or epoch

    @property
    def subject(self) -> str:
        """The environment or the data set."""
        return str(self.settings["dataset" if self.kind is run_folder.FIT else "env"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.settings.get("seed", 0))

    @property
    def compared(self) -> dict[str, Any]:
        """The settings by which runs are grouped, those of groups by names such as "dynamics.hidden"."""
        return _flat({name: value for name, value in self.settings.items() if name not in _NOT_COMPARED})


def read(folders: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Return the runs in folders: each a run folder, or a folder with run folders at any depth.

    Raises:
        ValueError: if there are no runs in a folder.
    """
    found = {}
    for folder in map(Path, folders):
        inside = sorted(path.parent for path in folder.rglob("config.json"))
        runs = [(path, kind) for path in inside for kind in _KINDS if kind.matches(path)]
        if not runs:
            raise ValueError(
                "Invalid runs: expected folders that hold runs made by `bnnrl train`, `fit`, `compare` or `baseline`. "
                f"Received: {folder} ({'no run in it' if folder.exists() else 'no such folder'})."
            )
        found |= {path.resolve(): _read(path, kind) for path, kind in runs}
    return list(found.values())


def _read(folder: Path, kind: RunKind) -> Run:
    metrics = folder / "metrics.csv"
    rows = run_folder.read_table(metrics) if metrics.exists() else []
    return Run(folder, kind, kind.read_config(folder)["settings"], rows)


def write(path: str | os.PathLike[str], runs: Sequence[Run]) -> None:
    """Write the page that compares runs to one HTML file without external resources.

    Args:
        path: the file; an existing one is replaced.
        runs: the runs, at least one.
    """
    page = Path(path)
    subjects = list(dict.fromkeys(run.subject for run in runs))
    films = _Films(page.parent)
    with tempfile.TemporaryDirectory() as pictures:
        sections = []
        for i, subject in enumerate(subjects):
            of_subject = [run for run in runs if run.subject == subject]
            sections += _sections(subject, of_subject, Path(pictures) / f"{i}.png", films)
        report.write(page, f"{len(runs)} runs: {', '.join(subjects)}", sections)


def groups_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return runs that differ in their seeds only, by a number and the name of their method."""
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        by_settings.setdefault(json.dumps([run.kind.name, run.compared], sort_keys=True), []).append(run)
    groups = list(by_settings.values())
    return {f"{i}: {group[0].settings.get('method', '')}": group for i, group in enumerate(groups, start=1)}


def differing(groups: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Return a row for each setting in which groups differ, with a column for each group."""
    settings = {name: runs[0].compared for name, runs in groups.items()}
    names = list(dict.fromkeys(key for each in settings.values() for key in each))
    rows = [{"setting": key, **{name: _shown(each.get(key)) for name, each in settings.items()}} for key in names]
    return [row for row in rows if len(set(list(row.values())[1:])) > 1]


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with names such as "dynamics.hidden", without those that are empty."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and "class" not in value:
            found |= _flat(value, f"{prefix}{name.removesuffix('_fields')}.")
        elif value not in (None, [], ()):
            found[prefix + name] = value
    return found


def _sections(subject: str, runs: Sequence[Run], picture: Path, films: _Films) -> list[Any]:
    """Return the sections on the runs of one environment or data set."""
    groups = groups_of(runs)
    are_fits = runs[0].kind is run_folder.FIT
    differences = differing(groups)
    curves = (_fit_curves if are_fits else _control_curves)(groups)
    scores = (_fit_scores if are_fits else _control_scores)(groups)
    found: list[Any] = [report.Heading(subject)]
    found += [report.Table(differences, "Settings that differ.")] if differences else []
    found += [report.Table(scores, "Scores: medians over seeds.")] if scores else []
    if curves:
        panels, xlabel = curves
        words = "Interquartile means over seeds, with their 95 % intervals by bootstrap where there are several seeds."
        plots.bands(picture, panels, xlabel, log_x=_is_long(panels))
        found.append(report.Picture(picture, f"Curves of {', '.join(groups)}, by {xlabel}.", words))
    return [*found, *films.sections(groups)]


def _is_long(panels: Mapping[str, Mapping[str, plots.Band]]) -> bool:
    ends = [float(np.max(band.x)) for curves in panels.values() for band in curves.values()]
    return min(ends) > 0 and max(ends) / min(ends) > _LEAST_LOG


def _control_results(groups: Mapping[str, Sequence[Run]]) -> list[RunResult]:
    return [RunResult(name, run.seed, run.rows, True) for name, runs in groups.items() for run in runs if run.rows]


def _control_curves(groups: Mapping[str, Sequence[Run]]):
    """Return panels with evaluation costs and success, or returns, by real steps; None without any trial."""
    found = _control_results(groups)
    return (results.curves_by_steps(found), "real steps") if found else None


def _control_scores(groups: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    found = _control_results(groups)
    if not found:
        return []
    trials = max(len(result.rows) for result in found)
    columns = (*_COLUMNS, *(f"{figure}_median" for figure in results.FIGURES))
    rows = [{name: row[name] for name in columns if name in row} for row in results.summary(found, trials)]
    return [{name.replace("_", " "): value for name, value in row.items()} for row in rows]


def _fit_curves(groups: Mapping[str, Sequence[Run]]):
    """Return panels with the losses by epoch; None without any epoch."""
    panels = {}
    for column, label in (("loss", "loss on training data"), ("val_loss", "loss on validation data")):
        curves = {}
        for name, runs in groups.items():
            series = [[row.get(column) for row in run.rows] for run in runs]
            series = [values for values in series if any(value is not None for value in values)]
            if series:
                curves[name] = results.band([list(range(1, len(values) + 1)) for values in series], series)
        if curves:
            panels[label] = curves
    return (panels, "epoch") if panels else None


def _fit_scores(groups: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Return a row for each group with the medians of its runs' scores.csv."""
    rows = []
    for name, runs in groups.items():
        files = [run.folder / "scores.csv" for run in runs]
        found = [row for file in files if file.exists() for row in run_folder.read_table(file)]
        keys = list(dict.fromkeys(key for row in found for key in row))
        medians = {key: statistics.estimate([row.get(key) for row in found]).median for key in keys}
        rows.append({"method": name, "runs": len(runs), **medians})
    return rows


class _Films:
    """Sections with the runs' films and links, as seen from the folder of the page."""

    def __init__(self, folder: Path):
        self._folder, self._left = folder.resolve(), _FILM_BYTES

    def sections(self, groups: Mapping[str, Sequence[Run]]) -> list[Any]:
        """Return the newest film of each group if it is small, and links to reports, folders and films."""
        found, links = [], {}
        for name, runs in groups.items():
            films = [film for run in runs for film in _newest_film(run)]
            small = next((film for film in films if film.stat().st_size <= self._left), None)
            if small is not None:
                self._left -= small.stat().st_size
                found.append(report.Video(small, f"An episode of {name}.", f"{name}: {small.stem}"))
            for run in runs:
                links[f"{name}, seed {run.seed}: run folder"] = self._link(run.folder)
                for file in (run.folder / "report.html", *_newest_film(run)):
                    if file.exists():
                        links[f"{name}, seed {run.seed}: {file.name}"] = self._link(file)
        return [*found, report.Links(links, "Runs.")]

    def _link(self, path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), self._folder)).as_posix()


def _newest_film(run: Run) -> list[Path]:
    """Return the newest film of a run in a list, which is empty without films."""
    age: Callable[[Path], float] = lambda path: -path.stat().st_mtime
    return sorted((path for path in (run.folder / "video").glob("*") if path.suffix in _FILMS), key=age)[:1]
