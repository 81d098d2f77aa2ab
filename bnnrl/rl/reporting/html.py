"""An agent's run on one page: costs by trial, predictions against reality, slices of policy and value, a film."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import plots, report
from bnnrl.rl import video
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import predictions, slices
from bnnrl.rl.reporting.run import Run
from bnnrl.storage import run_folder

_POLICY_GRID, _VALUE_GRID = 61, 41  # values of each of the two entries
_MOST_STEPS = 100  # of a rollout that tells a state's value


def write(
    folder: Path | str, agent: PILCO, entries: tuple[int, int] | None = None, most_panels: int | None = None
) -> Path:
    """Write report.html of a run, one file that fetches nothing, and return its path.

    Args:
        folder: the run folder.
        agent: the run's.
        entries: the two observation entries over which policy and value are shown; None takes the first angle and the
            entry after it, or the first two.
        most_panels: of rollouts, which take most of the time: only as many of the last trials are shown as fit, one at
            least. None shows all.

    Raises:
        ValueError: if the folder is no run of an agent, `entries` are not two of the observation's, or a prediction or
            film in it is damaged.
    """
    folder = Path(folder)
    described = run_folder.TRAIN.read_config(folder)
    title = Run.title(agent)
    with tempfile.TemporaryDirectory() as pictures:
        sections = [
            *_learning(agent, Path(pictures)),
            *_film(folder),
            *_rollouts(folder, agent, Path(pictures), most_panels),
            *_slices(agent, Path(pictures), entries),
            report.Heading("Settings and versions"),
            report.Json(described),
        ]
        report.write(folder / "report.html", title, sections)
    return folder / "report.html"


def _learning(agent: PILCO, pictures: Path) -> list[Any]:
    words = Run.outcome(agent)
    if agent.task.step_seconds:
        words += f", {sum(len(e) for e in agent.episodes) * agent.task.step_seconds:.1f} s of experience"
    found: list[Any] = [report.Heading("Learning"), report.Text(f"{words[0].upper()}{words[1:]}.")]
    if agent.history:
        Run.draw_curve(pictures / "curve.png", agent, "")
        beside = "success" if agent.task.success else "returns"
        found.append(report.Picture(pictures / "curve.png", f"Costs and {beside} by trial."))
        rows = [{k.replace("_", " "): v for k, v in asdict(t).items()} for t in agent.history]
        found.append(report.Table(rows, "Trials. Costs are means over steps; experience is in seconds."))
    return found


def _film(folder: Path) -> list[Any]:
    films = video.films(folder)
    if not films:
        return []
    newest = max(films, key=lambda path: path.stat().st_mtime)
    words = f"An episode, {newest.stem.replace('_', ' ').replace('-', ', ')}."
    return [report.Heading("Video"), report.Video(newest, words, words)]


def _rollouts(folder: Path, agent: PILCO, pictures: Path, most_panels: int | None) -> list[Any]:
    compared = predictions.compare(folder, agent)
    if not compared:
        return []
    labels, dt, shares = agent.task.labels, agent.task.step_seconds, predictions.coverage(compared)
    plots.coverage_by_horizon(pictures / "coverage.png", shares[50], shares[95], "", dt)
    which = f"trials {compared[0].trial.trial} to {compared[-1].trial.trial}" if len(compared) > 1 else "one trial"
    words = f"Share of real observation entries inside the predicted bands, by how far ahead; {which}."
    panels = compared[-1].episode.obs.shape[1] + 1
    shown = compared if most_panels is None else compared[-max(1, most_panels // panels) :]
    note = "Each trial's rollouts were predicted by the model before the trial was run."
    if len(shown) < len(compared):
        note += f" Shown are the last of {len(compared)}; `bnnrl report` shows all."
    found: list[Any] = [
        report.Heading("Predictions against reality"),
        report.Text(note),
        report.Picture(pictures / "coverage.png", words, words),
    ]
    for trial, predicted, episode in shown:
        path = pictures / f"trial_{trial.trial}.png"
        costs = agent.costs(episode)
        plots.rollout_bands(path, predicted.obs, predicted.costs, episode.obs, costs, "", labels, dt)
        words = f"Predicted and real observations and costs of trial {trial.trial}."
        found += [report.Heading(f"Trial {trial.trial}", 3), report.Picture(path, words)]
    return found


def _slices(agent: PILCO, pictures: Path, entries: tuple[int, int] | None) -> list[Any]:
    if agent.model.posterior is None or agent.is_planner or agent.episodes[0].obs.shape[1] < 2:
        return []  # a planner has no policy that a picture could show: it plans anew at every point
    policy, value = (slices.plane(agent, size, entries) for size in (_POLICY_GRID, _VALUE_GRID))
    names = agent.task.labels or [f"observation {i}" for i in range(policy.obs.shape[-1])]
    labels = names[policy.entries[0]], names[policy.entries[1]]
    short = [label.split(",")[0] for label in labels]  # without the unit
    words = f"over {short[0]} and {short[1]}, other entries at their observed median. Dots: the last trial."
    chosen = slices.actions(agent, policy)
    found: list[Any] = [report.Heading("Policy and value")]
    for i in range(chosen.shape[-1]):
        name = "action" if chosen.shape[-1] == 1 else f"action {i}"
        largest = float(np.abs(chosen[..., i]).max()) or 1.0
        limits = (-largest, largest) if chosen[..., i].min() < 0 else None
        path = pictures / f"policy_{i}.png"
        plots.heat_map(path, policy.x, policy.y, chosen[..., i], policy.seen, "", labels, name, limits)
        found.append(report.Picture(path, f"{name.capitalize()} {words}", f"{name.capitalize()} {words}"))
    steps = min(agent.horizon, _MOST_STEPS)
    expected, path = slices.values(agent, value, steps), pictures / "value.png"
    plots.heat_map(path, value.x, value.y, expected, value.seen, "", labels, "mean cost of a step")
    words = f"Cost the model expects of the policy in the next {steps} steps, {words}"
    return [*found, report.Picture(path, words, words)]
