"""The command line with any options: it ends with an exit code and, for bad input, one message that names the fault."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import dataclasses
import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnrl import cli
from bnnrl.cli import fit_run, train
from bnnrl.cli.main import _COMMANDS
from bnnrl.comparison.comparison import Comparison
from bnnrl.exit_codes import BAD_INPUT, DONE
from tests.fuzz.harness import CASES, thorough
from tests.fuzz.test_storage import FIXTURES, _changed, json_values

_ENVS = ["bnnrl/Pendulum-v0", "CartPole-v1", "Pendulum-v1", "bnnrl/CartPoleSwingUp-v0", "FrozenLake-v1", "Blackjack-v1"]
_WORDS = st.one_of(
    st.integers(-3, 30).map(str),
    st.floats().map(str),
    st.text(max_size=5),
    st.sampled_from(
        ["", "-", "--", "...", "..", "/", "None", "nan", "1e400", "9" * 30, "True", "swag", "hmc", "ensembel", "rbf"]
        + ["iris", "nothing.csv", "a:b", "..:X", "os:X-v0", ":", "x:y:z-v0", "module.missing:Env-v0", ".:Env-v0"]
        + [
            "size=3",
            "size=0",
            "rank",
            "=",
            "size=",
            "size=((((",
            "size=nan",
            "learning_rate=1e-2",
            "method=1",
            "é" * 300,
        ]
        + ["categorical", "poisson", "relu", "no_activation", "regression", "swag,bbb", ",", "swag,../../x", "a\x00b"]
        + _ENVS
    ),
)


def _flags(command: str) -> list[str]:
    names = [field.name for field in dataclasses.fields(_COMMANDS[command])]
    return [f"--{name.replace('_', '-')}" for name in names] + ["--set", "--no-learn-reward", "--unknown"]


@st.composite
def _arguments(draw) -> list[str]:
    command = draw(st.sampled_from([*_COMMANDS, "train", "compare", "fit"]))
    first = {"fit": ["iris"], "cache": [], "evaluate": ["."], "report": ["."]}.get(command, _ENVS)
    words = [command] + ([draw(st.sampled_from(first) | _WORDS)] if first and draw(st.integers(0, 9)) else [])
    for _ in range(draw(st.integers(0, 3))):
        words.append(draw(st.sampled_from(_flags(command))))
        words += draw(st.lists(_WORDS, max_size=2 if draw(st.integers(0, 3)) == 0 else 1))
    return words


@pytest.fixture(scope="module")
def cheap(tmp_path_factory):
    """A folder of its own, and no learning, fitting or deleting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cli"))
        patch.setattr(train, "_learn", lambda run, agent, trials: None)
        patch.setattr("bnnrl.rl.reporting.html.write", lambda *arguments, **options: None)
        patch.setattr(fit_run.BayesianModel, "fit", lambda self, *arguments, **options: _stop())
        patch.setattr("bnnrl.cli.tune_study.Tuning.run", lambda self, trials: None)
        patch.setattr(Comparison, "run", lambda self, engine, parallel, retries: DONE)
        patch.setattr("bnnrl._compilation_cache.clear", lambda root: None)
        patch.setattr("bnnrl.rl.checks.environment._findings", lambda *arguments: iter(()), raising=False)
        yield


def _stop():
    raise ValueError("Invalid test: expected no fit. Received: one.")


def _run(words: list[str]) -> None:
    """Run the command line, and check its exit code and its message."""
    CASES["command line"] += 1
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(words)
    assert code in (DONE, BAD_INPUT), (code, err.getvalue())
    if code == BAD_INPUT and "bnnrl: error:" in err.getvalue():
        assert re.search(r"bnnrl: error: (No|Invalid) ", err.getvalue()), err.getvalue()
    assert "Traceback" not in err.getvalue()


@pytest.mark.slow
@thorough(1500)
@given(words=_arguments())
def test_many_commands(cheap, words):
    _run(words)


@pytest.mark.slow
@thorough(400)
@given(data=st.data())
def test_run_folders_of_others(cheap, data):
    """`evaluate`, `report`, `train --resume` and `compare --resume` on a run folder whose config.json was changed."""
    folder, kind = Path("run"), data.draw(st.sampled_from(["train", "fit"]))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FIXTURES / kind, folder)
    record = json.loads((folder / "config.json").read_text())
    changed = data.draw(_changed(record) | json_values, label="config.json")
    (folder / "config.json").write_text(json.dumps(changed))
    if data.draw(st.booleans()):
        (folder / "metrics.csv").write_bytes(data.draw(st.binary(max_size=30) | st.just(b"epoch\n1,2,3\n")))
    commands = {"train": [["train", "--resume", "run"], ["report", "run"]], "fit": [["report", "run"]]}[kind]
    before = {path for path in Path().rglob("*") if folder not in path.parents}
    _run(
        data.draw(st.sampled_from([*commands, ["compare", "--resume", "run"], ["evaluate", "run", "--episodes", "0"]]))
    )
    assert {path for path in Path().rglob("*") if folder not in path.parents} == before
