"""Checkpoints: exact round trips, crashes at every point, damage of every file, folders that bnnrl did not write."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest

from bnnrl.storage import checkpoint
from bnnrl.storage.checkpoint import CheckpointError

OLD = ({"name": "old"}, {"a": np.arange(3.0)})
NEW = ({"name": "new"}, {"a": np.arange(5.0)})


class Crash(Exception):
    pass


def names(folder):
    return sorted(os.listdir(folder))


def name_of(folder):
    config, arrays = checkpoint.read(folder)
    expected = {"old": OLD, "new": NEW}[config["name"]]
    np.testing.assert_array_equal(arrays["a"], expected[1]["a"])
    return config["name"]


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "int64", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (4,), (2, 3)])
def test_arrays_keep_type_shape_and_bits(tmp_path, dtype, shape):
    array = np.random.default_rng(0).normal(size=shape, scale=9).astype(dtype)
    checkpoint.write(tmp_path / "c", {}, {"a/b": array})
    _, back = checkpoint.read(tmp_path / "c")
    assert back["a/b"].dtype == array.dtype and back["a/b"].shape == shape
    assert back["a/b"].tobytes() == array.tobytes()


def test_views_and_values_that_are_not_finite_are_kept(tmp_path):
    arrays = {"t": np.arange(6.0).reshape(2, 3).T, "s": np.arange(10)[::3], "n": np.array([np.nan, np.inf, -0.0])}
    checkpoint.write(tmp_path / "c", {}, arrays)
    _, back = checkpoint.read(tmp_path / "c")
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    back["t"][0, 0] = 7.0  # ordinary arrays, not read-only views of the file


def test_config_in_jsons_types(tmp_path):
    config = {"f": np.float32(0.1), "b": np.bool_(True), "i": np.int64(3), "t": (1, (2.5, None)), "ä": {"format": "x"}}
    checkpoint.write(tmp_path / "deep" / "c", config, {})
    back, arrays = checkpoint.read(tmp_path / "deep" / "c")
    expected = {"f": float(np.float32(0.1)), "b": True, "i": 3, "t": [1, [2.5, None]], "ä": {"format": "x"}}
    assert back == expected and back["b"] is True and arrays == {}


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.ones(2), {1: 2}, {2, 3}, object(), 1j, b"x"])
def test_config_beyond_json_is_refused_and_nothing_written(tmp_path, value):
    with pytest.raises(ValueError, match=r"Invalid config\['a'\]\[0\].*expected what JSON can represent"):
        checkpoint.write(tmp_path / "c", {"a": [value]}, {})
    assert names(tmp_path) == []


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["x"]), np.ones(2, complex), np.ones(2, ">f4")])
def test_arrays_beyond_numbers_are_refused(tmp_path, array):
    with pytest.raises(ValueError, match="Invalid `arrays`"):
        checkpoint.write(tmp_path / "c", {}, {"a": array})


def test_replaces_and_leaves_nothing_else(tmp_path):
    checkpoint.write(tmp_path / "c", *OLD)
    checkpoint.write(tmp_path / "c", *NEW)
    assert name_of(tmp_path / "c") == "new" and names(tmp_path) == ["c"]
    assert names(tmp_path / "c") == ["arrays.safetensors", "config.json"]


def test_an_empty_folder_and_a_link_are_written_through(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "c")
    checkpoint.write(tmp_path / "link", *OLD)
    assert name_of(tmp_path / "c") == "old" and (tmp_path / "link").is_symlink()


def dying(real, countdown):
    def wrapped(*args, **kwargs):
        if next(countdown) <= 0:  # and a dead process does nothing more
            raise Crash
        return real(*args, **kwargs)

    return wrapped


def crash_points(monkeypatch, call):
    """Run `call` again and again, dying at the 1st, 2nd, ... touch of the disk, until it comes through."""
    for point in range(100):
        countdown = iter(range(point, -100, -1))
        crashed = False
        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir"):
                patch.setattr(os, name, dying(getattr(os, name), countdown))
            try:
                call()
            except Crash:
                crashed = True
        if not crashed:
            return
        yield point
    raise AssertionError("never came through")


def test_a_crash_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    folder, seen = tmp_path / "c", []
    checkpoint.write(folder, *OLD)
    for _ in crash_points(monkeypatch, lambda: checkpoint.write(folder, *NEW)):
        seen.append(name_of(folder))
        checkpoint.write(folder, *OLD)  # whatever lies around is no hindrance, and is gone afterwards
        assert name_of(folder) == "old" and names(tmp_path) == ["c"]
    assert seen == sorted(seen, reverse=True) and set(seen) == {"old", "new"} and len(seen) >= 10


def test_crashes_in_a_row_never_lose_both(tmp_path, monkeypatch):
    folder = tmp_path / "c"
    checkpoint.write(folder, *OLD)
    for _ in crash_points(monkeypatch, lambda: checkpoint.write(folder, *NEW)):
        assert name_of(folder) in ("old", "new")
    assert name_of(folder) == "new" and names(tmp_path) == ["c"]


def test_a_crash_in_a_first_write_leaves_nothing_to_read(tmp_path, monkeypatch):
    folder = tmp_path / "c"
    for _ in crash_points(monkeypatch, lambda: checkpoint.write(folder, *NEW)):
        if folder.exists():
            assert name_of(folder) == "new"
        else:
            with pytest.raises(CheckpointError, match="does not exist"):
                checkpoint.read(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("file", ["config.json", "arrays.safetensors"])
def test_a_file_cut_short_anywhere_is_told(tmp_path, file):
    checkpoint.write(tmp_path / "c", *OLD)
    path = tmp_path / "c" / file
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"expected .* as it was written.* save again"):
            checkpoint.read(tmp_path / "c")
    path.unlink()
    with pytest.raises(CheckpointError, match=file):
        checkpoint.read(tmp_path / "c")


@pytest.mark.parametrize("file", ["config.json", "arrays.safetensors"])
def test_a_changed_byte_is_told_or_harmless(tmp_path, file):
    checkpoint.write(tmp_path / "c", *OLD)
    path = tmp_path / "c" / file
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        try:
            assert name_of(tmp_path / "c") == "old"  # white space between JSON's words, say
        except CheckpointError:
            continue
        assert file == "config.json" and chr(whole[i]).isspace()


def test_a_newer_version_asks_for_an_upgrade_and_is_not_replaced(tmp_path):
    checkpoint.write(tmp_path / "c", *OLD)
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": checkpoint.VERSION + 1}))
    with pytest.raises(CheckpointError, match="expected at most 1. Received: 2 .* upgrade"):
        checkpoint.read(tmp_path / "c")
    with pytest.raises(ValueError, match="left alone"):
        checkpoint.write(tmp_path / "c", *NEW)


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "years of work"},
        {"config.json": '{"model_type": "bert"}', "arrays.safetensors": ""},
        {"config.json": '{"format": "other", "version": 1}'},
        {"config.json": "[1, 2]"},
        {"config.json": "not JSON"},
        {"arrays.safetensors": ""},
    ],
)
def test_a_foreign_folder_is_refused_and_left_alone(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="left alone"):
        checkpoint.write(tmp_path, *NEW)
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == files


def test_a_checkpoint_with_something_beside_it_or_a_file_is_not_replaced(tmp_path):
    checkpoint.write(tmp_path / "c", *OLD)
    (tmp_path / "c" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("c", "file"):
        with pytest.raises(ValueError, match="left alone"):
            checkpoint.write(tmp_path / name, *NEW)
    assert (tmp_path / "c" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert name_of(tmp_path / "c") == "old"


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (Bomb.path,))

    path = ""


@pytest.mark.parametrize("file", ["config.json", "arrays.safetensors", "arrays.npz", "model.pkl"])
def test_a_planted_pickle_is_never_loaded(tmp_path, file):
    Bomb.path = str(tmp_path / "exploded")
    checkpoint.write(tmp_path / "c", *OLD)
    (tmp_path / "c" / file).write_bytes(pickle.dumps(Bomb()))
    if file in ("config.json", "arrays.safetensors"):
        with pytest.raises(CheckpointError):
            checkpoint.read(tmp_path / "c")
    else:
        assert name_of(tmp_path / "c") == "old"
    assert not os.path.exists(Bomb.path)


def test_steps_keep_the_newest(tmp_path):
    for step in (0, 1, 2, 10, 9):
        checkpoint.write_step(tmp_path, step, {"step": step}, {"a": np.array(step)})
    assert names(tmp_path / "checkpoints") == ["step_10", "step_9"]
    checkpoint.write_step(tmp_path, 11, {"step": 11}, {"a": np.array(11)}, keep=1)
    assert names(tmp_path / "checkpoints") == ["step_11"]
    checkpoint.write_step(tmp_path, 3, {"step": 3}, {"a": np.array(3)}, keep=1)
    assert names(tmp_path / "checkpoints") == ["step_3"]  # what was just written is never what goes
    assert checkpoint.read_latest(tmp_path, pytest.fail) == (3, {"step": 3}, {"a": np.array(3)})


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (0, 0)])
def test_steps_check_their_arguments(tmp_path, step, keep):
    with pytest.raises(ValueError, match="expected step >= 0 and keep >= 1"):
        checkpoint.write_step(tmp_path, step, {}, {}, keep)


def test_latest_of_nothing(tmp_path):
    assert checkpoint.read_latest(tmp_path / "nowhere", pytest.fail) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.read_latest(tmp_path, pytest.fail) is None


def test_latest_skips_a_damaged_step_and_says_so(tmp_path):
    warnings = []
    for step in (1, 2):
        checkpoint.write_step(tmp_path, step, {"step": step}, {"a": np.ones(9)})
    path = tmp_path / "checkpoints" / "step_2" / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    found = checkpoint.read_latest(tmp_path, warnings.append)
    assert found is not None and found[0] == 1 and found[1] == {"step": 1}
    assert len(warnings) == 1
    for part in ("step_2", "using step_1", "do not match the checksum"):
        assert part in warnings[0]


@pytest.mark.parametrize("file", ["config.json", "arrays.safetensors"])
def test_a_damaged_step_can_be_written_again(tmp_path, file):
    checkpoint.write_step(tmp_path, 2, {"step": 1}, {})
    (tmp_path / "checkpoints" / "step_2" / file).write_bytes(b"")
    with pytest.raises(CheckpointError, match="all unreadable"):
        checkpoint.read_latest(tmp_path, pytest.fail)
    checkpoint.write_step(tmp_path, 2, {"step": 2}, {})
    assert checkpoint.read_latest(tmp_path, pytest.fail) == (2, {"step": 2}, {})


def test_a_crash_in_write_step_leaves_a_readable_latest(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.write_step(tmp_path, step, {"step": step}, {})
    for step in (2, 3):  # over an old one, and beside them
        call = lambda step=step: checkpoint.write_step(tmp_path, step, {"step": step}, {})
        for _ in crash_points(monkeypatch, call):
            found = checkpoint.read_latest(tmp_path, pytest.fail)
            assert found is not None and found[1] == {"step": found[0]} and found[0] in (step - 1, step)
    assert names(tmp_path / "checkpoints") == ["step_2", "step_3"]
