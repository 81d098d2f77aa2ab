"""The comparison of dynamics models on recorded episodes: reading and scores."""

from typing import Any

import dynamics
import numpy as np
import pytest
from scipy import stats


@pytest.fixture
def folder(tmp_path):
    """A recording of two episodes of 3 and 2 steps."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"obs{i}": rng.normal(size=(steps + 1, 4)) for i, steps in enumerate((3, 2))}
    arrays |= {f"act{i}": rng.normal(size=(steps, 1)) for i, steps in enumerate((3, 2))}
    np.savez(tmp_path / "agent-7.npz", **arrays)
    return tmp_path


def test_steps_of_episodes_do_not_cross_their_ends(folder):
    first, second = dynamics.read(folder, "agent", 7)
    whole = dynamics.joined([first, second])
    assert whole.obs.shape == whole.next_obs.shape == (5, 4) and whole.actions.shape == (5, 1)
    np.testing.assert_array_equal(first.next_obs[:-1], first.obs[1:])
    assert np.all(whole.next_obs[2] != whole.obs[3])


def test_a_missing_recording_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"agent-8\.npz"):
        dynamics.read(folder, "agent", 8)


def test_scores_of_a_normal_distribution_and_of_a_mixture():
    y = np.array([[0.0, 0.0], [2.0, 0.0]])
    one = dynamics.scores(np.zeros((1, 2, 2)), np.ones((1, 2, 2)), y)
    assert one["rmse"] == pytest.approx(1.0) and one["within_90"] == 0.75
    assert one["nll"] == pytest.approx(-stats.norm.logpdf(y).sum(axis=1).mean())
    means = np.array([[[0.0, 0.0]] * 2, [[2.0, 0.0]] * 2])
    two = dynamics.scores(means, np.ones((2, 2, 2)), y)
    density = lambda row: 0.5 * sum(stats.norm.pdf(row, m[0]).prod() for m in means)
    assert two["nll"] == pytest.approx(-np.log([density(row) for row in y]).mean())
