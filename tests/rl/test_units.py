"""Agents learn the same of an environment whatever the unit and the zero of its observations."""

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.checks.precision import PrecisionWarning
from bnnrl.rl.tasks import SaturatingCost
from tests.rl.point_mass import DT, in_units, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")
POLICIES = {"rbf": bnnrl.policies.RBF(6), "mlp": bnnrl.policies.MLP((8,))}


def task_in_units(scale: float, offset: float, learned: bool) -> bnnrl.Task:
    goal = SaturatingCost(lambda next_obs: tf.square((next_obs[..., 0] - offset) / scale - 1.0))
    return bnnrl.Task(in_units(scale, offset), None if learned else goal, dt=DT)


def learned_in_units(policy: str, learned: bool, scale: float, offset: float) -> bnnrl.PILCO:
    task = task_in_units(scale, offset, learned)
    return make_agent(0, task, policy=POLICIES[policy]).learn(2, evaluation_episodes=1)


@pytest.mark.parametrize(
    ("policy", "learned", "scale", "offset"),
    [
        ("rbf", False, 1.0, 1e4),
        pytest.param("rbf", False, 1e-6, 0.0, marks=pytest.mark.slow),
        pytest.param("mlp", True, 1.0, 1e4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::bnnrl.rl.ExtrapolationWarning")
def test_a_unit_and_a_zero_of_observations_do_not_matter(policy, learned, scale, offset, tmp_path):
    plain = learned_in_units(policy, learned, 1.0, 0.0)
    agent = learned_in_units(policy, learned, scale, offset)
    one, other = plain.history[-1], agent.history[-1]
    # At 10⁴, neighbouring numbers of float32 are 0.001 apart.
    assert other.predicted_cost == pytest.approx(one.predicted_cost, rel=0.02)
    assert other.real_cost == pytest.approx(one.real_cost, rel=0.05)
    obs, actions = agent.episodes[-1].obs, agent.episodes[-1].actions
    np.testing.assert_allclose(actions, plain.episodes[-1].actions, atol=0.1)
    assert np.ptp(actions) > 0.1
    agent.save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", task=agent.task)
    np.testing.assert_array_equal(again.episodes[-1].obs, obs)
    np.testing.assert_array_equal(again.predict(obs)[0], agent.predict(obs)[0])


def test_observations_that_float32_does_not_resolve_are_told():
    agent = make_agent(0, task_in_units(1.0, 1e8, learned=False))
    with pytest.warns(PrecisionWarning, match=r"entries \[0, 1\] vary by .* steps of a float32 there. Subtract"):
        agent.learn(1, evaluation_episodes=1)
