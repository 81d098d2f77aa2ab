"""`load` from DataFrames and from table files."""

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnnrl import data as bnnrl_data
from bnnrl.data import ColumnWarning
from bnnrl.storage import config

load: Any = bnnrl_data.load  # parts and columns may be None in general, and are not here
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


def test_missing_numbers_become_the_median_of_the_training_rows():
    mark = ["?", None, "-", "n/a", " ", "NULL"]
    frame = pd.DataFrame({"a": [*map(str, range(1, 15)), *mark], "y": np.arange(20.0)})
    data = load(frame, test=0.5, seed=1)
    training = data.train[1][:, 0].astype(int)
    median = np.median([row + 1 for row in training if row < 14])
    assert data.columns.inputs[0].fill == median and data.columns.inputs[0].missing == 6
    for x, y in (data.train, data.test):
        np.testing.assert_array_equal(x[:, 0], np.where(y[:, 0] < 14, y[:, 0] + 1, median))


def test_a_missing_category_is_a_category_and_a_row_without_target_is_left_out():
    frame = pd.DataFrame({"c": ["p", "?", "q", None], "y": [1, 0, None, 1]})
    with pytest.warns(ColumnWarning, match="1 rows without a target"):
        data = load(frame, test=0)
    assert data.feature_names == ("c=missing", "c=p") and data.class_names == ("0", "1")
    np.testing.assert_array_equal(data.train[0], [[0, 1], [1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (["$12.34", "$ 1,234.50", "-$3"], [12.34, 1234.5, -3]),
        (["1,234", "12", "1,234,567"], [1234, 12, 1234567]),
        (["0,5", "1.234,25", "12"], [0.5, 1234.25, 12]),
        (["12 %", "(5)", ".5"], [12, -5, 0.5]),
        (["1e3", "-2.5E-1", "+7"], [1000, -0.25, 7]),
        (["7 €", "€8", "1\u00a0000 €"], [7, 8, 1000]),
    ],
)
def test_numbers_as_text_are_inputs_and_targets(text, numbers):
    data = load(pd.DataFrame({"a": text, "y": text}), test=0)
    assert data.class_names is None and data.columns.describe()["a"] == "number"
    np.testing.assert_allclose(data.train[0][:, 0], numbers, rtol=1e-6)
    np.testing.assert_allclose(data.train[1][:, 0], numbers, rtol=1e-6)


@pytest.mark.parametrize(
    ("dates", "days"),
    [
        (["2024-03-01", "2024-02-29"], [19783, 19782]),
        (["2024-03-01 12:00", "2024-02-29 00:00"], [19783.5, 19782]),
        (["13/02/2024", "01/03/2024"], [19766, 19783]),
        (["01/03/2024", "13/02/2024"], [19783, 19766]),
        (["03/01/2024", "02/13/2024"], [19783, 19766]),
        (["1 March 2024", "29 February 2024"], [19783, 19782]),
        (pd.to_datetime(["2024-03-01", "2024-02-29"]), [19783, 19782]),
    ],
)
def test_dates_are_days(dates, days):
    data = load(pd.DataFrame({"when": dates, "y": [0.5, 1.5]}), test=0)
    assert data.columns.inputs[0].kind == "date"
    np.testing.assert_array_equal(data.train[0][:, 0], days)


def test_identifiers_and_text_are_left_out_with_a_word():
    n = 60
    frame = pd.DataFrame(
        {"order": [f"A{i}" for i in range(n)], "customer_id": np.arange(n), "year": np.arange(n), "y": np.arange(n) / 2}
    )
    with pytest.warns(ColumnWarning, match="'order': text of 60 different values in 60 rows.*'customer_id': a number"):
        data = load(frame)
    assert data.feature_names == ("year",) and [name for name, _ in data.columns.left_out] == ["order", "customer_id"]
    assert load(frame, exclude=["order", "year"], inputs=["year", "customer_id"]).feature_names == ("customer_id",)
    with pytest.raises(ValueError, match="`inputs`: expected columns of numbers.*'order', text of 60"):
        load(frame, inputs=["order", "year"])
    with pytest.raises(ValueError, match="`targets`: expected numbers or classes.*'order', text of 60"):
        load(frame, targets="order", inputs="year")


def test_counts_are_not_taken_for_classes():
    counts = np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 37], 20)
    with pytest.raises(ValueError, match="11 different integers from 0 to 37.*--likelihood poisson"):
        load(pd.DataFrame({"a": counts / 2, "y": counts}))
    assert load(pd.DataFrame({"a": counts / 2, "y": counts}), task="regression").class_names is None
    assert len(load(pd.DataFrame({"a": counts / 2, "y": counts % 10}), test=0).class_names) == 10


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_files_of_other_countries(tmp_path, separator, encoding):
    rows = [["größe", "farbe", "preis"], ["1.5", "grün", '"1,5"'], ["2", "rot", '"2,5"'], ["3", "grün", '"7,25"']]
    (tmp_path / "t.csv").write_text("\n".join(separator.join(row) for row in rows), encoding=encoding)
    data = load(tmp_path / "t.csv", test=0)
    assert data.feature_names == ("größe", "farbe=grün", "farbe=rot")
    np.testing.assert_array_equal(data.train[1], [[1.5], [2.5], [7.25]])


def test_new_rows_are_encoded_by_the_names_of_columns():
    frame = _FRAME.assign(size=["1,5", "2", "?", "4", "5", "6"], when=pd.date_range("2024-01-01", periods=6))
    columns = load(frame, "weight", inputs=["size", "colour", "when"], test=0).columns
    new = pd.DataFrame({"colour": ["red", "pink"], "extra": 1, "when": ["2024-01-02", None], "size": ["2,5", None]})
    np.testing.assert_array_equal(columns.encode(new), [[2.5, 0, 0, 1, 19724], [4, 0, 0, 0, 19725.5]])
    assert columns.unknown(new) == {"colour": ["pink"]}
    assert config.decode(json.loads(json.dumps(config.encode(columns)))) == columns
    with pytest.raises(ValueError, match="expected the columns.*without \\['colour'\\]. Did you mean 'color'"):
        columns.encode(new.rename(columns={"colour": "color"}))
    with pytest.raises(ValueError, match="a number in each row of column 'size', or nothing. Received: 'big' in row 1"):
        columns.encode(new.assign(size=["1,5", "big"]))


def test_infinite_values_are_named(tmp_path):
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
        (_FRAME.assign(size=pd.Timedelta(days=1)), {}, "column 'size' of type timedelta64"),
        (_FRAME[:0], {}, "at least one row"),
        (
            pd.DataFrame({"id": [f"n{i}" for i in range(1001)], "y": 0.5}),
            {},
            "at least one column.*'id': .text of 1001 different values",
        ),
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


def _visits() -> pd.DataFrame:
    """Return 40 rows of 10 patients on 20 days, four rows on two days each."""
    days = [f"{1 + i % 20:02d}/03/2024" for i in range(40)]
    patient = [f"p{i // 4}" for i in range(40)]
    return pd.DataFrame({"patient": patient, "day": days, "x": range(40), "y": np.arange(40) / 4})


@pytest.mark.filterwarnings("error")
def test_groups_of_a_column_are_not_divided_and_are_no_input():
    data = load(_visits(), groups="patient", test=0.2, validation=0.1)
    assert data.feature_names == ("day", "x") and len(data.groups) == data.num_train == 28
    parts = [set(part[0][:, 1] // 4) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [7, 1, 2] and len(set.union(*parts)) == 10
    assert data.groups.tolist() == [f"p{int(x) // 4}" for x in data.train[0][:, 1]]
    assert data.division == "divided by whole groups of 'patient'"
    assert data.columns.describe()["patient"] == "left out: the groups that rows are divided by"
    named = load(_visits(), groups="patient", inputs=["x", "patient"], test=0)
    assert len(named.feature_names) == 11 and named.division == ""


def test_the_latest_rows_of_a_column_of_dates_are_tested():
    data = load(_visits(), times="day", groups=None, exclude="patient", test=0.25, validation=0.25)
    days = [part[0][:, 0] - 19783 for part in (data.train, data.validation, data.test)]  # 2024-03-01
    assert [(day.min(), day.max()) for day in days] == [(0, 9), (10, 14), (15, 19)]
    np.testing.assert_array_equal(data.times - 19783, days[0])
    assert data.division == "divided in the order of 'day', the training rows first"
    in_order = load(_visits(), times="rows", exclude="patient", test=0.25)
    np.testing.assert_array_equal(in_order.test[0][:, 1], np.arange(30, 40))
    np.testing.assert_array_equal(in_order.times, np.arange(30))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": "patent"}, r"Invalid `groups`: expected columns among.*'patent'.*patient"),
        ({"groups": "y"}, "Invalid `groups`: expected the name of a column that is no target. Received: 'y'"),
        ({"groups": [1, 2]}, r"Invalid `groups`: expected the name of a column.*Received: \[1, 2\]"),
        ({"times": "patient"}, "Invalid `times`: expected a column of numbers or dates. Received: 'patient', 10 cate"),
        ({"times": "rows", "groups": "patient"}, "expected one of `stratify`, `groups` and `times` at most"),
    ],
)
def test_columns_that_cannot_divide_rows(given, words):
    with pytest.raises(ValueError, match=words):
        load(_visits(), **given)


def test_a_missing_group_or_time_is_told():
    frame = _visits().assign(patient=["?", *_visits()["patient"][1:]], day=[None, *_visits()["day"][1:]])
    with pytest.raises(ValueError, match="Invalid `groups`: expected a value for each row. Received: none in 1 rows"):
        load(frame, groups="patient")
    with pytest.raises(ValueError, match="Invalid `times`: expected a value for each row. Received: none in 1 rows"):
        load(frame, times="day")
