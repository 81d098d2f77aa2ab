"""Registry of tasks, errors of `Task`, and the cart-pole's task, whose cost in TensorFlow is the environment's."""

import numpy as np
import pytest
import tensorflow as tf

import bnnrl_envs.cartpole_swingup as cartpole
from bnnrl.rl import tasks
from bnnrl.rl.tasks import registry
from bnnrl.structure import structure
from tests.rl.switch import ENV_ID

STATES = np.random.default_rng(0).normal(size=(200, 4)) * [0.5, 2, 3, 5]


@pytest.mark.parametrize("preset", cartpole.PRESETS)
def test_the_cost_is_the_environments(preset):
    task = tasks.get("bnnrl/CartPoleSwingUp-v0", preset=preset)
    assert task.cost is not None
    got = task.cost(None, None, tf.constant(STATES, tf.float32))
    np.testing.assert_allclose(got, cartpole.cost(STATES, preset), rtol=1e-4, atol=1e-5)
    assert task.dt == cartpole.PRESETS[preset].dt and task.angles == (2,)


def test_angles_and_invariant_entries_are_the_plants():
    """A full turn of an angle, or any shift of an invariant entry, leaves changes as they are; other shifts do not."""
    task, force = tasks.get("bnnrl/CartPoleSwingUp-v0"), np.random.default_rng(1).uniform(-10, 10, size=200)
    change = lambda states: cartpole.advance(states, force, 0.1) - states
    for entry in range(4):
        shift = np.eye(4)[entry] * (2 * np.pi if entry in task.angles else 1.0)
        matters = np.abs(change(STATES + shift) - change(STATES)).max() > 1e-6
        assert matters == (entry not in (*task.angles, *task.invariant))


def test_positions_follow_their_velocities():
    task = tasks.get("bnnrl/CartPoleSwingUp-v0", preset="mc-pilco")
    assert task.velocities == {0: 1, 2: 3} and task.dt is not None
    after = cartpole.advance(STATES, np.random.default_rng(1).uniform(-10, 10, size=200), task.dt, gravity=9.81)
    for position, velocity in task.velocities.items():
        moved = task.dt * (STATES[:, velocity] + after[:, velocity]) / 2
        error = np.abs(after[:, position] - STATES[:, position] - moved)
        assert np.median(error) < 0.01 / 3  # a third of the standard deviation of the observation noise
        assert np.median(error) < 0.05 * np.median(np.abs(moved))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"velocities": {0: 1}}, "Invalid `dt`: expected the seconds of a step.*Received: None"),
        ({"velocities": {0: 1, 1: 2}, "dt": 0.1}, r"`velocities`: expected no position that is a velocity.*\[1\]"),
    ],
)
def test_invalid_velocities(given, words):
    with pytest.raises(ValueError, match=words):
        tasks.Task("x", **given)


@pytest.mark.parametrize("preset", cartpole.PRESETS)
def test_success_is_the_presets(preset):
    task = tasks.get("bnnrl/CartPoleSwingUp-v0", preset=preset)
    up = np.tile([0.2, 0.0, np.pi, 0.0], (61, 1))  # the cart is 0.2 m from the origin
    assert task.success is not None and task.success(up * [0, 1, 1, 1])
    assert task.success(up) == (preset == "deep-pilco")


def test_a_wider_cost_keeps_the_order_and_the_minimum():
    cost = tasks.SaturatingCost(lambda obs: tf.square(obs[..., 0]))
    x = tf.constant(np.linspace(-1, 1, 21)[:, None], tf.float32)
    narrow, wide = cost(None, None, x).numpy(), cost(None, None, x, 3.0).numpy()
    np.testing.assert_allclose(wide, 1 - np.exp(-(np.linspace(-1, 1, 21) ** 2) / 9), rtol=1e-4, atol=1e-6)
    assert narrow.argmin() == wide.argmin() == 10 and (wide <= narrow).all()


def test_a_registered_task_is_found_by_an_id_with_a_module(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    name = ENV_ID.rpartition(":")[2]
    assert not tasks.is_registered(ENV_ID) and tasks.get(ENV_ID) == tasks.Task(ENV_ID)
    tasks.register(tasks.Task(name, angles=(1,), env_kwargs={"shows": "nothing", "episode": 1}))
    found = tasks.get(ENV_ID, episode=2)
    assert tasks.is_registered(ENV_ID) and found.env_id == ENV_ID and found.angles == (1,)
    assert found.env_kwargs == {"shows": "nothing", "episode": 2} and tasks.get(name).env_id == name


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ("bnnrl/CartPoleSwingup-v0", {}, "Did you mean 'bnnrl/CartPoleSwingUp-v0'"),
        ("bnnrl/CartPoleSwingUp-v0", {"preset": "pilko"}, "Invalid `preset`.*'deep-pilco'"),
    ],
)
def test_an_unknown_environment_or_preset(env, kwargs, message):
    with pytest.raises(ValueError, match=message):
        tasks.get(env, **kwargs)


@pytest.mark.parametrize("name", [name for name in sorted(registry._REGISTERED) if not name.startswith("test/")])
def test_agents_of_a_registered_task_share_compiled_functions(name):
    functions = [[task.cost, task.termination] for task in (registry._REGISTERED[name]() for _ in range(2))]
    assert functions[0] != functions[1] or functions[0] == [None, None]  # each task makes its functions anew
    assert structure(functions[0]) == structure(functions[1])
