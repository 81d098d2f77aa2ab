"""Pictures of Markov chains: traces, which show whether chains mix, and autocorrelations."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from bnnrl.checks import check_count
from bnnrl.plots.style import INK, check_arrays, check_names, finish, make_figure, series_colours, style_axes

_MAX_FUNCTIONS = 8  # panels of one picture that can still be read


def trace(path: str | os.PathLike[str], chains: ArrayLike, title: str = "", names: Sequence[str] | None = None) -> None:
    """Draw the values of functions along chains, with their histograms, to a PNG file.

    Chains that mix well look alike: they have the same level and spread, and no drift.

    Args:
        path: the PNG file.
        chains: values of n functions, at most 8, along C chains of T draws, [C, T, n].
        title: the title.
        names: name and unit of each function.

    Raises:
        ValueError: if `chains` has another shape, or `names` another length.
    """
    values, names = _check(chains, names)
    num = values.shape[2]
    figure = make_figure(8.0, 1.5 * num + 1.1)
    panels = figure.subplots(num, 2, sharex="col", sharey="row", width_ratios=(5, 1), squeeze=False)
    colours = series_colours(len(values))
    for (along, beside), name, function in zip(panels, names, np.moveaxis(values, 2, 0), strict=True):
        _draw_trace(along, beside, function, colours)
        style_axes(along, "", name)
        style_axes(beside)
    panels[-1, 0].set_xlabel("draw")
    panels[-1, 1].set_xlabel("share, %")
    _finish(figure, colours, path, title)


def _draw_trace(along, beside, function: np.ndarray, colours: Sequence[str]) -> None:
    """Draw the chains [C, T] of one function to the axes `along`, and their histograms to the axes `beside`."""
    known = function[~np.isnan(function)]
    edges = np.linspace(known.min(), known.max(), 31) if len(known) and np.ptp(known) > 0 else 31
    width = 0.9 if function.shape[1] <= 1000 else 0.4
    for chain, colour in zip(function, colours, strict=True):
        along.plot(np.arange(len(chain)), chain, color=colour, linewidth=width, alpha=0.75)
        finite = chain[~np.isnan(chain)]
        if len(finite):
            weights = np.full(len(finite), 100 / len(finite))
            style = {"histtype": "step", "orientation": "horizontal", "color": colour, "linewidth": 1.1}
            beside.hist(finite, edges, weights=weights, **style)
    along.margins(x=0.025)


def autocorrelation(
    path: str | os.PathLike[str],
    chains: ArrayLike,
    title: str = "",
    names: Sequence[str] | None = None,
    max_lag: int | None = None,
) -> None:
    """Draw the autocorrelation of functions along chains to a PNG file.

    Args:
        path: the PNG file.
        chains: values of n functions, at most 8, along C chains of T draws, [C, T, n].
        title: the title.
        names: name of each function.
        max_lag: the largest lag in draws, below T. By default T / 2, and at most 100.

    Raises:
        ValueError: if `chains` has another shape, `names` another length, or `max_lag` is out of range.
    """
    # Imported here, because TensorFlow takes seconds to import and no other picture needs it.
    from tensorflow_probability import stats

    values, names = _check(chains, names)
    num_draws = values.shape[1]
    lags = min(100, num_draws // 2) if max_lag is None else check_count("max_lag", max_lag, least=0)
    if not 1 <= lags < num_draws:
        raise ValueError(
            f"Invalid `max_lag`: expected 1 to {num_draws - 1}, below the number of draws. Received: {max_lag}."
        )
    # For real numbers, TFP logs a warning about an imaginary part that it discards; complex numbers avoid it.
    correlation = stats.auto_correlation(values.astype(complex), axis=1, max_lags=lags).numpy().real  # [C, lags + 1, n]
    columns = (1, 2, 3, 2, 3, 3, 3, 3)[values.shape[2] - 1]  # grids with few empty places
    rows = -(-values.shape[2] // columns)
    figure = make_figure((6.4, 7.6, 8.8)[columns - 1], 2.2 * rows + 1.2)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours = series_colours(len(values))
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.axhline(0, color=INK, linewidth=0.8)
        for chain, colour in zip(correlation[..., i], colours, strict=True):
            axes.plot(chain, color=colour, linewidth=1.2)
        axes.set_title(name, fontsize=9, loc="left")
        lowest = i + columns >= values.shape[2]
        style_axes(axes, "lag, draws" if lowest else "", "autocorrelation" if i % columns == 0 else "")
        axes.tick_params(labelbottom=lowest)
    for axes in panels.flat[values.shape[2] :]:
        axes.set_axis_off()
    _finish(figure, colours, path, title)


def _check(chains: ArrayLike, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Return the chains as float64 [C, T, n] and n names, or raise ValueError."""
    (values,) = check_arrays({"chains": (chains, "C T n")}, finite=False)
    if values.shape[1] < 2 or values.shape[2] > _MAX_FUNCTIONS:
        raise ValueError(
            f"Invalid `chains`: expected [C, T, n] with at least 2 draws T of at most {_MAX_FUNCTIONS} functions n. "
            f"Received: shape {list(values.shape)}. Choose a few functions."
        )
    return values, check_names("names", names, values.shape[2], "function")


def _finish(figure, colours: list[str], path: str | os.PathLike[str], title: str) -> None:
    handles = [Line2D([], [], color=colour, label=f"chain {i}") for i, colour in enumerate(colours)]
    finish(figure, path, title, handles, columns=8)
