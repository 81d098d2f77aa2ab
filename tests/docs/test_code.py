"""The Python code of the README and of the guides runs."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnnrl

ROOT = Path(__file__).parents[2]
TINY = bnnrl.PolicySearch(restarts=2, updates=5, rounds=1, scout_updates=2, candidates=2, warmup=2)
SMALLER = {  # the same agent, with little of everything
    "seed=0)": "seed=0, search=TINY, dynamics=bnnrl.Dynamics((8,), size=2, steps=5), particles=2, horizon=3)",
    "trials=8, stop_when_solved=True": "trials=2, evaluation_episodes=1",
    "episodes=20": "episodes=1",
}


def code(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def test_control(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = code("README.md")[0]
    assert block in code("docs/getting_started.md")
    for given, smaller in SMALLER.items():
        assert given in block
        block = block.replace(given, smaller)
    space: dict[str, Any] = {"TINY": TINY}
    exec(block, space)
    assert isinstance(space["agent"], bnnrl.PILCO) and space["action"].shape == (1,)


def test_supervised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = code("README.md")[1:]
    assert first in code("docs/getting_started.md")
    space: dict[str, Any] = {}
    exec(first, space)
    nll, rmse = re.findall(r"nll (-?[\d.]+), rmse ([\d.]+)", first)[0]
    scores = space["bnn"].evaluate(space["x"][150:], space["y"][150:])
    # Another processor rounds differently, and 1200 steps magnify that.
    assert scores["nll"] == pytest.approx(float(nll), abs=0.1)
    assert scores["rmse"] == pytest.approx(float(rmse), abs=0.005)
    exec(second.replace("epochs=200", "epochs=5, verbose=0"), space)
    assert bnnrl.load("diabetes").evaluate(space["data"].test) == space["bnn"].evaluate(space["data"].test)


def test_a_trained_keras_model():
    space: dict[str, Any] = {}
    (block,) = (block for block in code("docs/guides/which_method.md") if "bnnrl.laplace" in block)
    exec(block, space)
    std = space["outputs"].std(axis=0)[:, 0]
    assert 0 < std[0] < std[1] and abs(space["bnn"].posterior.log_evidence) < 1e4


@pytest.mark.usefixtures("without_xla")
def test_calibration():
    space: dict[str, Any] = {}
    for block in code("docs/guides/calibration.md"):
        exec(block.replace("epochs=200", "epochs=20, verbose=0"), space)
    assert 0.8 < space["coverage"].share <= 1 and space["likely"].shape == (36, 3)
    assert set(space["classifier"].calibrations) == {"recalibration"}
    assert space["found"].num_rows == 442 and len(space["found"].folds) == 5


@pytest.mark.usefixtures("without_xla")
def test_targets():
    space: dict[str, Any] = {}
    for block in code("docs/guides/targets.md"):
        exec(block, space)
    x = space["x"][200:]
    log_median = np.log(space["median"][:, 0])
    assert np.abs(log_median - (1 + x[:, 0])).mean() < 0.25  # also beyond 1.5, the end of the study
    assert np.corrcoef(space["expected_rating"], x[:, 0])[0, 1] > 0.9
    assert space["probability"].shape == (100, 4) and space["shares"].shape == (100, 5)
    assert np.abs(np.log(space["per_year"][:, 0]) - (0.5 + x[:, 0])).mean() < 0.35
    fault = space["fault"][200:]
    assert space["found"][fault == 1].mean() > 0.7
    assert 0.8 < np.mean(space["demand"][200:] <= space["high"]) < 0.98


@pytest.mark.usefixtures("without_xla")
def test_scikit_learn(capsys):
    space: dict[str, Any] = {}
    (block,) = code("docs/reference/sklearn.md")
    exec(block.replace("ensemble", "adam"), space)
    assert float(capsys.readouterr().out) == pytest.approx(0.4, abs=0.1)
    assert space["mean"].shape == space["std"].shape == (42,) and space["low"].shape == (42, 1)


def test_own_likelihood_and_prior():
    space: dict[str, Any] = {}
    for block in code("docs/guides/own_likelihood_and_prior.md"):
        exec(block, space)
    assert space["scores"]["nll"] < 1.5 and 0.7 < space["scores"]["picp_95"] <= 1
    assert space["robust"].posterior.sample(1, 0).shape[-1] == space["robust"].keras_model.count_params() + 2


@pytest.fixture
def own_method(tmp_path, monkeypatch):
    """sgnht.py of the guide, importable; the code that uses it, and the code that tests it."""
    method, use, tests = code("docs/guides/own_method.md")
    assert len([line for line in method.splitlines() if line.strip()]) <= 60
    (tmp_path / "sgnht.py").write_text(method)
    monkeypatch.syspath_prepend(tmp_path)
    yield use, tests
    sys.modules.pop("sgnht", None)


def test_own_method_is_used(own_method):
    space: dict[str, Any] = {}
    exec(own_method[0], space)
    assert space["model"].evaluate(space["x"], space["y"])["rmse"] < 0.35  # the noise is 0.3


@pytest.mark.parametrize("name", ["test_golden_steps", "test_the_draws_have_the_posterior_mean_and_covariance"])
def test_own_method_is_right(own_method, name):
    space: dict[str, Any] = {}
    exec(own_method[1], space)
    space[name]()


def test_own_method_passes_the_battery(own_method, tmp_path):
    space: dict[str, Any] = {}
    exec(own_method[1], space)
    assert {name for name in space if name.startswith("test_")} == {
        "test_golden_steps",
        "test_the_draws_have_the_posterior_mean_and_covariance",
        "test_battery",
    }
    space["test_battery"](tmp_path)
