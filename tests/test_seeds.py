"""Seeds: pairs, derived seeds, draws, and that global generators are not used."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow import random

from bnnrl import seeds


def test_an_integer_becomes_a_pair():
    np.testing.assert_array_equal(seeds.as_seed(5), [0, 5])
    np.testing.assert_array_equal(seeds.as_seed(2**31 + 5), [1, 5])
    np.testing.assert_array_equal(seeds.as_seed(np.int8(5)), [0, 5])
    np.testing.assert_array_equal(seeds.as_seed((3, 4)), [3, 4])
    np.testing.assert_array_equal(seeds.as_seed(np.array([3, 4])), [3, 4])
    assert seeds.as_seed(tf.constant([3, 4], tf.int64)).dtype == tf.int32


@pytest.mark.parametrize("bad", [1.5, True, None, "1", (1, 2, 3), (1.0, 2.0), [[1, 2]]], ids=repr)
def test_an_invalid_seed_is_refused(bad):
    with pytest.raises(ValueError, match=r"`seed`: expected.*Received"):
        seeds.as_seed(bad)


def test_derived_seeds_differ_and_repeat():
    pairs = [*seeds.split(0, 3), *(seeds.fold_in(0, i) for i in range(3)), *seeds.split(1, 2), seeds.as_seed(0)]
    assert len({tuple(p.numpy()) for p in pairs}) == len(pairs)
    np.testing.assert_array_equal(seeds.fold_in(7, tf.constant(2)), seeds.fold_in(7, 2))
    np.testing.assert_array_equal(tf.stack(seeds.split(7)), tf.stack(seeds.split(7)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_draws_repeat_and_derived_seeds_are_the_same_under_xla(jit_compile):
    # The seed is an argument: with a constant one TensorFlow would fold the draws before XLA compiles them.
    children = lambda seed: [*seeds.split(seed, 3), seeds.fold_in(seed, 9)]
    compiled = tf.function(
        lambda seed: (seeds.normal([50], seed), seeds.uniform([50], seed), tf.stack(children(seed))),
        autograph=False,
        jit_compile=jit_compile,
    )
    found, again, other = (compiled(tf.constant(seed)) for seed in ([-1, 3], [-1, 3], [-1, 4]))
    for a, b, c in zip(found, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)
    np.testing.assert_array_equal(found[2], tf.stack(children(tf.constant([-1, 3]))))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_draws_are_those_of_tensorflow_by_philox(jit_compile):
    """Published results depend on the numbers of each seed, which `seeds` draws by TensorFlow's raw operations."""

    def ours(seed, bound):
        integers = seeds.uniform([9], seed, 0, bound, tf.int32)
        floats = seeds.uniform([2, 3], seed), seeds.uniform([5], seed, -2.0, 3.0), seeds.uniform([], seed, 1, 4)
        seeded = tf.stack(seeds.split(seed, 3)), seeds.fold_in(seed, bound)
        return [seeds.normal([3, 4], seed), seeds.normal(tf.stack([bound, 2]), seed), integers, *floats, *seeded]

    def theirs(seed, bound):
        normal, uniform = (
            partial(f, seed=seed, alg="philox") for f in (random.stateless_normal, random.stateless_uniform)
        )
        integers = uniform([9], minval=0, maxval=bound, dtype=tf.int32)
        floats = uniform([2, 3]), uniform([5], minval=-2.0, maxval=3.0), uniform([], minval=1, maxval=4)
        seeded = random.split(seed, 3, alg="philox"), random.fold_in(seed, bound, alg="philox")
        return [normal([3, 4]), normal(tf.stack([bound, 2])), integers, *floats, *seeded]

    compiled = [tf.function(f, autograph=False, jit_compile=jit_compile) for f in (ours, theirs)]
    for seed in ((0, 0), (0, 5), (-1, 3), (7, -(2**31)), (2**31 - 1, 2**31 - 1)):
        args = tf.constant(seed), tf.constant(6)
        for found, expected in zip(*(f(*args) for f in compiled), strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(ours(*args), theirs(*args), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_moments_and_bounds():
    x = seeds.normal([20000], 0).numpy()
    assert abs(x.mean()) < 0.03 and abs(x.std() - 1) < 0.03
    u = seeds.uniform([20000], 0, -2.0, 3.0).numpy()
    assert u.min() >= -2 and u.max() < 3 and abs(u.mean() - 0.5) < 0.05
    assert set(seeds.uniform([100], 0, 0, 3, tf.int32).numpy()) == {0, 1, 2}


def test_host_seeds():
    found = [seeds.host_seed(0), seeds.host_seed(1), seeds.host_seed(0, 1), seeds.host_seed(1, 1)]
    assert len(set(found)) == 4 and found[0] == seeds.host_seed(0)
    assert all(isinstance(s, int) and 0 <= s < 2**31 for s in found)
    assert seeds.host_seed((3, 4), 1) == seeds.host_seed(tf.constant([3, 4]), 1) != seeds.host_seed((4, 3), 1)
    assert seeds.host_seed(-1) != seeds.host_seed(1)
    with pytest.raises(ValueError, match=r"`seed`: expected.*Received"):
        seeds.host_seed(0, 1.5)


def test_the_global_generators_are_not_used():
    draw = lambda: (np.random.rand(), tf.random.uniform([]).numpy())  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    tf.random.set_seed(0)
    expected = draw()
    np.random.seed(0)  # noqa: NPY002
    tf.random.set_seed(0)
    for function in (seeds.as_seed, seeds.split, seeds.host_seed, lambda s: seeds.normal([3], s)):
        function(0)
    assert draw() == expected


def test_threefry_gives_its_published_test_vector():
    """The known answer for a counter and key of zeros, from the file kat_vectors of Random123."""
    first, second = seeds._threefry(tf.zeros([2], tf.uint32), tf.zeros([1], tf.uint32))
    assert (int(first[0]), int(second[0])) == (0x6B200159, 0x99BA4EFE)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fast_normal_is_standard_normal(jit_compile):
    draw = tf.function(lambda seed: seeds.fast_normal((5, 40001), seed), autograph=False, jit_compile=jit_compile)
    sample = draw(seeds.as_seed(1)).numpy()
    assert sample.shape == (5, 40001) and sample.dtype == np.float32 and np.isfinite(sample).all()
    assert stats.kstest(sample.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(sample) - np.eye(5)).max() < 0.025  # 5 standard errors
    lagged = np.corrcoef(sample.ravel()[:-1], sample.ravel()[1:])[0, 1]
    assert abs(lagged) < 0.012
    np.testing.assert_array_equal(draw(seeds.as_seed(1)), sample)
    for other in (2, (1, 0), (0, 2)):
        assert np.abs(np.corrcoef(draw(seeds.as_seed(other)).numpy().ravel(), sample.ravel())[0, 1]) < 0.012


@pytest.mark.parametrize(("shape", "jit_compile"), [([7], False), ([3, 1, 5], False), ([2, 7], True)])
def test_a_member_has_the_draws_that_it_has_among_all(shape, jit_compile):
    functions = seeds.normal, seeds.fast_normal, seeds.uniform

    @tf.function(jit_compile=jit_compile)
    def of_all(seed):
        child = seeds.fold_in(seeds.split(seed, 3)[1], 4)
        return [draw([*shape[:-1], 5, shape[-1]], child) for draw in functions]

    @tf.function(jit_compile=jit_compile)
    def of_member(seed, index):
        child = seeds.fold_in(seeds.split(seeds.MemberSeed(seed, index, 5), 3)[1], 4)
        return [draw(shape, child) for draw in functions]

    expected = of_all(seeds.as_seed(3))
    for index in range(5):
        found = [one.numpy() for one in of_member(seeds.as_seed(3), tf.constant(index))]
        for one, every, ulp in zip(found, expected, (0, 4, 0), strict=True):  # the quantile depends on the vector's end
            np.testing.assert_array_max_ulp(one, every[..., index, :].numpy(), maxulp=ulp)
    assert of_member.experimental_get_tracing_count() == 1
    with pytest.raises(ValueError, match=r"`seed`: expected.*Received"):
        seeds.as_seed(seeds.MemberSeed(seeds.as_seed(3), tf.constant(1), 5))
