"""Tasks of Gymnasium's environments: costs, termination rules and seconds per step agree with the environments."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl import tasks
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.episodes import make_env, run_episode
from bnnrl.rl.tasks.gymnasium_tasks import TASKS
from bnnrl.rl.tasks.task import Cost, SaturatingCost

MUJOCO = ("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5")
ENDING = ("CartPole-v1", "MountainCarContinuous-v0", "Acrobot-v1", *MUJOCO[:2])
every_task = pytest.mark.parametrize("env_id", TASKS)


def env_of(env_id, action_repeat=None, **kwargs):
    if env_id in MUJOCO:
        pytest.importorskip("mujoco")
    task = tasks.get(env_id, **kwargs)
    task = replace(task, action_repeat=action_repeat or task.action_repeat)
    return task, make_env(task)


def given(function: Cost | None) -> Cost:
    assert function is not None
    return function


def random_episodes(env_id, policy=None, episodes=3, **changes):
    """Return the task, and of some episodes the transitions, the rewards, and which transitions terminated."""
    task, env = env_of(env_id, **changes)
    rng, runs = np.random.default_rng(0), []
    random = ActionSpace.of(env.action_space, env_id).sample
    for seed in range(episodes):
        runs.append(run_episode(env, policy or (lambda obs: random(rng)), seed))
    columns = [np.concatenate(c) for c in zip(*((r.obs[:-1], r.actions, r.obs[1:]) for r in runs), strict=True)]
    ended = np.concatenate([np.append(np.zeros(len(r) - 1, bool), r.terminated) for r in runs])
    return task, [tf.constant(c, tf.float32) for c in columns], np.concatenate([r.rewards for r in runs]), ended


def downhill(obs):  # accelerates along the velocity, which takes the car to the goal
    return np.sign(obs[1:] + 1e-6)


def swing(obs):  # torque along the lower link's velocity, which swings Acrobot's tip up
    return np.eye(3)[2 if obs[5] > 0 else 0]


POLICIES = {"MountainCarContinuous-v0": downhill, "Acrobot-v1": swing}


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("Pendulum-v1", {}),
        ("Reacher-v5", {}),
        ("Reacher-v5", {"reward_dist_weight": 2.0, "reward_control_weight": 0.1}),
    ],
    ids=["pendulum", "reacher", "reacher of other weights"],
)
def test_the_cost_is_minus_the_reward(env_id, kwargs):
    task, transitions, rewards, _ = random_episodes(env_id, **kwargs)
    np.testing.assert_allclose(given(task.cost)(*transitions), -rewards, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("env_id", ENDING)
@pytest.mark.parametrize("repeat", [1, 5])
def test_the_termination_rule_is_the_environments(env_id, repeat):
    policy = POLICIES.get(env_id)
    task, transitions, _, ended = random_episodes(env_id, policy, episodes=2 if policy else 10, action_repeat=repeat)
    assert ended.sum() >= 2  # all episodes, except those that are truncated first
    np.testing.assert_array_equal(given(task.termination)(*transitions), ended)


def test_the_car_may_have_to_arrive_at_a_speed():
    policy = lambda obs: 5 * obs[1:]  # just strong enough to reach the goal
    found = [random_episodes("MountainCarContinuous-v0", policy, 1, goal_velocity=v) for v in (0.0, 0.02)]
    assert len(found[0][3]) < len(found[1][3])  # the first arrival was too slow
    for task, transitions, _, ended in found:
        np.testing.assert_array_equal(given(task.termination)(*transitions), ended)


@pytest.mark.parametrize("env_id", sorted({*TASKS} - {*ENDING}))
def test_a_task_of_an_environment_that_never_terminates_has_no_rule(env_id):
    task, _, _, ended = random_episodes(env_id)
    assert not ended.any() and task.termination is None


@every_task
def test_costs_are_bounded_differentiable_and_lowest_at_the_goal(env_id):
    task, transitions, _, _ = random_episodes(env_id, episodes=1)
    with tf.GradientTape() as tape:
        tape.watch(transitions)
        cost = given(task.cost)(*transitions)
    assert cost.shape == (len(transitions[0]),) and np.min(cost) >= 0
    gradients = [g for g in tape.gradient(cost, transitions) if g is not None]
    assert gradients and all(np.isfinite(g).all() for g in gradients) and any(np.any(g != 0) for g in gradients)
    if isinstance(task.cost, SaturatingCost):
        assert np.max(cost) <= 1


GOALS = {
    "Pendulum-v1": [1, 0, 0],
    "CartPole-v1": [0, 0, 0, 0],
    "MountainCarContinuous-v0": [0.55, 0],
    "Acrobot-v1": [-1, 0, 1, 0, 0, 0],
    "InvertedPendulum-v5": [0, 0, 0, 0],
    "InvertedDoublePendulum-v5": [0, 0, 0, 1, 1, 0, 0, 0, 0],
    "Reacher-v5": [0] * 10,
}


@every_task
def test_the_cost_is_0_at_the_goal_and_positive_elsewhere(env_id):
    task, goal = tasks.get(env_id), tf.constant([GOALS[env_id]], tf.float32)
    action = tf.zeros([1, 2])
    with tf.GradientTape() as tape:
        tape.watch(goal)
        cost = given(task.cost)(goal, action, goal)
    np.testing.assert_allclose(cost, 0, atol=2e-4)
    assert np.isfinite(tape.gradient(cost, goal)).all()
    away = 0.3 - 0.2 * goal
    assert given(task.cost)(away, action, away)[0] > 0.05


@every_task
def test_labels_seconds_and_solved_return_are_the_environments(env_id):
    task, env = env_of(env_id)
    assert env.observation_space.shape == (len(task.labels or ()),)
    plain = env.unwrapped
    dt = getattr(plain, "dt", None) or getattr(plain, "tau", None)
    assert task.dt == (None if env_id.startswith("MountainCar") else pytest.approx(dt))
    threshold, solved = gymnasium.spec(env_id).reward_threshold, task.solved_return
    assert solved is not None and (threshold is None or solved <= threshold)


@pytest.mark.parametrize("env_id", sorted({*TASKS} - {*MUJOCO}))
def test_the_dynamics_do_not_depend_on_invariant_entries(env_id):
    task, env = env_of(env_id)
    for entry in task.invariant:
        after = []
        for shift in (0.0, 0.5):
            env.reset(seed=0)
            state = np.array(env.unwrapped.state) + shift * np.eye(4)[entry]  # pyright: ignore[reportAttributeAccessIssue]
            env.unwrapped.state = tuple(state)  # pyright: ignore[reportAttributeAccessIssue]
            after.append(env.step(1)[0] - state)
        np.testing.assert_allclose(*after, atol=1e-6)


def test_an_unregistered_environment_has_no_cost_and_its_reward_threshold():
    gymnasium.register("test/Threshold-v0", "tests.rl.point_mass:PointMass", reward_threshold=-1.5)
    task = tasks.get("test/Threshold-v0", episode=2)
    assert task.cost is None and task.termination is None and task.solved_return == -1.5
    assert task.env_kwargs == {"episode": 2} and task.cost_after_end == 0
    assert tasks.get("LunarLander-v3").solved_return == 200


def test_the_cost_of_a_step_after_termination():
    saturating = SaturatingCost(lambda next_obs: next_obs[..., 0])
    assert bnnrl.Task("x", saturating).cost_after_end == 1
    assert bnnrl.Task("x", saturating, terminal_cost=0.0).cost_after_end == 0
    assert bnnrl.Task("x").cost_after_end == 0 and bnnrl.Task("x", terminal_cost=7.0).cost_after_end == 7
    assert tasks.get("MountainCarContinuous-v0").cost_after_end == tasks.get("Acrobot-v1").cost_after_end == 0


def test_step_seconds_include_action_repeat():
    assert replace(tasks.get("Pendulum-v1"), action_repeat=4).step_seconds == pytest.approx(0.2)
    assert tasks.get("Pendulum-v1").step_seconds == 0.05 and tasks.get("MountainCarContinuous-v0").step_seconds is None


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"action_repeat": 0}, "action_repeat"), ({"horizon": 0}, "horizon"), ({"starts": "anywhere"}, "starts")],
    ids=str,
)
def test_bad_tasks(changes, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected.*Received"):
        bnnrl.Task("Pendulum-v1", **changes)
