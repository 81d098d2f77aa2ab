"""Sections of an agent's report: the verdict on coverage, and the table of trials."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnnrl.rl.callbacks import Trial
from bnnrl.rl.reporting import html

TRIAL = Trial(2, 50, None, 0.3, 0.4, 0.5, None, False, 1.0, 2.0, -7.5, -6.25, 0.35)


@pytest.mark.parametrize(("inside", "is_poor"), [([1.0, 0.9], False), ([0.8, 0.8], False), ([0.9, 0.5], True)])
def test_poor_coverage_is_said(inside, is_poor):
    words = html._verdict(np.array(inside))
    assert f"{100 * np.mean(inside):.0f} % of the real observation entries were inside the 95 % band" in words
    assert ("poor" in words) == is_poor


def test_columns_without_a_figure_are_left_out_of_the_table(tmp_path):
    task = SimpleNamespace(step_seconds=None, success=None, solved_return=None)
    history = [replace(TRIAL, trial=1, predicted_cost=None, compared_cost=None), TRIAL]
    agent: Any = SimpleNamespace(task=task, history=history, episodes=[], solved=None)
    *_, table = html._learning(agent, tmp_path)
    headings = list(table.rows[0])
    assert "experience" not in headings and "success rate" not in headings
    assert "predicted cost" in headings and "compared cost" in headings and table.rows[1]["compared cost"] == 0.35
    assert (tmp_path / "curve.png").is_file()
