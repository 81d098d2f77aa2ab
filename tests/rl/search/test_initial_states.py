"""Initial states: a kernel density estimate, and given states alone."""

from dataclasses import replace

import numpy as np
import pytest

from bnnrl.rl.memory import Memory
from bnnrl.rl.search import InitialStates
from bnnrl.seeds import as_seed
from tests.rl.search.pushed_mass import OBJECTIVE, STARTS, R


def test_a_kernel_density_has_the_mean_and_variance_of_the_observed_states():
    seen = STARTS.obs.numpy()[:5]
    objective = replace(OBJECTIVE, per_draw=20_000)
    start = objective.sample_particles(1, STARTS, as_seed(0))[0].numpy().reshape(-1, 2)
    assert len(np.unique(start, axis=0)) > 50_000  # also between the observed states
    std = seen.std(axis=0, ddof=1)
    np.testing.assert_allclose(start.mean(axis=0), seen.mean(axis=0), atol=0.02 * std.max())
    # Drawing rows has the variance (n − 1) / n s², and the kernel h² s².
    h2 = (4 / (4 * 5)) ** (2 / 6)
    np.testing.assert_allclose(start.var(axis=0), std**2 * (4 / 5 + h2), rtol=0.03)


def test_all_particles_start_in_the_only_state_observed():
    start, _ = OBJECTIVE.sample_particles(R, InitialStates.kernel_density(STARTS.obs.numpy()[:1]), as_seed(0))
    np.testing.assert_allclose(start, np.broadcast_to(STARTS.obs[0], start.shape), rtol=1e-6)


def test_the_empirical_distribution_is_uniform_over_the_given_states():
    seen = np.random.default_rng(3).normal(size=(4, 2)).astype(np.float32)
    objective = replace(OBJECTIVE, per_draw=1000)
    start = objective.sample_particles(1, InitialStates.empirical(seen), as_seed(0))[0].numpy().reshape(-1, 2)
    rows, counts = np.unique(start, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, seen[np.argsort(seen[:, 0])])
    assert np.abs(counts - 750).max() < 4 * np.sqrt(3000 * 3 / 16)


@pytest.mark.parametrize("n", [1, 4])
def test_a_known_deviation_gives_the_predictive_distribution_of_the_next_initial_state(n):
    seen, std = STARTS.obs.numpy()[:n], (0.1, 2.0)
    objective = replace(OBJECTIVE, per_draw=20_000)
    starts = InitialStates.estimate(seen, std)
    start = objective.sample_particles(1, starts, as_seed(0))[0].numpy().reshape(-1, 2)
    deviation = np.sqrt(1 + 1 / n) * np.array(std)
    standard_error = deviation / np.sqrt(len(start))
    assert (np.abs(start.mean(axis=0) - seen.mean(axis=0)) < 4 * standard_error).all()
    np.testing.assert_allclose(start.std(axis=0), deviation, rtol=0.02)


def test_a_known_deviation_moves_the_newest_observation_and_its_copies_alike():
    memory = Memory(num_obs=2, num_actions=1, observations=1, actions=1)
    first = memory.begin(np.array([[1.0, -1.0]], np.float32))
    start = InitialStates.estimate(first, (0.5, 0.0), memory).sample([1000], as_seed(1), as_seed(2)).numpy()
    np.testing.assert_array_equal(start[:, :2], start[:, 2:4])
    assert abs(start[:, 0].std() / (0.5 * np.sqrt(2)) - 1) < 0.1 and (start[:, 1] == -1).all() and not start[:, 4].any()
