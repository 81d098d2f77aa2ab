"""Folders that version 0.1.0 wrote load, predict the same numbers, and can be continued; see fixtures/make_0_1_0.py."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import bnnrl
from bnnrl import cli, inference
from bnnrl.storage import checkpoint, run_folder

FOLDER = Path(__file__).parents[1] / "fixtures" / "0.1.0"
EXPECTED = np.load(FOLDER / "expected.npz")
MODELS = {
    "gaussian_scaled": inference.Ensemble(inference.Adam(1e-2), 2),
    "batch_norm": inference.Ensemble(inference.Adam(1e-2), 2),
    "sgld_chains": inference.Ensemble(inference.SGLD(1e-4, 6, 2, 8), 2),
    "swag": inference.SWAG(start=60, every=6, rank=4),
    "bbb": inference.BBB(),
    "dropout": inference.get("dropout"),
}


def assert_as_then(actual, name):
    """Check the digits that processors agree on; on the processor that wrote the fixtures all are the same."""
    np.testing.assert_allclose(actual, EXPECTED[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_what_they_predicted(name):
    model = bnnrl.load(FOLDER / "models" / name)
    rows = [EXPECTED[key] for key in EXPECTED if key.startswith(f"{name}/x")]
    x = rows if len(rows) > 1 else rows[0]
    assert model.method == MODELS[name] and model.prior is not None
    assert_as_then(model.predict(x, 6, seed=1), f"{name}/predict")
    assert_as_then(model.predict_samples(x, 6, seed=1), f"{name}/samples")
    assert_as_then(model.uncertainty(x, 6, seed=1).total, f"{name}/total")


@pytest.mark.parametrize(("name", "trials"), [("agents/swing_up", 2), ("agents/cart_pole", 2), ("train", 2)])
def test_agents_act_as_they_acted(name, trials):
    agent, key = bnnrl.load(FOLDER / name), name.rpartition("/")[2]
    assert len(agent.history) == trials and agent.prediction is not None
    assert_as_then(agent.predict(EXPECTED[f"{key}/obs"])[0], f"{key}/actions")


def test_an_agent_of_a_newer_version_is_refused():
    config, arrays = checkpoint.read(FOLDER / "agents" / "cart_pole")
    config["history"][0]["regret"] = 1.0
    with pytest.raises(ValueError, match=r"Received: \['regret'\]. The agent was saved by a newer bnnrl: upgrade"):
        bnnrl.PILCO.from_saved(config, arrays)


def test_a_run_goes_on(tmp_path):
    shutil.copytree(FOLDER / "train", tmp_path / "run")
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--trials", "3"]) == 0
    with open(FOLDER / "train" / "metrics.csv") as old, open(tmp_path / "run" / "metrics.csv") as new:
        before, after = list(csv.DictReader(old)), list(csv.DictReader(new))
    kept = [{column: row[column] for column in before[0]} for row in after[:2]]  # later versions have more columns
    assert kept == before and [row["trial"] for row in after] == ["1", "2", "3"]
    assert (tmp_path / "run" / "report.html").exists()


def test_a_fits_report_is_written_anew(tmp_path):
    shutil.copytree(FOLDER / "fit", tmp_path / "run")
    assert_as_then(bnnrl.load(tmp_path / "run").predict(EXPECTED["fit/x0"], 6, seed=1), "fit/predict")
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    scores = [run_folder.read_table(folder / "scores.csv") for folder in (FOLDER / "fit", tmp_path / "run")]
    assert scores[1][0] == pytest.approx(scores[0][0], rel=1e-4)
    assert {"report.html", "loss.png", "confusion.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
