"""The logs of a fit, which a notebook displays as a table with the curve of the loss."""

from __future__ import annotations

import keras
import numpy as np

from bnnrl.html_table import html_of_table

_WIDTH, _HEIGHT, _MARGIN = 320, 80, 3  # of the picture, in pixels
_MOST_POINTS = 400  # of a curve, which then has more points than the picture has pixels


class History(keras.callbacks.History):
    """Keras's History: `history` holds the values of each log by its name, and `epoch` the numbers of the epochs."""

    def _repr_html_(self) -> str:
        logs = {name: np.asarray(values, np.float64) for name, values in self.history.items() if len(values)}
        if not logs:
            return "<p>No epoch has ended.</p>"
        epochs = len(self.epoch)
        rows = [_row(name, values, epochs) for name, values in logs.items()]
        curves = {name: logs[name] for name in ("loss", "val_loss") if name in logs}
        return _picture(curves, epochs) + html_of_table(rows, f"{epochs} epochs")


def _row(name: str, values: np.ndarray, epochs: int) -> dict[str, object]:
    """Return what the table says of a log, whose last value is that of the last epoch."""
    lowest = int(np.nanargmin(values)) if np.isfinite(values).any() else 0
    in_epoch = epochs - len(values) + lowest + 1
    return {"log": name, "first": values[0], "last": values[-1], "lowest": values[lowest], "in epoch": in_epoch}


def _picture(curves: dict[str, np.ndarray], epochs: int) -> str:
    """Return the curves as SVG in the colour of the page's text, validation dashed; nothing for a single epoch."""
    values = np.concatenate([np.zeros(0), *(curve[np.isfinite(curve)] for curve in curves.values())])
    if epochs < 2 or not len(values):
        return ""
    low, span, lines = values.min(), np.ptp(values) or 1.0, []
    for name, curve in curves.items():
        # A sampler has no validation score before its first draw: the curve of each log ends in the last epoch.
        at = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _MOST_POINTS)).astype(int))
        x = _MARGIN + (epochs - len(curve) + at) / (epochs - 1) * (_WIDTH - 2 * _MARGIN)
        y = _HEIGHT - _MARGIN - (curve[at] - low) / span * (_HEIGHT - 2 * _MARGIN)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
        dashed = ' stroke-dasharray="4 3"' if name == "val_loss" else ""
        lines.append(f'<polyline points="{points}" fill="none" stroke="currentColor"{dashed}/>')
    told = "Loss by epoch" + ("; validation loss dashed" if "val_loss" in curves else "")
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg {size} role="img" aria-label="{told}"><title>{told}</title>{"".join(lines)}</svg>\n'
