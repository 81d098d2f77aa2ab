"""Text of any kind in a report: it is shown as text, and adds no element, attribute or address to the page."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import base64
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnrl import report
from tests.fuzz.harness import REFUSED, anything, attempt, quick, thorough

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")
NAMES = ("text", "level", "rows", "caption", "path", "alt", "value", "title", "sections")
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "div", "table", "caption"),
    *("thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "video", "pre"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "scope", "src", "alt", "width", "height"),
    *("controls", "loop", "muted", "aria-label"),
}

hostile = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "</title><b>",
            "</style>",
            "</pre>",
            "&lt;",
            "&amp;",
        ]
        + ["' onload='x", "<!--", "-->", "]]>", "\x00<b>\x1b", "\ud800", "javascript:alert(1)", "<a href=//e>", "$x_1$"]
    ),
)
values = st.one_of(hostile, anything, st.floats(), st.integers())


class _Page(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.sources, self.text = set(), set(), [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


@st.composite
def _sections(draw, picture) -> report.Section | object:
    kind = draw(st.sampled_from(["heading", "text", "table", "picture", "json", "any"]))
    if kind == "heading":
        return report.Heading(draw(hostile), draw(st.sampled_from([2, 3])))
    if kind == "text":
        return report.Text(draw(hostile))
    if kind == "table":
        rows = st.dictionaries(hostile, values, max_size=3)
        return report.Table(draw(rows | st.lists(rows, max_size=3)), draw(hostile))
    if kind == "picture":
        return report.Picture(picture, draw(hostile.filter(str.strip)), draw(hostile))
    return report.Json(draw(st.dictionaries(hostile, values, max_size=3) | st.lists(values, max_size=2)), draw(hostile))


def _check(folder, data: st.DataObject) -> None:
    picture, path = folder / "picture.png", folder / "page.html"
    picture.write_bytes(PNG)
    path.unlink(missing_ok=True)
    title, sections = data.draw(hostile), data.draw(st.lists(_sections(picture), max_size=3))
    written = attempt("report.write", NAMES, lambda: report.write(path, title, sections))
    assert path.exists() and written is not REFUSED
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.tags <= TAGS and page.attributes <= ATTRIBUTES
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    plain = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", title.replace("\r\n", "\n"))
    assert plain in page.text


@quick(40)
@given(data=st.data())
def test_text(tmp_path_factory, data):
    _check(tmp_path_factory.getbasetemp(), data)


@pytest.mark.slow
@thorough(4000)
@given(data=st.data())
def test_much_text(tmp_path_factory, data):
    _check(tmp_path_factory.getbasetemp(), data)


BLOCKS = {
    report.Heading: {"text": "a", "level": 2},
    report.Text: {"text": "a"},
    report.Table: {"rows": [{"a": 1}], "caption": ""},
    report.Picture: {"path": "a.png", "alt": "a", "caption": ""},
    report.Video: {"path": "a.mp4", "alt": "a", "caption": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize("cls", BLOCKS)
@thorough(800)
@given(data=st.data())
def test_fields_of_any_type(tmp_path_factory, cls, data):
    path = tmp_path_factory.getbasetemp() / "page.html"
    arguments = dict(BLOCKS[cls])
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[key] = data.draw(anything, label=key)
    made = attempt(f"report.{cls.__name__}", NAMES, lambda: cls(**arguments))
    if made is not REFUSED and cls not in (report.Picture, report.Video):
        assert attempt("report.write", NAMES, lambda: report.write(path, "title", [made])) is not REFUSED


@pytest.mark.slow
@thorough(800)
@given(title=anything, sections=anything, path=anything.filter(lambda value: not isinstance(value, str)))
def test_arguments(tmp_path_factory, title, sections, path):
    folder = tmp_path_factory.getbasetemp()
    attempt("report.write", NAMES, lambda: report.write(folder / "page.html", title, []))
    attempt("report.write", NAMES, lambda: report.write(folder / "page.html", "title", sections))
    assert attempt("report.write", NAMES, lambda: report.write(path, "title", [])) is REFUSED
