"""The settings of an agent for a task where none are given."""

import math

import pytest

from bnnrl import PILCO, Dynamics, PolicySearch, Task
from bnnrl.cli import train

DOUBLE_PENDULUM = "bnnrl/DoublePendulum-v0"


@pytest.mark.parametrize(
    "env", [DOUBLE_PENDULUM, "bnnrl/Pendubot-v0", "bnnrl/CartDoublePendulum-v0", "bnnrl/RealAIGymAcrobot-v0"]
)
def test_linked_rods_have_gauss_newton_learning_and_a_bound_on_extrapolation(env):
    agent = PILCO(env)
    assert agent.dynamics == Dynamics(method="gauss_newton")
    assert agent.search == PolicySearch(extrapolation=0.25)


def test_other_tasks_have_an_ensemble_without_the_bound():
    for env in ("bnnrl/CartPoleSwingUp-v0", "bnnrl/Pendulum-v0", Task("Acrobot-v1", cost=None)):
        agent = PILCO(env)
        assert agent.dynamics == Dynamics() and agent.dynamics.method_name == "ensemble"
        assert math.isinf(agent.search.extrapolation)


def test_given_settings_replace_each_default_alone():
    agent = PILCO(DOUBLE_PENDULUM, dynamics="swag")
    assert agent.dynamics == Dynamics(method="swag") and agent.search.extrapolation == 0.25
    agent = PILCO(DOUBLE_PENDULUM, search=PolicySearch(updates=5))
    assert agent.dynamics.method_name == "gauss_newton" and math.isinf(agent.search.extrapolation)


def test_the_shell_has_the_same_defaults_and_records_them():
    settings = train.settings_of(train.Train(DOUBLE_PENDULUM, search={"updates": 5}))
    assert settings["method"] == "gauss_newton"
    agent = train.make_agent(settings)
    assert agent.dynamics == Dynamics(method="gauss_newton")
    assert agent.search == PolicySearch(updates=5, extrapolation=0.25)
    assert train.settings_of(train.Train("Pendulum-v1"))["method"] == "ensemble"
    assert train.settings_of(train.Train(DOUBLE_PENDULUM, method="hmc"))["method"] == "hmc"


def test_settings_of_a_method_need_its_name_where_the_default_is_another_one():
    fields = {"size": 3}
    assert train.settings_of(train.Train("Pendulum-v1", method_fields=fields))["method"] == "ensemble"
    with pytest.raises(ValueError, match=r"`method.size`: expected --method NAME .* default is gauss_newton"):
        train.settings_of(train.Train(DOUBLE_PENDULUM, method_fields=fields))
