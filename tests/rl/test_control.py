"""Control strategies: where rollouts begin, what a search is given, and actions within the bounds."""

from dataclasses import replace

import gymnasium
import numpy as np
import tensorflow as tf

from bnnrl.rl.control import num_draws_of, reference_features, visited_states
from bnnrl.rl.simulator.features import Features
from tests.rl.point_mass import STEPS, control_of, endless, make_agent


def test_visited_starts_are_observed_ones():
    agent = make_agent(horizon=3).learn(1, evaluation_episodes=1)
    agent.episodes.append(replace(agent.episodes[0], obs=agent.episodes[0].obs + 10))
    starts = visited_states(agent.episodes, 2)
    assert not np.any(starts.bandwidth) and len(starts.obs) == int(starts.count)  # exactly those
    seen = np.concatenate([e.obs[:-1] for e in agent.episodes])
    nearest = np.abs(starts.obs.numpy()[:, np.newaxis] - seen).sum(axis=-1)
    assert np.all(nearest.min(axis=1) == 0) and len(np.unique(nearest.argmin(axis=1))) == len(seen)
    is_initial = np.isin(nearest.argmin(axis=1), [0, STEPS])
    share = 0.25 + 0.75 / STEPS
    assert abs(is_initial.mean() - share) < 4 * np.sqrt(share * (1 - share) / len(starts.obs))
    np.testing.assert_array_equal(starts.obs, visited_states(agent.episodes, 2).obs)
    assert np.any(starts.obs != visited_states(agent.episodes, 3).obs)
    kept = [np.full(STEPS, False), np.arange(STEPS) < 2]
    begin = np.unique(visited_states(agent.episodes, 2, kept).obs, axis=0)
    expected = np.unique(np.concatenate([agent.episodes[0].obs[:1], agent.episodes[1].obs[:2]]), axis=0)
    np.testing.assert_array_equal(begin, expected)


def test_a_prediction_begins_where_episodes_do_wherever_the_search_began(monkeypatch):
    agent = make_agent(horizon=3).learn(1, evaluation_episodes=1)
    agent.episodes[0] = replace(agent.episodes[0], obs=agent.episodes[0].obs + np.arange(STEPS + 1)[:, np.newaxis])
    given = {}

    class Search:
        def search(self, population, reference_features, draws, starts, seed):
            given["searched"] = starts
            return tf.zeros([1, control_of(agent).controller.num_params]), tf.zeros([1]), tf.zeros([1, 0])

        def predict(self, params, draws, starts, seed):
            given["predicted"] = starts
            return tf.zeros([4, 2, 2]), tf.zeros([3, 2]), tf.zeros([2, 0], tf.bool)

    monkeypatch.setattr(agent.control, "searcher", Search())
    monkeypatch.setattr(agent.learned_env, "sample", lambda num_draws, seed: None)
    agent.control.improve(agent.episodes, 2)
    assert np.ptp(given["searched"].obs) > 5
    np.testing.assert_array_equal(given["predicted"].obs[0], agent.episodes[0].obs[0])
    assert given["predicted"].count == 1


def test_actions_are_not_beyond_the_bounds_by_one_bit():
    ends = np.sort(np.random.default_rng(0).uniform(-3, 3, size=(2, 40)).astype(np.float32), axis=0)
    agent = make_agent(task=endless(action=gymnasium.spaces.Box(*ends)), horizon=5)
    control = control_of(agent)
    control.population = np.random.default_rng(1).normal(size=(1, control.controller.num_params)).astype(np.float32)
    control.population[:, -6 * 40 :] *= 1e3  # the weights: every action is at one of its bounds
    actions, _ = agent.predict(np.random.default_rng(2).normal(size=(100, 2)))
    assert (actions >= ends[0]).all() and (actions <= ends[1]).all()
    assert (np.ptp(actions, axis=0) > 0.99 * np.ptp(ends, axis=0)).mean() > 0.5


def test_reference_features_spread_beyond_the_observed_states():
    agent = make_agent().learn(1, evaluation_episodes=1)
    seen = agent.episodes[0].obs
    plain = reference_features(agent.episodes, Features(2), seed=0).numpy()
    np.testing.assert_allclose(plain.mean(axis=0), seen.mean(axis=0), atol=6 * seen.std() / np.sqrt(len(plain)))
    np.testing.assert_allclose(plain.std(axis=0), 1.5 * seen.std(axis=0), rtol=0.1)
    of_angle = reference_features(agent.episodes, Features(2, angles=(0,)), seed=0).numpy()
    np.testing.assert_array_equal(of_angle[:, 0], plain[:, 1])
    angle = np.arctan2(of_angle[:, 1], of_angle[:, 2])
    assert abs(angle.mean()) < 0.25 and abs(angle.std() - np.pi / np.sqrt(3)) < 0.15  # uniform over the circle


def test_particles_use_all_distinct_draws_or_twenty():
    class Infinite:
        num_distinct = None

    class Five:
        num_distinct = 5

    found = [num_draws_of(posterior, particles) for posterior in (None, Infinite(), Five()) for particles in (3, 100)]  # pyright: ignore[reportArgumentType]
    assert found == [3, 20, 3, 20, 3, 5]
