"""Runs with planners, linear policies, discrete actions, learned rewards and environments from modules of the user."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bnnrl
from bnnrl import cli
from bnnrl.cli.train import Train, make_agent
from bnnrl.rl import tasks, video
from bnnrl.rl.callbacks import Trial
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.simulator.propagation import PROPAGATIONS
from bnnrl.rl.tasks import registry
from tests.rl import point_mass
from tests.rl.switch import ENV_ID
from tests.small_runs import small_options

pytestmark = pytest.mark.usefixtures("without_xla")
SMALL = small_options(3, 4, hidden=4, steps=20, particles=4, horizon=3, size=2)
OTHER = ["--propagation", "ts1", "--learn-reward", "--episodes-per-trial", "2", "--evaluation-episodes", "1"]


@pytest.fixture(scope="module", params=[pytest.param("linear", marks=pytest.mark.slow), "icem"])
def run(request, tmp_path_factory, without_xla):
    """The folder and the policy's name of a run of two trials.

    Only the planner's run is interrupted and resumed: a resumed run with a search would compile the search again.
    """
    folder = str(tmp_path_factory.mktemp("kinds") / "run")
    command = ["train", ENV_ID, "--policy", request.param, *SMALL, *OTHER, "--folder", folder]
    assert cli.main([*command, "--trials", "1" if request.param == "icem" else "2"]) == 0
    assert request.param != "icem" or cli.main(["train", "--resume", folder, "--trials", "2"]) == 0
    return folder, request.param


def test_a_run_is_gone_on_with_under_its_settings(run):
    folder, kind = run
    settings = json.loads(Path(folder, "config.json").read_text())["settings"]
    assert settings["env"] == ENV_ID and settings["trials"] == 2 and settings["policy"] == kind
    agent = bnnrl.load(folder)
    assert isinstance(agent, bnnrl.PILCO) and agent.is_planner == (kind == "icem")
    assert agent.propagation == "ts1" and agent.learn_reward and len(agent.episodes) == 4 and len(agent.history) == 2
    assert Run.outcome(agent) == f"2 trials done, return {agent.history[-1].evaluation_return:.4g}"


def test_the_report_shows_what_there_is(run, capsys):
    folder, kind = run
    assert cli.main(["report", folder]) == 0
    page = Path(folder, "report.html").read_text()
    assert "2 trials done" in page and "Costs and success or returns by trial" in page
    assert ("Policy and value" in page) == ("Predictions against reality" in page) == (kind != "icem")


def test_the_film_is_the_first_episode_of_an_evaluation(run, tmp_path):
    agent = bnnrl.load(run[0])
    assert isinstance(agent, bnnrl.PILCO)
    act = agent.evaluation_actor(5)
    episode = agent.evaluator.run(act, agent.evaluation_seed(5))
    with Image.open(video.record(agent, tmp_path / "film.gif", 5)) as film:
        film.seek(getattr(film, "n_frames", 1) - 1)
        bar = int((np.asarray(film.convert("RGB")).astype(int)[15, :, 1] < 128).sum())
    assert bar == pytest.approx(20 + round(20 * episode.states[-1, 0]), abs=1)
    assert agent.evaluate(1, 5)["mean_return"] == pytest.approx(episode.rewards.sum())


def test_a_planners_film_needs_a_model(tmp_path):
    agent = bnnrl.PILCO(ENV_ID, policy=bnnrl.planners.ICEM())
    with pytest.raises(ValueError, match="expected one with a policy"):
        video.record(agent, tmp_path / "film.gif")


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        ("rbf", bnnrl.policies.RBF()),
        ("mlp", bnnrl.policies.MLP()),
        ("linear", bnnrl.policies.Linear()),
        ("cem", bnnrl.planners.CEM(horizon=7)),
        ("icem", bnnrl.planners.ICEM(horizon=7)),
    ],
)
def test_the_options_reach_the_agent(kind, policy):
    settings = vars(Train("bnnrl/CartPoleSwingUp-v0", policy=kind, horizon=7, propagation="mean", episodes_per_trial=3))
    agent = make_agent(json.loads(json.dumps(settings)))
    assert agent.policy == policy and (agent.propagation, agent.episodes_per_trial) == ("mean", 3)
    assert agent.task.cost is not None and not agent.learn_reward


def test_the_command_knows_every_propagation():
    help_of = Train.__annotations__["propagation"]
    assert [name.strip("'\"") for name in re.findall(r"\"\w+\"|'\w+'", str(help_of))] == list(PROPAGATIONS)


def test_settings_of_an_earlier_version_have_defaults():
    agent = make_agent({"env": ENV_ID, "method": "adam", "seed": 2})
    assert agent.propagation == "ts_inf" and agent.seed == 2 and agent.episodes_per_trial == 1


def test_what_is_known_may_be_learned_and_is_so_after_a_save(tmp_path):
    agent = point_mass.make_agent(0, learn_reward=True)
    assert agent.task.cost is None and agent.task.success is not None
    agent.save(tmp_path / "agent")
    loaded = bnnrl.load(tmp_path / "agent", task=point_mass.TASK)
    assert isinstance(loaded, bnnrl.PILCO) and loaded.task.cost is None and loaded.learn_reward


def test_a_registered_cost_must_be_there_again(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    tasks.register(point_mass.TASK)
    point_mass.make_agent(0, point_mass.ENV_ID).save(tmp_path / "agent")
    assert isinstance(bnnrl.load(tmp_path / "agent"), bnnrl.PILCO)
    registry._REGISTERED.pop(point_mass.ENV_ID)
    with pytest.raises(ValueError, match=r"that has the cost it learned with.*tasks\.register"):
        bnnrl.load(tmp_path / "agent")


@pytest.mark.parametrize(
    ("returns", "solved_return", "words"),
    [
        ([-9.0, -3.0], -4.0, "solved at trial 2, return -3 of -4"),
        ([-9.0, -5.0], -4.0, "not solved in 2 trials, return -5 of -4"),
        ([-9.0, -5.0], None, "2 trials done, return -5"),
        ([None], -4.0, "1 trials done"),
        ([], -4.0, "not solved in 0 trials"),
    ],
)
def test_outcomes_by_return(returns, solved_return, words):
    agent = point_mass.make_agent(task=bnnrl.Task(point_mass.ENV_ID, solved_return=solved_return))
    for i, value in enumerate(returns, 1):
        solved = value is not None and solved_return is not None and value >= solved_return
        agent.history.append(Trial(i, i, None, None, 0.5, 0.5, None, solved, 0.0, 0.0, value, value))
    assert Run.outcome(agent) == words
