"""Action spaces: action vectors of a Box and of a Discrete space, and the environment's actions for them."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.episodes import make_env, run_episode
from tests.rl.point_mass import endless


def test_a_box_is_its_bounds():
    actions = ActionSpace.of(Box(np.array([-1, 0], np.float32), np.array([2, 5], np.float32)), "x")
    np.testing.assert_array_equal([actions.low, actions.high], [[-1, 0], [2, 5]])
    assert actions.size == 2 and not actions.discrete
    action = np.array([0.5, 1.5], np.float32)
    assert actions.executed(action) is action and actions.for_env(action) is action


@pytest.mark.parametrize("start", [0, -2, 7])
def test_a_discrete_value_is_a_one_hot_vector(start):
    space = Discrete(3, start=start)
    actions = ActionSpace.of(space, "x")
    assert actions.size == 3 and actions.discrete
    np.testing.assert_array_equal([actions.low, actions.high], [[0] * 3, [1] * 3])
    for i, weights in enumerate(np.eye(3, dtype=np.float32) * 0.3 + 0.1):
        executed, value = actions.executed(weights), actions.for_env(weights)
        assert executed.dtype == np.float32
        np.testing.assert_array_equal(executed, np.eye(3)[i])
        assert value == start + i and isinstance(value, int) and space.contains(value)
        assert actions.for_env(executed) == value


def test_random_actions_are_all_over_the_space():
    rng = np.random.default_rng(0)
    box = ActionSpace.of(Box(np.array([-1, 0], np.float32), np.array([2, 5], np.float32)), "x")
    drawn = np.array([box.sample(rng) for _ in range(2000)])
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), [0.5, 2.5], atol=4 * 5 / np.sqrt(12 * 2000))
    assert (drawn >= [-1, 0]).all() and (drawn <= [2, 5]).all() and np.ptp(drawn[:, 1]) > 4.9
    discrete = ActionSpace.of(Discrete(3, start=4), "x")
    counts = np.bincount([discrete.for_env(discrete.sample(rng)) for _ in range(3000)], minlength=7)[4:]
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)


@pytest.mark.parametrize("space", [MultiDiscrete([2, 3]), Box(-1, 1, (2, 2)), gymnasium.spaces.Dict()], ids=str)
def test_other_spaces(space):
    with pytest.raises(ValueError, match="Invalid action space of 'x': expected a Box with one axis, or Discrete. Rec"):
        ActionSpace.of(space, "x")


def test_an_environment_gets_values_and_an_episode_holds_one_hot_vectors():
    env, asked = make_env(endless(action=Discrete(3, start=5))), iter([0, 2, 2, 1])
    given, step = [], env.unwrapped.step
    env.unwrapped.step = lambda action: (given.append(action), step(action))[1]
    episode = run_episode(env, lambda obs: 0.2 + np.eye(3)[next(asked)], seed=0, max_steps=4)
    assert given == [5, 7, 7, 6]
    np.testing.assert_array_equal(episode.actions, np.eye(3)[[0, 2, 2, 1]])
