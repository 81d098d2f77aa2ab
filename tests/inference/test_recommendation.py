"""The method that is recommended follows from the sizes of the problem and the measured time of a gradient."""

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl.inference import REGISTRY, Recommendation, recommend, recommendation
from tests.scenarios import draws

X, Y = draws(100, 3), draws(100, 1, seed=1)
CLASSES = np.arange(100) % 3


def model(units=8, outputs=1, likelihood="gaussian") -> bnnrl.BayesianModel:
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, "tanh"), keras.layers.Dense(outputs)])
    return bnnrl.BayesianModel(network, likelihood)


@pytest.fixture
def gradients_take(monkeypatch):
    """Return a function that sets the seconds of a gradient on a minibatch and on all rows."""

    def set_times(of_batch, of_all):
        times = iter([of_batch, of_all])
        monkeypatch.setattr(recommendation, "_seconds_of_gradient", lambda problem, batch: next(times))

    return set_times


@pytest.mark.parametrize(
    ("arguments", "y", "times", "seconds", "expected", "words"),
    [
        ({}, Y, (1e-3, 1e-3), 60, "gauss_newton", "100 rows by 42 weights"),
        ({}, Y, (1e-4, 1e-4), 60, "hmc", "eight chains take about 8 s"),
        ({"units": 300}, Y, (1e-4, 2e-4), 30, "nuts", "1502 weights"),
        ({"units": 300}, Y, (1e-4, 1e-2), 30, "ensemble", "0.1 ms"),
        (
            {"outputs": 2, "likelihood": bnnrl.likelihoods.Gaussian("heteroscedastic")},
            Y,
            (1e-3, 1e-3),
            60,
            "nuts",
            "all 100 rows in 1 ms",
        ),
        ({"outputs": 3, "likelihood": "categorical"}, CLASSES, (1e-4, 1e-4), 60, "ensemble", "five networks fit"),
        ({"outputs": 3, "likelihood": "categorical"}, CLASSES, (0.1, 0.1), 60, "swag", "only one network"),
        ({"outputs": 3, "likelihood": "categorical"}, CLASSES, (1.0, 1.0), 60, "adam", "hardly time for one network"),
    ],
)
def test_the_rules(gradients_take, arguments, y, times, seconds, expected, words):
    gradients_take(*times)
    found = recommend(model(**arguments), (X, y), seconds)
    assert found.name == expected in REGISTRY and words in found.reason
    assert found.settings["epochs"] >= 1


def test_a_recommendation_can_be_printed_and_followed():
    """Times of gradients are measured here; the network is so small that HMC is always in time."""
    found = recommend(model(4), (X, Y), seconds=6000)
    assert isinstance(found, Recommendation) and found.name == "hmc"
    assert str(found).startswith('method="hmc", fit(epochs=400, batch_size=None)\n22 weights')


def test_data_of_the_loader():
    data = bnnrl.data.load((X, CLASSES), test=0.2, task="classification")
    found = recommend(model(4, 3, "categorical"), data)
    assert "80 rows" in found.reason


@pytest.mark.parametrize(
    ("data", "seconds", "message"),
    [((X, Y), 0, "`seconds`: expected a"), (X, 60, "`data`: expected a pair of arrays.*Received: ndarray")],
)
def test_bad_arguments(data, seconds, message):
    with pytest.raises(ValueError, match=message):
        recommend(model(), data, seconds)
