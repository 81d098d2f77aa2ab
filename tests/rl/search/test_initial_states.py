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


def sampled(seen, **kwargs):
    states = InitialStates.kernel_density(np.asarray(seen, np.float32), **kwargs)
    return states.sample([5000], as_seed(0), as_seed(1)).numpy()


def test_a_cosine_and_a_sine_stay_on_their_circle():
    """States (speed, cos, sin, cos, sin) of two pendulums, of which a jitter of each entry alone would leave both."""
    first, second = np.random.default_rng(0).uniform(-np.pi, np.pi, size=(2, 6))
    speed = np.linspace(-1, 1, 6)
    start = sampled(np.stack([speed, np.cos(first), np.sin(first), np.cos(second), np.sin(second)], axis=1))
    assert len(np.unique(start[:, 1])) > 4000 and len(np.unique(start[:, 0])) > 4000
    np.testing.assert_allclose(start[:, 1] ** 2 + start[:, 2] ** 2, 1.0, rtol=1e-5)
    np.testing.assert_allclose(start[:, 3] ** 2 + start[:, 4] ** 2, 1.0, rtol=1e-5)
    h = (4 / (7 * 6)) ** (1 / 9)
    np.testing.assert_allclose(start[:, 0].var(), speed.var(ddof=1) * (5 / 6 + h**2), rtol=0.1)


def test_entries_that_are_no_cosine_and_sine_are_moved_freely():
    seen = np.array([[0.6, 0.8], [0.8, 0.61], [1.0, 0.0]])  # one state is off the circle
    start = sampled(seen)
    assert np.abs(np.square(start).sum(axis=1) - 1).max() > 0.5


def test_past_copies_of_a_cosine_and_a_sine_stay_on_their_circle_too():
    angle = np.linspace(0, 2, 4)
    own = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    memory = Memory(2, 1, observations=1, actions=1)
    start = sampled(memory.begin(own), memory=memory)
    np.testing.assert_allclose(np.square(start[:, :2]).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(start[:, 2:4], start[:, :2])
    np.testing.assert_array_equal(start[:, 4], 0.0)
