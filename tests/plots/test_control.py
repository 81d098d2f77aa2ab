"""Pictures of control, with as many trials, entries and steps as there are."""

import matplotlib.image
import numpy as np
import pytest

from bnnrl import plots
from tests.test_plots import share_inked


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
