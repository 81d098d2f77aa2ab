"""`bnnrl tune`: studies of fits and agents, their best settings, resuming, and locked databases."""

import itertools
import re
import sqlite3
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

import bnnrl
from bnnrl import cli, inference
from bnnrl.cli import tune_runs, tune_space, tune_study
from bnnrl.cli.fit import Fit
from bnnrl.exit_codes import FAILED, INTERRUPTED

pytestmark = pytest.mark.usefixtures("without_xla")
SPACE = "method.learning_rate: {low: 1e-4, high: 1e-1, log: true}\nhidden:\n  choices: [[4], [8, 4]]\n"
BASE = "epochs: 8\nsamples: 4\nmethod: adam\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "base.yaml").write_text(BASE)
    return ["--space", str(tmp_path / "space.yaml"), "--config", str(tmp_path / "base.yaml")]


def tune(folder, *options):
    return cli.main(["tune", "fit", "iris", *options, "--folder", str(folder)])


@pytest.mark.parametrize(
    ("method", "name"),
    [("adam", "learning_rate"), pytest.param("swag", "scale", marks=pytest.mark.slow)],  # swag begins to score late
)
def test_the_best_settings_are_a_file_that_config_takes(method, name, tmp_path, files, capsys):
    (tmp_path / "space.yaml").write_text(SPACE.replace("learning_rate", name))
    folder = tmp_path / "study"
    assert tune(folder, *files, "--trials", "3", "--seed", "1", "--method", method) == 0
    out = capsys.readouterr().out
    assert out.count("complete, score ") == 3 and f"{folder / 'best.yaml'}" in out
    names = {path.name for path in folder.iterdir()}
    assert {
        "best.yaml",
        "config.json",
        "study.log",
        "base.yaml",
        "history.png",
        "importances.png",
        "slice.png",
    } <= names
    best = yaml.safe_load((folder / "best.yaml").read_text())
    study = tune_study.Tuning(folder, bnnrl.storage.run_folder.STUDY.read_config(folder)["settings"]).study
    assert best["method"][name] == study.best_params[f"method.{name}"]
    assert (best["epochs"], best["dataset"]) == (8, "iris") and best["hidden"] in ([4], [8, 4])
    found = tune_runs.options_of("fit", ["fit", "--config", str(folder / "best.yaml")])
    assert isinstance(found, Fit) and found.method_fields == {name: best["method"][name]}


def test_a_study_is_resumed_and_a_trial_that_ctrl_c_ends_loses_nothing(tmp_path, files, capsys, monkeypatch):
    folder, score = tmp_path / "study", tune_study._score_fit
    calls = []

    def interrupted(options, report):
        calls.append(options.hidden)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(options, report)

    monkeypatch.setattr(tune_study, "_score_fit", interrupted)
    assert tune(folder, *files, "--trials", "2") == INTERRUPTED
    assert f"Finished trials are kept. Resume: bnnrl tune --resume {folder}" in capsys.readouterr().err
    assert (folder / "best.yaml").exists()
    assert cli.main(["tune", "--resume", str(folder), "--trials", "2"]) == 0
    assert len(calls) == 3  # one finished, one interrupted, one more
    assert cli.main(["tune", "--resume", str(folder), "--trials", "2"]) == 0 and len(calls) == 3


def test_trials_that_diverge_or_are_pruned_do_not_end_a_study(tmp_path, files, capsys, monkeypatch):
    scores = iter([0.5, inference.Diverged("not finite", cast(Any, None), 0), 0.3])

    def score(options, report):
        value = next(scores)
        if isinstance(value, Exception):
            raise value
        report(0, value)
        return value

    monkeypatch.setattr(tune_study, "_score_fit", score)
    assert tune(tmp_path / "study", *files, "--trials", "2") == 0
    out = capsys.readouterr().out
    assert "trial 1: fail (the fit diverged)" in out and "best score 0.3 at trial 2" in out


def test_a_database_that_is_locked_loses_nothing(tmp_path, files, capsys, monkeypatch):
    database = tmp_path / "study.db"
    monkeypatch.setattr(tune_study, "_SECONDS", 0.1)
    monkeypatch.setattr(tune_study, "_score_fit", lambda options, report: float(len(options.hidden)))
    options = [*files, "--storage", f"sqlite:///{database}"]
    assert tune(tmp_path / "study", *options, "--trials", "2") == 0
    lock = sqlite3.connect(database)
    lock.execute("BEGIN EXCLUSIVE")
    capsys.readouterr()
    assert cli.main(["tune", "--resume", str(tmp_path / "study"), "--trials", "4"]) == FAILED
    error = capsys.readouterr().err
    assert "database is locked" in error and "Finished trials are kept" in error and "Traceback" not in error
    lock.rollback()
    lock.close()
    assert cli.main(["tune", "--resume", str(tmp_path / "study"), "--trials", "4"]) == 0
    assert "best score 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        (
            "method.rnak: {low: 1, high: 3}",
            [],
            "Invalid `--method.rnak`: expected one of the options of the method swag",
        ),
        ("method.rank: {low: 3, high: 1}", [], "Invalid `method.rank` in .*expected low < high"),
        ("method.scale: {low: 0, high: 1, log: true}", [], "above 0"),
        ("method.rank: {lo: 3}", [], "expected keys among .*Did you mean 'low'"),
        ("method.rank: 3", [], "expected {choices"),
        ("epochs: {choices: [many]}", [], "Invalid search space: expected options of `bnnrl fit`"),
        ("- 1", [], "which holds list"),
        (None, ["--sampler", "TPSampler"], "Did you mean 'TPESampler'"),
        (None, ["--pruner", "MedianPrune"], "Did you mean 'MedianPruner'"),
        (None, ["--trials", "0"], "Invalid `trials`"),
    ],
)
def test_mistakes_leave_no_folder(space, options, words, tmp_path, capsys):
    if space is not None:
        (tmp_path / "space.yaml").write_text(space)
        options = [*options, "--space", str(tmp_path / "space.yaml")]
    assert tune(tmp_path / "study", "--method", "swag", *options) == 2
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert not (tmp_path / "study").exists()


_CHEAP = ("ensemble", "fit"), ("swag", "train")  # of the spaces of all methods, which take 2 s each
_EVERY = itertools.product(inference.REGISTRY, ("fit", "train"))


@pytest.mark.parametrize(
    ("method", "command"), [pytest.param(*pair, marks=[] if pair in _CHEAP else pytest.mark.slow) for pair in _EVERY]
)
def test_every_method_has_a_space_of_its_own_options(command, method):
    target = {"fit": "iris", "train": "Pendulum-v1"}[command]
    space = tune_space.default(command, method)
    assert any(name.startswith("method.") for name in space)
    tune_runs.check_space({"command": command, "target": target, "method": method, "space": space}, None)


def test_an_agent_is_tuned_by_its_last_evaluation_cost(tmp_path, monkeypatch, capsys):
    (tmp_path / "space.yaml").write_text(
        "search.optimism: {low: 0.0, high: 2.0}\nparticles: {low: 4, high: 6, step: 2}\n"
    )
    seen = []

    class Agent:
        def __init__(self, settings):
            self.cost = settings["search"]["optimism"]
            seen.append((settings["seed"], settings["particles"]))

        def learn(self, trials, callbacks, stop_when_solved, evaluation_episodes):
            self.history = [SimpleNamespace(trial=1, evaluation_cost=self.cost)]
            for callback in callbacks:
                callback.on_trial_end(self, self.history[0])

    monkeypatch.setattr("bnnrl.cli.train.make_agent", Agent)
    options = [
        "--space",
        str(tmp_path / "space.yaml"),
        "--trials",
        "2",
        "--seeds",
        "2",
        "--folder",
        str(tmp_path / "s"),
    ]
    assert cli.main(["tune", "train", "Pendulum-v1", *options]) == 0
    best = yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())
    score = float(capsys.readouterr().out.rsplit("best score ", 1)[1].split()[0])
    assert best["search"]["optimism"] == pytest.approx(score, rel=1e-5) and best["env"] == "Pendulum-v1"
    assert [seed for seed, _ in seen] == [0, 1, 0, 1] and {number for _, number in seen} <= {4, 6}
