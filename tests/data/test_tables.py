"""`load` from DataFrames and from table files."""

import sys

import numpy as np
import pandas as pd
import pytest

from bnnrl.data import load

_FRAME = pd.DataFrame(
    {
        "size": [1.5, 2.0, 3.5, 4.0, 5.0, 6.0],
        "colour": ["red", "blue", "red", "green", "blue", "red"],
        "count": [1, 2, 3, 4, 5, 6],
        "wild": [True, False, True, True, False, False],
        "kind": pd.Categorical(["p", "q", "p", "p", "q", "p"], categories=["q", "p", "none"]),
        "species": ["cat", "dog", "cat", "dog", "cat", "dog"],
        "weight": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
    }
)
_NAMES = ("size", "colour=blue", "colour=green", "colour=red", "count", "wild=False", "wild=True",
          "kind=q", "kind=p", "kind=none", "species=cat", "species=dog")  # fmt: skip


def test_columns_are_encoded_and_named():
    data = load(_FRAME, test=0)
    assert data.feature_names == _NAMES and data.name == "table"
    np.testing.assert_array_equal(data.train[0][3], [4, 0, 1, 0, 4, 0, 1, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(data.train[1][:, 0], _FRAME["weight"])
    assert data.x_scaler is not None and data.x_scaler.mean.shape == (12,)


def test_columns_are_chosen_by_name():
    data = load(_FRAME, "species", inputs=["count", "size"], test=0)
    assert data.feature_names == ("count", "size") and data.class_names == ("cat", "dog")
    np.testing.assert_array_equal(data.train[0][2], [3, 3.5])
    np.testing.assert_array_equal(data.train[1], [0, 1, 0, 1, 0, 1])
    assert load(_FRAME, ["weight", "size"], inputs="count", test=0).train[1].shape == (6, 2)
    assert load(_FRAME, "kind", inputs="size", test=0).class_names == ("p", "q")


def test_parts_are_encoded_alike():
    data = load(_FRAME[:4], inputs="colour", test=_FRAME[4:].assign(colour=["violet", "red"]))
    assert data.feature_names == ("colour=blue", "colour=green", "colour=red", "colour=violet")
    np.testing.assert_array_equal(data.test[0], [[0, 0, 0, 1], [0, 0, 1, 0]])
    assert len(data.train[0]) == 4


def test_nullable_and_arrow_types():
    frame = _FRAME[["size", "count", "weight"]].convert_dtypes(dtype_backend="pyarrow")
    np.testing.assert_array_equal(load(frame, test=0).train[0], load(_FRAME, inputs=["size", "count"], test=0).train[0])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_files_read_back(tmp_path, suffix):
    path = tmp_path / f"animals{suffix}"
    if suffix == ".parquet":
        _FRAME.to_parquet(path)
    else:
        _FRAME.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    data, own = load(str(path), test=0, inputs=["size", "colour"]), load(_FRAME, test=0, inputs=["size", "colour"])
    assert data.name == "animals" and data.feature_names == own.feature_names
    np.testing.assert_array_equal(data.train[0], own.train[0])
    np.testing.assert_array_equal(data.train[1], own.train[1])


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".txt", "  "), (".dat", " ")])
def test_a_file_without_names_keeps_its_first_row(tmp_path, suffix, separator):
    path = tmp_path / f"plain{suffix}"
    path.write_text("\n".join(separator.join(map(str, row)) for row in [[1.0, 2.0, 0.5], [3.0, 4.0, 1.5]]))
    data = load(path, test=0)
    np.testing.assert_array_equal(data.train[0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(data.train[1], [[0.5], [1.5]])


def test_missing_values_are_named(tmp_path):
    (tmp_path / "holes.csv").write_text("a,b,y\n1,2,0.5\n3,,1.5\n,6,2.5\n")
    with pytest.raises(
        ValueError, match=r"missing values. Received: 2 in the train part, the first in row 1, column 'b'"
    ):
        load(tmp_path / "holes.csv")
    (tmp_path / "far.csv").write_text("a,b,y\n1,2,0.5\n3,inf,1.5\n5,6,2.5\n")
    with pytest.raises(ValueError, match=r"inf in row 1, column 1 \('b'\), of the train part"):
        load(tmp_path / "far.csv")


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (_FRAME, {"targets": "wieght"}, "`targets`: expected columns among.*Did you mean 'weight'"),
        (_FRAME, {"inputs": ["size", "colou"]}, "`inputs`.*Did you mean 'colour'"),
        (_FRAME, {"inputs": ["weight"]}, "none of the targets"),
        (_FRAME, {"targets": ["weight", "species"]}, "one column of classes.*'species'"),
        (_FRAME.assign(size=pd.Timestamp("2020-01-01")), {}, "column 'size' of type datetime64"),
        (_FRAME[:0], {}, "at least one row"),
        (pd.DataFrame({"id": [f"n{i}" for i in range(1001)], "y": 0.5}), {}, "1001 in column 'id'"),
        (_FRAME, {"test": _FRAME.drop(columns="size")}, "in the test part"),
    ],
)
def test_mistakes_are_named(frame, options, message):
    with pytest.raises(ValueError, match=message):
        load(frame, **options)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(ValueError, match="existing file"):
        load(tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match="at least one row"):
        load(tmp_path / "empty.csv")


def test_without_pandas_the_remedy_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n1,2.5\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'bnnrl\[data\]'"):
        load(path)


def test_without_pyarrow_the_remedy_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    _FRAME.to_parquet(path)

    def refuse(*_):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", refuse)
    with pytest.raises(ImportError, match=r"pyarrow: pip install 'bnnrl\[data\]'"):
        load(path)
