"""`bnnrl fit`, `bnnrl evaluate` and `bnnrl report`: from a file or a name to a run folder with scores and report."""

import csv
import json
import re

import keras
import numpy as np
import pandas as pd
import pytest

import bnnrl
from bnnrl import cli
from bnnrl.cli.fit_run import make_network
from bnnrl.inference import ShortRunWarning

pytestmark = pytest.mark.usefixtures("without_xla")
QUICK = ["--epochs", "3", "--hidden", "8", "--samples", "4"]


def fit(folder, *arguments):
    return cli.main(["fit", *QUICK, *map(str, arguments), "--folder", str(folder)])


def printed(text):
    return dict(re.findall(r"^(\w+): (\S+)$", text, flags=re.MULTILINE))


def test_classes_end_in_a_folder_that_says_all(tmp_path, capsys):
    folder = tmp_path / "run"
    assert fit(folder, "iris", "--method", "adam", "--validation", 0.2, "--method.learning-rate", 0.02) == 0
    names = {p.name for p in folder.iterdir()}
    pictures = {"loss.png", "reliability.png", "confusion.png", "roc.png"}
    assert names == pictures | {"config.json", "metrics.csv", "scores.csv", "report.html", "checkpoints"}
    text = capsys.readouterr().out
    told = printed(text)
    assert text.count(" - loss: ") == 3 and "\b" not in text and "━" not in text  # lines, no progress bar
    with open(folder / "scores.csv") as file:
        (scores,) = csv.DictReader(file)
    assert told.keys() >= scores.keys() and told["nll"] == f"{float(scores['nll']):.4g}"
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and float(rows[-1]["val_nll"]) > 0
    assert json.loads((folder / "config.json").read_text())["settings"]["method_fields"] == {"learning_rate": 0.02}
    report = (folder / "report.html").read_text()
    assert re.search(r"95% sets.*[01]\.\d+ of 30 rows, 95 % confidence interval 0\.\d+ to [01]\.\d+; mean size", report)
    assert report.count("data:image/png") == len(pictures) and "learning_rate&quot;: 0.02" in report
    model = bnnrl.load(folder)
    assert model.method == bnnrl.inference.Adam(0.02, beta_2=0.9) and model.x_scaler is not None
    assert cli.main(["evaluate", str(folder)]) == 0
    again = printed(capsys.readouterr().out)
    assert again == {name: told[name] for name in again}  # the same rows, the same draws


def test_a_fit_is_calibrated_on_its_validation_data(tmp_path, capsys):
    folder = tmp_path / "run"
    options = ("--method", "adam", "--validation", 0.3, "--calibrate", "normalized")
    assert fit(folder, "diabetes", *options) == 0
    found = bnnrl.load(folder).calibrations["conformal"]
    assert found.method == "normalized" and len(found.values) == 133
    report = (folder / "report.html").read_text()
    assert "conformal by &#x27;normalized&#x27;" in report and "95% intervals" in report
    (told,) = re.findall(r"^calibrated 95% intervals: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert told in report and "of 88 rows, 95 % confidence interval" in told


def test_a_fit_is_calibrated_by_cross_validation(tmp_path):
    folder = tmp_path / "run"
    assert fit(folder, "diabetes", "--method", "adam", "--calibrate", "cv+", "--folds", "3") == 0
    found = bnnrl.load(folder).calibrations["conformal"]
    assert found.method == "normalized" and (len(found.folds), found.num_rows) == (3, 354)
    report = (folder / "report.html").read_text()
    assert "Calibrated by CV+ with 3 folds of the 354 training rows" in report and "95% intervals" in report


def test_a_fit_is_cross_validated(tmp_path, capsys):
    folder = tmp_path / "run"
    assert fit(folder, "diabetes", "--method", "adam", "--test", 0, "--cross-validate", 3) == 0
    out = capsys.readouterr().out
    assert "Cross-validation: 3 fits" in out and "3 folds, at random" in out and printed(out).keys() >= {"nll", "rmse"}
    with open(folder / "folds.csv") as file:
        *each, every = csv.DictReader(file)
    assert [row["fold"] for row in each] == ["1", "2", "3"] and (every["fold"], every["rows"]) == ("all", "442")
    square = sum(int(row["rows"]) * float(row["rmse"]) ** 2 for row in each) / 442
    assert float(every["rmse"]) == pytest.approx(square**0.5)
    page = (folder / "report.html").read_text()
    assert "<h2>Cross-validation</h2>" in page and "coverage low" in page
    (folder / "report.html").unlink()
    assert cli.main(["report", str(folder)]) == 0
    assert "<h2>Cross-validation</h2>" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "told", "folds"),
    [
        (["--split-by", "patient"], "48 training, 12 test; divided by whole groups of &#x27;patient&#x27;", "by whole"),
        (["--split-in-time", "day"], "48 training, 12 test; divided in the order of &#x27;day&#x27;", "the order of"),
    ],
)
def test_a_table_is_divided_by_groups_or_in_time(options, told, folds, tmp_path, capsys):
    x, path, folder = np.random.default_rng(0).normal(size=60), tmp_path / "rows.csv", tmp_path / "run"
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(60), unit="D")
    table = {"patient": [f"p{i // 6}" for i in range(60)], "day": day, "x": x, "y": 2 * x}
    pd.DataFrame(table).to_csv(path, index=False)
    assert fit(folder, path, "--method", "adam", *options, "--cross-validate", 3) == 0
    assert folds in capsys.readouterr().out and told in (folder / "report.html").read_text()
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert options[1] in (settings["split_by"], settings["split_in_time"])
    scores = (folder / "scores.csv").read_text()
    assert cli.main(["report", str(folder)]) == 0 and (folder / "scores.csv").read_text() == scores


def test_a_report_is_written_anew(tmp_path, capsys):
    folder = tmp_path / "run"
    assert fit(folder, "iris", "--method", "adam", "--validation", 0.2) == 0
    kept = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for name in ("report.html", "loss.png", "scores.csv"):
        (folder / name).unlink()
    capsys.readouterr()
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == kept


def test_a_table_is_fitted_in_its_own_units(tmp_path, capsys):
    rng = np.random.default_rng(0)
    size, kind = rng.normal(100, 20, 80), rng.choice(["a", "b"], 80)
    price = 5e4 + 1e3 * size + 2e4 * (kind == "b")
    path = tmp_path / "rows.csv"
    pd.DataFrame({"size": size, "kind": kind, "price": price}).to_csv(path, index=False)
    code = fit(tmp_path / "run", path, "--likelihood", "heteroscedastic", "--method.size", 2, "--epochs", 100)
    scores = printed(capsys.readouterr().out)
    assert code == 0 and 100 < float(scores["rmse"]) < 2e4
    assert {"predicted.png", "calibration.png"} <= {p.name for p in (tmp_path / "run").iterdir()}
    page = (tmp_path / "run" / "report.html").read_text()
    for line in ("64 training, 16 test", "3, of 2 columns", "regression; likelihood gaussian", "2 categories: a, b"):
        assert line in page
    assert "Predicted against true price" in page and "Of the 16 test rows" in page


def test_a_sampler_gets_all_rows_and_counts_their_likelihood(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    np.savez(tmp_path / "counts.npz", x=x, y=rng.poisson(np.exp(x[:, :1])))
    settings = ["--method.burn-in", 10, "--method.chains", 2, "--method.max-draws", 4, "--epochs", 40]
    with pytest.warns(bnnrl.diagnostics.SamplingWarning):
        code = fit(tmp_path / "run", tmp_path / "counts.npz", "--method", "hmc", "--likelihood", "poisson", *settings)
    assert code == 0 and float(printed(capsys.readouterr().out)["nll"]) < 10
    assert {"counts.png", "trace.png", "autocorrelation.png"} <= {p.name for p in (tmp_path / "run").iterdir()}
    page, noted = (
        (tmp_path / "run" / "report.html").read_text(),
        bnnrl.storage.run_folder.FIT.read_config(tmp_path / "run"),
    )
    assert "counts; likelihood poisson" in page and "48 training, 12 test" in page
    assert "Acceptance is" in page or "R-hat is" in page  # the warning of the fit
    assert noted["warnings"] and "largest R-hat" in page and "smallest effective sample size" in page
    assert 0 < noted["chains"]["acceptance probability"] <= 1 and noted["chains"]["chains"] == 2
    assert noted["chains"]["share of transitions that diverged"] >= 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras and h5py
def test_a_network_of_the_users_own(tmp_path, capsys):
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    network.save(tmp_path / "net.keras")
    assert fit(tmp_path / "run", "digits", "--method", "adam", "--network", tmp_path / "net.keras") == 0
    assert bnnrl.load(tmp_path / "run").keras_model.count_params() == 650


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dgits"], "digits"),
        (["iris", "--method", "swagg"], "swag"),
        (["iris", "--method", "swag", "--set", "rang=3"], "rank"),
        (["iris", "--set", "size"], "name=value"),
        (["iris", "--likelihood", "gaussian"], "categorical"),
        (["iris", "--likelihood", "ordinal"], "classes that are numbers, whose order is known"),
        (["diabetes", "--likelihood", "categorical"], "another"),
        (["iris", "--epochs", "0"], "epochs"),
        (["iris", "--test", "1.5"], "test"),
        (["iris", "--method", "adam", "--likelihood.floor", "0.1"], "no settings of Categorical"),
        (["diabetes", "--method", "adam", "--likelihood", "gaussian", "--likelihood.floor", "-1"], "Invalid `floor`"),
        (["iris", "--method", "hmc", "--method.burn-in", "100"], "epochs"),
        (["iris", "--calibrate", "auto"], "--calibrate cv+, which needs none"),
        (["iris", "--calibrate", "cv+", "--folds", "1"], "Invalid `folds`"),
        (["iris", "--split-by", "patient"], "the name of a column for a table only"),
        (["iris", "--cross-validate", "1"], "Invalid `folds`: expected an integer of at least 2"),
        (["iris", "--calibrate", "cqr", "--validation", "0.2"], "temperature"),
        (["iris", "--calibrate", "aps", "--validation", "0.1"], "at least 19 rows"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(arguments, words, tmp_path, capsys):
    assert cli.main(["fit", *QUICK, *arguments, "--folder", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error and "expected" in error and "Received" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("rate", "epochs"), [("1e38", 0), ("3", 2)])
def test_a_fit_that_diverges_has_a_report_that_says_so(rate, epochs, tmp_path, capsys):
    folder, path = tmp_path / "run", tmp_path / "growing.npz"
    x = np.linspace(-1, 1, 40)[:, np.newaxis]
    np.savez(path, x=x, y=x)
    options = ["--method", "sgd", "--method.learning-rate", rate, "--activation", "linear", "--prior", "normal"]
    assert fit(folder, path, *options, "--method.clip-norm", "1e30", "--epochs", 50) == 2
    error = capsys.readouterr().err
    assert "bnnrl: error: Diverged at step" in error and f"Report: {folder / 'report.html'}" in error
    page, noted = (folder / "report.html").read_text(), json.loads((folder / "config.json").read_text())["diverged"]
    assert f"The fit diverged at step {noted['step']}, in epoch {noted['epoch']}." in page
    assert noted["epoch"] > epochs and "Lower `learning_rate`" in page and "32 training, 8 test" in page
    assert (folder / "loss.png").exists() == (noted["epoch"] > 1)
    (folder / "report.html").unlink()
    assert cli.main(["report", str(folder)]) == 0 and (folder / "report.html").read_text() == page
    assert cli.main(["evaluate", str(folder)]) == 2 and "expected" in capsys.readouterr().err


def test_absurd_predictions_are_told(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, path = rng.normal(size=(60, 1)), tmp_path / "rows.npz"
    far = np.concatenate([x[:9], [[300.0]]])
    np.savez(path, x_train=x, y_train=x + 0.1 * rng.normal(size=x.shape), x_test=far, y_test=np.minimum(far, 2))
    assert fit(tmp_path / "run", path, "--method", "adam", "--epochs", 40, "--method.learning-rate", 0.05) == 0
    told = capsys.readouterr().err
    assert "bnnrl: warning: Predictions are absurd: 1 of 10 predictions are beyond" in told
    assert "Predictions are absurd" in (tmp_path / "run" / "report.html").read_text()


def test_predictions_that_are_no_numbers_are_told(tmp_path, capsys, monkeypatch):
    nan = lambda self, x, *arguments, **options: np.full((len(x), 1), np.nan, np.float32)
    monkeypatch.setattr(bnnrl.BayesianModel, "predict", nan)
    scores = bnnrl.BayesianModel.evaluate
    monkeypatch.setattr(bnnrl.BayesianModel, "evaluate", lambda *a, **k: {**scores(*a, **k), "rmse": np.nan})
    assert fit(tmp_path / "run", "diabetes", "--method", "adam") == 0
    assert "The fit failed: rmse of the test rows not finite" in capsys.readouterr().err
    assert "The fit failed" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "predicted.png").exists()


def test_a_diverged_fit_of_the_calibration_keeps_the_model(tmp_path, capsys, monkeypatch):
    def diverge(*arguments, **options):
        raise bnnrl.inference.Diverged("Diverged at step 7.", None, 7)

    monkeypatch.setattr(bnnrl.BayesianModel, "cross_calibrate", diverge)
    assert fit(tmp_path / "run", "diabetes", "--method", "adam", "--calibrate", "cv+") == 2
    assert (
        "A fit of the calibration by CV+ diverged. Diverged at step 7. The model of all rows is kept."
        in capsys.readouterr().err
    )
    assert cli.main(["report", str(tmp_path / "run")]) == 0


def test_a_folder_that_exists_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert fit(tmp_path, "iris", "--method", "adam") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"] and "exists" in capsys.readouterr().err


def test_a_folder_that_is_no_run_cannot_be_evaluated(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "expected" in capsys.readouterr().err


def test_images_pass_convolutions():
    kinds = [type(layer).__name__ for layer in make_network((8, 8, 1), (5,), "relu", 3).layers]
    assert kinds == ["Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dense"]
    assert make_network((4,), (5, 6), "tanh", 2).output_shape == (None, 2)


def test_the_report_shows_the_methods_settings_for_the_run_and_the_learned_scales(tmp_path):
    folder = tmp_path / "run"
    with pytest.warns(ShortRunWarning, match="gauss_newton"):
        assert fit(folder, "diabetes", "--method", "gauss_newton", "--epochs", 6) == 0
    page = (folder / "report.html").read_text()
    assert "Scales of the learned prior" in page and "/kernel[2]" in page
    assert "&quot;class&quot;: &quot;GaussNewton&quot;" in page and "&quot;steps&quot;: 5" in page


@pytest.mark.parametrize(
    ("arguments", "learned"), [(["diabetes"], True), (["diabetes", "--prior", "normal"], False), (["iris"], False)]
)
def test_the_prior_is_learned_for_real_targets(arguments, learned, tmp_path):
    assert fit(tmp_path / "run", *arguments, "--method", "adam") == 0
    prior = bnnrl.load(tmp_path / "run").prior
    assert isinstance(prior, bnnrl.priors.Learned) == learned


@pytest.mark.parametrize("likelihood", ["bernoulli", "studentt"])
def test_other_likelihoods_have_pictures(likelihood, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.integers(0, 2, (50, 1)) * 1.0
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    assert fit(tmp_path / "run", tmp_path / "rows.npz", "--method", "adam", "--likelihood", likelihood) == 0
    assert (tmp_path / "run" / {"bernoulli": "confusion.png", "studentt": "predicted.png"}[likelihood]).exists()


def test_ratings_are_fitted_in_their_order(tmp_path, capsys):
    x, path, folder = np.linspace(-3, 3, 90), tmp_path / "rows.csv", tmp_path / "run"
    pd.DataFrame({"x": x, "rating": np.digitize(x, [-1, 1]) + 1}).to_csv(path, index=False)
    options = ("--method", "adam", "--likelihood", "ordinal", "--validation", 0.3, "--calibrate", "auto")
    assert fit(folder, path, *options) == 0
    model, out = bnnrl.load(folder), capsys.readouterr().out
    assert model.likelihood == bnnrl.likelihoods.Ordinal(3) and model.keras_model.output_shape == (None, 1)
    assert "3 classes: 1, 2, 3; likelihood ordinal" in out and "calibrated 95% sets: " in out and "ece: " in out
    assert (folder / "confusion.png").exists()


def test_the_picture_of_the_loss_is_in_the_unit_of_the_nll(tmp_path, monkeypatch):
    shown = {}

    def keep(path, training, validation, title, ylabel, levels):
        shown.update(loss=training, levels=levels)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))

    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 1))
    np.savez(tmp_path / "rows.npz", x=x, y=1e6 * (x + 0.3 * rng.normal(size=x.shape)))
    monkeypatch.setattr("bnnrl.plots.loss_curve", keep)
    options = ("--method", "adam", "--epochs", 100, "--test", 0)
    assert fit(tmp_path / "run", tmp_path / "rows.npz", *options) == 0
    (level,) = shown["levels"].values()  # the NLL of the training rows
    assert level == pytest.approx(13.0, abs=1.0) and shown["loss"][-1] == pytest.approx(level, abs=0.05)
