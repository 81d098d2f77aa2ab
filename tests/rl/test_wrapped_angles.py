"""An angle that the environment wraps into (−π, π], at whose seam episodes begin, is learned as one without jumps."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.angles import circular_means, unwrapped, wrapped_entries
from bnnrl.rl.reporting import predictions
from bnnrl.rl.reporting.slices import plane
from bnnrl.rl.seed_streams import Purpose, integer_seed
from bnnrl.seeds import as_seed
from tests.rl.point_mass import make_agent

pytestmark = pytest.mark.usefixtures("without_xla")
DT = 0.1


class Rod(gymnasium.Env):
    """A rod on a pivot that hangs at first; the angle is measured from upright, wrapped into (−π, π] or not."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, wraps=True):
        self.wraps = wraps

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([np.pi, 0]) + self.np_random.normal(scale=0.1, size=2)
        return self.observe(), {}

    def step(self, action):
        theta, omega = self.state
        omega = omega + DT * (5 * np.sin(theta) + 4 * action[0])
        self.state = np.array([theta + DT * omega, omega])
        return self.observe(), -float(1 + np.cos(self.state[0])), False, False, {}

    def observe(self):
        theta = self.state[0]
        return np.array([np.pi - np.mod(np.pi - theta, 2 * np.pi) if self.wraps else theta, self.state[1]], np.float32)


gymnasium.register("test/Rod-v0", lambda **kwargs: Rod(**kwargs), max_episode_steps=20, disable_env_checker=True)


def square_of_angle(obs, action, next_obs):
    return tf.square(next_obs[..., 0])


def rod_agent(wraps, **changes):
    task = bnnrl.Task("test/Rod-v0", square_of_angle, angles=(0,), env_kwargs={"wraps": wraps}, **changes)
    return make_agent(
        task=task,
        episodes_per_trial=4,
        dynamics=bnnrl.Dynamics(hidden=(16,), size=3, steps=400),
        search=bnnrl.PolicySearch(restarts=2, updates=2, rounds=1, scout_updates=1, candidates=2),
    )


@pytest.fixture(scope="module")
def agents(without_xla):
    wrapped, plain = rod_agent(True).learn(2, evaluation_episodes=1), rod_agent(False).learn(1, evaluation_episodes=1)
    # As in the second trial, but without a search, which would be compiled once more.
    plain.learned_env.fit(plain.episodes, integer_seed(plain.seed, Purpose.FIT, 2))
    return {True: wrapped, False: plain}


def one_step_error(agent):
    """Return the root mean squared error of predicted changes of the angle in new episodes, in rad."""
    test = rod_agent(wraps=False)
    test.seed = 5
    episodes = test.learn(1).episodes
    obs, next_obs, actions = (
        np.concatenate([part(e) for e in episodes])[np.newaxis].astype(np.float32)
        for part in (lambda e: e.obs[:-1], lambda e: e.obs[1:], lambda e: e.actions)
    )
    draws = agent.model.sample(3, as_seed(0))
    repeat = lambda array: tf.repeat(tf.constant(array), 3, axis=0)
    found = agent.model.make_step(draws)(repeat(obs), repeat(actions), tf.zeros([3, *obs.shape[1:]]))
    return float(np.sqrt(np.mean((found.numpy().mean(axis=0) - next_obs[0])[:, 0] ** 2)))


def test_one_step_predictions_are_as_good_as_without_wrapping(agents):
    jumps = np.concatenate([np.abs(np.diff(e.obs[:, 0])) for e in agents[True].episodes])
    assert jumps.max() > 6 and agents[True].learned_env.wrapped == {0: -np.pi} and not agents[False].learned_env.wrapped
    wrapped, plain = (one_step_error(agents[wraps]) for wraps in (True, False))
    assert plain < 0.05 and wrapped < 1.3 * plain


def test_predicted_episodes_begin_where_real_ones_do(agents):
    starts = agents[True].prediction.obs[0, :, 0]
    assert (np.cos(starts) < -0.8).all() and np.ptp(starts) < 1.5


def test_the_last_episode_is_shown_beside_its_prediction(agents, tmp_path):
    agent = agents[True]
    (compared,) = predictions.compare(tmp_path, agent)
    assert np.abs(np.diff(compared.episode.obs[:, 0])).max() < 2
    assert abs(compared.episode.obs[0, 0] - np.median(agent.prediction.obs[0, :, 0])) < 1
    assert np.cos(plane(agent, 3, (1, 0)).trajectory[0, 1]) < -0.8


def test_the_functions_of_the_task_see_what_the_environment_returns(agents):
    for wraps, expected in ((True, (0.5 - np.pi) ** 2), (False, (np.pi + 0.5) ** 2)):
        env = agents[wraps].simulated(2, as_seed(0))
        beyond = tf.constant([[[np.pi + 0.5, 0.0]]])
        assert env.cost(beyond, None, beyond).numpy() == pytest.approx(expected, rel=1e-5)


def test_a_saved_agent_keeps_them(agents, tmp_path):
    agents[True].save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", task=agents[True].task)
    assert again.learned_env.wrapped == agents[True].learned_env.wrapped


def test_a_check_finds_the_initial_states_narrow():
    found = {f.subject: f for f in bnnrl.check(bnnrl.Task("test/Rod-v0", angles=(0,))).findings}
    assert found["reset"].words.endswith("narrow.") and "angles" not in found


@pytest.mark.parametrize(
    ("track", "low"),
    [
        ([3.0, -3.0, -2.5], -np.pi),
        ([0.2, 6.2, 6.0], 0.0),
        ([3.0, 3.2, 3.5], None),
        ([3.0, -3.0, -3.5], None),
        ([1.0, -1.0, 2.0], None),
    ],
)
def test_an_angle_is_wrapped_if_it_jumps_by_a_turn_and_stays_within_one(track, low):
    found = wrapped_entries([np.array(track)[:, np.newaxis]], [0])
    assert found == ({} if low is None else {0: low})


def test_angles_are_wrapped_if_initial_states_lie_on_both_sides_of_the_seam():
    episodes = [np.full((3, 1), value) for value in (3.1, -3.1)]
    assert wrapped_entries(episodes, [0]) == {0: -np.pi} and wrapped_entries(episodes, []) == {}
    assert abs(circular_means(np.array([[3.1], [-3.1]]), [0])[0]) == pytest.approx(np.pi)


def test_unwrapped_angles_have_no_jumps_and_begin_near_a_direction():
    obs = np.array([[3.0, 1.0], [-3.0, 2.0], [-2.8, 3.0], [3.1, 4.0]], np.float32)
    found = unwrapped(obs, {0: -3.0})
    turn = 2 * np.pi
    np.testing.assert_allclose(found[:, 0], np.array([3.0, -3.0 + turn, -2.8 + turn, 3.1]) - turn, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], obs[:, 1])
    assert found.dtype == np.float32 and unwrapped(obs, {}) is obs
