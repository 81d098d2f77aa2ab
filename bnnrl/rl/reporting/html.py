"""report.html of an agent's run: learning curve, predictions against reality, policy and value function, video."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import _moved, metrics, plots, report
from bnnrl.rl import video
from bnnrl.rl.callbacks import Callback, Trial
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import predictions, slices
from bnnrl.rl.reporting.predictions import TrialComparison
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.reporting.slices import Plane
from bnnrl.storage import run_folder

_POLICY_GRID, _VALUE_GRID = 61, 41  # values of each of the two entries; the value function takes longer
_IS_SHORT = "The run was in progress when this page was written."
_MAX_STEPS = 100  # of a rollout for the value function


@_moved.renamed_argument(most_panels="max_panels")
def write(
    folder: Path | str, agent: PILCO, entries: tuple[int, int] | None = None, max_panels: int | None = None
) -> Path:
    """Write report.html of a run, a single file without external resources, and return its path.

    Args:
        folder: the run folder.
        agent: the agent of the run.
        entries: the two observation entries over which policy and value function are shown; None takes the first
            angle and the entry after it, or the first two.
        max_panels: largest number of panels of predicted trajectories, which take most of the time to draw: as many of
            the last trials are shown as fit, at least one. None shows all trials.

    Raises:
        ValueError: if the folder is not a run of an agent, `entries` are not two different observation entries, or a
            prediction or video in the folder is damaged.
    """
    folder = Path(folder)
    config = run_folder.TRAIN.read_config(folder)
    with tempfile.TemporaryDirectory() as pictures:
        curve = Path(pictures) / "curve.png"
        if agent.history:
            Run.draw_curve(curve, agent, "")
        sections = [
            *_learning(agent, curve),
            *_video(folder),
            *_predictions(folder, agent, Path(pictures), max_panels),
            *_policy_and_value(agent, Path(pictures), entries),
            report.Heading("Settings and versions"),
            report.Json(config, "Settings that repeat this run, and versions of the packages that it was made with."),
        ]
        report.write(folder / "report.html", Run.title(agent), sections)
    return folder / "report.html"


class ProgressReport(Callback):
    """Callback of `PILCO.learn` that writes a short report.html after each trial, from the pictures that `Run` draws.

    A run that is interrupted or dies thereby has a report of its finished trials. In the list of callbacks, it comes
    after the `Run` of its folder.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        """Write the report."""
        rollouts = self.folder / "rollouts.png"
        words = "Predicted trajectories of the last trial, and the real one."
        predicted = [report.Picture(rollouts, words, words)] if agent.prediction is not None else []
        sections = [
            report.Text(f"{_IS_SHORT} `bnnrl report {self.folder}` writes the whole report."),
            *_learning(agent, self.folder / "curve.png"),
            *predicted,
            report.Heading("Settings and versions"),
            report.Json(run_folder.TRAIN.read_config(self.folder), "Settings that repeat this run, and versions."),
        ]
        report.write(self.folder / "report.html", Run.title(agent), sections)


def is_whole(path: Path) -> bool:
    """Return whether there is a report that is not one of a run in progress."""
    return path.exists() and _IS_SHORT not in path.read_text(encoding="utf-8", errors="replace")


def _learning(agent: PILCO, curve: Path) -> list[Any]:
    outcome = Run.outcome(agent)
    if agent.task.step_seconds:
        seconds = sum(len(e) for e in agent.episodes) * agent.task.step_seconds
        outcome += f", after {seconds:.1f} s of experience in the environment"
    sections: list[Any] = [report.Heading("Learning"), report.Text(f"{outcome[0].upper()}{outcome[1:]}.")]
    if not agent.history:
        return sections
    score = "share of them that succeeded" if agent.task.success else "mean of their returns"
    caption = (
        "Mean cost per step of each trial, as predicted by the model before the trial and as it really was; that of "
        f"the evaluation episodes after the trial; and the {score}."
    )
    trials = [asdict(trial) for trial in agent.history]
    given = [name for name in trials[0] if any(trial[name] is not None for trial in trials)]
    rows = [{name.replace("_", " "): trial[name] for name in given} for trial in trials]
    words = (
        "One row per trial. Costs are means over steps; the compared cost is the real one over the steps that were "
        "predicted, and the predicted cost low and high are the 5 % and 95 % quantiles of an episode's cost. Steps and "
        "experience (in seconds) are those of all trials so far; evaluation episodes, from which the agent does not "
        "learn, are not counted."
    )
    if agent.task.constraints:
        limits = ", ".join(f"{name} ({one.probability:g})" for name, one in agent.task.constraints.items())
        words += (
            f" Constraints, with the probability that an episode has to keep them: {limits}. The keeping probability "
            "is that of all of them, as predicted before the trial. Violations are the real steps that broke one."
        )
    explanation = (
        "In each trial the agent fits its model of the environment to all data so far, plans with the model, and acts "
        "in the environment. The actions of trial 1 are random."
    )
    return [
        *sections,
        *_extrapolation(agent),
        report.Text(explanation),
        report.Picture(curve, "Costs and success or returns by trial.", caption),
        report.Table(rows, words),
    ]


def _extrapolation(agent: PILCO) -> list[Any]:
    """Return a line on predicted rewards of the last trial that leave the observed range, if many do."""
    beyond = agent.prediction and agent.learned_env.describe_beyond_range(agent.prediction.costs)
    return [report.Text(f"Warning of trial {agent.history[-1].trial}: {beyond}")] if beyond else []


def _video(folder: Path) -> list[Any]:
    films = video.films(folder)
    if not films:
        return []
    newest = max(films, key=lambda path: path.stat().st_mtime)
    caption = f"An episode of the agent in the environment: {newest.stem.replace('_', ' ').replace('-', ', ')}."
    return [report.Heading("Video"), report.Video(newest, caption, caption)]


def _predictions(folder: Path, agent: PILCO, pictures: Path, max_panels: int | None) -> list[Any]:
    compared = predictions.compare(folder, agent)
    if not compared:
        return []
    panels = compared[-1].episode.obs.shape[1] + 1
    shown = compared if max_panels is None else compared[-max(1, max_panels // panels) :]
    words = (
        "Before each trial the model predicted the observations and costs that would follow, by many simulated "
        "trajectories. The bands hold 50 % and 95 % of these trajectories at each step."
    )
    if len(shown) < len(compared):
        words += f" Only the last of {len(compared)} trials are shown; `bnnrl report` shows all."
    return [
        report.Heading("Predictions against reality"),
        report.Text(words),
        *_coverage(compared, pictures / "coverage.png", agent.task.step_seconds),
        *_expected_costs(agent.history),
        *(section for comparison in shown for section in _trajectories(comparison, agent, pictures)),
    ]


def _coverage(compared: list[TrialComparison], path: Path, dt: float | None) -> list[Any]:
    shares = predictions.coverage(compared)
    plots.coverage_by_horizon(path, shares[50], shares[95], "", dt)
    first, last = compared[0].trial.trial, compared[-1].trial.trial
    trials = f"trials {first} to {last}" if len(compared) > 1 else f"trial {first}"
    words = f"Share of real observation entries inside the predicted bands, by steps ahead, in {trials}."
    caption = f"{words} The predictions are calibrated where 50 % and 95 % are inside."
    return [
        report.Text(_verdict(predictions.coverage_of_trials(compared, 95))),
        report.Picture(path, words, caption),
        _quarters(compared),
    ]


def _quarters(compared: list[TrialComparison]) -> report.Table:
    """Return the table of coverage by quarter of the horizon."""
    by_band = (predictions.coverage_of_quarters(compared, per_cent) for per_cent in predictions.BANDS)
    show = lambda c: f"{100 * c.share:.0f} % ({100 * c.low:.0f} to {100 * c.high:.0f} %)"
    rows = [
        {
            "quarter of the horizon": i,
            **{f"inside {p} % band": show(c) for p, c in zip(predictions.BANDS, found, strict=True)},
        }
        for i, found in enumerate(zip(*by_band, strict=True), 1)
    ]
    return report.Table(rows, "Coverage by quarter of the horizon, with 95 % confidence intervals by trials.")


def _expected_costs(trials: list[Trial]) -> list[Any]:
    """Return how often the real cost of a trial was in the interval that was predicted before the trial."""
    hits, total = predictions.cost_hits(trials)
    words = f"The real cost of a trial was in its predicted 90 % interval in {hits} of {total} trials."
    return [report.Text(words)] if total else []


def _verdict(inside: metrics.Coverage) -> str:
    """Return what the share of real observations inside the 95 % band says about the predictions."""
    trials = "1 trial" if inside.rows == 1 else f"{inside.rows} trials"
    words = (
        f"On average over all steps, {100 * inside.share:.0f} % of the real observation entries were inside the 95 % "
        f"band. The 95 % confidence interval by {trials} is {100 * inside.low:.0f} to {100 * inside.high:.0f} %"
    )
    if inside.low <= 0.95 <= inside.high:
        return f"{words}, which includes 95 %: these trials do not show that the predictions are wrong."
    if inside.share > 0.95:
        return f"{words}: the predictions are less certain than they need to be."
    return (
        f"{words}: coverage is poor, since the model was too certain. Plans on such a model can fail "
        "in the environment. More episodes per trial, or a shorter horizon, may help."
    )


def _trajectories(comparison: TrialComparison, agent: PILCO, pictures: Path) -> list[Any]:
    trial, predicted, episode = comparison
    path, task = pictures / f"trial_{trial.trial}.png", agent.task
    costs = agent.costs(episode)
    plots.rollout_bands(path, predicted.obs, predicted.costs, episode.obs, costs, "", task.labels, task.step_seconds)
    words = f"Predicted and real observations and costs of trial {trial.trial}."
    return [report.Heading(f"Trial {trial.trial}", 3), report.Picture(path, words)]


def _policy_and_value(agent: PILCO, pictures: Path, entries: tuple[int, int] | None) -> list[Any]:
    if agent.model.posterior is None or agent.is_planner or agent.learned_env.memory.num_obs < 2:
        return []  # a planner has no policy to draw: each action would be a search of its own
    policy, value = (slices.plane(agent, size, entries) for size in (_POLICY_GRID, _VALUE_GRID))
    names = agent.task.labels or [f"observation {i}" for i in range(policy.obs.shape[-1])]
    labels = names[policy.entries[0]], names[policy.entries[1]]
    return [
        report.Heading("Policy and value"),
        *_policy(agent, policy, labels, pictures),
        _value(agent, value, labels, pictures / "value.png"),
    ]


def _policy(agent: PILCO, plane: Plane, labels: tuple[str, str], pictures: Path) -> list[Any]:
    actions = slices.actions(agent, plane)
    found = []
    for i in range(actions.shape[-1]):
        name = "action" if actions.shape[-1] == 1 else f"action {i}"
        largest = float(np.abs(actions[..., i]).max()) or 1.0
        limits = (-largest, largest) if actions[..., i].min() < 0 else None
        path = pictures / f"policy_{i}.png"
        plots.heat_map(path, plane.x, plane.y, actions[..., i], plane.trajectory, "", labels, name, limits)
        caption = f"{name.capitalize()} that the policy takes {_over(labels)}"
        found.append(report.Picture(path, caption, caption))
    return found


def _value(agent: PILCO, plane: Plane, labels: tuple[str, str], path: Path) -> report.Picture:
    steps = min(agent.horizon, _MAX_STEPS)
    costs = slices.values(agent, plane, steps)
    plots.heat_map(path, plane.x, plane.y, costs, plane.trajectory, "", labels, "mean cost of a step")
    caption = f"Mean cost per step that the model predicts for the policy over the next {steps} steps, {_over(labels)}"
    return report.Picture(path, caption, caption)


def _over(labels: tuple[str, str]) -> str:
    x, y = (label.split(",")[0] for label in labels)  # without the unit
    return f"over {x} and {y}, with all other observation entries at their observed median. Dots: the last trial."
