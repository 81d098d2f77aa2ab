"""Descriptions of rollouts and costs that are not finite: the first step, the entry, its last finite value."""

import numpy as np
import pytest

from bnnrl.rl.simulator.non_finite import describe, describe_costs

H, P = 5, 4
LABELS = "x, m", "v, m/s"


def rollouts():
    """Return finite rollouts: observations [H + 1, P, 2] and costs [H, P], which say where they stand."""
    obs = 10.0 * np.arange(H + 1)[:, np.newaxis, np.newaxis] + np.arange(P)[:, np.newaxis] + np.zeros(2)
    return obs, 0.1 * np.arange(1, H + 1)[:, np.newaxis] + np.zeros(P)


def test_finite_rollouts_have_no_description():
    assert describe(*rollouts(), None, False) is None and describe_costs(np.ones(3), np.ones((4, 2))) is None


def test_the_first_entry_is_named_with_its_last_finite_value():
    obs, costs = rollouts()
    obs[3, 2, 1], obs[4:, 1:3], costs[2:, 2] = np.inf, np.nan, np.nan
    text = describe(obs, costs, LABELS, False)
    assert text is not None and text.startswith(
        "2 of 4 particles that are NaN or infinite, from step 3 of 5 on: 'v, m/s' of the observation went from 22 to "
        "inf. "
    )
    assert "smaller `prior_std`" in text and "task's cost" not in text
    unnamed = describe(obs, costs, None, False)
    assert unnamed is not None and "entry 1 of the observation went from 22 to inf" in unnamed


def test_an_initial_observation_has_no_value_before():
    obs, costs = rollouts()
    obs[0, 1, 0] = np.nan
    text = describe(obs, costs, LABELS, False)
    assert text is not None and "from step 0 of 5 on: 'x, m' of the initial observation is nan" in text


@pytest.mark.parametrize(("learns_reward", "remedy"), [(False, "Let the task's cost"), (True, "smaller `prior_std`")])
def test_a_cost_of_finite_observations_is_the_tasks_or_a_models(learns_reward, remedy):
    obs, costs = rollouts()
    costs[1, 3], obs[3, 0, 0] = -np.inf, np.nan
    text = describe(obs, costs, LABELS, learns_reward)
    assert text is not None and remedy in text
    assert text.startswith("2 of 4 particles") and "step 2 of 5 on: the cost went from 0.1 to -inf, at finite" in text
    costs[0] = np.nan
    text = describe(obs, costs, LABELS, learns_reward)
    assert text is not None and "4 of 4 particles" in text and "step 1 of 5 on: the cost is nan" in text


def test_a_real_cost_is_named_with_its_step_and_observation():
    obs = np.arange(8.0).reshape(4, 2)
    text = describe_costs(np.array([0.5, np.inf, np.nan]), obs)
    assert text is not None and text.startswith("inf at step 2, whose observation is [4. 5.]. Let the task's cost")
