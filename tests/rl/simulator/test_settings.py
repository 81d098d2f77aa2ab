"""Settings of dynamics models: what a method's name stands for, and what is refused."""

from typing import Any

import pytest

from bnnrl.inference import REGISTRY, GaussNewton, WarmStart
from bnnrl.inference.base import innermost
from bnnrl.rl.simulator.presets import PRESETS
from bnnrl.rl.simulator.settings import Dynamics
from tests.scenarios import linear_regression

STAGED = {"ensemble": "method", "laplace": "optimizer"}
SAMPLERS = ["hmc", "nuts", "mclmc", "sgld", "psgld", "csgld", "sghmc"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_by_name_start_from_estimates_and_run_long_enough(name):
    dynamics = Dynamics(method=name, size=3)
    method = dynamics.resolve_method()
    assert isinstance(method, WarmStart) and type(innermost(method)) is REGISTRY[name]
    assert method.min_steps <= dynamics.num_steps
    assert method.init(linear_regression().problem, 0).theta.shape == (3, 3)
    with pytest.raises(ValueError, match=rf"`steps`: expected at least {method.min_steps} for {name}.*Received: 100"):
        Dynamics(method=name, steps=100)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"size": 0}, "size"),
        ({"steps": 0}, "steps"),
        ({"prior_std": 0.0}, "prior_std"),
        ({"method": "ensembel"}, "Did you mean 'ensemble'"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Dynamics(**kwargs)


def test_every_method_has_a_preset():
    assert set(PRESETS) == set(REGISTRY)


@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in SAMPLERS])
@pytest.mark.parametrize("steps", [100, 2000])
def test_a_method_by_name_has_the_runs_length(name, steps):
    """Whatever a method does by stages is over before the run is, and its rate ends low."""
    method: Any = Dynamics(method=name, steps=steps, learning_rate=0.5).resolve_method()
    if name == "gauss_newton":
        assert method.method == REGISTRY[name](steps - 1, 0.5, anchored=True) and method.min_steps == steps
        return
    assert type(method) is REGISTRY[name]
    if steps > 1:
        assert getattr(method, "min_steps", 0) <= steps
    if name not in ("swag",):
        inner = STAGED.get(name)
        schedule = (getattr(method, inner) if inner else method).learning_rate
        assert schedule.initial == 0.5 and schedule.final == 0.005 and schedule.steps <= steps


def test_the_middle_is_seen_where_it_pays_or_where_it_is_asked_for():
    told = {0: 1}
    assert Dynamics(method="gauss_newton").sees_midpoint(told) and Dynamics(method=GaussNewton()).sees_midpoint(told)
    assert not Dynamics(method="gauss_newton").sees_midpoint({}) and not Dynamics().sees_midpoint(told)
    assert Dynamics(midpoint=True).sees_midpoint({})
    assert not Dynamics(method="gauss_newton", midpoint=False).sees_midpoint(told)
