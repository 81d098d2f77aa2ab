"""Options of the environment on the command line: values, and mistakes."""

from typing import Any

import pytest

from bnnrl.cli.environment import arguments_of, parse_arguments
from bnnrl.cli.train import Train, make_agent
from bnnrl.comparison.settings import train_arguments


def test_values_are_read_as_python_writes_them():
    words = ["gravity=9.8", "continuous=True", "sutton=false", "size=[3, 4]", "name=a=b", "none=None", "count=3"]
    expected = {"gravity": 9.8, "continuous": True, "sutton": False, "size": [3, 4], "name": "a=b", "none": None}
    assert parse_arguments("env-kwargs", words) == {**expected, "count": 3}


@pytest.mark.parametrize("word", ["gravity", "=3", "a b=3"])
def test_other_words_are_refused(word):
    with pytest.raises(ValueError, match="Invalid `--env-kwargs`: expected name=value"):
        parse_arguments("env-kwargs", [word])


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
    options = {"env": "Pendulum-v1", "env_kwargs": ["g=3.5", "b=1"], "wrapper": [], "hidden": [8, 8]}
    expected = ("train", "Pendulum-v1", "--env-kwargs", "g=3.5", "b=1", "--hidden", "8", "8")
    assert train_arguments(Train, options) == expected
