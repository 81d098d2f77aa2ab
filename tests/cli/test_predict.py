"""`bnnrl fit` on a CSV file as people have them, and `bnnrl predict` for new rows."""

import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

import bnnrl
from bnnrl import cli, data

pytestmark = pytest.mark.usefixtures("without_xla")


def sales(n=120):
    rng = np.random.default_rng(0)
    size, colour = rng.normal(100, 20, n).round(1), rng.choice(["red", "blue"], n)
    price = 10 * size + 200 * (colour == "red")
    frame = pd.DataFrame(
        {
            "order_number": [f"A{i:05d}" for i in range(n)],
            "sold": pd.date_range("2024-01-01", periods=n).strftime("%d.%m.%Y"),
            "size": size.astype(str),
            "colour": colour,
            "price": [f"${p:,.2f}" for p in price],
        }
    )
    frame.loc[3, "size"] = "?"
    return frame


def fit(folder, *arguments):
    quick = ["--method", "adam", "--hidden", "16", "--samples", "4", "--folder", str(folder)]
    return cli.main(["fit", *map(str, arguments), *quick])


def test_a_table_is_described_fitted_and_new_rows_are_predicted(tmp_path, capsys):
    frame = sales()
    frame.to_csv(tmp_path / "sales.csv", index=False, sep=";")
    assert fit(tmp_path / "run", tmp_path / "sales.csv", "--epochs", 120) == 0
    told = " ".join(capsys.readouterr().out.split())
    for line in (
        "rows 96 training, 24 test features 4, of 3 columns task regression; likelihood gaussian "
        "price target, number sold date, as days",
        "size number; 1 missing, filled with the training median",
        "colour 2 categories: blue, red",
        "order_number left out: text of 120 different values in 120 rows, such as 'A00000'",
    ):
        assert line in told
    new = pd.DataFrame({"colour": ["red", "blue", "green"], "sold": "01.02.2024", "size": ["90", "110", ""], "x": 0})
    new.to_csv(tmp_path / "new.csv", index=False)
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--level", "0.9"]) == 0
    found = capsys.readouterr()
    assert found.out == f"{tmp_path / 'new-predictions.csv'}\n"
    assert "'colour' has categories that the training rows did not have: ['green']" in found.err
    predicted = pd.read_csv(tmp_path / "new-predictions.csv")
    assert list(predicted) == ["row", "price_mean", "price_std", "price_low", "price_high"]
    np.testing.assert_allclose(predicted["price_mean"][:2], [1100, 1100], atol=60)
    np.testing.assert_allclose(
        predicted["price_high"] - predicted["price_mean"], 1.6449 * predicted["price_std"], rtol=1e-3
    )
    model = bnnrl.load(tmp_path / "run")
    np.testing.assert_allclose(model.predict(new)[:, 0], predicted["price_mean"], rtol=1e-6)


def test_classes_are_predicted_by_name(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "kind": np.where(x[:, 0] > 0, "yes", "no")})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert fit(tmp_path / "run", tmp_path / "rows.csv", "--epochs", 60) == 0
    new = pd.DataFrame({"b": [0.0, 0.0], "a": [-2.0, 2.0]})
    new.to_csv(tmp_path / "new.csv", index=False)
    output = tmp_path / "out.csv"
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--output", str(output)]) == 0
    predicted = pd.read_csv(output)
    assert list(predicted) == ["row", "kind", "P(no)", "P(yes)"] and list(predicted["kind"]) == ["no", "yes"]
    np.testing.assert_allclose(predicted["P(no)"] + predicted["P(yes)"], 1, rtol=1e-5)


def test_a_data_set_of_scikit_learn_names_its_columns(tmp_path):
    assert fit(tmp_path / "run", "iris", "--epochs", 1) == 0
    rows = data.load("iris", test=0)
    pd.DataFrame(rows.train[0][:5], columns=rows.feature_names).to_csv(tmp_path / "new.csv", index=False)
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv")]) == 0
    assert "P(setosa)" in pd.read_csv(tmp_path / "new-predictions.csv")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a model that was fitted to a table, and another that was fitted to arrays."""
    folder = tmp_path_factory.mktemp("models")
    rows = data.load(sales(40)[["size", "colour", "price"]])
    for name, given in (("table", rows), ("arrays", rows.train)):
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model = bnnrl.BayesianModel(network, "gaussian")
        model.fit(given, epochs=1, verbose=0)
        model.save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("model", "file", "frame", "message"),
    [
        ("arrays", "new.csv", sales(4), "expected one that was fitted to a table"),
        ("table", "new.csv", sales(4)[["size"]], "without ['colour']"),
        ("table", "new.csv", sales(4).assign(size="big"), "Received: 'big' in row 0, the first of 4"),
        ("table", "new.json", sales(4), "expected one of ['.csv'"),
        ("table", "new.csv", sales(4)[:0], "at least one row"),
    ],
)
def test_mistakes_are_told(fitted, tmp_path, capsys, model, file, frame, message):
    frame.to_csv(tmp_path / file, index=False)
    assert cli.main(["predict", str(fitted / model), str(tmp_path / file)]) == 2
    assert message in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


def test_the_rows_are_not_overwritten(fitted, tmp_path, capsys):
    sales(4).to_csv(tmp_path / "new.csv", index=False)
    before = (tmp_path / "new.csv").read_bytes()
    assert (
        cli.main(
            ["predict", str(fitted / "table"), *[str(tmp_path / "new.csv")], "--output", str(tmp_path / "new.csv")]
        )
        == 2
    )
    assert "another file" in capsys.readouterr().err and (tmp_path / "new.csv").read_bytes() == before


@pytest.mark.parametrize("command", [["fit", "salse.csv"], ["predict", "run", "salse.csv"]], ids=str)
def test_an_unknown_file_is_told_before_tensorflow_is_imported(tmp_path, command):
    (tmp_path / "sales.csv").touch()
    code = (
        "import sys; from bnnrl import cli; code = cli.main(sys.argv[1:]); "
        "assert not {'tensorflow', 'pandas'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Received: 'salse.csv'. Did you mean 'sales.csv'?" in done.stderr


def test_censored_targets_are_predicted_without_their_marks(tmp_path):
    time = np.linspace(-1, 1, 40)
    rows = pd.DataFrame({"a": time, "log_time": np.minimum(time, 0.5), "mark": (time > 0.5) * 1})
    data = bnnrl.data.load(rows, ["log_time", "mark"], task="regression", standardize="inputs", test=0)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "censored", method="adam")
    model.fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "model")
    rows.to_csv(tmp_path / "new.csv", index=False)
    assert cli.main(["predict", str(tmp_path / "model"), str(tmp_path / "new.csv")]) == 0
    found = pd.read_csv(tmp_path / "new-predictions.csv")
    assert list(found) == ["row", *(f"log_time_{what}" for what in ("mean", "std", "low", "high"))]
    np.testing.assert_allclose(found["log_time_mean"], model.predict(rows)[:, 0], rtol=1e-4, atol=1e-5)
