"""Arguments of any type, given to PILCO, `bnnrl.check` and the registry of tasks."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import inspect
import shutil

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import bnnrl
from bnnrl import planners, policies, tasks
from bnnrl.rl.checks import environment
from tests.fuzz.harness import REFUSED, anything, attempt, thorough
from tests.fuzz.test_arrays import _spoilt

NAMES = {*inspect.signature(bnnrl.PILCO).parameters, *bnnrl.Task.__dataclass_fields__}
NAMES |= {"trials", "callbacks", "stop_when_solved", "evaluation_episodes", "observation", "episodes", "folder"}
NAMES |= {"task", "environment", "action space", "observation space", "agent"}

_LIKELY = st.sampled_from(
    [0, 1, 3, 0.5, "Pendulum-v1", "CartPole-v1", "mean", "ts1", {"g": 1.0}, {"foo": 1}, policies.RBF(2), planners.CEM()]
    + [bnnrl.Dynamics(hidden=(2,)), bnnrl.PolicySearch(restarts=1, candidates=2), policies.RBF, bnnrl.Dynamics]
    + [bnnrl.Task("CartPole-v1", angles=(2,)), bnnrl.Task("CartPole-v1", angles=(9,)), gymnasium.make("CartPole-v1")]
    + [bnnrl.Task("CartPole-v1", cost=lambda obs, action, next_obs: next_obs[0]), "a:b", "..:X", ":", "Nothing-v0"]
)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Run everything without compiling."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def agent(eager) -> bnnrl.PILCO:
    """An agent that has learned a little."""
    made = bnnrl.PILCO(
        "Pendulum-v1",
        bnnrl.Dynamics(hidden=(2,), size=2, steps=2),
        policies.Linear(),
        particles=2,
        horizon=2,
        search=bnnrl.PolicySearch(restarts=1, updates=1, rounds=1, scout_updates=1, candidates=1, warmup=1),
    )
    return made.learn(2, evaluation_episodes=1)


def _check_constructor(data: st.DataObject) -> None:
    names = sorted(set(inspect.signature(bnnrl.PILCO).parameters) - {"env"})
    chosen = data.draw(st.sets(st.sampled_from(["env", *names]), min_size=1, max_size=3))
    arguments = {name: data.draw(anything | _LIKELY, label=name) for name in sorted(chosen)}
    made = attempt("PILCO", NAMES, lambda: bnnrl.PILCO(**{"env": "Pendulum-v1"} | arguments))
    if made is not REFUSED:
        assert isinstance(made.dynamics, bnnrl.Dynamics) and isinstance(made.search, bnnrl.PolicySearch)
        assert type(made.seed) is type(made.particles) is type(made.horizon) is int
        made.env.close()


@pytest.mark.slow
@thorough(800)
@given(data=st.data())
def test_constructor_at_length(data):
    _check_constructor(data)


@pytest.mark.slow
@thorough(600)
@given(data=st.data())
def test_methods(agent, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["predict", "evaluate", "learn", "save"]))
    if name == "predict":
        observation = data.draw(_spoilt(value=np.zeros(3)) | _spoilt(value=np.zeros((2, 3))), label="observation")
        result = attempt("PILCO.predict", NAMES, lambda: agent.predict(observation))
        if result is not REFUSED:
            assert np.isfinite(result[0]).all() and result[0].shape == (*np.shape(observation)[:-1], 1)
    elif name == "evaluate":
        arguments = {"episodes": 1, "seed": 0}
        key = data.draw(st.sampled_from(sorted(arguments)))
        arguments[key] = data.draw(anything.filter(_small), label=key)
        attempt("PILCO.evaluate", NAMES, lambda: agent.evaluate(**arguments))
    elif name == "learn":
        arguments = {"trials": 0, "callbacks": (), "stop_when_solved": False, "evaluation_episodes": 1}
        key = data.draw(st.sampled_from(sorted(arguments)))
        arguments[key] = data.draw(anything.filter(lambda value: not _is_count(value)), label=key)
        assert attempt("PILCO.learn", NAMES, lambda: agent.learn(**arguments)) is REFUSED
    else:
        folder = tmp_path_factory.getbasetemp() / "agent"
        shutil.rmtree(folder, ignore_errors=True)
        wrong = data.draw(anything.filter(lambda value: not isinstance(value, str)), label="folder")
        assert attempt("PILCO.save", NAMES, lambda: agent.save(wrong)) is REFUSED


def _is_count(value) -> bool:
    return bool(isinstance(value, int | np.integer) and value >= 1)


def _small(value) -> bool:
    return not _is_count(value) or value < 3


@pytest.mark.slow
@thorough(800)
@given(data=st.data())
def test_check(data):
    """`bnnrl.check` refuses arguments of a wrong type, and reports what else is wrong with an environment."""
    arguments = {"env": "Pendulum-v1", "seed": 0, "env_kwargs": None}
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[key] = data.draw(anything | _LIKELY, label=key)
    with pytest.MonkeyPatch.context() as patch:  # the checks of episodes take seconds
        patch.setattr(environment, "_random_episodes", lambda *arguments: (_ for _ in ()).throw(RuntimeError("none")))
        report = attempt("bnnrl.check", NAMES, lambda: bnnrl.check(**arguments))
    if report is not REFUSED:
        assert report.findings and not report.ok


@pytest.mark.slow
@thorough(2000)
@given(
    name=anything | st.text(max_size=8) | _LIKELY, options=st.dictionaries(st.text(max_size=3), anything, max_size=1)
)
def test_registry(name, options):
    made = attempt("tasks.get", NAMES, lambda: tasks.get(name, **options))
    assert made is REFUSED or isinstance(made, bnnrl.Task)
    attempt("tasks.is_registered", NAMES, lambda: tasks.is_registered(name))
    attempt("tasks.check_exists", NAMES, lambda: tasks.check_exists(name))
    if not isinstance(name, bnnrl.Task):
        assert attempt("tasks.register", NAMES, lambda: tasks.register(name)) is REFUSED
