"""Settings as JSON: encoded settings are decoded to equal ones, and code is refused."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from bnnrl import inference, likelihoods, policies
from bnnrl.inference import Adam, Ensemble, Schedule
from bnnrl.rl.search import PolicySearch
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.storage import config

SETTINGS = [
    Dynamics(),
    Dynamics(hidden=(8,), size=3, likelihood=likelihoods.Gaussian(0.1)),
    Dynamics(method=Ensemble(Adam(Schedule(0.1, 0.01, 50)), size=2), activation="tanh"),
    *(Dynamics(method=name) for name in (*inference.REGISTRY, "gp")),
    policies.RBF(7, weight_scale=0.5),
    policies.MLP((3, 4)),
    policies.MLP(()),
    PolicySearch(restarts=3, updates=5),
    inference.BSAM(),  # with an infinite bound
]


@pytest.mark.parametrize("given", SETTINGS, ids=repr)
def test_round_trip_through_json(given):
    assert config.decode(json.loads(json.dumps(config.encode(given), allow_nan=False))) == given


def test_numpys_numbers_become_pythons():
    given = Dynamics(steps=np.int64(5), prior_std=np.float32(0.5))  # pyright: ignore[reportArgumentType]
    assert config.decode(json.loads(json.dumps(config.encode(given)))) == given


@dataclass(frozen=True)
class Foreign:
    x: int = 0


@dataclass(frozen=True)
class RBF(policies.RBF):  # of the same name as one of ours
    pass


UNSAVED = [Foreign(), RBF(), lambda x: x, Dynamics(activation=len)]  # pyright: ignore


@pytest.mark.parametrize("value", UNSAVED, ids=lambda value: repr(value).split(" at 0x")[0])
def test_code_is_not_saved(value):
    with pytest.raises(ValueError, match=r"Invalid setting: expected.*Received"):
        config.encode(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"class": "Dynamo"}, "expected one of .*'Dynamics'.*Received: 'Dynamo'"),
        ({"hidden": [8]}, "Received: None"),
        ({"class": "RBF", "centers": 3}, "settings of RBF: .*'centers'"),
        ({"class": "RBF", "num_centers": 0}, "`num_centers`"),
    ],
)
def test_settings_this_version_does_not_know(data, message):
    with pytest.raises(ValueError, match=message):
        config.decode(data)
