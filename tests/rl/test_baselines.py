"""Baselines: their schedule, their environment and their rows. Stable-Baselines3 itself is replaced by a stand-in."""

import types

import gymnasium
import numpy as np
import pytest

import bnnrl
from bnnrl.rl import baselines
from bnnrl.rl.seed_streams import Purpose, integer_seed


class RandomWalk:
    """Acts as a model of Stable-Baselines3 does that never learns: random actions, and a callback after each step."""

    def __init__(self, policy: str, env: gymnasium.Env, seed: int, device: str):
        assert (policy, device) == ("MlpPolicy", "cpu")
        self.env, self.num_timesteps = env, 0
        env.action_space.seed(seed)

    def learn(self, total: int, callback):
        ended = True
        while self.num_timesteps < total:
            if ended:
                self.env.reset()
            _, _, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
            ended = terminated or truncated
            self.num_timesteps += 1
            if not callback({"self": self}, {}):
                break
        return self

    def predict(self, obs: np.ndarray, deterministic: bool):
        assert deterministic
        return self.env.action_space.sample(), None


@pytest.fixture
def library(monkeypatch):
    found = types.SimpleNamespace(SAC=RandomWalk, PPO=RandomWalk)
    monkeypatch.setattr(baselines, "import_library", lambda: found)


def test_evaluations_follow_the_trials_and_then_a_logarithmic_axis():
    assert baselines.evaluation_steps(200, 3, 2000) == [200, 400, 600, 900, 1350, 2000]
    assert baselines.evaluation_steps(200, 3, 100) == [200, 400, 600]


@pytest.mark.parametrize(("env_id", "name"), [("Pendulum-v1", "sac"), ("CartPole-v1", "ppo")])
def test_rows_hold_the_figures_of_an_agents_evaluation(library, monkeypatch, env_id, name):
    agent = bnnrl.PILCO(env_id, seed=3)
    length = baselines.steps_of_trial(agent)
    seeds = []
    reset = type(agent.env.unwrapped).reset
    monkeypatch.setattr(
        type(agent.env.unwrapped),
        "reset",
        lambda self, *, seed=None, options=None: seeds.append(seed) or reset(self, seed=seed),
    )
    told = []
    model = baselines.learn(name, agent, 3 * length, 1, 2, True, lambda rows: told.append(len(rows)))
    assert model.num_timesteps == 3 * length and told == [1, 2, 3, 4]
    assert seeds[0] == integer_seed(3, Purpose.RESET, 1)  # where the agent's first episode begins
    assert [seed for seed in seeds if seed == agent.evaluator.reset_seed(1, 1)]  # and its first evaluation


def test_a_row_is_one_of_metrics(library):
    agent = bnnrl.PILCO("Pendulum-v1", episodes_per_trial=2)
    rows = []
    baselines.learn("sac", agent, 10, 1, 1, False, rows.extend)
    (row,) = rows
    assert tuple(row) == baselines.COLUMNS and (row["trial"], row["steps"]) == (1, 400)
    assert row["evaluation_return"] == pytest.approx(-200 * row["evaluation_cost"]) and row["solved"] is False
    assert row["predicted_cost"] is None and row["experience"] == pytest.approx(400 * (agent.task.step_seconds or 0))


class OtherActions(gymnasium.ActionWrapper):
    """Records the actions that reach an environment."""

    def __init__(self, env, space):
        super().__init__(env)
        self.action_space, self.seen = space, []

    def action(self, action):
        self.seen.append(action)
        return np.array([0.5], np.float32)


@pytest.mark.parametrize(
    ("space", "plain", "action", "seen"),
    [
        (gymnasium.spaces.Discrete(3, start=5), gymnasium.spaces.Discrete(3), 2, 7),
        (gymnasium.spaces.Box(0, 9, (1,), np.int64), gymnasium.spaces.Box(0, 9, (1,)), np.array([3.6], np.float32), 4),
    ],
)
def test_actions_of_any_kind_reach_the_environment(library, space, plain, action, seen):
    env = OtherActions(gymnasium.make("Pendulum-v1"), space)
    training = baselines._training_env(bnnrl.PILCO(env))
    assert training.action_space == plain
    training.reset()
    training.step(action)
    assert env.seen == [seen]


def test_what_cannot_be_trained_is_told(monkeypatch):
    with pytest.raises(ValueError, match="continuous actions for 'sac'.*CartPole-v1.*Use 'ppo'"):
        baselines.check("sac", bnnrl.PILCO("CartPole-v1"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match='stable-baselines3.*pip install "bnnrl\\[sb3\\]"'):
        baselines.import_library()
