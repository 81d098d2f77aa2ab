"""Tables as HTML: of reports, and of objects that a notebook displays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

_NUMBER = ' class="number"'

Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def html_of_table(rows: Rows, caption: str = "") -> str:
    """Return a table as HTML, with all text escaped. It has no colours of its own, but those of its page.

    Numbers are shown with four digits, None as an empty cell.

    Args:
        rows: a mapping, for a table with one row for each entry; or a sequence of mappings, which are the rows of a
            table with one column for each of their keys.
        caption: a caption.
    """
    if isinstance(rows, Mapping):
        head = ""
        lines = [f'<tr><th scope="row">{escaped(k)}</th>{_cell(v)}</tr>' for k, v in rows.items()]
    else:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        numeric = {c: all(_is_number(row.get(c)) or row.get(c) is None for row in rows) for c in columns}
        marks = [f'<th scope="col"{_NUMBER if numeric[c] else ""}>{escaped(c)}</th>' for c in columns]
        head = f"<thead><tr>{''.join(marks)}</tr></thead>\n"
        lines = [f"<tr>{''.join(_cell(row.get(c)) for c in columns)}</tr>" for row in rows]
    caption = f"<caption>{escaped(caption)}</caption>\n" if caption else ""
    body = "\n".join(lines)
    return f"<table>\n{caption}{head}<tbody>\n{body}\n</tbody>\n</table>"


def escaped(text: Any) -> str:
    """Return text escaped for HTML, with its control characters, which HTML forbids, replaced."""
    plain = str(text).replace("\r\n", "\n")
    return escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", plain))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if not _is_number(value):
        return f"<td>{'' if value is None else escaped(value)}</td>"
    if isinstance(value, float | np.floating):
        value = f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return f"<td{_NUMBER}>{value}</td>"
