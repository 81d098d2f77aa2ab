"""Pictures of control: what was learned by trial, and what was predicted of one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import GOOD, INK, MODEL, REAL, _colours, _figure, _legend, _save, _shaped, _style, _title

LEVELS = (2.5, 25.0, 50.0, 75.0, 97.5)  # per cent, of the quantiles that bands show


def learning_curve(
    path: str | os.PathLike[str],
    predicted: Sequence[float | None],
    real: Sequence[float],
    evaluation: Sequence[float],
    success: Sequence[float | None],
    title: str,
    returns: Sequence[float | None] | None = None,
) -> None:
    """Draw costs and success, or returns, by trial to a PNG.

    Args:
        path: where to.
        predicted: the model's expected cost of each trial, None for a random one.
        real: the cost of each real trial.
        evaluation: the mean cost over each trial's evaluation episodes.
        success: the share of them that succeeded, in [0, 1], or None.
        title: of the figure.
        returns: the mean return of the evaluation episodes, or None.
    """
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    trials = np.arange(1, len(real) + 1)
    expected = np.array([np.nan if p is None else p for p in predicted], float)
    axes.plot(trials, expected, "o--", color=MODEL, label="predicted cost of the trial")
    axes.plot(trials, real, "o-", color=REAL, label="real cost of the trial")
    axes.plot(trials, evaluation, "s:", color=REAL, alpha=0.6, label="real cost, evaluation episodes")
    _style(axes, "trial", "mean cost of a step")
    if min(*real, *evaluation) >= 0:  # below there are costs that are minus a reward
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
    elif any(r is not None for r in returns or ()):
        right = axes.twinx()
        right.plot(trials, np.array(returns, float), "D-", color=GOOD, markersize=4)
        right.set_ylabel("return, mean of the evaluation episodes", color=GOOD)
        right.spines[["top"]].set_visible(False)
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
    bands, cost_bands = (np.percentile(a, LEVELS, axis=1) for a in (particles, particle_costs))
    some = particles[:, :12], particle_costs[:, :12]
    _draw_rollouts(path, bands, cost_bands, some, real, real_costs, title, labels, dt)


def rollout_bands(
    path: str | os.PathLike[str],
    bands: np.ndarray,
    cost_bands: np.ndarray,
    real: np.ndarray,
    real_costs: np.ndarray,
    title: str,
    labels: Sequence[str] | None = None,
    dt: float | None = None,
) -> None:
    """Draw the bands of a prediction against the real trajectory to a PNG; the other arguments are as in `rollouts`.

    Args:
        path: where to.
        bands: 2.5, 25, 50, 75 and 97.5 % quantiles of predicted observations, [5, H + 1, O].
        cost_bands: the same of their costs, [5, H].
        real: the real trial's observations, [T + 1, O].
        real_costs: its costs, [T].
        title: of the figure.
        labels: a name for each observation entry.
        dt: seconds between observations.
    """
    _draw_rollouts(path, bands, cost_bands, None, real, real_costs, title, labels, dt)


def _draw_rollouts(path, bands, cost_bands, particles, real, real_costs, title, labels, dt) -> None:
    names = list(labels) if labels else [f"observation {i}" for i in range(real.shape[1])]
    panels = [(name, 0, bands[..., i], real[:, i]) for i, name in enumerate(names)]
    panels.append(("cost", 1, cost_bands, real_costs))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(3.6 * columns, 2.5 * rows + 0.5)
    all_axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for i, (axes, (name, first, quantiles, observed)) in enumerate(zip(all_axes, panels, strict=False)):
        time = lambda values, first=first: (first + np.arange(len(values))) * (dt or 1)
        lowest, lower, median, upper, highest = np.where(np.isfinite(quantiles), quantiles, np.nan)
        for low, high, alpha in ((lowest, highest, 0.15), (lower, upper, 0.25)):
            axes.fill_between(time(median), low, high, color=MODEL, alpha=alpha, linewidth=0)
        if particles is not None:
            shown = particles[1] if i == len(names) else particles[0][..., i]
            axes.plot(time(shown), shown, color=MODEL, alpha=0.25, linewidth=0.7)
        axes.plot(time(median), median, color=MODEL, linewidth=1.4)
        axes.plot(time(observed), observed, color=REAL, linewidth=1.6)
        if particles is None:
            _focus(axes, [lower, upper, observed], [lowest, highest])
        _style(axes, "time, s" if dt else "step", name)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    what = "median, 50 % and 95 % bands" if particles is None else "median, particles, 50 % and 95 % bands"
    handles = [
        all_axes[0].plot([], [], color=MODEL, label=f"predicted: {what}")[0],
        all_axes[0].plot([], [], color=REAL, label="real")[0],
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def _focus(axes, within: Sequence[np.ndarray], beyond: Sequence[np.ndarray]) -> None:
    """Show all of some series, and of others what lies no further away than those reach: one may grow beyond bounds."""
    series = np.concatenate(within)
    low, high = np.nanmin(series), np.nanmax(series)
    reach = high - low or 1.0
    both = np.concatenate([series, *beyond])
    low, high = max(np.nanmin(both), low - reach), min(np.nanmax(both), high + reach)
    margin = 0.05 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)


def coverage_by_horizon(
    path: str | os.PathLike[str],
    inside_50: ArrayLike,
    inside_95: ArrayLike,
    title: str = "",
    dt: float | None = None,
) -> None:
    """Draw how often reality fell inside the bands of predictions, by how far ahead it was predicted, to a PNG.

    Args:
        path: where to.
        inside_50: the share of real observations inside the 50 % band at steps 1, 2, … ahead, [T], in [0, 1].
        inside_95: the same of the 95 % band, [T].
        title: of the figure.
        dt: seconds of a step; without it the axis counts steps.

    Raises:
        ValueError: for another shape.
    """
    shares = _shaped({"inside_50": (inside_50, "T"), "inside_95": (inside_95, "T")}, finite=False)
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    ahead = (1 + np.arange(len(shares[0]))) * (dt or 1)
    for level, share, colour in zip((50, 95), shares, _colours(2), strict=True):
        axes.axhline(level, color=colour, linewidth=1, linestyle="--")
        axes.plot(ahead, 100 * share, "o-", color=colour, markersize=3.5, label=f"inside the {level} % band")
    _style(axes, "predicted ahead, s" if dt else "steps predicted ahead", "real observations, %")
    axes.set_ylim(-2, 102)
    axes.plot([], [], color=INK, linewidth=1, linestyle="--", label="as many as should be")
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)


def heat_map(
    path: str | os.PathLike[str],
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    points: ArrayLike | None = None,
    title: str = "",
    labels: tuple[str, str] = ("x", "y"),
    name: str = "value",
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a function of two variables as colours to a PNG.

    Args:
        path: where to.
        x: values of the first variable, rising, [X].
        y: of the second, [Y].
        values: the function, [Y, X].
        points: places to mark, such as those a trial went through, [N, 2].
        title: of the figure.
        labels: names of the variables.
        name: of the function.
        limits: lowest and highest value of a function with a middle, such as an action between its bounds, whose two
            sides get colours of their own; None for one without.

    Raises:
        ValueError: for another shape, or entries that are not finite; those of `values` are left out of the picture.
    """
    x, y = _shaped({"x": (x, "X"), "y": (y, "Y")})
    _, _, values = _shaped({"x": (x, "X"), "y": (y, "Y"), "values": (values, "Y X")}, finite=False)
    figure = _figure(6.0, 4.6)
    axes = figure.subplots()
    low, high = limits or (None, None)
    colours = axes.pcolormesh(x, y, values, cmap="RdBu_r" if limits else "viridis", vmin=low, vmax=high)
    figure.colorbar(colours, ax=axes, label=name)
    if points is not None:
        (points,) = _shaped({"points": (points, "N 2")})
        axes.plot(*points.T, ".", color="white", markersize=7)
        axes.plot(*points.T, ".", color=INK, markersize=4)
    _style(axes, *labels)
    axes.grid(visible=False)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    _title(figure, title)
    _save(figure, path)
