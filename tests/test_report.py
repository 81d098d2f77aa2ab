"""Reports: valid, self-contained and escaped HTML, written atomically, as a browser shows it."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any, cast

import matplotlib.image
import numpy as np
import pytest

from bnnrl import report

VOID = {"meta", "img", "br", "hr", "link"}
NASTY = "<script>alert(\"1\")</script> & http-equiv 'quoted'"


class Page(HTMLParser):
    """A parsed page: its tags and the text of each element; unbalanced tags fail."""

    def __init__(self, markup: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)

    def of(self, tag: str) -> list[str]:
        """Return the text of each element with this tag."""
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def png(tmp_path):
    """Return the path of a picture of 40 by 30 pixels, its upper half red and its lower half blue."""
    pixels = np.zeros((30, 40, 3))
    pixels[:15, :, 0] = pixels[15:, :, 2] = 1.0
    matplotlib.image.imsave(tmp_path / "picture.png", pixels)
    return tmp_path / "picture.png"


def written(tmp_path, *sections, title="A title") -> str:
    report.write(tmp_path / "report.html", title, sections)
    assert not (tmp_path / ".report.html.new").exists()
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def everything(png):
    """Return a section of each kind."""
    return [
        report.Heading("Scores & more"),
        report.Text(f"First.\n\n{NASTY}"),
        report.Table({"nll, nats": 0.123456, "method": "hmc"}, "Test set"),
        report.Table([{"trial": 1, "cost": None}, {"trial": 2, "cost": 0.5, "solved": True}]),
        report.Heading("Pictures", 3),
        report.Picture(png, 'red "above" blue', "A caption"),
        report.Json({"seed": 0, "hidden": (64, 64), "name": NASTY, "rate": np.float32(0.5)}, "config.json"),
    ]


def test_a_page_is_valid_and_loads_nothing(tmp_path, png):
    markup = written(tmp_path, *everything(png))
    page = Page(markup)
    assert markup.startswith("<!DOCTYPE html>\n<html lang=")
    assert ("meta", {"charset": "utf-8"}) in page.tags
    assert any(attrs.get("name") == "viewport" for tag, attrs in page.tags if tag == "meta")
    assert page.of("title") == page.of("h1") == ["A title"]
    assert not re.search(r"https?://|url\(|@import", markup)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base"}
    assert not any(re.fullmatch("href|srcset|on.*", name) for _, attrs in page.tags for name in attrs)


def test_pictures_are_included(tmp_path, png):
    page = Page(written(tmp_path, *everything(png)))
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data, validate=True) == png.read_bytes()
    assert matplotlib.image.imread(io.BytesIO(base64.b64decode(data))).shape[:2] == (30, 40)
    assert (image["width"], image["height"], image["alt"]) == ("40", "30", 'red "above" blue')
    assert page.of("figcaption") == ["A caption", "config.json"]


@pytest.mark.parametrize(
    "place",
    [
        report.Text,
        report.Heading,
        lambda text: report.Table({text: 1}),
        lambda text: report.Table({"a": text}, text),
        lambda text: report.Table([{text: text}]),
        lambda text: report.Json(text, text),
    ],
    ids=["text", "heading", "table-key", "table-value", "table-rows", "json"],
)
def test_text_is_escaped_and_read_back(tmp_path, place):
    page = Page(written(tmp_path, place(NASTY), title=NASTY))
    assert page.of("title") == page.of("h1") == [NASTY]
    assert any(text in {NASTY, json.dumps(NASTY)} for tag, text in page.texts if tag not in {"title", "h1"})
    assert "script" not in {tag for tag, _ in page.tags}


def test_empty_lines_separate_paragraphs_and_forbidden_characters_are_replaced(tmp_path):
    page = Page(written(tmp_path, report.Text("one\r\ntwo\n \n\nthree\x00\x1b[0m \ud800 é θ")))
    assert page.of("p") == ["one\ntwo", "three\ufffd\ufffd[0m \ufffd é θ"]


def test_a_table_of_a_mapping(tmp_path):
    page = Page(written(tmp_path, report.Table({"a": 1.23456789, "b": "x", "c": None, "d": False}, "Test set")))
    assert page.of("caption") == ["Test set"]
    assert page.of("th") == ["a", "b", "c", "d"] and page.of("td") == ["1.235", "x", "", "False"]
    assert [attrs for tag, attrs in page.tags if tag == "td"] == [{"class": "number"}, {}, {}, {}]


def test_a_table_of_rows_has_a_column_for_each_key(tmp_path):
    rows = [{"a": 1, "b": None}, {"c": "x", "a": 2}]
    page = Page(written(tmp_path, report.Table(rows)))
    assert page.of("th") == ["a", "b", "c"] and page.of("td") == ["1", "", "", "2", "", "x"]
    assert len(page.of("tr")) == 3 and page.of("thead") == [""]
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "th"] == ["number", "number", None]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (123456789, "123456789"),
        (np.int64(7), "7"),
        (0.000012345, "1.234e-05"),
        (12345.6, "12346"),
        (np.float32(0.1), "0.1"),
        (float("nan"), "nan"),
        (-np.inf, "-inf"),
        (True, "True"),
    ],
)
def test_cells(tmp_path, value, shown):
    assert Page(written(tmp_path, report.Table({"a": value}))).of("td") == [shown]


def test_values_that_json_cannot_hold_are_shown_as_text(tmp_path):
    value = {"path": tmp_path, "array": np.arange(2), "scalar": np.float64(0.5), "letter": "θ"}
    (shown,) = Page(written(tmp_path, report.Json(value))).of("pre")
    expected = f'{{\n  "path": "{tmp_path}",\n  "array": [\n    0,\n    1\n  ],\n  "scalar": 0.5,\n  "letter": "θ"\n}}'
    assert shown == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report.Heading("a", 1), "Invalid `level`: expected 2 or 3.* Received: 1"),
        (lambda: report.Picture("a.png", " "), "Invalid `alt`: expected words"),
        (
            lambda: report.Table(cast(Any, [("a", 1)])),
            r"Invalid `rows`: expected a mapping.* Received: .* in it",
        ),
    ],
)
def test_invalid_sections_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("spoil", ["not-png", "missing", "not-a-section", "a-class"])
def test_the_old_report_stays_if_the_new_one_cannot_be_written(tmp_path, png, spoil):
    old = written(tmp_path, report.Text("old"))
    (tmp_path / "words.png").write_text("not a picture, and longer than the header of one")
    section, error, message = {
        "not-png": (report.Picture(tmp_path / "words.png", "x"), ValueError, "Invalid `path`: expected a PNG file"),
        "missing": (report.Picture(tmp_path / "none.png", "x"), FileNotFoundError, "none.png"),
        "not-a-section": ("words", ValueError, "Invalid `sections`: expected Heading.* Received: 'words'"),
        "a-class": (report.Text, ValueError, "Invalid `sections`: expected Heading"),
    }[spoil]
    with pytest.raises(error, match=message):
        written(tmp_path, report.Text("new"), section)
    assert (tmp_path / "report.html").read_text() == old


def browse(tmp_path, *options) -> str:
    """Return what headless Chromium prints for the report."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *quiet, "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=800,1000", *options]
    page = (tmp_path / "report.html").as_uri()
    return subprocess.run([*command, page], capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
def test_a_browser_parses_the_whole_report(tmp_path, png):
    written(tmp_path, *everything(png), title=NASTY)
    page = Page(browse(tmp_path, "--dump-dom"))
    assert page.of("title") == page.of("h1") == [NASTY]
    assert page.of("p") == ["First.", NASTY] and page.of("h2") == ["Scores & more"]
    assert page.of("td") == ["0.1235", "hmc", "1", "", "", "2", "0.5", "True"]
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1
    assert "script" not in {tag for tag, _ in page.tags}


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "dark"), [(1, False), (0, True)], ids=["light", "dark"])
def test_a_browser_shows_it_in_light_and_dark(tmp_path, png, scheme, dark):
    written(tmp_path, *everything(png))
    browse(tmp_path, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={tmp_path / 'shot.png'}")
    pixels = matplotlib.image.imread(tmp_path / "shot.png")[..., :3]
    assert pixels.shape == (1000, 800, 3)
    paper, ink = pixels[2, 2].mean(), (pixels.max(axis=-1) < 0.3, pixels.min(axis=-1) > 0.8)
    assert (paper < 0.2) if dark else (paper == 1.0)
    assert 0.002 < ink[int(dark)].mean() < 0.2  # text of the other colour
    for channel in (0, 2):  # the halves of the picture, 40 by 15 pixels each
        pure = (pixels[..., channel] > 0.95) & (np.delete(pixels, channel, axis=-1).max(axis=-1) < 0.05)
        assert 0.8 * 600 < pure.sum() < 1.2 * 600
