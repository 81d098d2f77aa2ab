"""Pictures of control: what was learned by trial, and what was predicted of one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from bnnrl.plots.style import GOOD, MODEL, REAL, _figure, _save, _style


def learning_curve(
    path: str | os.PathLike[str],
    predicted: Sequence[float | None],
    real: Sequence[float],
    evaluation: Sequence[float],
    success: Sequence[float | None],
    title: str,
) -> None:
    """Draw costs and success by trial to a PNG.

    Args:
        path: where to.
        predicted: the model's expected cost of each trial, None for a random one.
        real: the cost of each real trial.
        evaluation: the mean cost over each trial's evaluation episodes.
        success: the share of them that succeeded, in [0, 1], or None.
        title: of the figure.
    """
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    trials = np.arange(1, len(real) + 1)
    expected = np.array([np.nan if p is None else p for p in predicted], float)
    axes.plot(trials, expected, "o--", color=MODEL, label="predicted cost of the trial")
    axes.plot(trials, real, "o-", color=REAL, label="real cost of the trial")
    axes.plot(trials, evaluation, "s:", color=REAL, alpha=0.6, label="real cost, evaluation episodes")
    _style(axes, "trial", "mean cost of a step")
    axes.set_ylim(0, max(1.05, 1.05 * max(*real, *evaluation)))
    axes.set_xticks(trials)
    axes.set_title(title, fontsize=10, loc="left")
    if any(s is not None for s in success):
        right = axes.twinx()
        right.bar(trials, [100 * (s or 0) for s in success], width=0.5, color=GOOD, alpha=0.18, label="success")
        right.set_ylim(0, 105)
        right.set_ylabel("successful evaluation episodes, %", color=GOOD)
        right.spines[["top"]].set_visible(False)
        axes.set_zorder(right.get_zorder() + 1)
        axes.patch.set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    _save(figure, path)


def rollouts(
    path: str | os.PathLike[str],
    particles: np.ndarray,
    particle_costs: np.ndarray,
    real: np.ndarray,
    real_costs: np.ndarray,
    title: str,
    labels: Sequence[str] | None = None,
    dt: float | None = None,
) -> None:
    """Draw predicted trajectories with bands against the real one to a PNG.

    Args:
        path: where to.
        particles: predicted observations, [H + 1, P, O].
        particle_costs: their costs, [H, P].
        real: the real trial's observations, [T + 1, O].
        real_costs: its costs, [T].
        title: of the figure.
        labels: a name for each observation entry.
        dt: seconds between observations; without it the axis counts steps.
    """
    names = list(labels) if labels else [f"observation {i}" for i in range(real.shape[1])]
    panels = [(name, 0, particles[..., i], real[:, i]) for i, name in enumerate(names)]
    panels.append(("cost", 1, particle_costs, real_costs))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(3.6 * columns, 2.5 * rows + 0.5)
    all_axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, (name, first, predicted, observed) in zip(all_axes, panels, strict=False):
        time = lambda values, first=first: (first + np.arange(len(values))) * (dt or 1)
        for low, high, alpha in ((2.5, 97.5, 0.15), (25, 75, 0.25)):
            band = np.percentile(predicted, [low, high], axis=1)
            axes.fill_between(time(predicted), *band, color=MODEL, alpha=alpha, linewidth=0)
        axes.plot(time(predicted), predicted[:, :12], color=MODEL, alpha=0.25, linewidth=0.7)
        axes.plot(time(predicted), np.median(predicted, axis=1), color=MODEL, linewidth=1.4)
        axes.plot(time(observed), observed, color=REAL, linewidth=1.6)
        _style(axes, "time, s" if dt else "step", name)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    handles = [
        all_axes[0].plot([], [], color=MODEL, label="predicted: median, particles, 50 % and 95 % bands")[0],
        all_axes[0].plot([], [], color=REAL, label="real")[0],
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)
