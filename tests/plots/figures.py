"""Pictures as figures, before they are written, and as pixels."""

import matplotlib.image

from bnnrl.plots import style


def figure_of(monkeypatch, function, *arguments, **named):
    """Return the figure that a function of `bnnrl.plots` would write."""
    kept = []
    monkeypatch.setattr(style, "save", lambda figure, path: kept.append(figure))
    function("nowhere", *arguments, **named)
    (figure,) = kept
    return figure


def legend(figure) -> list[str]:
    """Return the texts of a figure's legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def share_inked(path) -> float:
    """Return the share of a picture's pixels that are not white."""
    pixels = matplotlib.image.imread(path)[..., :3]
    return float((pixels.min(axis=-1) < 0.9).mean())
