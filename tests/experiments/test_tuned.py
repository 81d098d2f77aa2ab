"""The comparison of methods by name with tuned ones: what a search may change, and how the table shows it."""

import json
from dataclasses import replace
from typing import Any

import defaults
import pytest
import tuned


@pytest.mark.parametrize("method", ["adam", "laplace"])
def test_the_settings_by_name_give_the_method_by_name(method):
    data = defaults.load(None, "diabetes", 0)
    model = defaults.make_model("diabetes", method, "learned", 10)
    model.fit(data, batch_size=defaults.BATCH, epochs=4, seed=0, verbose=0)
    settings = {**tuned.BY_NAME, "epochs": 4}
    found = tuned.make_method(method, settings, len(data.train[0]), model.keras_model.count_params())
    assert found == model.method


def test_the_factor_multiplies_the_rates_of_the_method_and_of_its_start():
    settings = {"epochs": 20, "batch_size": 50, "rate": 2.0, "method.alpha": 0.95}
    found: Any = tuned.make_method("psgld", settings, 500, 100)
    one: Any = tuned.make_method("psgld", {**settings, "rate": 1.0}, 500, 100)
    assert found.start == replace(one.start, learning_rate=0.1)
    assert one.start.learning_rate == 0.05
    chain: Any = found.inner.inner
    assert chain.alpha == 0.95
    assert chain.step_size.least == 2 * one.inner.inner.step_size.least
    adam = tuned.make_method("adam", {**tuned.BY_NAME, "rate": 3.0}, 320, 100)
    rate = adam.learning_rate
    assert (rate.initial, rate.final, rate.steps) == (pytest.approx(0.036), pytest.approx(0.00036), 1000)


def test_the_table_marks_tuned_methods_that_are_ahead():
    row = {"set": "diabetes", "method": "swag", "default": 1.2, "tuned": 1.05}
    settings = json.dumps({"epochs": 50, "method.rank": 5})
    far = {**row, "settings": settings, "alone": json.dumps({"method.rank": 1.1})}
    near = {**row, "tuned": 1.15, "settings": json.dumps(tuned.BY_NAME), "alone": "{}"}
    table = tuned.summary([far, near])
    assert "| diabetes | swag | 1.200 | 1.050 | **0.150** | epochs 50, rank 5 | rank 1.1 |" in table
    assert "| diabetes | swag | 1.200 | 1.150 | 0.050 | as by name |  |" in table
