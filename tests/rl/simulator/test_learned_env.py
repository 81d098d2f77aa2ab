"""The learned environment: rewards and terminations, alone and in agents."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.episodes import Episode
from bnnrl.rl.reporting.html import _extrapolation
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.learned_env import (
    EXTRAPOLATION,
    ExtrapolationWarning,
    LearnedEnv,
    ModelDraws,
    _bounded,
    _range_of,
)
from bnnrl.rl.simulator.regression import NetworkDraws
from bnnrl.rl.simulator.rollout import rollout_cost
from bnnrl.rl.tasks.task import SaturatingCost, Task
from bnnrl.seeds import as_seed
from tests.rl.point_mass import STEPS, TASK, A, B, PointMass, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")
SMALL = bnnrl.Dynamics(hidden=(8,), size=2, steps=20, batch_size=16)
REWARD_MODEL = bnnrl.Dynamics(hidden=(16,), size=3, steps=1000, batch_size=64)
FALLEN = 1.0  # where the test system's episodes end


def reward_of(obs, action, next_obs):
    return 5 - 10 * next_obs[..., 0] ** 2 - np.sin(next_obs[..., 1]) - action[..., 0]


def episodes(n, seed=0, ends=True):
    """Return random episodes of at most 20 steps that terminate beyond FALLEN, with the rewards of `reward_of`."""
    rng, runs = np.random.default_rng(seed), []
    for _ in range(n):
        obs, actions = [rng.normal(size=2) * 0.3], []
        while len(actions) < 20 and not (ends and abs(obs[-1][0]) > FALLEN):
            actions.append(rng.uniform(-2, 2, size=1))
            obs.append(A @ obs[-1] + B @ actions[-1] * 2)
        o, a = np.array(obs), np.array(actions)
        ended = np.array([ends and abs(o[-1, 0]) > FALLEN])
        rewards = reward_of(o[:-1], a, o[1:])
        runs.append(Episode(o.astype(np.float32), a.astype(np.float32), rewards, o, ended))
    return runs


def transitions(runs):
    parts = ([r.obs[:-1] for r in runs], [r.actions for r in runs], [r.obs[1:] for r in runs])
    return [tf.constant(np.concatenate(p))[tf.newaxis] for p in parts]  # [1, N, ·]


def make_learned_env(reward_model=REWARD_MODEL, **task):
    return LearnedEnv(Task("x", **task), SMALL, reward_model, Features(2), Features(2), 1, capacity=1024)


@pytest.fixture(scope="module")
def learned(without_xla):
    """A learned environment whose rewards and terminations were learned from 40 episodes."""
    learned_env = make_learned_env()
    learned_env.fit(episodes(40), seed=0)
    return learned_env


@pytest.fixture(scope="module")
def held_out():
    runs = episodes(60, seed=1)
    return runs, transitions(runs)


def spread(inputs, draws=4):
    return [tf.tile(a, [draws, 1, 1]) for a in inputs]


def test_rewards_are_learned(learned, held_out):
    runs, inputs = held_out
    simulated = learned.simulated_env(learned.sample(4, as_seed(0)))
    got, rewards = -simulated.cost(*spread(inputs)).numpy().mean(axis=0), np.concatenate([r.rewards for r in runs])
    assert 1 - np.mean((got - rewards) ** 2) / np.var(rewards) > 0.95
    assert simulated.cost(*spread(inputs)).shape == (4, len(rewards))
    for run in runs[:3]:
        np.testing.assert_array_equal(learned.costs(run), -run.rewards)  # of what was real, the reward itself counts


def test_ends_are_learned(learned, held_out):
    _, inputs = held_out
    simulated = learned.simulated_env(learned.sample(4, as_seed(0)))
    assert simulated.termination_prob is not None
    chance = simulated.termination_prob(*spread(inputs)).numpy()
    ended = np.abs(inputs[2].numpy()[0, :, 0]) > FALLEN
    assert chance.shape == (4, len(ended)) and (chance >= 0).all() and (chance <= 1).all()
    assert 0.02 < ended.mean() < 0.3  # few do
    said = chance.mean(axis=0) > 0.5
    assert np.mean(said == ended) > 0.97 and np.mean(said[ended]) > 0.8
    clear = np.abs(np.abs(inputs[2].numpy()[0, :, 0]) - FALLEN) > 0.2
    assert np.mean(said == ended, where=clear) > 0.99


def test_rollouts_take_learned_rewards_and_ends_with_a_gradient(learned):
    simulated = learned.simulated_env(learned.sample(3, as_seed(0)))
    start, noise = tf.zeros([3, 5, 2]), tf.zeros([6, 3, 5, 2])
    force = tf.constant(1.5)
    with tf.GradientTape() as tape:
        tape.watch(force)
        cost = rollout_cost(simulated, lambda obs, t: tf.fill([3, 5, 1], 1.0) * force, start, noise)
    assert cost.shape == (3, 5) and np.isfinite(cost).all() and abs(tape.gradient(cost, force)) > 1e-3


def test_what_the_task_says_is_not_learned():
    saturating = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0]))
    ends = lambda obs, action, next_obs: tf.abs(next_obs[..., 0]) > FALLEN
    for cost, termination in ((None, ends), (saturating, None), (saturating, ends)):
        learned_env = make_learned_env(SMALL, cost=cost, termination=termination, terminal_cost=0.3)
        assert (learned_env.reward is None) == (cost is not None)
        assert (learned_env.termination is None) == (termination is not None)
    zeros = NetworkDraws(
        tf.zeros([2, learned_env.dynamics.problem.num_params]), tf.zeros(3), tf.ones(3), tf.zeros(2), tf.ones(2)
    )
    simulated = learned_env.simulated_env(ModelDraws(zeros))
    assert simulated.cost is saturating and simulated.cost_after_end == 0.3
    assert simulated.termination_prob is not None
    obs = tf.constant([[2.0, 0.0], [0.5, 0.0]])
    told = simulated.termination_prob(obs, obs, obs)
    assert told.dtype == tf.float32
    np.testing.assert_array_equal(told, [1.0, 0.0])


def test_without_an_end_among_the_data_nothing_ends():
    learned_env, runs = make_learned_env(SMALL), episodes(3, ends=False)
    learned_env.fit(runs, seed=0)
    draws = learned_env.sample(2, as_seed(0))
    assert draws.reward is not None and draws.termination is None
    assert learned_env.simulated_env(draws).termination_prob is None
    costs = -np.concatenate([r.rewards for r in runs])
    assert draws.cost_range is not None
    np.testing.assert_allclose(draws.cost_range, [costs.min(), costs.max()], rtol=1e-6)


def test_the_range_of_costs_has_what_a_step_after_the_end_costs(learned):
    costs = -np.concatenate([r.rewards for r in episodes(40)])
    assert costs.min() < 0 < costs.max()  # 0, of a step after the end, changes nothing here
    drawn = learned.sample(2, as_seed(0)).cost_range
    np.testing.assert_allclose(drawn, [costs.min(), costs.max()], rtol=1e-6)
    for costs, after, expected in (
        ([2.0, 3.0], None, [2, 3]),
        ([2.0, 3.0], 0.0, [0, 3]),
        ([2.0, 3.0], 7.0, [2, 7]),
        ([-1.0, -1.0], 0.0, [-1, 0]),  # a reward of 1 for each step before the end
        ([5.0, 5.0], None, [5, 6]),
    ):
        np.testing.assert_array_equal(_range_of(np.array(costs), after), expected)


def test_the_share_of_learned_costs_beyond_the_observed_range_is_told(learned):
    low, high = map(float, learned.sample(2, as_seed(0)).cost_range)
    found = np.array([low - EXTRAPOLATION * (high - low), low, high, high + EXTRAPOLATION * (high - low)])
    assert learned.share_beyond_range(found) == 0.5
    assert "Received: 50 % of them outside" in learned.describe_beyond_range(found)
    assert learned.describe_beyond_range(found[1:3]) is None


def test_a_learned_environment_of_arrays_is_the_same(learned, held_out):
    described, arrays = learned.to_arrays()
    assert described.keys() == {"", "reward/", "termination/"}
    again = make_learned_env()
    assert again.to_arrays() == ({}, {})
    again.from_arrays(described, arrays)
    one, other = (e.sample(3, as_seed(5)) for e in (learned, again))
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    inputs = spread([a[:, :7] for a in held_out[1]], 3)
    for name, third in (("cost", inputs[2]), ("termination_prob", inputs[2]), ("step", tf.ones_like(inputs[0]))):
        said = [getattr(e.simulated_env(d), name)(*inputs[:2], third) for e, d in ((learned, one), (again, other))]
        np.testing.assert_array_equal(*said)
    kept = again.to_arrays()
    assert kept[0] == described and kept[1].keys() == arrays.keys()


# Agents.


@pytest.mark.slow
def test_an_agent_tells_of_rewards_beyond_the_observed_range():
    agent = make_agent(learn_reward=True)
    with pytest.warns(ExtrapolationWarning, match="^Trial 2: expected predicted rewards like those"):
        agent.learn(2, evaluation_episodes=1)
    (line,) = _extrapolation(agent)
    assert line.text.startswith("Warning of trial 2: expected predicted rewards like those observed")
    agent.prediction = None
    assert not _extrapolation(agent)


class Toppling(PointMass):
    """A point mass with three discrete actions, whose episode terminates when the mass moves back too far.

    Args:
        clock: the step at which it is truncated.
    """

    action_space = gymnasium.spaces.Discrete(3, start=-1)

    def __init__(self, clock=STEPS):
        super().__init__()
        self._clock = clock

    def step(self, action):
        self._state = A @ self._state + B[:, 0] * 2 * action
        self._steps += 1
        reward = -float((self._state[0] - 1) ** 2)
        return self._observe(), reward, bool(self._state[0] < -0.5), self._steps == self._clock, {}


gymnasium.register("test/Toppling-v0", lambda **kw: Toppling(**kw), max_episode_steps=STEPS, disable_env_checker=True)
TOPPLING = replace(TASK, env_id="test/Toppling-v0")


PLANNER = bnnrl.planners.ICEM(horizon=6, population=30, elites=6, iterations=3)


@pytest.mark.parametrize(
    "policy", [PLANNER, pytest.param(bnnrl.policies.RBF(6), marks=pytest.mark.slow)], ids=["planner", "policy"]
)
def test_a_task_without_a_cost_is_learned_from_rewards(policy):
    reward_model = bnnrl.Dynamics(hidden=(16,), size=2, steps=400, batch_size=32)
    search = bnnrl.PolicySearch(restarts=2, updates=60, rounds=1, scout_updates=10, candidates=64, warmup=5)
    agent = make_agent(task=replace(TASK, cost=None), policy=policy, reward_model=reward_model, search=search)
    last = agent.learn(4, evaluation_episodes=3).history[-1]
    assert last.success_rate == 1.0 and last.evaluation_cost < 0.5  # at rest it costs 1
    np.testing.assert_allclose(last.evaluation_cost * STEPS, -float(last.evaluation_return or 0), rtol=1e-5)
    np.testing.assert_allclose(last.real_cost, -agent.episodes[-1].rewards.mean(), rtol=1e-5)
    if not agent.is_planner:
        assert last.predicted_cost is not None and abs(last.predicted_cost - last.real_cost) < 0.3


@pytest.fixture(scope="module")
def toppling(without_xla):
    """An agent of discrete actions whose episodes may end early, after three trials of two episodes."""
    agent = make_agent(task=TOPPLING, policy=PLANNER, reward_model=SMALL, episodes_per_trial=2)
    return agent.learn(3, evaluation_episodes=2)


def test_an_agent_of_discrete_actions_learns(toppling):
    assert toppling.history[-1].success_rate == 1.0
    for episode in toppling.episodes:
        assert episode.actions.shape[1] == 3 and (np.sort(episode.actions) == [0, 0, 1]).all()
    actions, _ = toppling.predict(np.array([[0.0, 0.0], [2.0, 1.0]]))
    assert actions.tolist() == [1, -1] and np.issubdtype(actions.dtype, np.integer)
    one, _ = toppling.predict(np.zeros(2))
    assert one == 1 and np.shape(one) == ()


def test_after_an_end_the_rest_of_the_episode_is_paid_for(toppling):
    def episode(length, terminated):
        obs = np.zeros([length + 1, 2], np.float32)
        return Episode(obs, np.zeros([length, 3], np.float32), np.zeros(length), obs, np.array([terminated]))

    cost = 1 - np.exp(-1.0)  # of a step at 0
    np.testing.assert_allclose(toppling.mean_cost(episode(3, True)), (3 * cost + (STEPS - 3) * 1.0) / STEPS, rtol=1e-6)
    np.testing.assert_allclose(toppling.mean_cost(episode(3, False)), cost, rtol=1e-6)  # truncated, or cut short
    np.testing.assert_allclose(toppling.mean_cost(episode(STEPS, True)), cost, rtol=1e-6)


def test_an_end_is_not_a_clock():
    agent = make_agent(task=replace(TOPPLING, env_kwargs={"clock": 3}), policy=PLANNER)
    agent.learn(1, evaluation_episodes=1)
    assert [len(e) for e in agent.episodes] == [3] and not agent.episodes[0].terminated[0]


def test_an_episode_that_ends_counts_to_the_horizon_where_there_is_no_clock():
    gymnasium.register("test/EndlessToppling-v0", lambda **kw: Toppling(**kw), disable_env_checker=True)
    agent = make_agent(task=replace(TOPPLING, env_id="test/EndlessToppling-v0"), horizon=10)
    obs = np.zeros([3, 2], np.float32)
    ended = Episode(obs, np.zeros([2, 3], np.float32), np.zeros(2), obs, np.array([True]))
    np.testing.assert_allclose(agent.mean_cost(ended), (2 * (1 - np.exp(-1.0)) + 8) / 10, rtol=1e-6)


def test_learned_costs_are_bounded_near_the_range_observed():
    costs = tf.constant([-1e6, -3.0, -2.0, 0.5, 2.0, 2.4, 3.0, np.inf])
    found = _bounded(costs, tf.constant([-2.0, 2.0])).numpy()
    np.testing.assert_allclose(found[[0, 2, 3, 4, 7]], [-3, -2, 0.5, 2, 3], rtol=1e-6)
    assert (np.diff(found) >= 0).all() and 2.3 < found[5] < 2.4


def test_the_range_of_observations_is_that_of_the_entries_the_dynamics_model_sees():
    learned_env = LearnedEnv(
        Task("x", angles=(1,)), SMALL, SMALL, Features(2, (1,)), Features(2, (1,)), num_actions=1, capacity=64
    )
    runs = episodes(3, ends=False)
    found = learned_env._range_of_observations(runs)
    obs = np.concatenate([r.obs for r in runs])
    np.testing.assert_array_equal(found, [[obs[:, 0].min(), -np.inf], [obs[:, 0].max(), np.inf]])
