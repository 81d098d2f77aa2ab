"""Pictures of Markov chains: do they mix, and how fast do they forget."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from bnnrl.plots.style import INK, _colours, _figure, _legend, _names, _save, _shaped, _style, _title

_MOST = 8  # panels that can still be read


def trace(path: str | os.PathLike[str], chains: ArrayLike, title: str = "", names: Sequence[str] | None = None) -> None:
    """Draw the values of functions along chains, and their histograms beside, to a PNG.

    Chains that mix look alike: the same level, the same spread, no drift.

    Args:
        path: where to.
        chains: the values of n functions, at most 8, along C chains of T draws, [C, T, n].
        title: of the figure.
        names: a name and unit for each function.

    Raises:
        ValueError: for another shape.
    """
    values, names = _checked(chains, names)
    num = values.shape[2]
    figure = _figure(8.0, 1.5 * num + 1.1)
    panels = figure.subplots(num, 2, sharex="col", sharey="row", width_ratios=(5, 1), squeeze=False)
    colours = _colours(len(values))
    width = 0.9 if values.shape[1] <= 1000 else 0.4
    for (along, beside), name, function in zip(panels, names, np.moveaxis(values, 2, 0), strict=True):
        known = function[~np.isnan(function)]
        edges = np.linspace(known.min(), known.max(), 31) if len(known) and np.ptp(known) > 0 else 31
        for chain, colour in zip(function, colours, strict=True):
            along.plot(np.arange(len(chain)), chain, color=colour, linewidth=width, alpha=0.75)
            finite = chain[~np.isnan(chain)]
            if len(finite):
                weights = np.full(len(finite), 100 / len(finite))
                drawn = {"histtype": "step", "orientation": "horizontal", "color": colour, "linewidth": 1.1}
                beside.hist(finite, edges, weights=weights, **drawn)
        along.margins(x=0.025)
        _style(along, "", name)
        _style(beside)
    panels[-1, 0].set_xlabel("draw")
    panels[-1, 1].set_xlabel("share, %")
    _finish(figure, colours, path, title)


def autocorrelation(
    path: str | os.PathLike[str],
    chains: ArrayLike,
    title: str = "",
    names: Sequence[str] | None = None,
    max_lag: int | None = None,
) -> None:
    """Draw the autocorrelation of functions along chains to a PNG.

    Args:
        path: where to.
        chains: the values of n functions, at most 8, along C chains of T draws, [C, T, n].
        title: of the figure.
        names: a name for each function.
        max_lag: the longest lag, in draws, below T; half of T and at most 100 by default.

    Raises:
        ValueError: for another shape, or a lag out of range.
    """
    # TensorFlow takes seconds to import, which the other pictures can do without.
    from tensorflow_probability import stats

    values, names = _checked(chains, names)
    num_draws = values.shape[1]
    lags = min(100, num_draws // 2) if max_lag is None else max_lag
    if not 1 <= lags < num_draws:
        raise ValueError(f"Invalid `max_lag`: expected 1 to {num_draws - 1}, below the draws. Received: {max_lag}.")
    # As complex numbers: of real ones it logs a warning about the imaginary part that it drops.
    correlation = stats.auto_correlation(values.astype(complex), axis=1, max_lags=lags).numpy().real  # [C, lags + 1, n]
    columns = (1, 2, 3, 2, 3, 3, 3, 3)[values.shape[2] - 1]  # few holes in the grid
    rows = -(-values.shape[2] // columns)
    figure = _figure((6.4, 7.6, 8.8)[columns - 1], 2.2 * rows + 1.2)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours = _colours(len(values))
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.axhline(0, color=INK, linewidth=0.8)
        for chain, colour in zip(correlation[..., i], colours, strict=True):
            axes.plot(chain, color=colour, linewidth=1.2)
        axes.set_title(name, fontsize=9, loc="left")
        below = i + columns >= values.shape[2]
        _style(axes, "lag, draws" if below else "", "autocorrelation" if i % columns == 0 else "")
        axes.tick_params(labelbottom=below)
    for axes in panels.flat[values.shape[2] :]:
        axes.set_axis_off()
    _finish(figure, colours, path, title)


def _checked(chains: ArrayLike, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    (values,) = _shaped({"chains": (chains, "C T n")}, finite=False)
    if values.shape[1] < 2 or values.shape[2] > _MOST:
        raise ValueError(
            f"Invalid `chains`: expected [C, T, n] with at least 2 draws T of at most {_MOST} functions n. "
            f"Received: shape {list(values.shape)}. Choose a few functions."
        )
    return values, _names("names", names, values.shape[2], "function")


def _finish(figure, colours: list[str], path: str | os.PathLike[str], title: str) -> None:
    handles = [Line2D([], [], color=colour, label=f"chain {i}") for i, colour in enumerate(colours)]
    _title(figure, title)
    _legend(figure, handles, columns=8)
    _save(figure, path)
