"""Methods by name."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from bnnrl import inference


@pytest.mark.parametrize("name", inference.REGISTRY)
def test_each_name_gives_a_method_with_its_defaults(name):
    method = inference.get(name)
    assert type(method) is inference.REGISTRY[name]
    assert method == inference.get(name.upper())
    for function in ("init", "step", "posterior"):
        assert callable(getattr(method, function))


def test_hyper_parameters_and_instances():
    assert inference.get("adam", learning_rate=0.5) == inference.Adam(0.5)
    method = inference.Ensemble(size=2)
    assert inference.get(method) is method


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"`method`: expected one of .*'adam'.*Received: 'adm'.*mean 'adam'"):
        inference.get("adm")
    with pytest.raises(ValueError, match="mean 'ensemble'"):
        inference.get("Ensembles")
    with pytest.raises(ValueError, match=r"Received: 'zzz'\.$"):
        inference.get("zzz")


def test_an_unknown_hyper_parameter_or_object():
    with pytest.raises(ValueError, match=r"expected one of .*Received: 'learning_rat'.*'learning_rate'"):
        inference.get("adam", learning_rat=0.5)
    for bad in (inference.Adam, 3):
        with pytest.raises(ValueError, match=r"`method`: expected.*Received"):
            inference.get(bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected.*Received.*replace"):
        inference.get(inference.Adam(), size=2)


@dataclass(frozen=True)
class Foreign:
    """A method that only has the three functions, and one of the optional properties."""

    width: int = 1

    full_batch_only = True

    def init(self, problem, seed, theta=None):
        return inference.Adam().init(problem, seed, theta)

    def step(self, problem, state, batch, seed):
        return inference.Adam().step(problem, state, batch, seed)

    def posterior(self, problem, state):
        return inference.Adam().posterior(problem, state)


def test_an_object_with_the_three_functions_is_a_method():
    foreign: Any = Foreign(2)
    method = inference.get(foreign)
    assert isinstance(method, inference.Method) and isinstance(method, Foreign)
    assert method == inference.get(foreign) and replace(method, width=3).width == 3
    assert method.full_batch_only and not method.has_members and method.min_steps == 0
    assert method.inner is None and method.current_rate(0) is None
    assert inference.Ensemble(foreign, 2).full_batch_only and inference.WarmStart(foreign).min_steps == 500


@pytest.mark.parametrize(
    ("method", "step", "expected"),
    [
        (inference.Adam(inference.Schedule(0.8, 0.4, steps=100, kind="linear")), 50, ("learning_rate", 0.6)),
        (inference.Ensemble(inference.SGLD(1e-4)), 7, ("step_size", 1e-4)),
        (inference.WarmStart(inference.HMC(0.02), inference.Adam(0.1), steps=3), 2, ("learning_rate", 0.1)),
        (inference.WarmStart(inference.HMC(0.02), inference.Adam(0.1), steps=3), 3, ("step_size", 0.02)),
        (inference.SWAG(inference.SGD(0.1), swa_rate=0.2, start=10), 7, ("learning_rate", 0.15)),
        (inference.Laplace(inference.SGD(0.1)), 7, ("learning_rate", 0.1)),
    ],
)
def test_the_current_rate(method, step, expected):
    name, value = method.current_rate(step)
    assert name == expected[0] and value == pytest.approx(expected[1])


def test_a_method_without_a_step_cannot_be_made():
    class NoStep(inference.Method):
        def init(self, problem, seed, theta=None):
            return None

        def posterior(self, problem, state):
            raise NotImplementedError

    with pytest.raises(TypeError, match="step"):
        NoStep()  # pyright: ignore[reportAbstractUsage]
