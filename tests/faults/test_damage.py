"""Files with flipped bits and missing parts are refused, or read as they were; nothing wrong is ever returned."""

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import bnnrl
from bnnrl.storage import arrays, checkpoint
from bnnrl.storage.checkpoint import CheckpointError
from bnnrl.storage.run_folder import TRAIN

pytestmark = pytest.mark.slow

SAVED = Path(__file__).parents[1] / "fixtures" / "0.1.0"
FOLDERS = [*(SAVED / "models").iterdir(), *(SAVED / "agents").iterdir()]
SETTINGS = {"env": "CartPole-v1", "seed": 3, "steps": None, "hidden": [64, 64], "stop_when_solved": True}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return data with up to three flipped bits, cut short, or with a block of zeros."""
    changed, how = bytearray(data), chance.choice(("bits", "bits", "bits", "cut", "zeros"))
    if how == "cut":
        return data[: chance.randrange(len(data))]
    if how == "zeros":
        at = chance.randrange(len(data))
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    for _ in range(chance.randint(1, 3) if how == "bits" else 0):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def same(found, expected) -> bool:
    return found[0] == expected[0] and bits(found[1]) == bits(expected[1])


def bits(named) -> dict:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in named.items()}


def outcome(read, expected, is_same) -> str:
    """Return "refused" or "unchanged"; fail if anything else was read."""
    try:
        found = read()
    except ValueError:
        return "refused"
    assert is_same(found, expected), "silently wrong"
    return "unchanged"


def test_500_damaged_checkpoints(tmp_path):
    chance, outcomes = random.Random(0), Counter()
    for source in FOLDERS:
        expected, place = checkpoint.read(source), tmp_path / source.name
        shutil.copytree(source, place)
        for i in range(-(-500 // len(FOLDERS))):
            path = place / ("config.json", "arrays.safetensors")[i % 2]
            whole = path.read_bytes()
            path.write_bytes(damaged(whole, chance))
            outcomes[path.name, outcome(lambda place=place: checkpoint.read(place), expected, same)] += 1
            path.write_bytes(whole)
        assert same(checkpoint.read(place), expected)
    print(dict(outcomes))
    assert outcomes["arrays.safetensors", "refused"] > 240 and outcomes["config.json", "refused"] > 240


def test_a_damaged_newest_checkpoint_is_replaced_by_the_one_before_it(tmp_path):
    chance = random.Random(1)
    config, named = checkpoint.read(SAVED / "train" / "checkpoints" / "step_2")
    expected = {2: (config, named), 3: ({**config, "seed": 8}, named)}
    for i in range(40):
        for step, saved in expected.items():
            checkpoint.write_step(tmp_path, step, *saved)
        path = tmp_path / "checkpoints" / "step_3" / ("config.json", "arrays.safetensors")[i % 2]
        path.write_bytes(damaged(path.read_bytes(), chance))
        messages = []
        found = checkpoint.read_latest(tmp_path, messages.append)
        assert found is not None and same(found[1:], expected[found[0]]) and len(messages) == 3 - found[0]
        checkpoint.prune(tmp_path, keep=1)
        assert (tmp_path / "checkpoints" / "step_2").exists() == (found[0] == 2)  # the only one that can be read


def test_a_damaged_agent_is_not_loaded(tmp_path):
    shutil.copytree(SAVED / "agents" / "cart_pole", tmp_path / "a")
    path = tmp_path / "a" / "arrays.safetensors"
    path.write_bytes(damaged(path.read_bytes(), random.Random(2)))
    with pytest.raises(CheckpointError, match="do not match the checksum.*restore it from a copy, or save again"):
        bnnrl.load(tmp_path / "a")


def test_damaged_settings_of_a_run(tmp_path):
    path, chance, outcomes = TRAIN.create(tmp_path / "run", "", SETTINGS) / "config.json", random.Random(3), Counter()
    data, expected = path.read_bytes(), TRAIN.read_config(tmp_path / "run")
    for _ in range(500):
        path.write_bytes(damaged(data, chance))
        read = lambda: TRAIN.read_config(tmp_path / "run")["settings"]
        outcomes[outcome(read, expected["settings"], lambda a, b: a == b)] += 1
    print(dict(outcomes))
    assert outcomes["refused"] > 450


def test_damaged_predictions():
    named = {"obs": np.arange(20, dtype=np.float32).reshape(5, 4), "costs": np.ones(3, np.float32)}
    data, chance, outcomes = arrays.to_bytes(named), random.Random(4), Counter()
    for _ in range(500):
        changed = damaged(data, chance)
        outcomes[outcome(lambda c=changed: ({}, arrays.from_bytes(c)), ({}, named), same)] += 1
    print(dict(outcomes))
    assert outcomes["refused"] > 450
