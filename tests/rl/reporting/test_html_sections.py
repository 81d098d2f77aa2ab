"""Sections of an agent's report: the verdict on coverage, and the table of trials."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnnrl import metrics
from bnnrl.rl.callbacks import Trial
from bnnrl.rl.episodes import Episode
from bnnrl.rl.reporting import html, predictions
from bnnrl.rl.reporting.predictions import Quantiles, TrialComparison
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.tasks import Constraint

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
    task = SimpleNamespace(step_seconds=None, success=None, solved_return=None, constraints={})
    history = [replace(TRIAL, trial=1, predicted_cost=None, compared_cost=None), TRIAL]
    agent: Any = SimpleNamespace(task=task, history=history, episodes=[], solved=None, prediction=None)
    curve = tmp_path / "curve.png"
    Run.draw_curve(curve, agent, "")
    *_, table = html._learning(agent, curve)
    headings = list(table.rows[0])
    assert "experience" not in headings and "success rate" not in headings
    assert "predicted cost" in headings and "compared cost" in headings and table.rows[1]["compared cost"] == 0.35
    assert curve.is_file()


def test_the_table_tells_what_constraints_ask_for(tmp_path):
    constraints = {"rail": Constraint(abs, 0.9)}
    task = SimpleNamespace(step_seconds=None, success=None, solved_return=None, constraints=constraints)
    history = [replace(TRIAL, violations=4)]
    agent: Any = SimpleNamespace(task=task, history=history, episodes=[], solved=None, prediction=None)
    *_, table = html._learning(agent, tmp_path / "curve.png")
    assert table.rows[0]["violations"] == 4 and "rail (0.9)" in table.caption


def test_expected_costs_are_compared_with_their_intervals():
    inside = replace(TRIAL, predicted_cost_low=0.3, predicted_cost_high=0.4)
    outside = replace(TRIAL, predicted_cost_low=0.36, predicted_cost_high=0.4)
    assert predictions.cost_hits([TRIAL, inside, outside, inside]) == (2, 3)
    (text,) = html._expected_costs([inside, outside])
    assert "in 1 of 2 trials" in text.text and html._expected_costs([TRIAL]) == []


def test_coverage_by_quarter_leaves_out_what_an_episode_does_not_reach():
    """Episodes of 8 and 3 steps with a horizon of 8: the short one is outside of its bands from step 2 on."""
    bands = Quantiles(np.linspace(-1, 1, 5)[:, np.newaxis, np.newaxis] * np.ones((1, 9, 1)), np.zeros((5, 8)))
    flat = lambda steps: Episode(np.zeros((steps + 1, 1)), np.zeros((steps, 1)), np.zeros(steps), np.zeros((steps, 1)))
    short = flat(3)
    short.obs[2:] = 2.0
    compared = [TrialComparison(TRIAL, bands, flat(8)), TrialComparison(TRIAL, bands, short)]
    found = predictions.coverage_of_quarters(compared, 95)
    assert [(c.share, c.rows) for c in found] == [(0.75, 2), (0.5, 2), (1.0, 1), (1.0, 1)]
    assert len(predictions.coverage_of_quarters(compared[1:], 50)) == 2
    rows: Any = html._quarters(compared).rows
    assert [row["quarter of the horizon"] for row in rows] == [1, 2, 3, 4]
