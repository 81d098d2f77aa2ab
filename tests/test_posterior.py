"""Posteriors: shapes, stratified sampling, determinism, and saving as arrays."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bnnrl import posterior, seeds
from bnnrl.posterior import Dropout, LowRank, MeanField, Mixture, Point, Samples
from tests.scenarios import draws

THETA = draws(4, 3)
CHAIN = Samples(tf.constant(draws(5, 3, seed=1)))
ENSEMBLE = Mixture(tuple(Point(tf.constant(t)) for t in THETA))
MEAN_FIELD = MeanField(tf.constant(THETA[0]), tf.constant(np.exp(THETA[1])))
LOW_RANK = LowRank(tf.constant(THETA[0]), tf.constant(np.exp(THETA[1])), tf.constant(THETA[2:]))
# A kernel whose rows are kept, one whose rows are dropped, a bias, a convolution's kernel, and a likelihood parameter.
SHAPES, RATES = ((2, 3), (3, 2), (2,), (2, 3, 2)), (0.0, 0.25, 0.0, 0.5)
DROPOUT = Dropout(tf.constant(draws(27, seed=1)), SHAPES, RATES)


@dataclass(frozen=True)
class Noisy:
    """N(loc, I), which shows the seeds that a mixture passes to its components."""

    loc: float
    num_distinct = None

    def sample(self, n, seed):
        return self.loc + seeds.normal([n, 3], seed)

    def mean(self):
        return tf.fill([3], self.loc)

    def to_arrays(self):
        raise NotImplementedError


def members(sample):
    """Return the index of the member of ENSEMBLE that each sample is."""
    return [int(np.flatnonzero((row == THETA).all(1)).item()) for row in sample.numpy()]


def test_every_sample_of_a_point_is_the_point():
    point = Point(tf.constant(THETA[0]))
    assert point.num_distinct == 1
    np.testing.assert_array_equal(point.sample(5, 0), np.tile(THETA[0], [5, 1]))
    np.testing.assert_array_equal(point.mean(), THETA[0])


@pytest.mark.parametrize("n", [1, 4, 5, 7, 10, 13])
def test_samples_are_drawn_without_replacement_until_all_are_drawn(n):
    assert CHAIN.num_distinct == 5
    for seed in range(3):
        sample = CHAIN.sample(n, seed).numpy()
        counts = [int((sample == draw).all(1).sum()) for draw in CHAIN.draws.numpy()]
        assert sum(counts) == n == len(sample) and max(counts) - min(counts) <= 1
        np.testing.assert_array_equal(CHAIN.sample(n, seed), sample)
    first = {tuple(CHAIN.sample(n, seed).numpy()[0]) for seed in range(40)}
    assert len(first) == 5
    np.testing.assert_allclose(CHAIN.mean(), CHAIN.draws.numpy().mean(0), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 4, 7, 12])
def test_samples_of_a_mixture_are_stratified(n):
    for seed in range(3):
        sample = ENSEMBLE.sample(n, seed)
        assert sample.shape == (n, 3)
        counts = Counter(members(sample))
        assert all(counts[i] in (n // 4, n // 4 + bool(n % 4)) for i in range(4))
        np.testing.assert_array_equal(ENSEMBLE.sample(n, seed), sample)


def test_all_components_have_equal_shares_over_many_calls():
    counts = Counter(members(ENSEMBLE.sample(1, seed))[0] for seed in range(200))
    assert all(30 < counts[i] < 70 for i in range(4))  # 50 expected, standard deviation 6


def test_components_are_sampled_independently():
    mixture = Mixture((Noisy(0.0), Noisy(0.0)))
    first, second = tf.split(mixture.sample(2, 0), 2)
    assert np.all(first.numpy() != second.numpy())
    np.testing.assert_array_equal(mixture.sample(5, (1, 2)), mixture.sample(5, (1, 2)))
    assert np.any(mixture.sample(5, 0).numpy() != mixture.sample(5, 1).numpy())
    assert mixture.num_distinct is None


def test_mean_and_number_of_distinct_samples():
    np.testing.assert_allclose(ENSEMBLE.mean(), THETA.mean(0), rtol=1e-6)
    assert ENSEMBLE.num_distinct == 4
    assert Mixture((ENSEMBLE, ENSEMBLE.components[0])).num_distinct == 5
    assert Mixture((CHAIN, CHAIN)).num_distinct == 10


@pytest.mark.parametrize(
    "original",
    [
        Point(tf.constant(THETA[0])),
        CHAIN,
        MEAN_FIELD,
        LOW_RANK,
        DROPOUT,
        ENSEMBLE,
        Mixture((CHAIN, CHAIN)),
        Mixture((ENSEMBLE, MEAN_FIELD, LOW_RANK)),
    ],
    ids=type,
)
def test_arrays_round_trip(original):
    spec, arrays = original.to_arrays()
    assert all(isinstance(a, np.ndarray) for a in arrays.values())
    loaded = posterior.from_arrays(json.loads(json.dumps(spec)), arrays)
    assert type(loaded) is type(original)
    for n in (1, 2, 9):
        np.testing.assert_array_equal(loaded.sample(n, 5), original.sample(n, 5))


def test_more_than_ten_components_keep_their_order():
    mixture = Mixture(tuple(Point(tf.fill([1], float(i))) for i in range(12)))
    loaded = posterior.from_arrays(*mixture.to_arrays())
    np.testing.assert_array_equal(loaded.sample(12, 0)[:, 0], range(12))


def test_a_mixture_of_one_component_is_the_component():
    point = ENSEMBLE.components[0]
    assert posterior.mixture([point]) is point
    both = posterior.mixture([point, point])
    assert isinstance(both, Mixture) and both.components == (point, point)


@pytest.mark.parametrize("found", [ENSEMBLE, ENSEMBLE.components[0], CHAIN, MEAN_FIELD, LOW_RANK, DROPOUT], ids=type)
@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_the_number_of_samples_is_checked(found, n):
    with pytest.raises(ValueError, match=r"`n`: expected.*Received"):
        found.sample(n, 0)


@pytest.mark.parametrize("found", [ENSEMBLE, CHAIN, Mixture((CHAIN, CHAIN)), MEAN_FIELD, DROPOUT], ids=type)
def test_pieces_are_small_and_have_all_samples(found):
    whole = found.sample(7, 3).numpy()
    np.testing.assert_array_equal(np.concatenate(list(posterior.pieces(found, 7, 3, size=7))), whole)
    parts = list(posterior.pieces(found, 7, 3, size=3))
    assert max(map(len, parts)) <= 3 and sum(map(len, parts)) == 7
    if found.num_distinct is not None:
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_pieces_of_a_continuous_posterior_are_independent():
    parts = np.concatenate(list(posterior.pieces(MEAN_FIELD, 3000, 1, size=1000)))
    assert len(np.unique(parts, axis=0)) == 3000
    standard = (parts - MEAN_FIELD.loc) / MEAN_FIELD.scale
    np.testing.assert_allclose(np.mean(standard, axis=0), 0.0, atol=5 / np.sqrt(3000))
    np.testing.assert_allclose(np.std(standard, axis=0), 1.0, atol=5 / np.sqrt(6000))


@pytest.mark.parametrize("found", [ENSEMBLE.components[0], CHAIN, MEAN_FIELD, LOW_RANK, DROPOUT], ids=type)
def test_samples_that_would_exhaust_the_memory_are_refused(found, monkeypatch):
    monkeypatch.setattr("bnnrl.checks._ALWAYS_ALLOWED_BYTES", 0)
    monkeypatch.setattr("bnnrl.checks.available_bytes", lambda: 10 * 4 * found.mean().shape[0])
    assert len(found.sample(10, 0)) == 10
    with pytest.raises(ValueError, match=r"`n`: expected at most 10, for which.*Received: n=11, which takes"):
        found.sample(11, 0)


def test_an_unknown_kind_is_refused():
    for spec in ({"kind": "pickle"}, {}):
        with pytest.raises(ValueError, match=r"expected.*'point'.*Received"):
            posterior.from_arrays(spec, {})


def standardised(sample, mean, cov):
    """Return the largest error of the sample's mean and covariance, in standard errors."""
    n = len(sample)
    mean_z = (sample.mean(0) - mean) / np.sqrt(np.diag(cov) / n)
    cov_error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / n)
    return max(np.abs(mean_z).max(), np.abs((np.cov(sample.T) - cov) / cov_error).max())


def test_samples_and_densities_of_normal_posteriors_follow_their_covariance():
    scale, factor = np.exp(THETA[1]), THETA[2:]
    theta = draws(5, 3, seed=7)
    for found, cov in [(MEAN_FIELD, np.diag(scale**2)), (LOW_RANK, np.diag(scale**2) + factor.T @ factor)]:
        sample = found.sample(20000, 0).numpy()
        assert standardised(sample, THETA[0], cov) < 4.5
        assert standardised(sample, THETA[0], 1.2 * cov) > 4.5  # a wrong covariance is noticed
        np.testing.assert_array_equal(found.mean(), THETA[0])
        np.testing.assert_array_equal(found.sample(7, 3), found.sample(7, 3))
        assert np.all(found.sample(7, 3).numpy() != found.sample(7, 4).numpy())
        assert found.num_distinct is None
        expected = stats.multivariate_normal(THETA[0], cov).logpdf(theta)
        np.testing.assert_allclose(found.log_prob(tf.constant(theta)), expected, rtol=1e-5)
        np.testing.assert_allclose(found.log_prob(tf.constant(theta[0])), expected[0], rtol=1e-5)


def test_a_mixtures_density_is_the_mean_of_its_components():
    theta = tf.constant(draws(5, 3, seed=7))
    found = Mixture((MEAN_FIELD, LOW_RANK)).log_prob(theta)
    expected = np.logaddexp(MEAN_FIELD.log_prob(theta), LOW_RANK.log_prob(theta)) - np.log(2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(Mixture((MEAN_FIELD,)).log_prob(theta[0]), MEAN_FIELD.log_prob(theta[0]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"expected a mixture of normal distributions.*Received: \['Point'\]"):
        Mixture((MEAN_FIELD, ENSEMBLE.components[0])).log_prob(theta)


def test_low_rank_sampling_computes_no_square_matrix():
    size = 200_000  # a square matrix of this size would take 160 GB
    found = LowRank(tf.zeros([size]), tf.ones([size]), tf.ones([3, size]))
    sample = found.sample(2, 0).numpy()
    np.testing.assert_allclose(sample.var(axis=1), 1, rtol=0.02)  # the low-rank part is the same for all entries
    assert np.isfinite(found.log_prob(tf.zeros([size])))


def test_dropout_drops_rows_of_kernels_and_nothing_else():
    theta = DROPOUT.theta.numpy()
    sample = DROPOUT.sample(4000, 0).numpy()
    factors = sample / theta
    np.testing.assert_allclose(factors[:, [*range(6), 12, 13, 26]], 1, rtol=1e-6)
    dense, conv = factors[:, 6:12].reshape(-1, 3, 2), factors[:, 14:26].reshape(-1, 2, 3, 2)
    for rate, kernel, rows in [(0.25, dense, dense[..., 0]), (0.5, conv, conv[:, 0, :, 0])]:
        values = np.unique(np.round(rows, 5))
        np.testing.assert_allclose(values, [0, 1 / (1 - rate)], rtol=1e-4)
        around = rows[:, :, None] if kernel is dense else rows[:, None, :, None]
        np.testing.assert_allclose(kernel, np.broadcast_to(around, kernel.shape), rtol=1e-5)  # whole rows
        kept = (rows > 0).mean(0)
        assert np.all(np.abs(kept - (1 - rate)) < 4.5 * np.sqrt(rate * (1 - rate) / 4000))
        assert np.abs(np.corrcoef((rows > 0).T) - np.eye(3)).max() < 4.5 / np.sqrt(4000)
    np.testing.assert_array_equal(DROPOUT.mean(), theta)
    assert DROPOUT.num_distinct is None


def test_each_member_has_dropout_masks_of_its_own():
    theta = tf.stack([DROPOUT.theta, 2 * DROPOUT.theta])
    masks = DROPOUT.masks([5, 2], 0)
    found = DROPOUT.masked(theta, masks, [5, 2]).numpy()
    assert found.shape == (5, 2, 27)
    for k in range(5):
        for i in range(2):
            own = [None if mask is None else mask[k, i] for mask in masks]
            np.testing.assert_array_equal(found[k, i], DROPOUT.masked(theta[i], own, []))
    assert len({tuple(np.asarray(masks[3])[k, i]) for k in range(5) for i in range(2)}) > 2
