"""Run folders: their contents, folders that are refused, and runs that continue after they were killed."""

import csv
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import bnnrl
from bnnrl import cli
from bnnrl.rl.callbacks import Prediction, Trial
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import html
from bnnrl.rl.reporting.run import Run
from bnnrl.storage import checkpoint, lock
from bnnrl.storage.run_folder import TRAIN as TRAIN_RUNS
from tests.plots.figures import share_inked
from tests.small_runs import small_options

pytestmark = pytest.mark.usefixtures("without_xla")

ENV_ID = "bnnrl/CartPoleSwingUp-v0"
SMALL = small_options(size=2)
TRAIN = ["train", ENV_ID, "--preset", "deep-pilco", "--seed", "3", *SMALL]
# Kills itself in the middle of trial 3, after fitting the model.
KILLED = """
import os, signal, sys
from bnnrl import cli
from bnnrl import posterior
from bnnrl.rl.pilco import PILCO
from tests.plain_graphs import use_plain_graphs
use_plain_graphs()
improve = PILCO._improve
def improve_or_die(self, trial):
    if trial == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return improve(self, trial)
PILCO._improve = improve_or_die
sys.exit(cli.main(sys.argv[1:]))
"""


def metrics(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without timings."""
    with open(folder / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in csv.DictReader(file)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_agent() -> PILCO:
    dynamics = bnnrl.Dynamics(hidden=(8,), size=2)
    return PILCO(ENV_ID, dynamics, horizon=5, env_kwargs={"preset": "deep-pilco", "horizon": 5})


@pytest.fixture
def begun(tmp_path):
    """A run after its first trial, which acts at random and compiles nothing."""
    run, agent = Run.create(tmp_path / "run", {"trials": 2}), make_agent()
    agent.learn(1, [run], evaluation_episodes=2)
    return run, agent


@pytest.fixture
def interruptible():
    """Restore the handler of SIGINT, which a shell ignores in processes that it starts in the background."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, without_xla):
    """The folder of an uninterrupted run of four trials."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main([*TRAIN, "--trials", "4", "--no-stop-when-solved", "--folder", str(folder)]) == 0
    return folder


def test_layout(whole):
    names = {p.name for p in whole.iterdir()}
    assert names == {
        "config.json",
        "metrics.csv",
        "checkpoints",
        "curve.png",
        "rollouts.png",
        "predictions",
        "report.html",
    }
    assert {p.name for p in (whole / "predictions").iterdir()} == {f"trial_{i}.safetensors" for i in (2, 3, 4)}
    assert {p.name for p in (whole / "checkpoints").iterdir()} == {"step_3", "step_4"}
    config = json.loads((whole / "config.json").read_text())
    assert (config["format"], config["kind"]) == ("bnnrl", "run")
    settings = config["settings"]
    assert settings["env"] == ENV_ID and settings["seed"] == 3 and settings["trials"] == 4
    assert settings["dynamics"] == {"hidden": [8], "size": 2, "steps": 30} and settings["search"]["updates"] == 5
    assert config["versions"].keys() >= {"python", "bnnrl", "tensorflow", "numpy"}
    assert share_inked(whole / "curve.png") > 0.01 and share_inked(whole / "rollouts.png") > 0.02


def test_metrics(whole):
    with open(whole / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(Trial.__dataclass_fields__)
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["steps"] for row in rows] == ["25", "50", "75", "100"]
    assert rows[0]["predicted_cost"] == "" and all(0 < float(row["predicted_cost"]) < 1 for row in rows[1:])
    assert all(0 < float(row["real_cost"]) < 1 and float(row["search_seconds"]) >= 0 for row in rows)


def test_a_killed_run_continues_as_if_uninterrupted(whole, tmp_path, capfd, fresh_python):
    folder = tmp_path / "run"
    args = [*TRAIN, "--trials", "4", "--no-stop-when-solved", "--folder", str(folder)]
    died = subprocess.run([*fresh_python, "-c", KILLED, *args], capture_output=True, text=True, timeout=300)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert metrics(folder) == metrics(whole)[:2]
    page = (folder / "report.html").read_text()
    assert "The run was in progress when this page was written." in page and page.count("data:image/png") == 2
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert metrics(folder) == metrics(whole) and html.is_whole(folder / "report.html")
    (_, config, arrays), (_, whole_config, whole_arrays) = (
        checkpoint.read_latest(f, pytest.fail) or pytest.fail("no checkpoint") for f in (folder, whole)
    )
    assert config["env"] == whole_config["env"] and arrays.keys() == whole_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, whole_arrays[name], err_msg=name)
    assert contents(folder / "predictions") == contents(whole / "predictions")
    *trials, last = capfd.readouterr().out.splitlines()  # no table where there is no terminal
    assert trials and all(line.startswith("trial ") for line in trials) and last == f"not solved in 4 trials: {folder}"


def test_a_finished_run_is_not_continued(whole, capsys):
    before = contents(whole)
    assert cli.main(["train", "--resume", str(whole)]) == 0
    assert cli.main(["evaluate", str(whole), "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "episodes: 2\n" in out and "mean_cost: 0." in out and "success_rate: " in out
    assert contents(whole) == before


def test_a_run_of_another_version_says_so_in_a_line(whole, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    config = TRAIN_RUNS.read_config(folder)
    assert cli.main(["train", "--resume", str(folder)]) == 0 and capsys.readouterr().err == ""
    TRAIN_RUNS.write_config(folder, config["settings"], {**config["versions"], "bnnrl": "0.1.0", "numpy": "1.26.4"})
    assert cli.main(["train", "--resume", str(folder)]) == 0
    now = config["versions"]
    assert capsys.readouterr().err == (
        "bnnrl: warning: The run began with other versions, and its results may differ from then on: "
        f"bnnrl 0.1.0, now {now['bnnrl']}; numpy 1.26.4, now {now['numpy']}.\n"
    )


def test_a_run_that_another_process_writes_to_is_not_resumed(whole, capsys, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.2)
    before = contents(whole)
    with lock.hold(whole, pytest.fail):
        assert cli.main(["train", "--resume", str(whole)]) == 2
    assert f"which process {os.getpid()} on " in capsys.readouterr().err
    assert contents(whole) == before


def test_an_interrupted_run_says_how_to_continue(tmp_path, interruptible, monkeypatch, capsys):
    on_trial_end = Run.on_trial_end

    def then_interrupt(self, agent, trial):
        on_trial_end(self, agent, trial)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "on_trial_end", then_interrupt)
    folder = tmp_path / "run"
    assert cli.main([*TRAIN, "--folder", str(folder)]) == 130
    error = capsys.readouterr().err
    assert error == f"Interrupted. Finished trials kept: 1. Resume: bnnrl train --resume {folder}\n"
    assert len(metrics(folder)) == 1 and (folder / "checkpoints" / "step_1").is_dir()


@pytest.mark.slow
def test_a_run_interrupted_during_a_trial_continues_as_if_uninterrupted(whole, tmp_path, interruptible, monkeypatch):
    folder, run_episodes = tmp_path / "run", PILCO._run_episodes

    def interrupted(self, trial):
        if trial == 3:
            signal.raise_signal(signal.SIGINT)
        return run_episodes(self, trial)

    with monkeypatch.context() as patch:
        patch.setattr(PILCO, "_run_episodes", interrupted)
        assert cli.main([*TRAIN, "--trials", "4", "--no-stop-when-solved", "--folder", str(folder)]) == 130
    assert metrics(folder) == metrics(whole)[:2]
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert metrics(folder) == metrics(whole)


def test_the_first_trial_draws_no_rollouts(begun):
    run, agent = begun
    assert (run.folder / "curve.png").exists() and not (run.folder / "rollouts.png").exists()
    agent.prediction = Prediction(np.zeros([6, 4, 4]) + np.arange(4), np.ones([5, 4]))
    run.draw(agent)
    assert share_inked(run.folder / "rollouts.png") > 0.02


@pytest.mark.parametrize("kind", ["run", "files", "file"])
def test_an_existing_folder_is_left_unchanged(tmp_path, begun, kind):
    path = begun[0].folder
    if kind != "run":
        path = tmp_path / kind
        path.write_text("mine") if kind == "file" else (path.mkdir(), (path / "notes.txt").write_text("mine"))
    before = contents(path) if path.is_dir() else path.read_bytes()
    with pytest.raises(ValueError, match=f"--resume {path}" if kind == "run" else "name another folder"):
        Run.create(path, {})
    assert (contents(path) if path.is_dir() else path.read_bytes()) == before


def test_an_empty_folder_is_used_and_a_default_name_is_made(tmp_path, monkeypatch):
    assert Run.create(tmp_path, {}).folder == tmp_path
    monkeypatch.chdir(tmp_path)
    folder = Run.create(None, {"env": ENV_ID, "method": "ensemble", "seed": 7}).folder
    assert folder.parent == Path("runs") / ENV_ID / "ensemble" and folder.name.startswith("7-")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="expected one that can be written"):
        Run.create(tmp_path / "file" / "run", {})


@pytest.mark.parametrize(
    ("text", "found"),
    [(None, "no config.json"), ("{}", "no config.json of a bnnrl run"), ("nonsense", "no config.json of a bnnrl run")],
)
def test_a_foreign_folder_is_not_reopened(tmp_path, text, found):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"expected the folder of a run.*Received.*{found}"):
        Run.reopen(tmp_path)


def test_a_truncated_checkpoint_falls_back_with_a_warning(begun):
    run, agent = begun
    checkpoint.write_step(run.folder, 2, *agent.to_saved())
    newest = run.folder / "checkpoints" / "step_2" / "arrays.safetensors"
    newest.write_bytes(newest.read_bytes()[:-40])
    warnings = []
    again = Run.reopen(run.folder).latest(warnings.append)
    assert again is not None and again.history == agent.history
    np.testing.assert_array_equal(again.episodes[0].obs, agent.episodes[0].obs)
    assert len(warnings) == 1 and "Skipped checkpoint step_2, using step_1" in warnings[0]


def test_a_run_that_died_after_its_checkpoint_writes_tables_and_pictures_again(begun):
    run, _ = begun
    rows, curve = (run.folder / "metrics.csv").read_bytes(), run.folder / "curve.png"
    for lost, ahead in ((b"", False), (rows + rows.splitlines()[-1] + b"\n", True)):
        (run.folder / "metrics.csv").write_bytes(lost)
        if not ahead:
            curve.unlink()
        Run.reopen(run.folder).latest(pytest.fail)
        assert (run.folder / "metrics.csv").read_bytes() == rows and share_inked(curve) > 0.01


def test_a_changed_setting_is_saved(begun):
    run, _ = begun
    before = json.loads((run.folder / "config.json").read_text())
    run.change(trials=9)
    assert Run.reopen(run.folder).settings == {"trials": 9} == run.settings
    after = json.loads((run.folder / "config.json").read_text())
    assert after == {**before, "settings": {"trials": 9}, "sha256": after["sha256"]}


def test_a_run_without_a_checkpoint_has_no_agent_yet(tmp_path):
    assert Run.create(tmp_path / "run", {}).latest(pytest.fail) is None
    with pytest.raises(ValueError, match="which has none yet"):
        bnnrl.load(tmp_path / "run")
