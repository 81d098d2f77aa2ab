"""Options of the environment on the command line: what they give to an agent."""

from typing import Any

from bnnrl.cli.environment import arguments_of
from bnnrl.cli.train import Train, make_agent
from bnnrl.comparison.settings import train_arguments


def test_the_preset_is_a_keyword_argument_too():
    options = {"preset": "pilco", "env_kwargs": ("horizon=5",), "wrapper": (), "reset_options": ()}
    assert arguments_of(options)["env_kwargs"] == {"preset": "pilco", "horizon": 5}


def test_an_agent_is_made_with_them():
    agent = make_agent(
        {
            "env": "Pendulum-v1",
            "env_kwargs": ["g=3.5", "max_episode_steps=7"],
            "wrapper": ["gymnasium.wrappers:RecordEpisodeStatistics"],
            "reset_options": ["x_init=0.1"],
        }
    )
    inner: Any = agent.env.unwrapped
    assert inner.g == 3.5 and agent.episode_length == 7 and agent.task.cost is not None
    assert abs(inner.reset(seed=0)[0][1]) > 0.1 > abs(agent.env.reset(seed=0)[0][1])


def test_the_runs_of_a_comparison_get_them():
    options = {"env": "Pendulum-v1", "env_kwargs": ["g=3.5", "b=1"], "wrapper": [], "dynamics": {"hidden": [8, 8]}}
    expected = ("train", "Pendulum-v1", "--env-kwargs", "g=3.5", "b=1", "--dynamics.hidden", "8", "8")
    assert train_arguments(Train, options) == expected
