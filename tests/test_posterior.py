"""Posteriors: shapes, stratified draws, determinism, arrays."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from bnnrl import posterior, seeds
from bnnrl.posterior import Mixture, Point, Samples
from tests.scenarios import draws

THETA = draws(4, 3)
CHAIN = Samples(tf.constant(draws(5, 3, seed=1)))
ENSEMBLE = Mixture(tuple(Point(tf.constant(t)) for t in THETA))


@dataclass(frozen=True)
class Noisy:
    """N(loc, I), to see what seeds a mixture hands down."""

    loc: float
    num_distinct = None

    def sample(self, n, seed):
        return self.loc + seeds.normal([n, 3], seed)

    def mean(self):
        return tf.fill([3], self.loc)

    def to_arrays(self):
        raise NotImplementedError


def members(sample):
    """Return which member of ENSEMBLE each draw is."""
    return [int(np.flatnonzero((row == THETA).all(1)).item()) for row in sample.numpy()]


def test_a_point_is_all_its_draws():
    point = Point(tf.constant(THETA[0]))
    assert point.num_distinct == 1
    np.testing.assert_array_equal(point.sample(5, 0), np.tile(THETA[0], [5, 1]))
    np.testing.assert_array_equal(point.mean(), THETA[0])


@pytest.mark.parametrize("n", [1, 4, 5, 7, 10, 13])
def test_samples_repeat_none_before_all_were_given(n):
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
def test_draws_of_a_mixture_are_stratified(n):
    for seed in range(3):
        sample = ENSEMBLE.sample(n, seed)
        assert sample.shape == (n, 3)
        counts = Counter(members(sample))
        assert all(counts[i] in (n // 4, n // 4 + bool(n % 4)) for i in range(4))
        np.testing.assert_array_equal(ENSEMBLE.sample(n, seed), sample)


def test_no_component_is_favoured():
    counts = Counter(members(ENSEMBLE.sample(1, seed))[0] for seed in range(200))
    assert all(30 < counts[i] < 70 for i in range(4))  # 50 expected, standard deviation 6


def test_components_draw_independently():
    mixture = Mixture((Noisy(0.0), Noisy(0.0)))
    first, second = tf.split(mixture.sample(2, 0), 2)
    assert np.all(first.numpy() != second.numpy())
    np.testing.assert_array_equal(mixture.sample(5, (1, 2)), mixture.sample(5, (1, 2)))
    assert np.any(mixture.sample(5, 0).numpy() != mixture.sample(5, 1).numpy())
    assert mixture.num_distinct is None


def test_mean_and_number_of_distinct_draws():
    np.testing.assert_allclose(ENSEMBLE.mean(), THETA.mean(0), rtol=1e-6)
    assert ENSEMBLE.num_distinct == 4
    assert Mixture((ENSEMBLE, ENSEMBLE.components[0])).num_distinct == 5
    assert Mixture((CHAIN, CHAIN)).num_distinct == 10


@pytest.mark.parametrize(
    "original",
    [
        Point(tf.constant(THETA[0])),
        CHAIN,
        ENSEMBLE,
        Mixture((ENSEMBLE, ENSEMBLE.components[2])),
        Mixture((CHAIN, CHAIN)),
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


def test_a_mixture_of_one_is_that_one():
    point = ENSEMBLE.components[0]
    assert posterior.mixture([point]) is point
    both = posterior.mixture([point, point])
    assert isinstance(both, Mixture) and both.components == (point, point)


@pytest.mark.parametrize("found", [ENSEMBLE, ENSEMBLE.components[0], CHAIN], ids=type)
@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_the_number_of_draws_is_checked(found, n):
    with pytest.raises(ValueError, match=r"`n`: expected.*Received"):
        found.sample(n, 0)


def test_an_unknown_kind_is_refused():
    for spec in ({"kind": "pickle"}, {}):
        with pytest.raises(ValueError, match=r"expected.*'point'.*Received"):
            posterior.from_arrays(spec, {})
