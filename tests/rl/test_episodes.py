"""Real episodes: their records, faults of environments, and environments that an agent cannot use."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from bnnrl.rl.episodes import ActionRepeat, EnvironmentFault, episode_length, make_env, run_episode
from bnnrl.rl.tasks import get
from tests.rl.point_mass import COUNTING, ENV_ID, STEPS, TASK, A, B, endless, faulty_task


def pushes(obs):
    return np.array([0.5 - obs[1]], np.float32)


def test_an_episode_is_recorded_as_it_went():
    episode = run_episode(make_env(TASK), pushes, seed=3)
    assert len(episode) == STEPS
    assert [a.shape for a in (episode.obs, episode.actions, episode.rewards)] == [(STEPS + 1, 2), (STEPS, 1), (STEPS,)]
    assert [a.dtype.name for a in (episode.obs, episode.actions, episode.states)] == ["float32", "float32", "float64"]
    np.testing.assert_array_equal(episode.actions[:, 0], 0.5 - episode.obs[:-1, 1])
    np.testing.assert_allclose(episode.obs[1:], episode.obs[:-1] @ A.T + episode.actions @ B.T, atol=1e-6)
    np.testing.assert_allclose(episode.rewards, -((episode.obs[1:, 0] - 1) ** 2), atol=1e-5)
    np.testing.assert_array_equal(episode.states, episode.obs)  # this environment tells no others


def test_true_states_are_kept_beside_noisy_observations():
    task = get("bnnrl/CartPoleSwingUp-v0", preset="pilco", horizon=5)
    episode = run_episode(make_env(task), lambda obs: np.zeros(1, np.float32), seed=0)
    error = episode.obs - episode.states
    assert len(episode) == 5 and 0.003 < error.std() < 0.03  # the preset's noise is 0.01


def test_the_seed_makes_the_episode():
    env = make_env(TASK)
    one, again, other = (run_episode(env, pushes, seed).obs for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one[0] != other[0])


def test_an_episode_can_be_cut_short():
    assert len(run_episode(make_env(TASK), pushes, seed=0, max_steps=3)) == 3
    assert len(run_episode(make_env(TASK), pushes, seed=0, max_steps=100)) == STEPS


def test_lengths_are_read_from_the_environment():
    assert episode_length(make_env(TASK)) == STEPS
    assert episode_length(make_env(get("bnnrl/CartPoleSwingUp-v0", preset="deep-pilco"))) == 25
    assert episode_length(make_env(endless(gymnasium.spaces.Box(-1, 1, (2,))))) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_observation_is_named_and_the_steps_before_are_kept(value):
    good = run_episode(make_env(TASK), pushes, seed=3)
    with pytest.raises(
        EnvironmentFault, match=f"at step 4, entry 1 of the observation is {value}. The 3 steps"
    ) as info:
        run_episode(make_env(faulty_task(step=4, entry=1, value=value)), pushes, seed=3)
    kept = info.value.episode
    assert isinstance(info.value, ValueError) and len(kept) == 3
    np.testing.assert_array_equal(kept.obs, good.obs[:4])
    np.testing.assert_array_equal(kept.actions, good.actions[:3])
    np.testing.assert_array_equal(kept.rewards, good.rewards[:3])
    np.testing.assert_array_equal(kept.states, good.states[:4])


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "much"])
def test_a_bad_reward_is_named(value):
    with pytest.raises(EnvironmentFault, match=f"at step 2, the reward is {value}. The 1 steps") as info:
        run_episode(make_env(faulty_task(step=2, reward=value)), pushes, seed=3)
    assert len(info.value.episode) == 1


class Shrinking(gymnasium.ObservationWrapper):
    """Returns one entry less with every observation."""

    entries = 3

    def observation(self, observation):
        self.entries -= 1
        return observation[: self.entries]


def test_an_observation_of_another_shape_is_named():
    with pytest.raises(EnvironmentFault, match=r"at step 1, the observation has the shape \(1,\) instead of \(2,\)"):
        run_episode(Shrinking(make_env(TASK)), pushes, seed=3)


@pytest.mark.parametrize("step", [0, 1])
def test_an_environment_bad_from_the_start(step):
    with pytest.raises(
        EnvironmentFault, match=f"at step {step}, entry 0 of the observation is nan. The 0 steps"
    ) as info:
        run_episode(make_env(faulty_task(step=step, entry=0, value=np.nan)), pushes, seed=3)
    assert len(info.value.episode) == 0 and len(info.value.episode.obs) == step


def test_a_state_that_is_no_observation_is_not_taken_for_one():
    episode = run_episode(make_env(endless()), lambda obs: np.zeros(2, np.float32), seed=0, max_steps=4)
    np.testing.assert_array_equal(episode.states, episode.obs)


def test_empty_spaces():
    empty = gymnasium.spaces.Box(-1, 1, (0,))
    for name, spaces in (("observation", {"observation": empty}), ("action", {"action": empty})):
        with pytest.raises(ValueError, match=f"Invalid {name} space of 'test/Spaces-v0': expected at least one entry"):
            make_env(endless(**spaces))


def test_unsupported_spaces():
    space = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2))
    with pytest.raises(ValueError, match="Invalid observation space of 'test/Spaces-v0': expected a Box with one axis"):
        make_env(endless(observation=space))
    with pytest.raises(ValueError, match="Invalid action space of 'test/Spaces-v0': expected a Box with one axis"):
        make_env(endless(action=space))


@pytest.mark.parametrize(("low", "high"), [(-np.inf, 1.0), (-1.0, np.inf)])
def test_unbounded_actions(low, high):
    with pytest.raises(ValueError, match="expected finite bounds. Received: low=.*TransformAction"):
        make_env(endless(action=gymnasium.spaces.Box(low, high, (1,))))


@pytest.mark.parametrize("name", ["angles", "invariant"])
def test_indices_beyond_the_observation(name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected an integer of at least 0"):
        replace(TASK, **{name: (-1,)})
    with pytest.raises(ValueError, match=f"Invalid `{name}` of the task: expected indices from 0 to 1"):
        make_env(replace(TASK, **{name: (2,)}))


def test_velocities_beyond_the_observation():
    with pytest.raises(ValueError, match="Invalid `velocities` of the task: expected indices from 0 to 1"):
        make_env(replace(TASK, velocities={0: 2}, dt=0.1))


def test_an_unknown_environment_lists_the_nearest():
    with pytest.raises(ValueError, match=f"Received: 'test/PointMas-v0'. Did you mean '{ENV_ID}'"):
        make_env(replace(TASK, env_id="test/PointMas-v0"))


def test_unknown_keyword_arguments():
    with pytest.raises(ValueError, match=f"Invalid `env_kwargs` for '{ENV_ID}': .*'mass'"):
        make_env(replace(TASK, env_kwargs={"mass": 2.0}))


# Errors that the environment raises, terminations and action repeat.


def counting(repeat=1, **kwargs):
    return make_env(replace(COUNTING, env_kwargs=kwargs, action_repeat=repeat))


def idle(obs):
    return np.zeros(1, np.float32)


def test_an_error_in_a_step_is_reported_and_the_steps_before_are_kept():
    with pytest.raises(EnvironmentFault, match="step 4 raised RuntimeError: the cable broke. The 3 steps") as info:
        run_episode(counting(error=4), idle, seed=0)
    kept = info.value.episode
    assert isinstance(info.value.__cause__, RuntimeError) and not kept.terminated[0]
    np.testing.assert_array_equal(kept.obs[:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(kept.rewards, [1, 2, 3])
    assert kept.actions.shape == (3, 1) and kept.states.shape == (4, 2)


def test_an_error_in_a_reset_is_reported():
    with pytest.raises(EnvironmentFault, match="its reset raised RuntimeError: the motor is off. The 0 steps") as info:
        run_episode(counting(broken=1), idle, seed=0)
    assert len(info.value.episode) == 0


def test_terminations_and_truncations_are_told_apart():
    ended, timed = (run_episode(counting(end=end), idle, seed=0) for end in (4, None))
    assert len(ended) == 4 and ended.terminated[0] and ended.terminated.shape == (1,)
    assert len(timed) == 10 and not timed.terminated[0]
    cut = run_episode(counting(end=4), idle, seed=0, max_steps=3)
    assert len(cut) == 3 and not cut.terminated[0]


@pytest.mark.parametrize(
    ("repeat", "end", "rewards", "terminated"),
    [
        (1, 3, [1, 2, 3], True),
        (2, None, [3, 7, 11, 15, 19], False),
        (4, None, [10, 26, 19], False),  # the clock stops within the third
        (4, 6, [10, 11], True),  # and so does the environment
        (4, 8, [10, 26], True),
    ],
)
def test_a_held_actions_rewards_add_up_to_the_end(repeat, end, rewards, terminated):
    env = counting(repeat, end=end)
    assert isinstance(env, ActionRepeat) == (repeat > 1)
    episode = run_episode(env, idle, seed=0)
    np.testing.assert_array_equal(episode.rewards, rewards)
    np.testing.assert_array_equal(episode.obs[1:, 0], np.minimum(np.arange(1, len(rewards) + 1) * repeat, end or 10))
    assert episode.terminated[0] == terminated


@pytest.mark.parametrize(("repeat", "length"), [(1, 10), (2, 5), (3, 4), (4, 3), (10, 1), (11, 1)])
def test_lengths_are_in_held_actions(repeat, length):
    env = counting(repeat)
    assert episode_length(env) == length == len(run_episode(env, idle, seed=0))
