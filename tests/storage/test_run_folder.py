"""Run folders: where they are made, what they say of themselves, and tables that keep the type of a value."""

import json

import pytest

from bnnrl.storage import run_folder
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
    assert TRAIN.read_config(path) == {**found, "settings": {"seed": 4}}


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
