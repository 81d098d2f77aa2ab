"""Environments that fail at a random step: the step is told, what was learned is kept, and the run can be resumed."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import cli
from tests.faults import processes, small_task
from tests.faults.processes import TRAIN, leftovers
from tests.faults.small_task import STEPS

pytestmark = pytest.mark.slow

TRIALS, FAULTS_OF_A_KIND = 2, 2
KINDS = ("error", *small_task.RETURNED)


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def sound():
    yield
    small_task.fault.clear()


def fail_at(what: str, number: int, kind: str) -> None:
    small_task.counts.update(step=0, reset=0)
    small_task.fault.update({what: number, "does": kind})


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_a_random_step(tmp_path, eager, capsys, kind):
    chance, phases = processes.generator(f"environment: {kind}"), Counter()
    for i in range(FAULTS_OF_A_KIND):
        folder, number = tmp_path / str(i), chance.randint(1, 2 * STEPS * TRIALS)
        fail_at("step", number, kind)
        assert cli.main([*TRAIN, "--trials", str(TRIALS), "--folder", str(folder)]) == 2
        error = capsys.readouterr().err
        step = (number - 1) % STEPS + 1
        assert (
            f"its step {step} raised OSError: the cable broke." if kind == "error" else f"at step {step}, "
        ) in error
        assert error.endswith(f"Fix the environment, then resume the run.\nRun folder: {folder}\n")
        # Each trial has an episode of training and one of evaluation.
        trials, steps = divmod(number - 1, 2 * STEPS)
        expected = STEPS * trials + min(steps, STEPS)
        phases["evaluation" if steps >= STEPS else "training"] += 1
        if expected:
            kept = bnnrl.load(folder)
            assert sum(map(len, kept.episodes)) == expected and len(kept.history) == trials
            assert all(np.isfinite(episode.obs).all() for episode in kept.episodes)
            assert trials == 0 or kept.control.can_act
        small_task.fault.clear()
        assert cli.main(["train", "--resume", str(folder)]) == 0
        resumed = bnnrl.load(folder)
        assert len(resumed.history) == TRIALS and leftovers(folder) == []
        # The trial under way is run again, and what it had seen stays.
        assert sum(map(len, resumed.episodes)) == expected + STEPS * (TRIALS - trials)
    print(f"{kind}: {FAULTS_OF_A_KIND} faults {dict(phases)}, nothing lost, all resumed")


def test_a_reset_that_raises(tmp_path, eager, capsys):
    for number in range(1, 2 * TRIALS + 1):
        folder = tmp_path / str(number)
        fail_at("reset", number, "error")
        assert cli.main([*TRAIN, "--trials", str(TRIALS), "--folder", str(folder)]) == 2
        assert "its reset raised OSError: the cable broke." in capsys.readouterr().err
        small_task.fault.clear()
        assert cli.main(["train", "--resume", str(folder)]) == 0
        assert len(bnnrl.load(folder).history) == TRIALS
