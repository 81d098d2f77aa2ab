"""Tracking: the files of offline runs, and that no failure of wandb stops a run or asks for input."""

import json
import os
import pty
import struct
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import keras
import matplotlib.image
import numpy as np
import pytest
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import tracking
from bnnrl.callbacks import WandbCallback
from bnnrl.inference import Adam
from bnnrl.rl.callbacks import Trial
from bnnrl.rl.episodes import EnvironmentFault
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.tracker import TrialTracker
from bnnrl.tracking import Tracker, TrackingWarning
from tests.rl.point_mass import faulty_task, make_agent

wandb = pytest.importorskip("wandb")
from wandb.integration.keras import WandbMetricsLogger  # noqa: E402
from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402 # pyright: ignore[reportAttributeAccessIssue]


class Tracked(NamedTuple):
    """The contents of the .wandb file of a run."""

    run: Any
    config: dict[str, Any]
    history: dict[int, dict[str, Any]]  # by step
    summary: dict[str, Any]
    artifacts: list[Any]
    files: list[str]
    exit_code: int


def records(path: Path):
    """Yield the records of a .wandb file, which is in LevelDB's log format: a header of 7 bytes, blocks of 32 KiB."""
    data, position, record = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        left = 2**15 - position % 2**15
        if left < 7:  # less than the header of a chunk, therefore padding
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        record += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or the last chunk of one
            yield Record.FromString(record)
            record = b""


def values(items) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read(folder: Path) -> list[Tracked]:
    """Return the finished runs in `folder`, oldest first."""
    deadline = time.monotonic() + 30
    found = []
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        while not any(record.WhichOneof("record_type") == "exit" for record in records(path)):
            assert time.monotonic() < deadline, path
            time.sleep(0.05)  # the service writes a run's last records after `finish` has returned
        run, config, history, summary, artifacts, files, code = None, {}, {}, {}, [], [], -1
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                config |= values(run.config.update)
            elif kind == "config":
                config |= values(record.config.update)
            elif kind == "history":
                history[record.history.step.num] = values(record.history.item)
            elif kind == "summary":
                summary |= values(record.summary.update)
            elif kind == "artifact":
                artifacts.append(record.artifact)
            elif kind == "files":
                files += [str(path.parent / "files" / file.path) for file in record.files.files]
            elif kind == "exit":
                code = record.exit.exit_code
        found.append(Tracked(run, config, history, summary, artifacts, files, code))
    return sorted(found, key=lambda tracked: tracked.run.start_time.ToNanoseconds())


def logged(row: dict[str, Any]) -> dict[str, Any]:
    """Return a history row without the entries that wandb adds."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


def children() -> list[str]:
    found = subprocess.run(["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [name for name in found.stdout.split() if name != "ps"]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of this process without the user's wandb settings and login, and with `home` for files."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    own = {f"WANDB_{name}_DIR": str(home / name) for name in ("CACHE", "CONFIG", "DATA")}
    return kept | own | {"HOME": str(home), "NETRC": str(home / "netrc"), "WANDB_ERROR_REPORTING": "false"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Keep one wandb service for the offline runs of this module, and stop it at the end."""
    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in environment(tmp_path_factory.mktemp("home")).items():
            patch.setenv(name, value)
        patch.setenv("WANDB_MODE", "offline")
        yield
        assert "wandb-core" in children()
        wandb.teardown()
        assert "wandb-core" not in children()


@pytest.fixture
def offline(service, tmp_path):
    """Yield a folder for offline runs."""
    yield tmp_path
    assert wandb.run is None


def write_picture(path: Path) -> Path:
    matplotlib.image.imsave(path, np.random.default_rng(0).random((4, 6, 3)))
    return path


def run_on_a_terminal(code: str, **variables: str) -> tuple[str, float]:
    """Run Python on a terminal without input, and return its output and the seconds it took."""
    terminal, inside = pty.openpty()
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=inside, stdout=inside, stderr=inside, env=variables)
    os.close(inside)
    written = b""
    try:
        while chunk := os.read(terminal, 4096):
            written += chunk
            assert time.monotonic() - started < 60, written
    except OSError:  # Linux raises it when the other side is closed
        pass
    finally:
        os.close(terminal)
        process.kill()
        process.wait()
    return written.decode(), time.monotonic() - started


# Files of a run.


def test_an_offline_run_holds_everything_that_was_tracked(offline, capfd):
    picture, video = write_picture(offline / "p.png"), offline / "v.mp4"
    video.write_bytes(b"any bytes: the file is not read")
    (offline / "saved").mkdir()
    (offline / "saved" / "weights").write_bytes(b"\0\1\2")
    config = {"method": "swag", "hidden": [8, 8], "nested": {"rate": 0.1}}
    with tracking.start("proj", config, "group", "name", "id-1", offline, tags=("a", "b")) as tracker:
        assert tracker.id == "id-1" and tracker.next_step == 0
        tracker.configure({"method": "hmc", "more": 1})
        tracker.log({"loss": 0.5, "solved": True, "absent": None}, 0)
        tracker.log({"loss": 0.25}, 3)
        tracker.picture("curve", picture, 3)
        picture.unlink()
        tracker.video("rollout", video)
        tracker.artifact("the posterior/1", offline / "saved", "posterior")
        tracker.summary({"nll": -1.5})
    (found,) = read(offline)
    run = found.run
    assert (run.project, run.run_group, run.display_name, run.run_id) == ("proj", "group", "name", "id-1")
    assert list(run.tags) == ["a", "b"] and run.resume and found.exit_code == 0
    assert logged(found.config) == {**config, "method": "hmc", "more": 1}
    assert list(found.history) == [0, 3, 4]
    assert logged(found.history[0]) == {"loss": 0.5, "solved": 1}
    assert found.history[3]["loss"] == 0.25 and found.history[3]["curve/_type"] == "image-file"
    assert (found.history[3]["curve/width"], found.history[3]["curve/height"]) == (6, 4)
    assert found.history[4]["rollout/_type"] == "video-file"
    assert found.summary["nll"] == -1.5 and found.summary["loss"] == 0.25
    kept = {Path(file).suffix: Path(file) for file in found.files}
    assert matplotlib.image.imread(kept[".png"]).shape[:2] == (4, 6)
    assert kept[".mp4"].read_bytes() == video.read_bytes()
    (artifact,) = found.artifacts
    assert (artifact.name, artifact.type) == ("the-posterior-1", "posterior")
    (entry,) = artifact.manifest.contents
    assert entry.path == "weights" and Path(entry.local_path).read_bytes() == b"\0\1\2"
    assert capfd.readouterr() == ("", "")


def test_a_step_that_is_complete_is_written_at_once(offline):
    with tracking.start("proj", {}, folder=offline) as tracker:
        tracker.log({"a": 1}, 1)
        tracker.log({"b": 2}, 1, last=True)
        tracker.log({"c": 3}, 1)  # too late
        tracker.log({"d": 4}, 2)
    (found,) = read(offline)
    assert {step: logged(row) for step, row in found.history.items()} == {1: {"a": 1, "b": 2}, 2: {"d": 4}}


def test_an_error_in_the_block_marks_the_run_as_failed(offline):
    with pytest.raises(KeyError, match="mine"), tracking.start("proj", {}, folder=offline) as tracker:
        raise KeyError("mine")
    tracker.log({"a": 1}, 0)  # after the end of the run it has no effect
    (found,) = read(offline)
    assert found.exit_code == 1 and found.history == {}


def test_a_run_is_resumed_by_its_id(offline):
    with tracking.start("proj", {"a": 1}, folder=offline) as first:
        first.log({"loss": 1.0}, 0)
        kept = first.id
    with tracking.start("proj", {"a": 1}, run_id=kept, folder=offline) as second:
        second.log({"loss": 0.5}, 1)
    before, after = read(offline)
    assert kept and before.run.run_id == after.run.run_id == kept and after.run.resume
    assert (list(before.history), list(after.history)) == ([0], [1])


def test_a_run_of_the_users_own_is_not_changed(offline):
    with wandb.init(project="own", dir=offline) as own:
        with tracking.start("proj", {}, folder=offline) as tracker:
            assert tracker.id != own.id
        assert wandb.run is own
        own.log({"mine": 1})
    assert {found.run.project: len(found.history) for found in read(offline)} == {"own": 1, "proj": 0}


# Failures.


def test_without_wandb_there_is_one_warning_and_a_tracker_that_does_nothing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(TrackingWarning, match=r"Nothing is tracked.*pip install wandb") as caught:
        tracker = tracking.start("proj", {})
    assert len(caught) == 1 and Path(caught[0].filename) == Path(__file__)
    with tracker:
        assert tracker.id is None
        tracker.configure({})
        tracker.log({"loss": 1.0}, 0)
        tracker.picture("p", tmp_path / "none.png", 0)
        tracker.video("v", tmp_path / "none.mp4")
        tracker.artifact("a", tmp_path / "none", "posterior")
        tracker.summary({})


START = "from bnnrl import tracking; t = tracking.start('proj', {}); t.log({'a': 1}, 0); t.finish(); print('id', t.id)"


def test_without_a_login_there_is_a_warning_and_no_question(tmp_path):
    out, seconds = run_on_a_terminal(START, **environment(tmp_path), WANDB_MODE="online")
    assert "TrackingWarning: Nothing is tracked: wandb began no run (ValueError: no API key is configured)" in out
    assert "Run `wandb login`, or set WANDB_MODE=offline" in out and out.rstrip().endswith("id None")
    assert out.count("wandb login") == 1 and "account" not in out and seconds < 20


@pytest.mark.slow
def test_a_server_out_of_reach_gives_a_warning(tmp_path):
    away = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_HTTP_TIMEOUT": "2"}
    out, seconds = run_on_a_terminal(START, **environment(tmp_path), **away)
    assert "Nothing is tracked: wandb began no run (AuthenticationError" in out
    assert out.rstrip().endswith("id None") and seconds < 40


def test_a_run_that_cannot_start_gives_a_warning(offline):
    with pytest.warns(TrackingWarning, match="began no run.*WANDB_MODE=offline") as caught:
        tracker = tracking.start("no/such/name", {}, folder=offline)
    assert len(caught) == 1 and tracker.id is None


def test_only_the_first_failure_gives_a_warning_and_the_rest_is_logged(offline):
    with tracking.start("proj", {}, folder=offline) as tracker:
        with pytest.warns(TrackingWarning, match="failed at the picture 'p'.*wandb sync"):
            tracker.picture("p", offline / "none.png", 0)
        tracker.video("v", offline / "none.mov")  # a second warning would be an error in this test
        tracker.artifact("a", offline / "none", "posterior")
        tracker.log({"loss": 1.0}, 1)
    (found,) = read(offline)
    assert {step: logged(row) for step, row in found.history.items()} == {1: {"loss": 1.0}}


SERVICE_DIES = """
import os, signal, subprocess
from bnnrl import tracking
tracker = tracking.start("proj", {}, folder=os.environ["HOME"])
tracker.log({"a": 1}, 0)
found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
for line in found.stdout.splitlines():
    if "wandb-core" in line:
        os.kill(int(line.split()[0]), signal.SIGKILL)
        print("killed")
for step in range(1, 100):
    tracker.log({"a": 1}, step)
tracker.finish()
print("went on")
"""


@pytest.mark.slow
def test_a_run_continues_after_the_end_of_wandbs_process(tmp_path):
    out, seconds = run_on_a_terminal(SERVICE_DIES, **environment(tmp_path), WANDB_MODE="offline")
    assert "killed" in out and "went on" in out and out.count("TrackingWarning:") == 1 and seconds < 40


def test_wandb_and_keras_are_imported_only_when_needed():
    code = "import sys, bnnrl.tracking; sys.exit(any(m in sys.modules for m in ('wandb', 'keras', 'tensorflow')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# Callbacks.

X = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)
Y = X[:, :1]


@pytest.fixture(scope="module")
def bnn(without_xla) -> bnnrl.BayesianModel:
    """Return a model that is compiled once for all tests of this file."""
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)], name="small")
    return bnnrl.BayesianModel(net, "gaussian", method=Adam(1e-2))


def test_fit_is_tracked_with_its_posterior(bnn, offline, tmp_path):
    with tracking.start("proj", {"dataset": "line"}, folder=offline) as tracker:
        history = bnn.fit(X, Y, epochs=3, validation_data=(X, Y), callbacks=[WandbCallback(tracker, "line")], verbose=0)
        more = bnn.fit(X, Y, epochs=2, callbacks=[WandbCallback(tracker)], verbose=0)
    (found,) = read(offline)
    assert found.config["dataset"] == "line" and found.config["method"]["class"] == "Adam"
    assert found.config["method"]["learning_rate"] == 1e-2 and found.config["likelihood"]["name"] == "gaussian"
    assert found.config["prior"] == {"name": "Normal", "loc": 0, "scale": 1}
    assert (found.config["network"], found.config["parameters"]) == ("small", 2 * 4 + 4 + 4 + 1)
    assert list(found.history) == [0, 1, 2, 3, 4]
    for name, values in history.history.items():
        np.testing.assert_allclose([found.history[step][name] for step in range(3)], values)
    np.testing.assert_allclose([found.history[step]["loss"] for step in (3, 4)], more.history["loss"])
    (artifact,) = found.artifacts
    (tmp_path / "fetched").mkdir()
    for entry in artifact.manifest.contents:
        (tmp_path / "fetched" / entry.path).write_bytes(Path(entry.local_path).read_bytes())
    bnn.fit(X, Y, epochs=3, verbose=0)  # the first fit again, whose posterior was uploaded
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "fetched").predict(X), bnn.predict(X))


def test_a_posterior_that_cannot_be_saved_does_not_stop_fit(offline):
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    bnn = bnnrl.BayesianModel(net, lambda outputs: tfd.Independent(tfd.Normal(outputs, 0.1), 1))
    warned = pytest.warns(TrackingWarning, match="posterior is not uploaded.*likelihood")
    with tracking.start("proj", {}, folder=offline) as tracker, warned:
        bnn.fit(X, Y, epochs=1, callbacks=[WandbCallback(tracker, "line")], verbose=0)
    (found,) = read(offline)
    assert found.artifacts == [] and list(found.history) == [0] and "lambda" in found.config["likelihood"]


def test_fit_works_if_nothing_is_tracked(bnn):
    history = bnn.fit(X, Y, epochs=2, callbacks=[WandbCallback(Tracker(), "line")], verbose=0)
    assert len(history.epoch) == 2


@pytest.mark.parametrize("frequency", ["epoch", "batch"])
def test_wandbs_own_callback_works_in_fit(bnn, offline, frequency):
    with wandb.init(project="own", dir=offline):
        history = bnn.fit(X, Y, epochs=3, callbacks=[WandbMetricsLogger(frequency)], verbose=0)
    (found,) = read(offline)
    rows = [row for row in found.history.values() if "epoch/epoch" in row]
    assert [row["epoch/epoch"] for row in rows] == [0, 1, 2]
    np.testing.assert_allclose([row["epoch/loss"] for row in rows], history.history["loss"])
    np.testing.assert_allclose([row["epoch/learning_rate"] for row in rows], 1e-2)


def test_trials_are_tracked_and_resumed_in_the_same_run(offline):
    folder = offline / "run"
    run, agent = Run.create(folder, {"trials": 2}), make_agent(seed=3)
    tracked = TrialTracker.start(agent, folder, "proj", tags=("t",))
    with tracked.tracker:
        agent.learn(1, [run, tracked], evaluation_episodes=1)
    write_picture(folder / "rollouts.png")
    tracked = TrialTracker.start(agent, folder, "proj", group="other")
    with tracked.tracker:
        last = Trial(2, 16, 4.0, 0.5, 0.25, 0.125, None, False, 1.0, 2.0)
        tracked.on_trial_end(agent, last)
    before, after = read(folder)
    assert before.run.run_id == after.run.run_id
    assert (before.run.display_name, before.run.run_group, after.run.run_group) == (
        "ensemble-3",
        "test/PointMass-v0",
        "other",
    )
    assert before.config["dynamics"]["size"] == 3 and before.config["seed"] == 3
    row = before.history[1]
    # The first trial acts at random, without a prediction, and the task has no constraints.
    predicted = {"predicted_cost", "predicted_cost_low", "predicted_cost_high", "compared_cost"}
    of_constraints = {"keeping_probability", "violations", "evaluation_violations"}
    expected = {f.name for f in fields(Trial)} - predicted - of_constraints
    assert {name for name in logged(row) if "/" not in name} == expected
    assert row["real_cost"] == agent.history[0].real_cost and row["steps"] == 8
    assert row["curve/_type"] == "image-file" and "rollouts/_type" not in row
    assert logged(after.history[2]).items() >= {k: v for k, v in asdict(last).items() if v is not None}.items()
    assert after.history[2]["rollouts/_type"] == "image-file"


def test_a_new_video_is_tracked_once_even_if_the_run_is_resumed(offline):
    agent, folder = make_agent(seed=3), offline / "run"
    (folder / "video").mkdir(parents=True)
    (folder / "video" / "trial_1-seed_0.gif").write_bytes(b"any bytes: the file is not read")
    for trials in ((1, 2), (3,)):
        tracked = TrialTracker.start(agent, folder, "proj")
        with tracked.tracker:
            for trial in trials:
                tracked.on_trial_end(agent, Trial(trial, 8, 2.0, 0.5, 0.25, 0.125, None, False, 1.0, 2.0))
        (folder / "video" / "trial_2-seed_0.mp4").write_bytes(b"not read either")
    before, after = read(folder)
    assert before.run.run_id == after.run.run_id
    videos = {
        step: {key for key in row if key.endswith("_type")} for step, row in (before.history | after.history).items()
    }
    assert videos == {1: {"video/trial_1-seed_0/_type"}, 2: set(), 3: {"video/trial_2-seed_0/_type"}}
    assert before.history[1]["real_cost"] == 0.25  # of the same step
    assert [Path(file).suffix for found in (before, after) for file in found.files if "media" in file] == [
        ".gif",
        ".mp4",
    ]


def test_an_id_that_cannot_be_written_gives_a_warning(offline):
    (offline / "wandb" / "bnnrl-id").mkdir(parents=True)
    with pytest.warns(TrackingWarning, match="id could not be written"):
        tracked = TrialTracker.start(make_agent(), offline)
    tracked.tracker.finish()
    assert len(read(offline)) == 1


def test_an_error_of_the_environment_is_in_the_summary(offline):
    agent = make_agent(task=faulty_task(step=3, reward=float("nan")))
    tracked = TrialTracker.start(agent, offline)
    with pytest.raises(EnvironmentFault), tracked.tracker:
        agent.learn(1, [tracked])
    (found,) = read(offline)
    assert found.summary["error"].startswith("EnvironmentFault: Invalid environment") and found.exit_code == 1
