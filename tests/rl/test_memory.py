"""Memory of past observations and actions: layout, wrapper, features, simulation, and agents with memory."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.wrappers import TimeLimit

import bnnrl
from bnnrl.rl.control import reference_features
from bnnrl.rl.episodes import make_env, run_episode
from bnnrl.rl.memory import Memory, WithMemory, memory_of
from bnnrl.rl.reporting import predictions, slices
from bnnrl.rl.search import InitialStates
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.seeds import as_seed
from tests.rl.point_mass import TASK, Late, PointMass, Positions, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")

LAYOUT = Memory(num_obs=2, num_actions=1, observations=2, actions=3)


def random_episode(steps=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps + 1, 2)).astype(np.float32), rng.normal(size=(steps, 1)).astype(np.float32)


def expected_rows(obs, actions):
    """The rows of an episode by their definition: indices before the start are clipped, or have no action."""
    rows = []
    for t in range(len(obs)):
        past = [obs[max(0, t - i)] for i in range(3)]
        done = [actions[t - i] if t >= i else np.zeros(1) for i in (1, 2, 3)]
        rows.append(np.concatenate([*past, *done]))
    return np.array(rows)


def test_the_layout_of_an_episode():
    obs, actions = random_episode()
    rows = LAYOUT.of_episode(obs, actions)
    assert rows.shape == (7, LAYOUT.size) == (7, 9)
    np.testing.assert_array_equal(rows, expected_rows(obs, actions))
    np.testing.assert_array_equal(LAYOUT.newest(rows), obs)
    np.testing.assert_array_equal(LAYOUT.changes(rows)[3], np.concatenate([obs[3] - obs[2], obs[2] - obs[1]]))
    np.testing.assert_array_equal(LAYOUT.past_actions(rows)[2], [actions[1, 0], actions[0, 0], 0])
    assert Memory(2).is_empty and not LAYOUT.is_empty


def test_moved_observations_keep_their_changes_and_actions():
    rows, to = LAYOUT.of_episode(*random_episode()), np.full((7, 2), 5.0)
    moved = LAYOUT.moved(rows, to)
    np.testing.assert_array_equal(LAYOUT.newest(moved), to)
    np.testing.assert_allclose(LAYOUT.changes(moved), LAYOUT.changes(rows), atol=1e-6)
    np.testing.assert_array_equal(LAYOUT.past_actions(moved), LAYOUT.past_actions(rows))


def test_the_environment_returns_what_it_remembers():
    env = make_env(bnnrl.Task(TimeLimit(PointMass(), 6), delay=3, history=2))
    assert isinstance(env, WithMemory) and memory_of(env) == LAYOUT and env.observation_space.shape == (9,)
    actions = iter(np.random.default_rng(0).uniform(-1, 2, (6, 1)).astype(np.float32))
    episode = run_episode(env, lambda _: next(actions), seed=3)
    np.testing.assert_array_equal(episode.obs, expected_rows(episode.obs[:, :2], episode.actions))
    np.testing.assert_array_equal(episode.states, episode.obs[:, :2])
    assert env.observation_space.contains(episode.obs[-1])


def test_true_states_are_those_of_the_environment():
    task = bnnrl.Task("bnnrl/CartPoleSwingUp-v0", history=1)
    episode = run_episode(make_env(task), lambda _: np.ones(1, np.float32), seed=0, max_steps=3)
    assert episode.obs.shape == (4, 9) and episode.states.shape == (4, 4)
    assert (episode.states != episode.obs[:, :4]).any()  # observations are noisy


def test_discrete_actions_are_remembered_as_one_hot_vectors_and_held_actions_once():
    env = make_env(bnnrl.Task("CartPole-v1", delay=2, action_repeat=2))
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first[4:], np.zeros(4))
    env.step(1)
    second = env.step(0)[0]
    np.testing.assert_array_equal(second[4:], [1, 0, 0, 1])
    assert bnnrl.PILCO(bnnrl.Task("CartPole-v1", delay=2, action_repeat=2)).episode_length == 250


def test_features_are_the_newest_ones_then_changes_then_actions():
    rows = LAYOUT.of_episode(*random_episode())
    features = Features(2, angles=(1,), omitted=(0,), memory=LAYOUT)
    found = features(tf.constant(rows)).numpy()
    changes = LAYOUT.changes(rows)
    changes[:, 1::2] = (changes[:, 1::2] + np.pi) % (2 * np.pi) - np.pi
    sine, cosine = np.sin(rows[:, 1:2]), np.cos(rows[:, 1:2])
    np.testing.assert_allclose(found, np.concatenate([sine, cosine, changes, rows[:, 6:]], axis=1), atol=1e-5)
    assert found.shape[1] == features.size == 9
    turned = rows.copy()
    turned[:, 1] += 2 * np.pi  # an angle that was wrapped between two steps
    np.testing.assert_allclose(features(tf.constant(turned)).numpy(), found, atol=1e-5)


def test_a_step_predicts_the_newest_observation_and_shifts_the_rest_exactly():
    obs, actions = random_episode(40)
    rows = LAYOUT.of_episode(obs, actions)
    model = DynamicsModel(bnnrl.Dynamics(hidden=(4,), size=2, steps=5), Features(2, memory=LAYOUT), 1, 64)
    model.fit(rows[:-1], actions, rows[1:], seed=0)
    start, action = (np.repeat(a[np.newaxis], 3, axis=0) for a in (rows[10:14], actions[10:14]))
    noise = np.zeros((3, 4, LAYOUT.size), np.float32)
    found = model.make_step(model.sample(3, as_seed(0)))(*map(tf.constant, (start, action, noise))).numpy()
    assert found.shape == (3, 4, 9) and (found[..., :2] != start[..., :2]).all()
    np.testing.assert_array_equal(found[..., 2:6], start[..., :4])
    np.testing.assert_array_equal(found[..., 6:7], action)
    np.testing.assert_array_equal(found[..., 7:], start[..., 6:8])


def test_initial_states_have_no_velocity_and_no_action():
    first = LAYOUT.begin(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    drawn = InitialStates.kernel_density(first, LAYOUT).sample([500], as_seed(0), as_seed(1)).numpy()
    np.testing.assert_allclose(drawn, LAYOUT.begin(LAYOUT.newest(drawn)), atol=1e-6)
    alone = InitialStates.kernel_density(LAYOUT.newest(first)).sample([500], as_seed(0), as_seed(1)).numpy()
    np.testing.assert_allclose(LAYOUT.newest(drawn), alone, atol=1e-6)


def test_references_of_a_policy_have_observed_changes():
    agent = make_agent(task=replace(TASK, history=1)).learn(1, evaluation_episodes=1)
    memory = agent.learned_env.memory
    observed = memory.changes(np.concatenate([e.obs for e in agent.episodes]))
    found = reference_features(agent.episodes, agent._features, seed=0).numpy()
    gaps = np.abs(found[:, np.newaxis, 2:4] - observed).max(axis=2).min(axis=1)
    assert gaps.max() < 1e-5 and found[:, :2].std(axis=0).min() > 0


# Agents


def test_a_delayed_mass_is_learned_with_its_delay_and_not_without():
    """The model's error of the position two steps ahead, to which an action contributes one step late or at once."""

    def error(delay):
        wrapped = partial(Late, delay=1)
        agent = make_agent(task=replace(TASK, wrappers=[wrapped], delay=delay), dynamics="gp", episodes_per_trial=4)
        agent.learn(1, evaluation_episodes=1)
        agent.learned_env.fit(agent.episodes, seed=0)
        env, memory = agent.simulated(20, as_seed(0)), agent.learned_env.memory
        test = [agent.evaluator.run(agent._make_actor((9, i)), 99 + i) for i in range(4)]
        obs = np.concatenate([e.obs[:-1] for e in test])
        after = np.concatenate([memory.newest(e.obs[1:]) for e in test])
        actions = np.concatenate([e.actions for e in test])
        tiled = lambda a: tf.tile(tf.constant(a, tf.float32)[tf.newaxis], [20, 1, 1])
        found = env.step(tiled(obs), tiled(actions), tf.zeros([20, *obs.shape]))
        return float(np.sqrt(np.mean((memory.newest(found).numpy().mean(axis=0) - after) ** 2)))

    assert error(1) < 0.1 * error(0)


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ("rbf", {"delay": 1, "history": 2, "starts": "visited"}),
        ("cem", {"delay": 2}),
        pytest.param("rbf", {"delay": 2}, marks=pytest.mark.slow),
        pytest.param("rbf", {"history": 1}, marks=pytest.mark.slow),
        pytest.param("cem", {"history": 1}, marks=pytest.mark.slow),
    ],
)
def test_agents_with_memory_learn_report_and_come_back(tmp_path, policy, changes):
    small: dict[str, Any] = {"policy": bnnrl.planners.CEM(4, 12, 3, 1)} if policy == "cem" else {}
    agent = make_agent(task=replace(TASK, labels=("x", "v"), **changes), **small)
    agent.learn(2, evaluation_episodes=1)
    memory = memory_of(agent.env)
    assert agent.episodes[0].obs.shape[1] == memory.size and agent.episodes[0].states.shape[1] == 2
    obs, _ = agent.env.reset(seed=0)
    action, _ = agent.predict(obs)
    assert action.shape == (1,) and np.isfinite(action).all()
    if policy == "rbf":
        assert agent.prediction is not None and agent.prediction.obs.shape[-1] == 2
        (compared,) = predictions.compare(tmp_path, agent)
        assert compared.episode.obs.shape[1] == 2
        plane = slices.plane(agent, 4)
        assert slices.values(agent, plane, 3).shape == (4, 4) and slices.actions(agent, plane).shape == (4, 4, 1)
    agent.save(tmp_path / "agent")
    loaded = bnnrl.load(tmp_path / "agent", task=agent.task)
    np.testing.assert_array_equal(loaded.predict(obs)[0], action)


@pytest.mark.slow
@pytest.mark.parametrize("propagation", ["ts1", "moment_matching", "mean"])
def test_every_propagation_carries_memory(propagation):
    agent = make_agent(task=replace(TASK, delay=1), propagation=propagation).learn(2, evaluation_episodes=1)
    assert agent.history[-1].predicted_cost is not None and np.isfinite(agent.history[-1].predicted_cost)


def test_functions_of_the_task_see_the_environments_own_observations():
    def shape_of(name):
        def function(obs, action, next_obs):
            assert obs.shape[-1] == next_obs.shape[-1] == 2, name
            return tf.square(next_obs[..., -2] - 1.0) if name == "cost" else tf.abs(next_obs[..., -1]) > 100.0

        return function

    task = replace(TASK, cost=shape_of("cost"), termination=shape_of("termination"), history=1, delay=3)
    agent = make_agent(task=task).learn(1, evaluation_episodes=1)
    agent.learned_env.fit(agent.episodes, seed=0)
    env, obs = agent.simulated(2, as_seed(0)), tf.zeros([2, 3, agent.learned_env.memory.size])
    assert env.termination_prob is not None
    for function in (env.cost, env.termination_prob):
        assert function(obs, tf.zeros([2, 3, 1]), obs).shape == (2, 3)


class Turning(PointMass):
    """A point mass whose position is an angle that the environment wraps into (−π, π]."""

    def _observe(self):
        obs = super()._observe()
        obs[0] = (5 * obs[0] + 3 + np.pi) % (2 * np.pi) - np.pi
        return obs


def test_wrapped_angles_have_no_jumps_in_the_past_either():
    agent = make_agent(task=bnnrl.Task(TimeLimit(Turning(), 8), cost=TASK.cost, angles=(0,), history=2))
    agent.learn(1, evaluation_episodes=1)
    agent.learned_env.fit(agent.episodes, seed=0)
    assert agent.learned_env.wrapped == {0: -np.pi}
    for episode in agent.learned_env.continuous(agent.episodes):
        np.testing.assert_array_equal(episode.obs, memory_of(agent.env).of_episode(episode.obs[:, :2], episode.actions))
        assert np.abs(np.diff(episode.obs[:, 0])).max() < 5


def test_positions_alone_tell_the_velocity_by_their_past():
    """A model of a cart-pole's positions with a history predicts them many times better than one without."""
    base = bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset="deep-pilco")
    told: dict[str, Any] = {
        "cost": None,
        "termination": None,
        "success": None,
        "labels": None,
        "velocities": {},
        "initial_std": None,
    }
    task = replace(base, **told, angles=(1,), invariant=(0,), wrappers=[Positions])

    def error(history):
        env = make_env(replace(task, history=history))
        memory, rng = memory_of(env), np.random.default_rng(0)
        episodes = [run_episode(env, lambda _: rng.uniform(-10, 10, 1).astype(np.float32), i) for i in range(4)]
        model = DynamicsModel(bnnrl.Dynamics(method="gp"), Features(2, (1,), (0,), memory), 1, 128)
        train = [np.concatenate(parts) for parts in zip(*(_steps(e) for e in episodes[:3]), strict=True)]
        model.fit(*train, seed=0)
        obs, actions, after = _steps(episodes[3])
        tiled = lambda a: tf.tile(tf.constant(a, tf.float32)[tf.newaxis], [10, 1, 1])
        step = model.make_step(model.sample(10, as_seed(0)))
        found = step(tiled(obs), tiled(actions), tf.zeros([10, *obs.shape])).numpy().mean(axis=0)
        return float(np.sqrt(np.mean((memory.newest(found) - memory.newest(after)) ** 2)))

    assert error(1) < 0.2 * error(0)


def _steps(episode):
    return episode.obs[:-1], episode.actions, episode.obs[1:]


# Mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delay": -1}, "Invalid `delay`"),
        ({"delay": 1.5}, "Invalid `delay`"),
        ({"history": -1}, "Invalid `history`"),
        ({"history": True}, "Invalid `history`"),
    ],
)
def test_delay_and_history_are_counts(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TASK, **changes)


def test_a_delay_of_the_horizon_or_a_history_of_an_episode_is_refused():
    with pytest.raises(ValueError, match=r"Invalid `delay`: .* horizon of 10.*delay=10.*longer `horizon`"):
        make_agent(task=replace(TASK, delay=10))
    with pytest.raises(ValueError, match=r"Invalid `delay`: .* horizon of 4"):
        make_agent(task=replace(TASK, delay=4), policy=bnnrl.planners.CEM(horizon=4))
    with pytest.raises(ValueError, match=r"Invalid `history`: .* 8 steps of an episode of 'test/PointMass-v0'.*=8"):
        make_agent(task=replace(TASK, history=8))
    make_agent(task=replace(TASK, delay=9, history=7))


def test_an_observation_without_its_past_is_refused():
    agent = make_agent(task=replace(TASK, history=1))
    with pytest.raises(ValueError, match=r"Invalid `observation`: expected finite numbers of shape \(5,\)"):
        agent.predict(np.zeros(2))
