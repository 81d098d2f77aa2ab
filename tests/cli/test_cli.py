"""The command line: exit codes, messages, and imports that it avoids."""

import os
import re
import subprocess
import sys

import pytest

import bnnrl
from bnnrl import cli
from bnnrl._compilation_cache import CacheError
from bnnrl.cli import interrupt
from bnnrl.cli.cache import Cache
from bnnrl.cli.train import Train, make_agent
from bnnrl.exit_codes import FAILED, INTERRUPTED
from bnnrl.storage.atomic import WriteError

ENV_ID = "bnnrl/CartPoleSwingUp-v0"


def run(*args: str) -> subprocess.CompletedProcess:
    """Run the command line in a new process; its exit code is 70 if it loaded TensorFlow."""
    code = "import sys; from bnnrl import cli; code = cli.main(sys.argv[1:]); sys.exit(70 if 'tensorflow' in sys.modules else code)"  # noqa: E501
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=120)


def test_help_without_tensorflow():
    found = run("--help")
    assert found.returncode == 0 and found.stderr == ""
    assert "train" in found.stdout and "evaluate" in found.stdout


@pytest.mark.parametrize("command", ["train", "check"])
def test_an_unknown_environment_is_told_at_once_with_the_nearest_names(command):
    found = run(command, "bnnrl/CartPoleSwingup-v0")
    assert found.returncode == 2 and found.stdout == ""
    assert "bnnrl: error: Invalid environment" in found.stderr
    assert f"Did you mean '{ENV_ID}'" in found.stderr and "Traceback" not in found.stderr


def test_no_arguments_is_help_but_not_success(capsys):
    assert cli.main([]) == 2
    assert "usage: bnnrl" in capsys.readouterr().out


@pytest.mark.parametrize("args", [("--help",), ("train", "--help"), ("--version",)], ids=" ".join)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_goes_away_leaves_no_traceback(args, buffered):
    read_end, write_end = os.pipe()
    os.close(read_end)
    options = [] if buffered else ["-u"]
    command = [sys.executable, *options, "-m", "bnnrl.cli", *args]
    found = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=120)
    os.close(write_end)
    assert (found.returncode, found.stderr) == (FAILED, b"")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bnnrl {bnnrl.__version__}\n"


@pytest.mark.parametrize("command", ["train", "compare", "check", "evaluate"])
def test_help_of_each_command(capsys, command):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--seed" in out
    if command in ("train", "compare"):
        for option in ("policy", "propagation", "learn-reward", "episodes-per-trial", "evaluation-episodes"):
            assert f"--{option}" in out
        for option in ("search.scout-updates", "dynamics.hidden", "policy.num-centers", "reward-model.steps", "config"):
            assert f"--{option}" in out


@pytest.mark.parametrize(
    "args", [["tran"], ["train", ENV_ID, "--sed", "1"], ["train", ENV_ID, "--seed", "x"], ["evaluate"]], ids=" ".join
)
def test_what_cannot_be_parsed(capfd, args):
    assert cli.main(args) == 2
    assert capfd.readouterr() != ("", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train"], "expected the id of an environment, or --resume FOLDER"),
        (["train", "no_such_module:Env-v0"], "there is no module 'no_such_module'"),
        (["train", "bnnrl_envs:CartPole-v9"], "Did you mean 'CartPole-v1'"),
        (["train", ENV_ID, "--episodes-per-trial", "0"], "Invalid `episodes_per_trial`"),
        (["train", ENV_ID, "--evaluation-episodes", "0"], "Invalid `evaluation_episodes`"),
        (["train", ENV_ID, "--preset", "pilko"], "Invalid `preset`: expected one of 'pilco', 'deep-pilco'"),
        (["train", ENV_ID, "--method", "ensembel"], "Did you mean 'ensemble'"),
        (["train", ENV_ID, "--particles", "0"], "Invalid `particles`"),
        (["train", ENV_ID, "--horizon", "0"], "Invalid `horizon`"),
        (["train", ENV_ID, "--trials", "0"], "Invalid `trials`"),
        (["train", ENV_ID, "--seed", "-1"], "Invalid `seed`"),
        (["train", ENV_ID, "--search.updates", "0"], "Invalid `updates`"),
        (["train", ENV_ID, "--search.candidates", "3"], "Invalid `candidates`"),
        (["train", ENV_ID, "--dynamics.size", "0"], "Invalid `size`"),
        (["train", ENV_ID, "--dynamics.hidden", "8", "0"], "Invalid `hidden`"),
        (["train", ENV_ID, "--method.num-leapfrog", "8"], "of the method ensemble, --method.method,"),
        (["train", ENV_ID, "--policy.num-centres", "8"], "Did you mean '--policy.num-centers'"),
        (["train", ENV_ID, "--method", "hmc", "--method.jitter", "1"], "Invalid `jitter`"),
        (["train", "--resume", "a", "--config", "b"], "expected --config or --resume"),
        (["config"], "expected the id of an environment, or --config FILE"),
        (["train", "--resume", "nowhere"], "Received: nowhere \\(no such folder\\)"),
        (["train", "--resume", "nowhere", "--seed", "1", "--dynamics.steps", "9"], "only .*Received: seed, dynamics"),
        (["evaluate", "nowhere"], "which does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(args) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.startswith("bnnrl: error: Invalid ")
    assert re.search(message, found.err), found.err
    assert list(tmp_path.iterdir()) == []  # a mistake leaves no folder behind


def test_the_settings_of_a_run_of_version_0_2_0_reach_the_agent():
    search = {"restarts": 2, "updates": 3, "rounds": 1, "scout_updates": 4, "candidates": 9}
    of_model = {"hidden": [8, 4], "members": 3, "steps": 20}
    agent = make_agent({"env": ENV_ID, **search, **of_model, "particles": 7, "policy": "mlp"})
    assert agent.search == bnnrl.PolicySearch(restarts=2, updates=3, rounds=1, scout_updates=4, candidates=9)
    assert agent.dynamics == bnnrl.Dynamics(hidden=(8, 4), size=3, steps=20)
    assert agent.policy == bnnrl.policies.MLP() and agent.particles == 7
    agent = make_agent(vars(Train(ENV_ID)))
    assert (agent.search, agent.dynamics) == (bnnrl.PolicySearch(), bnnrl.Dynamics())


@pytest.mark.parametrize("error", [WriteError("Cannot write a: full. Free some."), CacheError("No cache.")], ids=repr)
def test_a_failure_of_the_disk_is_told_in_a_line(monkeypatch, capsys, error):
    def fail(self):
        interrupt.configure(lambda: "Resume: by all means.")
        raise error

    monkeypatch.setattr(Cache, "run", fail)
    assert cli.main(["cache"]) == FAILED
    assert capsys.readouterr() == ("", f"bnnrl: error: {error} Resume: by all means.\n")


def test_ctrl_c_before_the_arguments_are_read_leaves_no_traceback(monkeypatch, capsys):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.extras.subcommand_cli_from_dict", press)
    assert cli.main(["cache"]) == INTERRUPTED
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.slow
def test_the_published_benchmark_is_solved(tmp_path, capsys):
    folder = tmp_path / "run"
    code = cli.main(
        ["train", ENV_ID, "--preset", "deep-pilco", "--seed", "0", "--trials", "8", "--folder", str(folder)]
    )
    assert code == 0
    assert "\nsolved at trial " in "\n" + capsys.readouterr().out
