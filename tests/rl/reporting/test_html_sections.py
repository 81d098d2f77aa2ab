"""Sections of an agent's report: the verdict on coverage, and the table of trials."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bnnrl import metrics
from bnnrl.rl.callbacks import Trial
from bnnrl.rl.reporting import html
from bnnrl.rl.reporting.run import Run

TRIAL = Trial(2, 50, None, 0.3, 0.4, 0.5, None, False, 1.0, 2.0, -7.5, -6.25, 0.35)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.0], "0 to 98 %, which includes 95 %"),  # 0.975 = 1 - 0.025: a single trial contradicts nothing
        ([0.9] * 10, "55 to 100 %, which includes 95 %"),  # as of 9 hits in 10, in the table of Clopper and Pearson
        ([0.8, 0.2] * 5, "19 to 81 %: coverage is poor"),
        ([1.0] * 200, "98 to 100 %: the predictions are less certain"),
    ],
)
def test_coverage_is_called_poor_where_its_confidence_interval_excludes_the_nominal(shares, said):
    words = html._verdict(metrics.coverage(shares))
    assert said in words and f"by {len(shares)} trial" in words
    assert ("poor" in words) == ("poor" in said)


def test_columns_without_a_figure_are_left_out_of_the_table(tmp_path):
    task = SimpleNamespace(step_seconds=None, success=None, solved_return=None)
    history = [replace(TRIAL, trial=1, predicted_cost=None, compared_cost=None), TRIAL]
    agent: Any = SimpleNamespace(task=task, history=history, episodes=[], solved=None)
    curve = tmp_path / "curve.png"
    Run.draw_curve(curve, agent, "")
    *_, table = html._learning(agent, curve)
    headings = list(table.rows[0])
    assert "experience" not in headings and "success rate" not in headings
    assert "predicted cost" in headings and "compared cost" in headings and table.rows[1]["compared cost"] == 0.35
    assert curve.is_file()
