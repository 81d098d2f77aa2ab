"""Fields of every public dataclass, given values of any type."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import dataclasses
import typing

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bnnrl import inference, likelihoods, metrics, planners, policies, priors, tasks
from bnnrl.rl.search import PolicySearch
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.storage import config
from tests.fuzz.harness import REFUSED, anything, attempt, fits, quick, thorough

METHODS = [cls for cls in inference.REGISTRY.values() if dataclasses.is_dataclass(cls)]
CLASSES = [
    *dict.fromkeys(METHODS),
    *(inference.WarmStart, inference.Schedule, inference.Polynomial),
    *(likelihoods.Gaussian, likelihoods.Custom, metrics.TemperatureScaling),
    *(policies.RBF, policies.MLP, policies.Linear, planners.CEM, planners.ICEM),
    *(priors.Learned, Dynamics, PolicySearch, tasks.Task, tasks.SaturatingCost),
]
IDS = [cls.__name__ for cls in CLASSES]


def _fields(cls) -> dict[str, typing.Any]:
    hints = typing.get_type_hints(cls, localns={"tf": tf, "np": __import__("numpy")})
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _near(cls, name: str) -> st.SearchStrategy:
    """Values that are often right: the default of a field and its like."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    default = [] if field.default is dataclasses.MISSING else [field.default]
    if field.default_factory is not dataclasses.MISSING:
        default = [field.default_factory()]
    return st.sampled_from([*default, 1, 2, 0.5, 1e-3, 30]) | st.integers(1, 100) | st.floats(0, 1)


def _check(cls, data: st.DataObject) -> None:
    """Build `cls` with some fields of any type: they are refused by name, or are of the type that is annotated."""
    fields = _fields(cls)
    required = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    chosen = required | data.draw(st.sets(st.sampled_from(sorted(fields)), min_size=1, max_size=3)) if fields else set()
    arguments = {name: data.draw(anything | _near(cls, name), label=name) for name in sorted(chosen)}
    made = attempt(f"constructor {cls.__name__}", fields, lambda: cls(**arguments))
    if made is REFUSED:
        return
    for name, hint in fields.items():
        assert fits(getattr(made, name), hint), f"accepted {name}={getattr(made, name)!r} for {hint}"
    repr(made)
    if config._CLASSES.get(cls.__name__) is cls:
        assert hash(made) == hash(dataclasses.replace(made))
        assert made == dataclasses.replace(made)


@pytest.mark.parametrize("cls", CLASSES, ids=IDS)
@quick(6)
@given(data=st.data())
def test_fields_of_any_type(cls, data):
    _check(cls, data)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES, ids=IDS)
@thorough(1000)
@given(data=st.data())
def test_many_fields_of_any_type(cls, data):
    _check(cls, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bnnrl.inference.ShortRunWarning")
@thorough(600)
@given(data=st.data())
def test_methods_for_a_run(data):
    usual = {"steps": 500, "rows": 100, "batch_size": 10, "num_params": 40, "prior_precision": 1.0}
    likely = st.integers(1, 10**6)
    for entry in data.draw(st.sets(st.sampled_from(sorted(usual)), max_size=2)):
        usual[entry] = data.draw(anything | likely, label=entry)
    name = data.draw(st.sampled_from(sorted(inference.REGISTRY)) | anything, label="name")
    names = {"name", *usual}
    found = attempt("inference.for_run", names, lambda: inference.for_run(name, inference.Run(**usual)))
    assert found is REFUSED or found.min_steps <= usual["steps"]
