"""Run folders: where they are made, what they say of themselves, and tables that keep the type of a value."""

import errno
import json
from datetime import datetime

import pytest

from bnnrl.storage import run_folder
from bnnrl.storage.atomic import WriteError
from bnnrl.storage.run_folder import COMPARISON, FIT, TRAIN

SETTINGS = {"env": "CartPole-v1", "seed": 3}


def test_a_folder_says_what_repeats_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = TRAIN.create(None, "CartPole-v1/swag", SETTINGS)
    assert path.parent.as_posix() == "runs/CartPole-v1/swag" and path.name.startswith("3-")
    assert [p.name for p in path.iterdir() if p.is_dir()] == ["checkpoints"]
    found = TRAIN.read_config(path)
    assert found["settings"] == SETTINGS and found["versions"].keys() >= {"python", "bnnrl", "tensorflow"}
    TRAIN.write_config(path, {"seed": 4}, found["versions"])
    again = TRAIN.read_config(path)
    assert again == {**found, "settings": {"seed": 4}, "sha256": again["sha256"]}


class StoppedClock:
    """A clock that stands still, as it seems to for a second, and after it was set back."""

    now = staticmethod(lambda: datetime(2026, 11, 1, 2, 30))


def test_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "datetime", StoppedClock)
    made = [TRAIN.create(None, "e/m", SETTINGS).name for _ in range(3)]
    assert made == ["3-20261101-023000", "3-20261101-023000-2", "3-20261101-023000-3"]


def test_a_changed_config_is_refused_and_may_be_accepted(tmp_path):
    path = TRAIN.create(tmp_path / "run", "", SETTINGS) / "config.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 7'))
    with pytest.raises(ValueError, match='does not match its checksum.* remove its lines "version" and "sha256"'):
        TRAIN.read_config(tmp_path / "run")
    config = json.loads(path.read_text())
    del config["version"], config["sha256"]  # as version 0.2.0 wrote it
    path.write_text(json.dumps(config))
    assert TRAIN.read_config(tmp_path / "run")["settings"]["seed"] == 7


def test_a_run_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "VERSION", run_folder.VERSION + 1)
        TRAIN.create(tmp_path / "run", "", SETTINGS)
    with pytest.raises(ValueError, match="Invalid version: expected at most 2. Received: 3 in .*newer bnnrl: upgrade"):
        TRAIN.read_config(tmp_path / "run")


def test_a_full_disk_is_no_fault_of_the_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    with pytest.raises(WriteError, match=r"Cannot write .*config.json: No space left.* Free some space on its disk.$"):
        TRAIN.create(tmp_path / "run", "", SETTINGS)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]


def test_kinds_are_told_apart(tmp_path):
    FIT.create(tmp_path / "fit", "", SETTINGS)
    assert [kind.matches(tmp_path / "fit") for kind in (TRAIN, FIT, COMPARISON)] == [False, True, False]
    run_folder.check_kind(tmp_path / "fit", TRAIN, FIT)
    with pytest.raises(ValueError, match="made by `bnnrl train`. Received: .*no config.json of a bnnrl run"):
        TRAIN.read_config(tmp_path / "fit")
    with pytest.raises(ValueError, match="made by `bnnrl train` or `bnnrl compare`. Received: .*no such folder"):
        run_folder.check_kind(tmp_path / "nowhere", TRAIN, COMPARISON)
    for text in ("{", "[]", json.dumps({"kind": "fit"}), json.dumps({"format": "other", "kind": "fit"})):
        (tmp_path / "fit" / "config.json").write_text(text)
        assert not FIT.matches(tmp_path / "fit")


@pytest.mark.parametrize(
    ("kind", "remedy"), [(TRAIN, "go on with it by --resume"), (FIT, "name another"), (COMPARISON, "--resume")]
)
def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path, kind, remedy):
    kind.create(tmp_path / "run", "", SETTINGS)
    with pytest.raises(ValueError, match=f"which exists. It is left as it is; .*{remedy}"):
        kind.create(tmp_path / "run", "", {})
    assert kind.read_config(tmp_path / "run")["settings"] == SETTINGS
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="It is left as it is; name another folder"):
        kind.create(tmp_path / "mine", "", {})
    (tmp_path / "empty").mkdir()
    assert kind.matches(kind.create(tmp_path / "empty", "", SETTINGS))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="expected one that can be written"):
        TRAIN.create(tmp_path / "file" / "run", "", SETTINGS)


def test_values_of_a_table_keep_their_type(tmp_path):
    row = {"trial": 3, "cost": -0.25, "solved": True, "note": "a, b", "return": None}
    run_folder.write_table(tmp_path / "t.csv", list(row), [row, {"trial": 4}])
    assert run_folder.read_table(tmp_path / "t.csv") == [row, {**dict.fromkeys(row), "trial": 4}]
