"""Cost and termination functions that cannot be used are reported before an episode is run."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.checks.task_functions import check_functions, describe
from bnnrl.rl.planners import CEM
from bnnrl.rl.tasks import SaturatingCost
from tests.rl.point_mass import ENV_ID, TASK, PointMass, goal_distance, make_agent


class Bounded(PointMass):
    observation_space = gymnasium.spaces.Box(-4.0, 4.0, (2,), np.float32)


def first(_, __, next_obs):
    return next_obs[..., 0]


BAD = {
    "numpy": (lambda _, __, next_obs: np.sin(next_obs[..., 0]), "compiles. Received: NotImplementedError"),
    "arguments": (lambda next_obs: next_obs[..., 0], "compiles. Received: TypeError"),
    "python": (lambda *a: tf.numpy_function(lambda x: x, [first(*a)], tf.float32), "compiles. Received: Invalid"),
    "axis": (lambda _, __, next_obs: next_obs[:, 0], r"expected shape \(5, 64\) .*Received: shape \(5, 2\)"),
    "sum": (lambda *a: tf.reduce_sum(first(*a)), r"Received: shape \(\) and float32"),
    "double": (lambda *a: tf.cast(first(*a), tf.float64), "Received: .*float64. Cast it"),
    "none": (lambda *_: None, "Received: None"),
    "infinite": (lambda *a: tf.math.log(-tf.abs(first(*a))), "expected finite values. Received: .* at next_obs="),
    "comparison": (lambda *a: tf.cast(first(*a) > 0, tf.float32), "on: with a gradient .*Received: no gradient"),
    "steps": (lambda *a: tf.sign(first(*a)), "Received: a gradient of 0 everywhere"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_cost_is_named(name):
    cost, message = BAD[name]
    with pytest.raises(ValueError, match=rf"Invalid `cost` of the task '{ENV_ID}', <lambda> \(.*test_task.*{message}"):
        check_functions(replace(TASK, cost=cost), PointMass())


@pytest.mark.parametrize("env", [PointMass, Bounded])
@pytest.mark.parametrize(
    "cost",
    [
        TASK.cost,
        first,
        None,
        SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] / 1e-3)),  # constant in float32, nearly everywhere
        lambda _, action, __: tf.square(action[..., 0]),
        lambda obs, _, __: obs[..., 1],
    ],
)
def test_good_costs_pass(cost, env):
    check_functions(replace(TASK, cost=cost), env())


def test_a_cost_that_is_not_defined_everywhere():
    root = replace(TASK, cost=lambda *a: tf.sqrt(1.0 + first(*a)))  # NaN for x < -1
    check_functions(root, PointMass())  # an unbounded space does not say whether x < -1 is ever visited
    with pytest.raises(ValueError, match="expected finite values. Received: nan"):
        check_functions(root, Bounded())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda *a: 3.0 * first(*a), "truth values or probabilities"),
        (lambda *_: True, r"Received: shape \(\) and bool"),
    ],
)
def test_a_bad_termination_is_named(rule, message):
    with pytest.raises(ValueError, match=f"Invalid `termination` .*{message}"):
        check_functions(replace(TASK, termination=rule), PointMass())
    check_functions(replace(TASK, termination=lambda *a: first(*a) > 1), PointMass())


def test_a_policy_needs_a_cost_with_a_gradient_but_a_planner_does_not():
    task = replace(TASK, cost=BAD["comparison"][0])
    with pytest.raises(ValueError, match="use a planner"):
        make_agent(task=task)
    assert make_agent(task=task, policy=CEM()).is_planner


def test_describe_names_the_function_and_its_file():
    assert describe(goal_distance).startswith("goal_distance (") and describe(goal_distance).endswith(")")
    assert describe(SaturatingCost(goal_distance)).startswith("goal_distance in a SaturatingCost (")
