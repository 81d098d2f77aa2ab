"""Trials of a run: a live table on a terminal, and lines of text elsewhere."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bnnrl.rl.callbacks import Trial
from bnnrl.rl.reporting.live_table import Progress

AGENT: Any = None  # the table does not use the agent
RANDOM = Trial(1, 25, 2.5, None, 0.987, 0.986, 0.0, False, 0.0, 0.0)
SOLVED = Trial(2, 50, 5.0, 0.321, 0.432, 0.543, 0.9, True, 1.25, 2.5)
NO_SUCCESS = Trial(3, 75, None, 0.3, 0.4, 0.5, None, False, 1.0, 2.0)


def shown(terminal: bool, history=()) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, legacy_windows=False)
    with Progress("title of the run", list(history), console) as progress:
        progress.on_phase(AGENT, 1, "episode")
        progress.on_trial_end(AGENT, RANDOM)
        progress.on_phase(AGENT, 2, "policy")
        progress.on_trial_end(AGENT, SOLVED)
        progress.on_trial_end(AGENT, NO_SUCCESS)
    return file.getvalue()


def test_a_terminal_shows_every_trial():
    text = shown(terminal=True)
    for part in ("title of the run", "predicted cost", "random", "0.987", "5.0 s", "0.321", "90 %", "3.8", "75 steps"):
        assert part in text


def test_without_success_the_return_is_shown():
    file = io.StringIO()
    trial = Trial(2, 75, None, None, 0.4, 0.5, None, False, 1.0, 2.0, -7.5, -6.25)
    with Progress("title", [trial], Console(file=file, force_terminal=True, width=120)):
        pass
    text = file.getvalue()
    assert "return" in text and "-6.25" in text and "success" not in text and "random" not in text


def test_trials_of_an_earlier_part_are_shown_and_its_list_is_left_alone():
    history = [Trial(1, 25, 2.5, None, 0.111, 0.222, 0.0, False, 0.0, 0.0)]
    assert "0.111" in shown(terminal=True, history=history)
    assert len(history) == 1


def test_each_trial_is_a_line_where_there_is_no_terminal():
    assert shown(terminal=False).splitlines() == [
        "trial 1: 2.5 s of experience, real cost 0.987, evaluation cost 0.986, success 0 %, 0.0 s",
        "trial 2: 5.0 s of experience, predicted cost 0.321, real cost 0.432, evaluation cost 0.543, success 90 %, "
        "3.8 s",
        "trial 3: 75 steps, predicted cost 0.300, real cost 0.400, evaluation cost 0.500, 3.0 s",
    ]


def test_the_predicted_cost_has_its_interval_and_violations_have_a_column():
    trial = replace(SOLVED, predicted_cost_low=0.25, predicted_cost_high=0.52, violations=3)
    for terminal, violations in ((False, "3 steps in violation of a constraint"), (True, "violations")):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=160, legacy_windows=False)
        with Progress("title", [trial], console) as progress:
            progress.on_trial_end(AGENT, trial)
        assert "0.321 (90 %: 0.250 to 0.520)" in file.getvalue() and violations in file.getvalue()


def test_the_terminal_is_restored_after_an_error():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    with pytest.raises(RuntimeError, match="stop"), Progress("title", console=console):
        raise RuntimeError("stop")
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
