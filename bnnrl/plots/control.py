"""Pictures of control: learning curves, predicted and real trajectories, coverage by horizon, and heat maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from bnnrl.checks import as_array, check_positive, optional
from bnnrl.plots.style import (
    GOOD,
    INK,
    MODEL,
    REAL,
    check_arrays,
    check_names,
    finish,
    make_figure,
    series_colours,
    style_axes,
)

LEVELS = (2.5, 25.0, 50.0, 75.0, 97.5)  # quantiles that bands show, in per cent
_MAX_TRAJECTORIES = 12  # particles that are drawn one by one


def quantiles(particles: np.ndarray) -> np.ndarray:
    """Return the quantiles of particles [H, P, ...] at `LEVELS`, [5, H, ...]; NaN or infinite where particles are."""
    with np.errstate(over="ignore", invalid="ignore"):  # interpolation between infinite or very large particles
        return np.percentile(particles, LEVELS, axis=1)


def learning_curve(
    path: str | os.PathLike[str],
    predicted: Sequence[float | None],
    real: Sequence[float],
    evaluation: Sequence[float],
    success: Sequence[float | None],
    title: str,
    returns: Sequence[float | None] | None = None,
) -> None:
    """Draw the cost, and the success or the return, by trial to a PNG file.

    Args:
        path: the PNG file.
        predicted: cost that the model expected of each trial; None for a trial with random actions. A prediction far
            from all real costs is drawn at the edge, with its value.
        real: cost of each real trial.
        evaluation: mean cost of the evaluation episodes of each trial.
        success: share of successful evaluation episodes of each trial, in [0, 1]; None if success is not defined.
        title: the title.
        returns: mean return of the evaluation episodes of each trial. Drawn if success is not defined.
    """
    given = {"predicted": predicted, "real": real, "evaluation": evaluation, "success": success}
    given |= {} if returns is None else {"returns": returns}
    named = {name: (_without_none(name, values), "T") for name, values in given.items()}
    expected, costs, evaluated, share, *sums = check_arrays(named, finite=False)
    figure = make_figure(6.4, 4.0)
    axes = figure.subplots()
    trials = np.arange(1, len(costs) + 1)
    low, high = _cost_limits(np.concatenate([costs, evaluated]))
    _plot_within(axes, trials, expected, low, high)
    axes.plot(trials, costs, "o-", color=REAL, label="trial, real")
    axes.plot(trials, evaluated, "s:", color=REAL, alpha=0.6, label="evaluation episodes, real")
    style_axes(axes, "trial", "cost, mean per step")
    margin = 0.05 * (high - low)
    axes.set_ylim(low - margin if low else 0.0, high + margin)
    axes.set_xticks(trials)
    if not np.isnan(share).all():
        right = _right_axes(axes, "successful evaluation episodes, %")
        right.bar(trials, 100 * np.nan_to_num(share), width=0.5, color=GOOD, alpha=0.18)
        right.set_ylim(0, 105)
    elif sums and not np.isnan(sums[0]).all():
        right = _right_axes(axes, "return, mean of the evaluation episodes")
        right.plot(trials, sums[0], "D-", color=GOOD, markersize=4)
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


def _cost_limits(real: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest cost that a picture of real costs shows, which is 0 if none is negative."""
    real = real[np.isfinite(real)]
    low, high = np.min(real, initial=0.0), np.max(real, initial=-np.inf)
    if low < 0:
        low = np.min(real)
    if not high > low:
        high = low + (abs(low) or 1.0)
    reach = high - low
    return float(low - reach if low < 0 else 0.0), float(high + (reach if low < 0 else 0.25 * reach))


def _plot_within(axes, trials: np.ndarray, predicted: np.ndarray, low: float, high: float) -> None:
    """Plot predicted costs; those beyond the limits as triangles at the edge, with their values."""
    shown = np.clip(predicted, low, high)
    axes.plot(trials, shown, "o--", color=MODEL, label="trial, predicted")
    for above, edge, marker in ((True, high, "^"), (False, low, "v")):
        beyond = predicted > high if above else predicted < low
        axes.plot(trials[beyond], np.full(beyond.sum(), edge), marker, color=MODEL, markersize=9, clip_on=False)
        for trial, value in zip(trials[beyond], predicted[beyond], strict=True):
            place = {"xytext": (0, -14 if above else 8), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{value:.3g}", (trial, edge), color=MODEL, fontsize=8, **place)


def _without_none(name: str, values) -> np.ndarray:
    """Return values as an array in which NaN stands for None."""
    array = as_array(name, values)
    return as_array(name, [np.nan if v is None else v for v in array.ravel()]) if array.dtype == object else array


def _right_axes(axes, ylabel: str):
    """Return axes with a y axis on the right, drawn behind `axes`."""
    right = axes.twinx()
    right.set_ylabel(ylabel, color=GOOD)
    right.spines[["top"]].set_visible(False)
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    return right


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
    """Draw predicted trajectories, with bands of their quantiles, and the real trajectory to a PNG file.

    Args:
        path: the PNG file.
        particles: predicted observations, [H + 1, P, O].
        particle_costs: predicted costs, [H, P].
        real: observations of the real trial, [T + 1, O].
        real_costs: costs of the real trial, [T].
        title: the title.
        labels: name of each observation entry.
        dt: seconds between observations; None to count steps on the time axis.
    """
    check_arrays({"particles": (particles, "time P O"), "particle_costs": (particle_costs, "steps P")}, finite=False)
    particles, particle_costs = np.asarray(particles), np.asarray(particle_costs)
    bands, cost_bands = quantiles(particles), quantiles(particle_costs)
    panels = _panels(bands, cost_bands, real, real_costs, labels)
    few = [*np.moveaxis(particles[:, :_MAX_TRAJECTORIES], 2, 0), particle_costs[:, :_MAX_TRAJECTORIES]]
    panels = [panel._replace(particles=some) for panel, some in zip(panels, few, strict=True)]
    _draw_panels(path, panels, title, dt, "median, particles, 50 % and 95 % bands")


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
    """Draw the quantiles of predicted trajectories and the real trajectory to a PNG file.

    Args:
        path: the PNG file.
        bands: 2.5, 25, 50, 75 and 97.5 % quantiles of predicted observations, [5, H + 1, O].
        cost_bands: the same quantiles of predicted costs, [5, H].
        real: observations of the real trial, [T + 1, O].
        real_costs: costs of the real trial, [T].
        title: the title.
        labels: name of each observation entry.
        dt: seconds between observations; None to count steps on the time axis.
    """
    panels = _panels(bands, cost_bands, real, real_costs, labels)
    _draw_panels(path, panels, title, dt, "median, 50 % and 95 % bands")


class _Panel(NamedTuple):
    """Predicted and real values of one observation entry, or of the cost, over time."""

    name: str
    first_step: int
    bands: np.ndarray  # quantiles at LEVELS, [5, H]
    real: np.ndarray  # [T]
    particles: np.ndarray | None = None  # [H, P], drawn one by one


def _panels(
    bands: np.ndarray, cost_bands: np.ndarray, real: np.ndarray, real_costs: np.ndarray, labels: Sequence[str] | None
) -> list[_Panel]:
    """Return a panel for each observation entry, and one for the cost, which begins after the first step."""
    named = {"bands": (bands, f"{len(LEVELS)} time O"), "cost_bands": (cost_bands, f"{len(LEVELS)} steps")}
    bands, cost_bands = check_arrays(named, finite=False)
    real, real_costs = check_arrays(
        {"real": (real, f"T {bands.shape[-1]}"), "real_costs": (real_costs, "steps")}, finite=False
    )
    names = labels or [f"observation {i}" for i in range(real.shape[1])]
    check_names("labels", names, real.shape[1])
    panels = [_Panel(name, 0, bands[..., i], real[:, i]) for i, name in enumerate(names)]
    return [*panels, _Panel("cost", 1, cost_bands, real_costs)]


def _draw_panels(
    path: str | os.PathLike[str], panels: Sequence[_Panel], title: str, dt: float | None, predicted: str
) -> None:
    optional(check_positive)("dt", dt)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_figure(3.6 * columns, 2.5 * rows + 0.5)
    all_axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, panel in zip(all_axes, panels, strict=False):
        _draw_panel(axes, panel, dt or 1)
        style_axes(axes, "time, s" if dt else "step", panel.name)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=MODEL, label=f"predicted: {predicted}"),
        Line2D([], [], color=REAL, label="real"),
    ]
    finish(figure, path, title, handles)


def _draw_panel(axes, panel: _Panel, dt: float) -> None:
    time = lambda values: (panel.first_step + np.arange(len(values))) * dt
    lowest, lower, median, upper, highest = _finite_or_nan(panel.bands)
    for low, high, alpha in ((lowest, highest, 0.15), (lower, upper, 0.25)):
        axes.fill_between(time(median), low, high, color=MODEL, alpha=alpha, linewidth=0)
    if panel.particles is not None:
        axes.plot(time(panel.particles), panel.particles, color=MODEL, alpha=0.25, linewidth=0.7)
    axes.plot(time(median), median, color=MODEL, linewidth=1.4)
    axes.plot(time(panel.real), panel.real, color=REAL, linewidth=1.6)
    _limit_range(axes, [lower, upper, _finite_or_nan(panel.real)], [lowest, highest])


def _finite_or_nan(values: np.ndarray) -> np.ndarray:
    """Return values as float64, in which their differences do not overflow, with NaN for infinite ones."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def _limit_range(axes, inner: Sequence[np.ndarray], outer: Sequence[np.ndarray]) -> None:
    """Set the y axis to show all of `inner`, and of `outer` what is at most one range of `inner` beyond it.

    The last of `inner` is the real trajectory, of which other series count as far as three of its ranges beyond it. A
    diverging prediction would otherwise reduce the real trajectory to a flat line.
    """
    real, is_cut = inner[-1], False
    if not np.isnan(real).all() and (span := np.nanmax(real) - np.nanmin(real)) > 0:
        limits = np.nanmin(real) - 3 * span, np.nanmax(real) + 3 * span
        is_cut = any(np.any((series < limits[0]) | (series > limits[1])) for series in inner)
        inner = [np.clip(series, *limits) for series in inner]
    series = np.concatenate(inner)
    if np.isnan(series).all():
        return
    low, high = np.nanmin(series), np.nanmax(series)
    reach = 0.0 if is_cut else high - low or 1.0
    both = np.concatenate([series, *outer])
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
    """Draw the share of real observations inside the bands of predictions, by prediction horizon, to a PNG file.

    Args:
        path: the PNG file.
        inside_50: share of real observations inside the 50 % band at horizons of 1, 2, … steps, [T], in [0, 1].
        inside_95: share inside the 95 % band, [T].
        title: the title.
        dt: seconds of a step; None to count steps on the horizontal axis.

    Raises:
        ValueError: if an array has another shape.
    """
    optional(check_positive)("dt", dt)
    shares = check_arrays({"inside_50": (inside_50, "T"), "inside_95": (inside_95, "T")}, finite=False)
    figure = make_figure(6.4, 4.0)
    axes = figure.subplots()
    ahead = (1 + np.arange(len(shares[0]))) * (dt or 1)
    for level, share, colour in zip((50, 95), shares, series_colours(2), strict=True):
        axes.axhline(level, color=colour, linewidth=1, linestyle="--")
        axes.plot(ahead, 100 * share, "o-", color=colour, markersize=3.5, label=f"inside the {level} % band")
    style_axes(axes, "prediction horizon, s" if dt else "prediction horizon, steps", "real observations, %")
    axes.set_ylim(-2, 102)
    axes.plot([], [], color=INK, linewidth=1, linestyle="--", label="perfect calibration")
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


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
    """Draw a function of two variables as colours to a PNG file.

    Args:
        path: the PNG file.
        x: values of the first variable, increasing, [X].
        y: values of the second variable, increasing, [Y].
        values: values of the function, [Y, X]; those that are not finite are left blank.
        points: points to mark, such as the states of a trial, [N, 2].
        title: the title.
        labels: names of the variables.
        name: name of the function.
        limits: lowest and highest value of a function whose middle value matters, such as an action between its bounds.
            The colours then diverge from the middle. None for a scale of colours from the smallest to the largest
            value.

    Raises:
        ValueError: if an array has another shape, or an entry of `x`, `y` or `points` is not finite.
    """
    x, y = check_arrays({"x": (x, "X"), "y": (y, "Y")})
    for axis, places in (("x", x), ("y", y)):
        steps = np.diff(places)
        if len(places) < 2 or not (np.all(steps > 0) or np.all(steps < 0)):
            raise ValueError(
                f"Invalid `{axis}`: expected two or more numbers, in increasing or in decreasing order. "
                f"Received: {places}."
            )
    _, _, values = check_arrays({"x": (x, "X"), "y": (y, "Y"), "values": (values, "Y X")}, finite=False)
    figure = make_figure(6.0, 4.6)
    axes = figure.subplots()
    check_names("labels", labels, 2)
    low, high = (None, None) if limits is None else check_arrays({"limits": (limits, "2")})[0]
    colours = axes.pcolormesh(x, y, values, cmap="viridis" if limits is None else "RdBu_r", vmin=low, vmax=high)
    figure.colorbar(colours, ax=axes, label=name)
    if points is not None:
        (points,) = check_arrays({"points": (points, "N 2")})
        axes.plot(*points.T, ".", color="white", markersize=7)
        axes.plot(*points.T, ".", color=INK, markersize=4)
    style_axes(axes, *labels)
    axes.grid(visible=False)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    finish(figure, path, title)
