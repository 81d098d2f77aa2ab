"""Normal scores and quantiles of mixtures against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl.metrics.quantiles import normal_scores, quantiles


def normal_mixture():
    """Return two draws for three rows, with far apart means in the last row."""
    loc = np.array([[0, 1, -50], [1, 1, 50]], np.float32)
    scale = np.array([[1, 2, 0.5], [3, 2, 0.5]], np.float32)
    return loc, scale, tfd.Independent(tfd.Normal(loc[..., np.newaxis], scale[..., np.newaxis]), 1)


@pytest.mark.parametrize("score", [-3.0, -0.4, 0.0, 2.5])
def test_quantiles_invert_the_distribution_function_of_the_mixture(score):
    loc, scale, distribution = normal_mixture()
    found = quantiles(distribution, np.asarray(score))
    assert found.shape == (3, 1)
    rows = [0, 1] if score == 0 else [0, 1, 2]  # the median of the last row is anywhere between its two means
    cdf = stats.norm.cdf(found[:, 0], loc, scale).mean(axis=0)
    np.testing.assert_allclose(cdf[rows], stats.norm.cdf(score), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(normal_scores(distribution, found)[rows], score, atol=1e-3)


def test_far_tails_do_not_saturate():
    distribution = tfd.Normal(tf.zeros([1, 2]), 1.0)
    np.testing.assert_allclose(normal_scores(distribution, np.array([-12, 12], np.float32)), [-12, 12], rtol=1e-4)
    np.testing.assert_allclose(quantiles(distribution, np.asarray(-12.0)), [-12, -12], rtol=1e-4)


def test_scores_of_each_row_and_large_units():
    distribution = tfd.Normal(tf.constant([[1e4, -3e4]]), tf.constant([[20.0, 5.0]]))
    np.testing.assert_allclose(quantiles(distribution, np.array([1.0, -2.0])), [10020, -30010], atol=0.02)


@pytest.mark.parametrize("p", [0.001, 0.025, 0.5, 0.975])
def test_quantiles_of_counts_are_the_smallest_count_that_reaches_the_level(p):
    rate = np.array([0.3, 4.0, 250.0], np.float32)
    distribution = tfd.Independent(tfd.Poisson(rate[np.newaxis, :, np.newaxis]), 1)
    found = quantiles(distribution, np.asarray(stats.norm.ppf(p)))
    np.testing.assert_array_equal(found[:, 0], stats.poisson.ppf(p, rate))


class WithoutCDF(tfd.Normal):
    def _log_cdf(self, x):
        raise NotImplementedError


def test_distributions_without_quantiles_are_refused():
    with pytest.raises(ValueError, match="joint distribution of several entries"):
        quantiles(tfd.MultivariateNormalDiag(tf.zeros([1, 3, 2]), tf.ones([2])), np.asarray(0.0))
    with pytest.raises(ValueError, match="cumulative distribution function.*'normalized'"):
        quantiles(WithoutCDF(tf.zeros([1, 2]), 1.0), np.asarray(-1.0))
