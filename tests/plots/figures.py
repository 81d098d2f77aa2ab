"""Look at a picture as a figure, before it is written."""

import sys


def figure_of(monkeypatch, function, *arguments, **named):
    """Return the figure that a picture's function would write."""
    kept = []
    monkeypatch.setattr(sys.modules[function.__module__], "_save", lambda figure, path: kept.append(figure))
    function("nowhere", *arguments, **named)
    (figure,) = kept
    return figure


def legend(figure) -> list[str]:
    """Return what a figure's legend says."""
    return [text.get_text() for text in figure.legends[0].get_texts()]
