"""Picture of curves with bands, such as scores by steps of several methods."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from bnnrl.checks import check_mapping
from bnnrl.plots.style import check_arrays, check_names, finish, make_figure, series_styles, style_axes


class Band(NamedTuple):
    """A curve and the band around it. Entries of its values that are not finite leave a gap."""

    x: ArrayLike  # [N], increasing
    middle: ArrayLike  # [N]
    low: ArrayLike  # [N]
    high: ArrayLike  # [N]


def bands(
    path: str | os.PathLike[str],
    panels: Mapping[str, Mapping[str, Band]],
    xlabel: str,
    title: str = "",
    log_x: bool = False,
) -> None:
    """Draw curves with their bands to a PNG file, in panels one below the other.

    Curves of the same name have the same colour, line and marker in all panels. A curve that ends before others do has
    a large dot at its end.

    Args:
        path: the PNG file.
        panels: the curves of each panel by name, by the label of the panel's vertical axis.
        xlabel: the label of the horizontal axis.
        title: the title.
        log_x: whether the horizontal axis is logarithmic.

    Raises:
        ValueError: without curves, or if the arrays of a band differ in shape.
    """
    check_mapping("panels", panels)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    if not names:
        raise ValueError("Invalid `panels`: expected at least one curve. Received: none.")
    shown = dict(zip(names, check_names("panels", names, len(names)), strict=True))
    styles = dict(zip(names, series_styles(len(names)), strict=True))
    figure = make_figure(7.0, 1.0 + 2.7 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (ylabel, curves) in zip(axes, panels.items(), strict=True):
        style_axes(panel, "", ylabel)
        for name, band in curves.items():
            x, middle, low, high = check_arrays({part: (getattr(band, part), "N") for part in Band._fields}, False)
            style = styles[name]
            panel.plot(x, middle, label=shown[name], markersize=3.5, linewidth=1.6, **style)
            panel.plot(x[-1:], middle[-1:], color=style["color"], marker=style["marker"], markersize=7)
            panel.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    if log_x:
        axes[-1].set_xscale("log")
        axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    axes[-1].set_xlabel(xlabel)
    handles = {line.get_label(): line for panel in axes for line in panel.get_lines() if line.get_label()[0] != "_"}
    finish(figure, path, title, list(handles.values()), columns=6)
