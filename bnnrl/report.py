"""Self-contained HTML reports of text, tables, JSON, pictures and videos: one file that loads nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bnnrl.checks import check_count, check_iterable, check_path, check_text
from bnnrl.html_table import escaped, html_of_table
from bnnrl.storage.atomic import atomic_write

_PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of every PNG file
_STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2428; --paper: #ffffff; --faint: #5b6670; --line: #d5dade; --panel: #f4f6f7;
  --link: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ea; --paper: #16191c; --faint: #9aa5ae; --line: #3a4147; --panel: #20252a;
    --link: #8ab4f8; }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; padding-bottom: 0.2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption, figcaption { text-align: left; color: var(--faint); font-size: 0.9rem; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; }
figure { margin: 1rem 0; }
figure img, figure video { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
figcaption { padding: 0.3rem 0 0; }
a { color: var(--link); }
pre { margin: 0; padding: 0.8rem; background: var(--panel); border-radius: 4px; font-size: 0.8rem; line-height: 1.4;
  white-space: pre-wrap; }
@media print {
  :root { color-scheme: light; --ink: #000000; --paper: #ffffff; --faint: #444444; --line: #bbbbbb; --panel: #f4f6f7; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: 0.1rem 0.4rem; }
  figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  @page { margin: 15mm; }
}
"""


class Section(Protocol):
    """A section of a report."""

    def html(self) -> str:
        """Return the section as HTML, with all text escaped."""
        ...


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3; level 1 is the title of the report.

    Raises:
        ValueError: for another level.
    """

    text: str
    level: int = 2

    def __post_init__(self):
        check_text("text", self.text)
        if check_count("level", self.level) not in (2, 3):
            raise ValueError(f"Invalid `level`: expected 2 or 3, as 1 is the title. Received: {self.level!r}.")

    def html(self) -> str:
        """Return the heading as HTML."""
        return f"<h{self.level}>{escaped(self.text)}</h{self.level}>"


@dataclass(frozen=True)
class Text:
    """Paragraphs of plain text, separated by empty lines."""

    text: str

    def __post_init__(self):
        check_text("text", self.text)

    def html(self) -> str:
        """Return the paragraphs as HTML."""
        return "\n".join(f"<p>{escaped(part)}</p>" for part in re.split(r"\n\s*\n", self.text.strip()) if part)


@dataclass(frozen=True)
class Table:
    """A table. Numbers are shown with four digits, None as an empty cell.

    Args:
        rows: a mapping, for a table with one row for each entry; or a sequence of mappings, which are the rows of a
            table with one column for each of their keys.
        caption: a caption.

    Raises:
        ValueError: if a row is not a mapping.
    """

    rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    caption: str = ""

    def __post_init__(self):
        check_text("caption", self.caption)
        if isinstance(self.rows, Mapping):
            return
        is_sequence = isinstance(self.rows, Sequence) and not isinstance(self.rows, str)
        wrong = [row for row in self.rows if not isinstance(row, Mapping)] if is_sequence else [self.rows]
        if wrong:
            found = f"{wrong[0]!r:.90} in it" if is_sequence else f"rows={self.rows!r:.90}"
            raise ValueError(f"Invalid `rows`: expected a mapping, or a sequence of mappings. Received: {found}.")

    def html(self) -> str:
        """Return the table as HTML."""
        return f'<div class="wide">{html_of_table(self.rows, self.caption)}</div>'


@dataclass(frozen=True)
class Picture:
    """A PNG file, which the report includes.

    Args:
        path: the file.
        alt: a description of the picture for readers who cannot see it.
        caption: a caption.

    Raises:
        ValueError: if `alt` is empty; from `html`, if the file is not a PNG file.
    """

    path: str | os.PathLike[str]
    alt: str
    caption: str = ""

    def __post_init__(self):
        _check_words(self, "picture")

    def html(self) -> str:
        """Return the picture and its caption as HTML."""
        data = Path(self.path).read_bytes()
        if not data.startswith(_PNG) or len(data) < 24:
            raise ValueError(f"Invalid `path`: expected a PNG file. Received: {self.path}.")
        width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        image = f'<img src="{source}" alt="{escaped(self.alt)}" width="{width}" height="{height}">'
        return _figure(image, self.caption)


@dataclass(frozen=True)
class Video:
    """A .gif or .mp4 file, which the report includes.

    Args:
        path: the file.
        alt: a description of the video for readers who cannot see it.
        caption: a caption.

    Raises:
        ValueError: if `alt` is empty; from `html`, if the file is neither a GIF nor an MP4 file.
    """

    path: str | os.PathLike[str]
    alt: str
    caption: str = ""

    def __post_init__(self):
        _check_words(self, "video")

    def html(self) -> str:
        """Return the video and its caption as HTML."""
        data = Path(self.path).read_bytes()
        encoded, alt = base64.b64encode(data).decode(), escaped(self.alt)
        if data.startswith((b"GIF87a", b"GIF89a")):
            shown = f'<img src="data:image/gif;base64,{encoded}" alt="{alt}">'
        elif data[4:8] == b"ftyp":
            shown = f'<video controls loop muted src="data:video/mp4;base64,{encoded}" aria-label="{alt}"></video>'
        else:
            raise ValueError(f"Invalid `path`: expected a GIF or MP4 file. Received: {self.path}.")
        return _figure(shown, self.caption)


@dataclass(frozen=True)
class Json:
    """Data such as settings and versions, shown as indented JSON. Values that JSON cannot hold are shown by `str`."""

    value: Any
    caption: str = ""

    def html(self) -> str:
        """Return the JSON and its caption as HTML."""
        shown = escaped(json.dumps(self.value, indent=2, ensure_ascii=False, default=_plain))
        caption = f"<figcaption>{escaped(self.caption)}</figcaption>\n" if self.caption else ""
        return f"<figure>\n{caption}<pre>{shown}</pre>\n</figure>"


@dataclass(frozen=True)
class Links:
    """A list of links.

    Args:
        targets: the path of each file relative to the report, or its address, by the text of the link.
        caption: a caption.
    """

    targets: Mapping[str, str]
    caption: str = ""

    def html(self) -> str:
        """Return the links and their caption as HTML."""
        items = [f'<li><a href="{escaped(to)}">{escaped(text)}</a></li>' for text, to in self.targets.items()]
        caption = f"<figcaption>{escaped(self.caption)}</figcaption>\n" if self.caption else ""
        return f"<figure>\n{caption}<ul>\n" + "\n".join(items) + "\n</ul>\n</figure>"


def _plain(value: Any) -> Any:
    """Return an array or a number of NumPy as Python's own, and anything else as text."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
    return str(plain) if isinstance(plain, np.generic) else plain  # of type longdouble, which Python does not have


def write(path: str | os.PathLike[str], title: str, sections: Iterable[Section]) -> None:
    """Write a report as one self-contained HTML file, atomically.

    Args:
        path: the file; an existing one is replaced.
        title: the title of the page.
        sections: the sections in order: Heading, Text, Table, Picture, Video, Json or Links objects.

    Raises:
        OSError: if a picture or video cannot be read, or the report cannot be written.
        ValueError: if a section is of another type, a picture is not a PNG file, or a video is neither GIF nor MP4.
    """
    path, parts = check_path("path", path), []
    check_text("title", title)
    for section in check_iterable("sections", sections, "a list of sections"):
        if isinstance(section, type) or not hasattr(section, "html"):
            raise ValueError(
                "Invalid `sections`: expected Heading, Text, Table, Picture, Video, Json or Links objects. "
                f"Received: {section!r:.100}."
            )
        parts.append(section.html())
    with atomic_write(path) as unfinished:
        unfinished.write_text(_page(title, parts), encoding="utf-8", newline="\n")


def _page(title: str, parts: Sequence[str]) -> str:
    # The policy keeps a browser from loading anything from elsewhere. It allows video only in a report that has one.
    media = "media-src data:; " if any(part.startswith("<figure>\n<video") for part in parts) else ""
    policy = f"default-src 'none'; img-src data:; {media}style-src 'unsafe-inline'"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
            f"<h1>{escaped(title)}</h1>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _check_words(figure: Picture | Video, what: str) -> None:
    """Raise ValueError unless the fields of a picture or a video have their types, and the description has words."""
    check_path("path", figure.path)
    check_text("caption", figure.caption)
    alt = check_text("alt", figure.alt)
    if not alt.strip():
        raise ValueError(
            f"Invalid `alt`: expected words that describe the {what} to readers who cannot see it. Received: {alt!r}."
        )


def _figure(shown: str, caption: str) -> str:
    below = f"\n<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return f"<figure>\n{shown}{below}\n</figure>"
