"""Tasks of the environments with rods: cost, angles, invariant entries and success agree with the environment."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl import tasks
from bnnrl.rl.episodes import make_env
from bnnrl_envs import realaigym

every_plant = pytest.mark.parametrize(
    "env_id", [f"bnnrl/{name}-v0" for name in ("Pendulum", "DoublePendulum", "Pendubot", "CartDoublePendulum")]
)


def plant_of(task):
    env = make_env(task).unwrapped
    return env.swing_up  # pyright: ignore[reportAttributeAccessIssue]


def random_states(task, n=200):
    states = np.random.default_rng(0).normal(size=(n, len(task.labels)))
    return states * np.tile([2.0, 5.0], states.shape[1] // 2)


@every_plant
def test_the_cost_is_the_environments_and_has_a_gradient(env_id):
    task = tasks.get(env_id)
    plant, states = plant_of(task), random_states(task)
    upright = np.zeros(plant.chain.size)
    upright[list(task.angles)] = np.pi
    states = np.vstack([states, upright, 0 * upright])
    obs = tf.constant(states, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(obs)
        cost = task.cost(obs, obs, obs)  # pyright: ignore[reportOptionalCall]
    np.testing.assert_allclose(cost, plant.cost(states), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cost[-2:], [0, 1], atol=1e-3)
    gradient = np.asarray(tape.gradient(cost, obs))
    assert np.isfinite(gradient).all() and (gradient[:, ::2] != 0).any(axis=0).all() and (gradient[:, 1::2] == 0).all()


@every_plant
def test_angles_and_invariant_entries_are_the_plants(env_id):
    """A full turn of an angle, or any shift of an invariant entry, leaves changes as they are; other shifts do not."""
    task = tasks.get(env_id)
    plant, states = plant_of(task), random_states(task, 20)
    actions = np.ones((20, len(plant.max_action)))
    change = lambda states: plant.chain.advance(states, actions, 0.01) - states
    for entry in range(plant.chain.size):
        shift = np.eye(plant.chain.size)[entry] * (2 * np.pi if entry in task.angles else 1.0)
        matters = np.abs(change(states + shift) - change(states)).max() > 1e-6
        assert matters == (entry not in (*task.angles, *task.invariant))
    angular = tuple(i for i, label in enumerate(task.labels or ()) if label.endswith(" rad"))
    assert angular == task.angles and len(task.labels or ()) == plant.chain.size
    assert task.dt == plant.dt


@pytest.mark.parametrize(
    ("env_id", "preset"), [("bnnrl/Pendubot-v0", {}), ("bnnrl/CartPoleSwingUp-v0", {"preset": "mc-pilco"})]
)
def test_the_spread_of_initial_states_is_the_plants(env_id, preset):
    task = tasks.get(env_id, **preset)
    assert task.initial_std is not None
    starts = [make_env(task).reset(seed=seed)[1]["state"] for seed in range(400)]
    np.testing.assert_allclose(np.std(starts, axis=0), task.initial_std, rtol=0.15)


@every_plant
def test_success_is_the_plants(env_id):
    task = tasks.get(env_id, horizon=7)
    assert make_env(task).unwrapped.horizon == 7  # pyright: ignore[reportAttributeAccessIssue]
    up = np.zeros((61, len(task.labels or ())))
    assert task.success is not None and not task.success(up)
    up[:, list(task.angles)] = -np.pi
    assert task.success(up)


@pytest.mark.parametrize("env_id", ["bnnrl/RealAIGymPendubot-v0", "bnnrl/RealAIGymAcrobot-v0"])
def test_the_task_of_realaigym_is_its_environments(env_id):
    task = tasks.get(env_id, control_period=0.05)
    assert (task.dt, task.horizon, task.angles, task.velocities) == (0.05, 60, (0, 1), {0: 2, 1: 3})
    assert tasks.get(env_id).dt == 0.02 and tasks.get(env_id).horizon == 100
    assert make_env(task).unwrapped.dt == pytest.approx(0.05)  # pyright: ignore[reportAttributeAccessIssue]
    states = np.vstack([random_states(task), [np.pi, 0, 0, 0], np.zeros(4)])
    obs = tf.constant(states, tf.float32)
    found = np.asarray(task.cost(obs, obs, obs))  # pyright: ignore[reportOptionalCall]
    np.testing.assert_allclose(found, realaigym.cost(states), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[-2:], [0, 1 - np.exp(-8)], atol=1e-6)
    up = np.zeros((201, 4))
    assert task.success is not None and not task.success(up)
    up[-21:, 0] = -np.pi
    assert task.success(up)
