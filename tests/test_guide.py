"""The guide `docs/guides/own_environment.md`: its code and commands run, and `bnnrl check` reports what it shows."""

import re
import sys
from pathlib import Path

import gymnasium
import pytest

from bnnrl import cli
from bnnrl.rl.planners import CEM
from bnnrl.rl.tasks import registry
from tests.rl.point_mass import make_agent

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "own_environment.md"
(SHOWN,) = re.findall(r"```text\n(.*?)```", GUIDE.read_text(), re.DOTALL)
ENVIRONMENT, TASK, USE, FORMS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
PLANNER = CEM(horizon=2, population=4, elites=2, iterations=1)  # a policy search would take long to compile
TINY = {
    "bnnrl.PILCO(": "make_agent(policy=PLANNER, task=",
    "trials=6": "trials=2, evaluation_episodes=1",
    "episodes=20": "episodes=1",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the guide's crane.py into the working directory."""
    (tmp_path / "crane.py").write_text(ENVIRONMENT + "\n\n" + TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("crane", None)
    gymnasium.registry.pop("Crane-v0", None)
    registry._REGISTERED.pop("Crane-v0", None)


def test_the_code_runs(module, capsys, monkeypatch):
    code = USE
    for given, tiny in TINY.items():
        assert given in code
        code = code.replace(given, tiny)
    namespace = {"make_agent": make_agent, "PLANNER": PLANNER}
    exec(ENVIRONMENT + TASK + code, namespace)
    exec(FORMS, namespace)
    assert namespace["timed"].env.observation_space.shape == (5,)
    out = capsys.readouterr().out
    assert "ok      cost: the function compiles" in out and "problem" not in out
    assert "terminated, and the task's rule agrees" in out and "angles" in out
    subjects = [line.partition(": ")[0] for line in SHOWN.splitlines()]
    assert [line.partition(": ")[0] for line in out.splitlines()[: len(subjects)]] == subjects
    assert "'success_rate'" in out and Path("crane-agent").is_dir()
    lines = [line for line in TASK.splitlines() + USE.splitlines() if line.strip()]
    assert len(lines) <= 25


def test_the_commands_run(module, capsys):
    assert cli.main(["check", "crane:Crane-v0"]) == 0
    assert "An agent can be trained" in capsys.readouterr().out
    options = ["--policy", "icem", "--propagation", "ts1", "--learn-reward", "--evaluation-episodes", "1"]
    assert cli.main(["train", "crane:Crane-v0", "--trials", "1", *options, "--folder", "run"]) == 0
    assert "not solved in 1 trials: run" in capsys.readouterr().out
    sys.modules.pop("crane")
    gymnasium.registry.pop("Crane-v0")
    registry._REGISTERED.pop("Crane-v0")
    Path("run/report.html").unlink()
    assert cli.main(["train", "--resume", "run"]) == 0  # the environment's id in the folder names the module
    assert Path("run/report.html").exists()
