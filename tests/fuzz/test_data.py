"""Tables as bytes and arguments of any type, given to `data.load`."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnrl import data
from tests.fuzz.harness import REFUSED, anything, attempt, quick, thorough

NAMES = (
    *("source", "targets", "test", "validation", "seed", "stratify", "task", "standardize", "inputs", "split"),
    *("data_dir", "image_size", "color_mode", "stream", "max_bytes", "x", "y"),
)

_cells = st.one_of(
    st.integers(-5, 5).map(str),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(
        ["", "NaN", "nan", "NA", "null", "None", "inf", "-inf", "1e400", "1e39", "-1e309", "9" * 30, "0x1F", "1_000"]
        + ["1,5", '"', '""', '"a', "a\tb", "a b", " 3 ", "True", "false", "2020-01-01", "1+2j", "é", "\u202e", "\x00"]
        + ["'", "#", "=1+1", "a" * 200, "-0", "+7", ".5", "5.", "1e", "--1", "\ufeff1"]
    ),
    st.text(max_size=4),
)


@st.composite
def tables(draw) -> tuple[str, bytes]:
    """The suffix and the bytes of a table, more or less well formed."""
    suffix = draw(st.sampled_from([".csv", ".csv", ".tsv", ".txt", ".dat"]))
    if draw(st.integers(0, 9)) == 0:
        return suffix, draw(st.binary(max_size=80))
    separator = draw(st.sampled_from([",", {".csv": ",", ".tsv": "\t"}.get(suffix, " "), ";", "\t", " "]))
    width, rows = draw(st.integers(1, 4)), draw(st.integers(0, 12))
    if draw(st.booleans()):  # numbers, a few of them spoilt
        table = [[str(round(np.sin(7 * i + j), 3)) for j in range(width)] for i in range(rows)]
        for _ in range(draw(st.integers(0, 2)) if rows else 0):
            table[draw(st.integers(0, rows - 1))][draw(st.integers(0, width - 1))] = draw(_cells)
    else:
        table = [[draw(_cells) for _ in range(width)] for _ in range(rows)]
    if draw(st.booleans()):
        table.insert(0, draw(st.sampled_from([list("abcd")[:width], ["a"] * width, [""] * width])))
    if table and draw(st.integers(0, 4)) == 0:
        table[draw(st.integers(0, len(table) - 1))].append("9")
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    text = end.join(separator.join(row) for row in table)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-32"]))
    return suffix, text.encode(encoding, errors="replace")


def _check_table(path, data_: st.DataObject) -> None:
    suffix, content = data_.draw(tables(), label="table")
    path = path.with_suffix(suffix)
    path.write_bytes(content)
    options = data_.draw(st.sampled_from([{}, {}, {"test": 0.0}, {"task": "regression"}, {"task": "classification"}]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", data.ColumnWarning)
        _check(attempt("data.load of a table", NAMES, lambda: data.load(path, **options)))


def _check(loaded) -> None:
    """Check that the rows of loaded data are finite, of the same number, and standardised by finite scalers."""
    if loaded is REFUSED:
        return
    for part in (loaded.train, loaded.validation, loaded.test):
        if isinstance(part, tuple):
            x, y = part
            assert len(x) == len(y) > 0 and np.isfinite(x).all() and np.isfinite(y).all()
            assert x.ndim >= 2 and y.dtype in (np.float32, np.int32)
            assert loaded.num_classes is None or (y.min() >= 0 and y.max() < loaded.num_classes)
    for scaler in (loaded.x_scaler, loaded.y_scaler):
        assert scaler is None or (np.isfinite(scaler.mean).all() and (scaler.std > 0).all())


@quick(25)
@given(data_=st.data())
def test_tables(tmp_path_factory, data_):
    _check_table(tmp_path_factory.getbasetemp() / "table", data_)


@pytest.mark.slow
@thorough(4000)
@given(data_=st.data())
def test_many_tables(tmp_path_factory, data_):
    _check_table(tmp_path_factory.getbasetemp() / "table", data_)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.slow
@thorough(300)
@given(content=st.binary(max_size=200), cut=st.integers(0, 400))
def test_damaged_files(tmp_path_factory, suffix, content, cut):
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    frame = pd.DataFrame({"a": np.arange(9.0), "y": np.arange(9.0)})
    if suffix == ".npz":
        np.savez(path, x=frame[["a"]], y=frame["y"])
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path)
    whole = path.read_bytes()
    path.write_bytes(content if cut == 0 else whole[:cut] + content + whole[cut + len(content) :])
    _check(attempt(f"data.load of a damaged {suffix}", NAMES, lambda: data.load(path)))


def _rows(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(3.0 * n).reshape(n, 3), np.sin(np.arange(n))


_OPTIONS = (
    *("image_size", "color_mode", "stream", "max_bytes", "targets", "test", "validation", "seed", "stratify", "task"),
    *("standardize", "inputs", "split", "data_dir"),
)


def _check_arguments(data_: st.DataObject) -> None:
    x, y = _rows()
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=y)
    source = data_.draw(st.sampled_from(["pair", "frame", "x", "any", "odd pair", "odd frame"]), label="source")
    sources = {"pair": (x, y), "frame": frame, "x": x}
    if source in sources:
        given_source = sources[source]
    elif source == "odd pair":
        given_source = (data_.draw(anything), y) if data_.draw(st.booleans()) else (x, data_.draw(anything))
    elif source == "odd frame":
        column = data_.draw(st.lists(anything, min_size=12, max_size=12) | anything.map(lambda v: [v] * 12))
        given_source = pd.DataFrame({"a": x[:, 0], "b": pd.Series(column, dtype=object), "y": y})
    else:
        given_source = data_.draw(anything)
    options = data_.draw(
        st.sets(st.sampled_from([*_OPTIONS, "image_size", "color_mode", "stream", "max_bytes"]), max_size=2)
    )
    arguments = {
        name: data_.draw(anything | st.sampled_from(["a", ["a"], 0.1, "y"]), label=name) for name in sorted(options)
    }
    if source == "x":
        arguments.setdefault("targets", y)
    _check(attempt("data.load of arguments", NAMES, lambda: data.load(given_source, **arguments)))


@quick(25)
@given(data_=st.data())
def test_arguments(data_):
    _check_arguments(data_)


@pytest.mark.slow
@thorough(4000)
@given(data_=st.data())
def test_many_arguments(data_):
    _check_arguments(data_)
