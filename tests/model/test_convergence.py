"""Fits that end when their chains have converged."""

import warnings
from typing import Any

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl.diagnostics import SamplingWarning
from bnnrl.inference import HMC, SGLD, Ensemble, Run, for_run, innermost
from bnnrl.model.convergence import StopWhenConverged
from tests.scenarios import linear_regression

pytestmark = pytest.mark.usefixtures("without_xla")
LINE = linear_regression()


def model(method) -> bnnrl.BayesianModel:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    return bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(LINE.noise), method=method)


def test_a_fit_ends_when_its_chains_have_converged():
    bnn = model(HMC(0.05, 5, chains=4, burn_in=40, max_draws=1000, mass="identity"))
    rule = bnnrl.Converged(rhat=1.05, ess=200)
    history: Any = bnn.fit(LINE.x, LINE.y, None, epochs=60, until=rule, max_epochs=600, verbose=0)
    assert history.params["converged"] and 60 <= len(history.epoch) < 600
    found = bnn.diagnose(LINE.x)
    assert found.rhat.max() < 1.05 and found.ess.min() >= 200


def test_chains_that_do_not_converge_say_which_predictions_are_worst():
    bnn = model(Ensemble(SGLD(1e-6, burn_in=2, thin=1, max_draws=100), 2))
    with pytest.warns(SamplingWarning) as caught:
        history: Any = bnn.fit(LINE.x, LINE.y, 24, epochs=2, until="converged", max_epochs=40, verbose=0)
    assert not history.params["converged"] and len(history.epoch) == 40
    message = str(caught[0].message)
    assert "not converged after 40 epochs: of 24 predictions, 24 have an R-hat of 1.01 or more, and 24" in message
    assert (
        "fewer than 400 effective draws" in message and "The worst by (row of the training data, output): (" in message
    )


def test_few_draws_are_told():
    bnn = model(Ensemble(SGLD(1e-6, burn_in=2, thin=1, max_draws=10), 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SamplingWarning)
        bnn.fit(LINE.x, LINE.y, 24, epochs=3, until="converged", max_epochs=5, verbose=0)
    assert "after 5 epochs, which leave fewer than 20 draws" in str(caught[0].message)


def test_checks_are_rare_and_need_all_predictions():
    checked = []
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 500, 3, 1))
    values[0, :, 1] += 3.0  # one chain is apart for one prediction

    class Watched(StopWhenConverged):
        def _check(self, values):
            checked.append(self._epochs)
            super()._check(values)

    stop = Watched(bnnrl.Converged(), lambda: values)
    stop.set_model(model("hmc"))
    for epoch in range(200):
        stop.on_epoch_end(epoch)
    assert 15 < len(checked) < 50 and not stop.converged
    with pytest.warns(SamplingWarning, match=r"of 3 predictions, 1 have an R-hat.*output\): \(1, 0\): R-hat"):
        stop.on_train_end()
    values[0, :, 1] -= 3.0
    stop.on_train_end()  # no warning
    assert stop.converged


def test_a_method_by_name_keeps_draws_for_the_whole_limit():
    plain, limited = (for_run("hmc", Run(300, 100, 100, 300, limit=limit)) for limit in (None, 3000))
    assert plain.min_steps == limited.min_steps
    first, last = innermost(plain), innermost(limited)
    assert isinstance(first, HMC) and isinstance(last, HMC)
    assert (first.max_draws, first.thin) == (75, 1) and (last.max_draws, last.thin) == (1000, 3)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("adam", {"until": "converged"}, "`until`: expected None for Adam.*no parallel chains.*hmc, nuts, mclmc"),
        ("swag", {"until": "converged"}, "`until`: expected None for SWAG"),
        ("svgd", {"until": "converged"}, "`until`: expected None for SVGD"),
        (SGLD(burn_in=1), {"until": "converged"}, "`until`: expected None for SGLD"),
        ("hmc", {"until": "convergd"}, "`until`: expected None, 'converged' or a `Converged`. Received: until='conv"),
        ("hmc", {"until": "converged", "max_epochs": 50}, "`max_epochs`: expected.*at least 100"),
        ("hmc", {"max_epochs": 500}, "`max_epochs`: expected None without `until`.*Received: max_epochs=500"),
    ],
)
def test_bad_arguments(method, arguments, message):
    bnn = model(method)
    with pytest.raises(ValueError, match=message):
        bnn.fit(LINE.x, LINE.y, epochs=100, verbose=0, **arguments)


@pytest.mark.parametrize("bad", [{"rhat": 1.0}, {"rhat": "low"}, {"ess": 0}])
def test_bad_rules(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        bnnrl.Converged(**bad)


def test_a_limit_below_the_plan_is_refused():
    with pytest.raises(ValueError, match="`limit`: expected an integer of at least 100"):
        for_run("hmc", Run(100, 50, 50, 300, limit=99))
