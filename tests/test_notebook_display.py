"""What notebooks display: small pieces of HTML with escaped text, without colours and without external assets."""

import re
from typing import Any
from xml.etree import ElementTree

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl import metrics
from bnnrl.model.history import History
from bnnrl.rl.checks import Finding, Report
from tests.scenarios import draws

pytestmark = pytest.mark.usefixtures("without_xla")


def shown(value: Any) -> str:
    """Return the HTML of a value as a notebook asks for it, after checks that hold for all."""
    html = value._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")  # every element is closed
    assert len(html) < 10_000
    assert not re.search(r"<script|<style|https?://|src=|#[0-9a-f]{3,6}\b|color:", html)
    return html


def cells(html: str) -> list[list[str]]:
    """Return the text of the cells of each row."""
    return [
        ["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(f"<div>{html}</div>").iter("tr")
    ]


@pytest.fixture(scope="module")
def model() -> bnnrl.BayesianModel:
    x = draws(60, 2)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", method="ensemble", hyper_parameters={"size": 3})
    model.fit(x, x[:, :1], epochs=5, validation_data=(x, x[:, :1]), verbose=0)
    return model


def test_a_history_has_its_figures_and_a_curve(model):
    history = model.history
    html = shown(history)
    head, first, *_ = cells(html)
    assert head == ["log", "first", "last", "lowest", "in epoch"]
    losses = history.history["loss"]
    assert first == ["loss", *(f"{v:.4g}" for v in (losses[0], losses[-1], min(losses))), str(np.argmin(losses) + 1)]
    assert html.count("<polyline") == 2 and html.count("stroke-dasharray") == 1 and "currentColor" in html
    points = [float(p.split(",")[1]) for p in re.findall(r'points="([^"]*)"', html)[0].split()]
    np.testing.assert_array_equal(np.argsort(points)[::-1], np.argsort(losses))  # SVG counts from the top


def test_a_history_of_late_missing_or_many_values():
    history = History()
    assert shown(history) == "<p>No epoch has ended.</p>"
    history.epoch, history.history = [0], {"loss": [1.0]}
    assert "<svg" not in shown(history)
    history.epoch, history.history = list(range(5)), {"loss": [5.0, np.nan, 3.0, 1.0, 2.0], "val_loss": [7.0, 6.0, 8.0]}
    html = shown(history)
    assert cells(html)[2] == ["val_loss", "7", "8", "6", "4"]  # the first value is that of the third epoch
    of_loss, of_validation = re.findall(r'points="([^"]*)"', html)
    assert len(of_loss.split()) == 4 and of_validation.startswith("160.0,")  # the middle of the picture
    history.epoch, history.history = list(range(9000)), {"loss": list(range(9000)), "<b>": [np.inf] * 9000}
    assert "&lt;b&gt;" in shown(history)


def test_a_model_and_its_posterior_tell_what_they_are(model):
    told = dict(cells(shown(model)))
    assert (
        told["Network"].endswith(", 3 parameters") and told["Method"] == "ensemble" and told["Posterior"] == "Mixture"
    )
    assert dict(cells(shown(model.posterior))) == {
        "posterior": "Mixture", "parameters": "4", "components": "3: Point", "distinct samples": "3"
    }  # fmt: skip
    assert dict(cells(shown(model.clone())))["Posterior"] == "none, before `fit`"
    gaussian = bnnrl.posterior.MeanField(np.zeros(7, np.float32), np.ones(7, np.float32))
    assert dict(cells(shown(gaussian)))["distinct samples"] == "no limit"


def test_predictions_are_summed_up(model):
    x = draws(60, 2, seed=1)
    found = model.uncertainty(x)
    head, total, *_ = cells(shown(found))
    assert head == ["uncertainty", "mean", "smallest", "median", "largest"]
    assert total[:3] == ["total", f"{found.total.mean():.4g}", f"{found.total.min():.4g}"]
    assert shown(metrics.coverage(np.ones(9))) == f"<p>{metrics.coverage(np.ones(9))}</p>"
    scored = bnnrl.cross_validate(model, x, x[:, :1], folds=2, epochs=2)
    assert cells(shown(scored))[-1][:3] == ["all", "", "60"] and "2 folds, at random" in shown(scored)


def test_calibrations_tell_their_rows_or_their_factor(model):
    x = draws(60, 2, seed=1)
    try:
        assert dict(cells(shown(model.calibrate(x, x[:, :1], method="spread")))).keys() >= {"factor"}
        assert dict(cells(shown(model.calibrate(x, x[:, :1]))))["calibration rows"] == "60"
        assert dict(cells(shown(model)))["Calibration (conformal)"] == "normalized"
        found = model.cross_calibrate(x, x[:, :1], folds=2, epochs=1)
        assert dict(cells(shown(found)))["folds"] == "2"
    finally:
        model.become(model.posterior)


def test_findings_are_escaped():
    report = Report((Finding("ok", "reset", "fine."), Finding("problem", "cost", "a < b & c.", "Use <b>.")))
    html = shown(report)
    assert cells(html)[2] == ["problem", "cost", "a < b & c.", "Use <b>."]
    assert "An agent cannot be trained" in html and "a &lt; b &amp; c" in html
