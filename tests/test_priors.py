"""Priors: log densities against SciPy, and the pattern that each weight matches."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl.priors import Prior

PATHS = ["net/dense/kernel", "net/dense/bias", "net/head/kernel"]
SHAPES = [(2, 3), (3,), (3, 1)]
THETA = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)


def log_prob(prior, theta):
    parts = tf.split(tf.constant(theta), [6, 3, 3], axis=-1)
    weights = [tf.reshape(p, [*theta.shape[:-1], *s]) for p, s in zip(parts, SHAPES, strict=True)]
    return Prior(prior, PATHS, SHAPES).log_prob(tf.constant(theta), weights).numpy()


PRIORS = {
    "scalar": (tfd.Normal(0.1, 0.7), stats.norm.logpdf(THETA, 0.1, 0.7).sum(1)),
    "patterns": (
        {"*/head/*": tfd.Laplace(0.0, 0.5), "*/kernel": tfd.Normal(0.0, 2.0), "*": tfd.Normal(0.0, 0.1)},
        stats.norm.logpdf(THETA[:, :6], 0, 2.0).sum(1)
        + stats.norm.logpdf(THETA[:, 6:9], 0, 0.1).sum(1)
        + stats.laplace.logpdf(THETA[:, 9:], 0, 0.5).sum(1),
    ),
    "a scale for each column, and a vector": (
        {
            "*/dense/kernel": tfd.Normal(0.0, [1.0, 2.0, 3.0]),
            "*/bias": tfd.MultivariateNormalDiag(tf.zeros(3), [1.0, 2.0, 3.0]),
            "*": tfd.Normal(tf.zeros([3, 1]), 1.0),
        },
        stats.norm.logpdf(THETA[:, :6], 0, np.tile([1.0, 2.0, 3.0], 2)).sum(1)
        + stats.norm.logpdf(THETA[:, 6:9], 0, [1.0, 2.0, 3.0]).sum(1)
        + stats.norm.logpdf(THETA[:, 9:], 0, 1).sum(1),
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_log_prob_equals_scipy(name):
    prior, expected = PRIORS[name]
    stacked = log_prob(prior, THETA)
    assert stacked.shape == (4,)
    np.testing.assert_allclose(stacked, expected, rtol=1e-5)
    np.testing.assert_allclose(log_prob(prior, THETA[1]), expected[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (3.0, r"expected a TFP distribution.*Received: 3.0"),
        ({"*": 1.0}, r"expected a TFP distribution.*Received"),
        ({"*/bias": tfd.Normal(0.0, 1.0)}, r"none that matches 'net/dense/kernel'.*last '\*'"),
        (tfd.Normal(tf.zeros(3), 1.0), r"'net/head/kernel': expected.*\(3, 1\).*Received: Normal"),
        (tfd.Normal(tf.zeros([5, 2, 3]), 1.0), r"expected.*Received"),
        ({"*/kernell": tfd.Normal(0.0, 9.0), "*": tfd.Normal(0.0, 1.0)}, r"match a weight. Received: '\*/kernell'"),
        (tfd.Normal(np.zeros(()), 1.0), r"expected a distribution of type float32.*float64"),
        (tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1)), r"'net/dense/kernel': expected.*Received"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        Prior(prior, PATHS, SHAPES)
