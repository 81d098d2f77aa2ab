"""Pictures of a fit and of regressions: their legends and the ranges of their axes."""

import numpy as np
import pytest

from bnnrl import plots
from tests.plots.figures import figure_of, legend


def test_loss_curve_marks_the_least_validation_loss(monkeypatch):
    said = legend(figure_of(monkeypatch, plots.loss_curve, [3, 2, 1], [np.nan, 1.5, 2.0]))
    assert said == ["training loss", "validation loss", "lowest validation loss: 1.5, epoch 2"]
    assert legend(figure_of(monkeypatch, plots.loss_curve, [3, 2, 1])) == ["training loss"]


def test_loss_curve_lets_a_steep_start_go_and_says_so(monkeypatch):
    late = np.linspace(2, 1, 36)
    axes = figure_of(monkeypatch, plots.loss_curve, [900, 90, 9, 5, *late]).axes[0]
    assert 2 < axes.get_ylim()[1] < 2.2 and axes.texts[0].get_text() == "first epochs: up to 900"
    axes = figure_of(monkeypatch, plots.loss_curve, late).axes[0]
    assert axes.get_ylim()[1] > 2 and not axes.texts


@pytest.mark.parametrize(("level", "shown"), [(1.5, True), (0.2, True), (-9.0, False), (np.nan, False)])
def test_loss_curve_draws_levels_that_leave_the_curve_room(monkeypatch, level, shown):
    figure = figure_of(monkeypatch, plots.loss_curve, [3, 2, 1], levels={"test NLL": level})
    low, high = figure.axes[0].get_ylim()
    assert legend(figure)[-1] == f"test NLL: {level:.4g}{'' if shown else ', outside of the picture'}"
    assert (low < level < high) == shown and high - low < 6


@pytest.mark.parametrize("losses", [[1.0], [2.0, 2.0], [np.nan, np.nan], [np.inf, 1.0]])
def test_loss_curve_of_little(tmp_path, losses):
    plots.loss_curve(tmp_path / "loss.png", losses, losses)
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_predictive_bands_of_inputs_in_any_order(monkeypatch):
    x, draw = np.linspace(-1, 1, 9), plots.predictive_bands
    order = np.random.default_rng(0).permutation(9)
    figures = [
        figure_of(monkeypatch, draw, x[k], x[k] ** 2, 0.1 * x[k] ** 2, 1 + x[k] ** 2, [0], [0], truth=x[k])
        for k in (np.arange(9), order)
    ]
    for lines in zip(*(figure.axes[0].lines for figure in figures), strict=True):
        np.testing.assert_array_equal(*(line.get_xydata() for line in lines))
    total, epistemic = figures[1].axes[0].collections[:2]
    assert total.get_datalim(figures[1].axes[0].transData).y1 == pytest.approx(1 + 2 * 2)
    assert epistemic.get_datalim(figures[1].axes[0].transData).y1 == pytest.approx(1 + 2 * 0.1)
    assert legend(figures[0])[2:] == ["predictive mean", "true function", "training data"]


def test_predicted_vs_true_counts_what_is_within_two_standard_deviations(monkeypatch):
    figure = figure_of(
        monkeypatch, plots.predicted_vs_true, [0, 1, 2, 3], [0, 1, 2, 9], [1, 1, 1, 2.9], name="mass, kg"
    )
    assert legend(figure)[1:] == ["within 2 std: 75.0 % of 4", "outside: 1"]
    axes = figure.axes[0]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_ylabel() == "predicted mass, kg"


def test_predicted_vs_true_of_one_row(tmp_path):
    plots.predicted_vs_true(tmp_path / "one.png", [1.0], [1.0], [0.0])
    assert (tmp_path / "one.png").stat().st_size > 1000
