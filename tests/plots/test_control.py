"""Pictures of control with any number of trials, observation entries and steps."""

import matplotlib.image
import numpy as np
import pytest

from bnnrl import plots
from bnnrl.plots.control import quantiles
from tests.plots.figures import figure_of, share_inked


@pytest.mark.parametrize(
    ("predicted", "success"),
    [([None], [None]), ([None], [0.0]), ([None, 0.6, 0.4], [0.0, 0.5, 1.0]), ([None, 0.6, 1.4], [None, None, None])],
    ids=["first-trial", "first-trial-with-success", "three-trials", "no-success"],
)
def test_learning_curve(tmp_path, predicted, success):
    real = list(np.linspace(0.9, 0.5, len(predicted)))
    plots.learning_curve(tmp_path / "curve.png", predicted, real, real, success, "title")
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    assert share_inked(tmp_path / "curve.png") > 0.01


def test_returns_beside_costs(tmp_path):
    costs = [4.0, -1.0], [5.0, -2.0]  # minus rewards
    for name, returns in (("a.png", None), ("b.png", [None, None]), ("c.png", [-9.0, 2.0])):
        plots.learning_curve(tmp_path / name, [None, 0.5], *costs, [None, None], "title", returns)
    a, b, c = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_the_curve_shows_its_data(tmp_path):
    for name, real in (("a.png", [0.9, 0.8]), ("b.png", [0.9, 0.2])):
        plots.learning_curve(tmp_path / name, [None, 0.5], real, [0.9, 0.9], [0.0, 0.0], "title")
    a, b = (matplotlib.image.imread(tmp_path / name) for name in ("a.png", "b.png"))
    assert a.shape == b.shape and (a != b).any()


@pytest.mark.parametrize("num_obs", [1, 2, 4])
@pytest.mark.parametrize("steps", [1, 7])
def test_rollouts_of_any_size(tmp_path, num_obs, steps):
    rng = np.random.default_rng(0)
    particles, costs = rng.normal(size=(6, 20, num_obs)), rng.uniform(size=(5, 20))  # H = 5, and T is another
    real, real_costs = rng.normal(size=(steps + 1, num_obs)), rng.uniform(size=steps)
    labels = [f"entry {i}" for i in range(num_obs)] if num_obs == 4 else None
    dt = 0.1 if num_obs == 4 else None
    plots.rollouts(tmp_path / "rollouts.png", particles, costs, real, real_costs, "title", labels, dt)
    assert [p.name for p in tmp_path.iterdir()] == ["rollouts.png"]
    assert share_inked(tmp_path / "rollouts.png") > 0.02


def test_bands_are_those_of_the_particles(monkeypatch):
    rng = np.random.default_rng(0)
    particles, costs = rng.normal(size=(6, 20, 2)), rng.uniform(size=(5, 20))
    real, real_costs = rng.normal(size=(6, 2)), rng.uniform(size=5)
    quantiles = [np.percentile(a, [2.5, 25, 50, 75, 97.5], axis=1) for a in (particles, costs)]
    figures = [
        figure_of(monkeypatch, function, *given, real, real_costs, "title")
        for function, given in ((plots.rollouts, (particles, costs)), (plots.rollout_bands, quantiles))
    ]
    for axes, same in zip(*(figure.axes for figure in figures), strict=True):
        for band, again in zip(axes.collections, same.collections, strict=True):
            np.testing.assert_array_equal(band.get_paths()[0].vertices, again.get_paths()[0].vertices)


@pytest.mark.parametrize("far", [1e6, np.inf, np.nan])
def test_a_band_that_grows_beyond_bounds_leaves_reality_to_be_seen(monkeypatch, far):
    bands = np.tile(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, np.newaxis, np.newaxis], (1, 6, 1))
    bands[4, 3:] = far
    real = np.linspace(-1, 1, 6)[:, np.newaxis]
    figure = figure_of(monkeypatch, plots.rollout_bands, bands, bands[:, 1:, 0], real, real[1:, 0], "title")
    low, high = figure.axes[0].get_ylim()
    assert -3.5 < low < -2 and 2 < high < 3.5


@pytest.mark.parametrize("far", [3e38, np.inf, np.nan])
@pytest.mark.parametrize("lost", ["one", "all"])
def test_particles_and_costs_that_are_not_finite_are_left_out(tmp_path, far, lost):
    particles, costs = np.zeros((6, 20, 2), np.float32), np.zeros((5, 20), np.float32)
    real, real_costs = np.zeros((6, 2), np.float32), np.zeros(5)
    some = slice(None) if lost == "all" else 0
    particles[1:, some], costs[:, some], real_costs[some] = far, far, far
    particles[1:, -1] = -particles[1:, -1]
    plots.rollouts(tmp_path / "rollouts.png", particles, costs, real, real_costs, "title")
    bands, cost_bands = quantiles(particles), quantiles(costs)
    plots.rollout_bands(tmp_path / "bands.png", bands, cost_bands, real, real_costs, "title")
    predicted, real, evaluation = [None, far, 0.5], [0.9, far, 0.8], [far, far, 0.7]
    returns = [far, 1.0, None]
    plots.learning_curve(tmp_path / "curve.png", predicted, real, evaluation, [None] * 3, "title", returns)
    for name in ("rollouts", "bands", "curve"):
        assert share_inked(tmp_path / f"{name}.png") > 0.01


def test_a_heat_map_of_values_that_are_not_all_finite(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    values[0, 0] = np.nan
    plots.heat_map(tmp_path / "map.png", [0, 1, 2], [0, 1], values, limits=(-5, 5))
    assert share_inked(tmp_path / "map.png") > 0.1
    plots.heat_map(tmp_path / "map.png", [0, 1, 2], [0, 1], np.full((2, 3), np.nan))


@pytest.mark.parametrize(
    ("costs", "predicted", "low", "high", "marked"),
    [
        ([1.0, 0.5, 0.2], [None, 0.6, 0.3], 0.0, 1.3, []),
        ([0.009, 0.006, 0.004], [None, 0.007, 0.004], 0.0, 0.012, []),
        ([-0.1, -0.2, -0.5], [None, 14070.0, -0.4], -0.95, 0.35, ["1.41e+04"]),
        ([1.0, 0.5, 0.2], [None, -3.0, 5.0], 0.0, 1.3, ["5", "-3"]),
    ],
    ids=["ordinary", "small", "negative", "far"],
)
def test_the_curve_shows_all_real_costs_and_marks_predictions_beyond(monkeypatch, costs, predicted, low, high, marked):
    axes = figure_of(monkeypatch, plots.learning_curve, predicted, costs, costs, [None] * 3, "").axes[0]
    assert axes.get_ylim() == pytest.approx((low, high), rel=0.1, abs=0.1 * (high - low))
    assert [text.get_text() for text in axes.texts] == marked


def test_diverging_particles_leave_reality_to_be_seen(monkeypatch):
    time = np.arange(21)
    particles = np.random.default_rng(0).normal(size=(21, 50, 1)) * np.exp(time)[:, np.newaxis, np.newaxis]
    real = np.sin(time)[:, np.newaxis]
    figure = figure_of(monkeypatch, plots.rollouts, particles, particles[1:, :, 0], real, real[1:, 0], "")
    for axes in figure.axes[:2]:
        low, high = axes.get_ylim()
        assert low < -1 and high > 1 and high - low < 20


def test_costs_below_zero_are_shown_in_a_comparison(monkeypatch):
    cost = np.array([[-1.0, -2.0, -3.0], [-1.0, -1.5, -2.0]])
    low, high = figure_of(monkeypatch, plots.comparison, cost, cost - 0.2, cost + 0.2).axes[0].get_ylim()
    assert low < -3 and -0.8 < high < 0
    low, _ = figure_of(monkeypatch, plots.comparison, -cost, -cost - 0.2, -cost + 0.2).axes[0].get_ylim()
    assert low == 0
