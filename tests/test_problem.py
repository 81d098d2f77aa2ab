"""Problem: log densities and gradients against NumPy and SciPy, for one θ and several, whole data and minibatches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods, priors
from bnnrl.problem import Problem
from tests.scenarios import draws, linear_regression, mlp

B, S, K = 6, 3, 2
X = draws(B, 3, seed=1)
PRIOR = tfd.Normal(0.0, 0.8)


def forward(problem, theta, x):
    """Return the outputs of `mlp`, 3 -> 5 (no bias) -> 4 -> K, computed by NumPy."""
    parts = problem.network.unflatten(problem.split(tf.constant(theta))[0])
    w1, w2, b2, w3, b3 = (w.numpy().astype(np.float64) for w in parts)
    return np.tanh(np.tanh(x @ w1) @ w2 + b2) @ w3 + b3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


CASES = {
    "fixed": (likelihoods.Gaussian(0.3), draws(B, K), K, lambda f, u, y: stats.norm.logpdf(y, f, 0.3)),
    "learned": (
        likelihoods.Gaussian("learned", floor=0.01),
        draws(B, K),
        K,
        lambda f, u, y: stats.norm.logpdf(y, f, 0.01 + np.exp(u)),
    ),
    "heteroscedastic": (
        likelihoods.Gaussian("heteroscedastic", floor=0.02),
        draws(B, K),
        2 * K,
        lambda f, u, y: stats.norm.logpdf(y, f[:, :K], 0.02 + softplus(f[:, K:])),
    ),
    "categorical": (
        "categorical",
        np.array([0, 1, 2, 2, 1, 0]),
        3,
        lambda f, u, y: (f - np.log(np.exp(f).sum(1, keepdims=True)))[np.arange(B), y],
    ),
    "bernoulli": (
        "bernoulli",
        np.array([[0, 1], [1, 1], [0, 0], [1, 0], [1, 1], [0, 1]]),
        K,
        lambda f, u, y: stats.bernoulli.logpmf(y, sigmoid(f)),
    ),
    "poisson": (
        "poisson",
        np.array([[0, 1], [3, 1], [0, 4], [1, 0], [2, 1], [0, 7]]),
        K,
        lambda f, u, y: stats.poisson.logpmf(y, np.exp(f)),
    ),
    "callable": (
        lambda f: tfd.Independent(tfd.StudentT(4.0, f, 0.5), 1),
        draws(B, K),
        K,
        lambda f, u, y: stats.t.logpdf(y, 4.0, f, 0.5),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    likelihood, y, num_outputs, log_prob = CASES[request.param]
    return Problem(mlp(num_outputs=num_outputs), likelihood, PRIOR, num_data=50), y, log_prob


def test_log_likelihood_equals_numpy(case):
    problem, y, log_prob = case
    theta = 0.5 * draws(problem.num_params)
    likelihood_params = theta[problem.network.num_params :].astype(np.float64)
    expected = log_prob(forward(problem, theta, X), likelihood_params, y).reshape(B, -1).sum(1)
    value = lambda *batch: problem.log_likelihood(tf.constant(theta), tuple(map(tf.constant, batch)))
    np.testing.assert_allclose(value(X, y), expected.sum(), rtol=1e-5)
    weight = np.array([1, 0, 1, 0.5, 0, 2], np.float32)
    np.testing.assert_allclose(value(X, y, weight), expected @ weight, rtol=1e-5)


def test_stacked_equals_one_by_one(case):
    problem, y, _ = case
    theta = tf.constant(0.5 * draws(S, problem.num_params))
    x = tf.constant(draws(S, B, 3, seed=2))
    batch = (
        x,
        tf.tile(tf.constant(y)[tf.newaxis], [S] + [1] * y.ndim),
        tf.constant(np.eye(S, B, dtype=np.float32) + 1),
    )
    for function in (problem.log_likelihood, problem.log_joint, lambda t, b: problem.log_prior(t)):
        stacked = function(theta, batch)
        single = [function(theta[s], tuple(a[s] for a in batch)) for s in range(S)]
        assert stacked.shape == (S,)
        np.testing.assert_allclose(stacked, tf.stack(single), rtol=2e-6)
    np.testing.assert_allclose(problem.apply(theta, x)[1], problem.apply(theta[1], x[1]), rtol=1e-5, atol=1e-6)


def test_log_prior_equals_scipy(case):
    problem, _, _ = case
    theta = draws(problem.num_params)
    weights, likelihood_params = np.split(theta, [problem.network.num_params])
    expected = stats.norm.logpdf(weights, 0, 0.8).sum() + stats.norm.logpdf(likelihood_params, 0, 3.0).sum()
    np.testing.assert_allclose(problem.log_prior(tf.constant(theta)), expected, rtol=1e-5)


def test_the_mean_log_joint_of_minibatches_is_that_of_the_whole_data():
    line = linear_regression()
    theta = tf.constant(draws(3))
    x, y = line.data
    whole = line.problem.log_joint(theta, (x, y))
    np.testing.assert_allclose(
        whole, line.problem.log_prior(theta) + line.problem.log_likelihood(theta, (x, y)), rtol=1e-6
    )
    for size in (1, 6, 12):
        parts = [line.problem.log_joint(theta, (x[i : i + size], y[i : i + size])) for i in range(0, 24, size)]
        np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-5)
    weight = tf.constant(np.arange(24) < 12, tf.float32)
    np.testing.assert_allclose(
        line.problem.log_joint(theta, (x, y, weight)), line.problem.log_joint(theta, (x[:12], y[:12])), rtol=1e-6
    )


def test_with_num_data_returns_a_copy():
    problem = linear_regression().problem
    other = problem.with_num_data(tf.constant(48))
    theta, batch = tf.constant(draws(3)), linear_regression().data
    difference = other.log_joint(theta, batch) - problem.log_joint(theta, batch)
    np.testing.assert_allclose(difference, problem.log_likelihood(theta, batch), rtol=1e-4)
    assert problem.num_data == 24


def test_theta_ends_with_the_learned_scales():
    fixed, learned = (Problem(mlp(), likelihood, PRIOR, 5) for likelihood in (likelihoods.Gaussian(1.0), "gaussian"))
    assert learned.num_params == fixed.num_params + K
    assert learned.init(0, S).shape == (S, learned.num_params)
    weights, likelihood_params = learned.split(learned.init(0, S))
    assert weights.shape == (S, fixed.num_params)
    assert (likelihood_params.numpy() == -1.0).all()
    assert isinstance(learned.prior, priors.Prior)


def test_targets_gain_or_lose_an_axis_of_one():
    line = linear_regression()
    theta, (x, y) = tf.constant(draws(3)), line.data
    assert line.problem.log_likelihood(theta, (x, y)) == line.problem.log_likelihood(theta, (x, y[:, 0]))
    problem = Problem(mlp(num_outputs=3), "categorical", PRIOR, B)
    theta, labels = problem.init(0, 1)[0], tf.constant([0, 1, 2, 2, 1, 0])
    assert problem.log_likelihood(theta, (X, labels)) == problem.log_likelihood(theta, (X, labels[:, tf.newaxis]))


def test_targets_that_do_not_fit_are_refused():
    line = linear_regression()
    for bad in (tf.zeros([24, 2]), tf.zeros([24, 1, 1, 1]), tf.zeros([])):
        with pytest.raises(ValueError, match=r"expected shape.*[Rr]eceived"):
            line.problem.log_likelihood(tf.zeros(3), (tf.constant(line.x), bad))
    with pytest.raises(ValueError, match=r"expected.*[Rr]eceived"):
        line.problem.log_likelihood(tf.zeros(3), (tf.constant(line.x), tf.zeros([1, 1])))


@pytest.mark.parametrize("bad", [0, -3])
def test_counts_are_checked(bad):
    with pytest.raises(ValueError, match=r"`num_data`: expected.*Received"):
        Problem(mlp(), "gaussian", PRIOR, bad)
    with pytest.raises(ValueError, match=r"`n`: expected.*Received"):
        linear_regression().problem.init(0, bad)


def test_an_odd_number_of_outputs_cannot_be_heteroscedastic():
    problem = Problem(mlp(num_outputs=3), likelihoods.Gaussian("heteroscedastic"), PRIOR, 5)
    with pytest.raises(ValueError, match="even number of outputs.*Received: 3"):
        problem.distribution(problem.init(0, 1)[0], tf.constant(X))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_rows_of_weight_zero_have_no_influence_on_value_or_gradient(poison):
    line = linear_regression()
    x, y = np.tile(line.x, [2, 1, 1]), np.tile(line.y, [2, 1, 1])
    weight = np.ones([2, 24], np.float32)
    weight[0, :5], weight[1, 9:] = 0, 0
    x[weight == 0], y[weight == 0] = poison, poison
    theta = tf.constant(draws(2, 3))
    with tf.GradientTape() as tape:
        tape.watch(theta)
        found = line.problem.log_joint(theta, tuple(map(tf.constant, (x, y, weight))))
    grads = tape.gradient(found, theta)
    for s, rows in enumerate((slice(5, 24), slice(0, 9))):
        batch = tf.constant(line.x[rows]), tf.constant(line.y[rows])
        np.testing.assert_allclose(found[s], line.problem.log_joint(theta[s], batch), rtol=1e-5)
        np.testing.assert_allclose(grads[s], -24 * line.grad(theta[s].numpy(), rows), rtol=1e-4)


def test_positions_of_a_sequence_share_the_learned_scales():
    model = keras.Sequential(
        [keras.Input((S, 3)), keras.layers.Dense(K)]
    )  # T = S = B, so that confused axes would not raise
    problem = Problem(model, "gaussian", PRIOR, S)
    theta, x, y = draws(S, problem.num_params), draws(S, S, S, 3), draws(S, S, S, K, seed=1)
    found = problem.log_likelihood(tf.constant(theta), (tf.constant(x), tf.constant(y)))
    for s in range(S):
        kernel, bias, likelihood_params = np.split(theta[s], [3 * K, 4 * K])
        scale = 1e-3 + np.exp(likelihood_params)
        expected = stats.norm.logpdf(y[s], x[s] @ kernel.reshape(3, K) + bias, scale).sum()
        np.testing.assert_allclose(found[s], expected, rtol=1e-5)
        np.testing.assert_allclose(problem.log_likelihood(tf.constant(theta[s]), (x[s], y[s])), expected, rtol=1e-5)


def test_a_subclassed_model_has_as_many_scales_as_outputs():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(K)

        def call(self, x):
            return self.head(x)

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], K)

    model = Net()
    model(np.zeros([B, 3], np.float32))
    problem = Problem(model, "gaussian", PRIOR, B)
    assert problem.num_params == 4 * K + K
    theta, x, y = draws(S, problem.num_params), draws(S, B, 3), draws(S, B, K, seed=1)
    found = problem.log_likelihood(tf.constant(theta), (tf.constant(x), tf.constant(y)))
    for s in range(S):
        kernel, bias, likelihood_params = np.split(theta[s], [3 * K, 4 * K])
        expected = stats.norm.logpdf(y[s], x[s] @ kernel.reshape(3, K) + bias, 1e-3 + np.exp(likelihood_params)).sum()
        np.testing.assert_allclose(found[s], expected, rtol=1e-5)


def test_a_model_of_several_outputs_takes_a_callable_but_no_learned_scale():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    with pytest.raises(ValueError, match=r"learned scale needs .*Received"):
        Problem(model, "gaussian", PRIOR, B)
    problem = Problem(model, lambda f: tfd.Independent(tfd.Normal(f[0], tf.exp(f[1])), 1), PRIOR, B)
    theta, x, y = draws(S, 8), draws(S, B, 3), draws(S, B, 1, seed=1)
    found = problem.log_likelihood(tf.constant(theta), (tf.constant(x), tf.constant(y)))
    w, v = theta[:, :4], theta[:, 4:]
    loc, raw = (np.einsum("sbf,sf->sb", x, a[:, :3]) + a[:, 3:] for a in (w, v))
    np.testing.assert_allclose(found, stats.norm.logpdf(y[..., 0], loc, np.exp(raw)).sum(1), rtol=1e-5)


def test_a_callable_that_takes_the_wrong_axis_is_refused():
    problem = Problem(mlp(), lambda f: tfd.Normal(f[:, 0], tf.math.softplus(f[:, 1])), PRIOR, B)
    theta = problem.init(0, S)
    assert problem.log_likelihood(theta[0], (X, draws(B))).shape == ()
    with pytest.raises(ValueError, match=r"\[S, B, \.\.\.\].*Received: Normal.*from the end"):
        problem.log_likelihood(theta, (tf.constant(draws(S, B, 3)), tf.constant(draws(S, B))))


def test_one_class_is_refused():
    problem = Problem(mlp(num_outputs=1), "categorical", PRIOR, B)
    with pytest.raises(ValueError, match=r"2 at least.*Received: 1 output.*bernoulli"):
        problem.log_likelihood(problem.init(0, 1)[0], (X, tf.zeros(B)))


@pytest.mark.parametrize("shape", [(), (4,), (S, 2), (1, S, 3)], ids=str)
def test_a_theta_of_another_shape_is_refused(shape):
    line = linear_regression()
    for function in (lambda t: line.problem.log_joint(t, line.data), line.problem.log_prior):
        with pytest.raises(ValueError, match=r"`theta`: expected shape \[D\] or \[S, D\] with D = 3. Received"):
            function(tf.zeros(shape))


@pytest.mark.parametrize("prior", [tfd.Normal(0.0, 1.0), {"*": tfd.Normal(0.0, 1.0)}], ids=["scalar", "patterns"])
def test_sums_in_float64(prior):
    """Sums over 30 000 weights or 100 000 rows, of terms near 1; float32 resolves them to 0.004 and 0.016."""
    for inputs, rows in ((30_000, 1), (3, 100_000)):
        model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1, use_bias=False)])
        problem, theta, y = (
            Problem(model, likelihoods.Gaussian(1.0), prior, rows),
            draws(inputs),
            draws(rows, 1, seed=1),
        )
        expected = stats.norm.logpdf(theta.astype(np.float64)).sum() + stats.norm.logpdf(y.astype(np.float64)).sum()
        batch = tf.zeros([rows, inputs]), tf.constant(y)
        found = problem.log_joint(tf.constant(theta), batch, tf.float64)
        assert found.dtype == tf.float64 and abs(found - expected) < 2e-3
        assert problem.log_joint(tf.constant(theta), batch).dtype == tf.float32
        np.testing.assert_allclose(problem.log_joint(tf.constant(theta), batch), expected, rtol=1e-5)


def test_the_priors_standard_deviations():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    prior = {"*/bias": tfd.Cauchy(0.0, 2.0), "*": tfd.Normal(0.0, [0.5, 0.25])}
    found = Problem(model, likelihoods.Gaussian(), prior, B).prior_stddev()
    np.testing.assert_allclose(found, [0.5, 0.25] * 3 + [1.0] * 4)
    found = Problem(model, likelihoods.Gaussian(1.0), tfd.StudentT(1.5, 0.0, 2.0), B).prior_stddev()
    np.testing.assert_allclose(found, np.ones(8))  # its variance is infinite


def test_frozen_is_the_deprecated_name_of_with_batch_statistics():
    line = linear_regression()
    theta, x = tf.constant(draws(3)), tf.constant(line.x)
    with pytest.warns(DeprecationWarning, match=r"Problem\.frozen is deprecated.*Use Problem\.with_batch_statistics"):
        found = line.problem.frozen(theta, x)
    expected = line.problem.with_batch_statistics(theta, x)
    assert found.log_likelihood(theta, line.data) == expected.log_likelihood(theta, line.data)


def test_seeds_may_be_pairs():
    problem = linear_regression().problem
    np.testing.assert_array_equal(problem.init((1, 2), 2), problem.init(tf.constant([1, 2]), 2))
    assert np.any(problem.init((1, 2), 1) != problem.init((2, 1), 1))


def test_a_normal_prior_is_recognised_by_its_gradient():
    uniform_prior = Problem(mlp(), likelihoods.Gaussian(1.0), tfd.Normal(0.5, 0.2), 10).normal_prior
    assert uniform_prior is not None and uniform_prior.mean.shape == uniform_prior.precision.shape == ()
    np.testing.assert_allclose(uniform_prior, [0.5, 25.0], rtol=1e-4)
    prior = {"*/kernel": tfd.Normal(0.0, 2.0), "*": tfd.Normal(1.0, 0.5)}
    problem = Problem(mlp(hidden=()), likelihoods.Gaussian("learned", log_scale_prior_std=3.0), prior, 10)
    found = problem.normal_prior
    assert found is not None
    np.testing.assert_allclose(found.mean, [*[0.0] * 6, 1.0, 1.0, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(found.precision, [*[0.25] * 6, 4.0, 4.0, 1 / 9, 1 / 9], rtol=1e-4)
    assert problem.with_num_data(3).normal_prior is found


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Laplace(0.0, 1.0),
        tfd.StudentT(30.0, 0.0, 1.0),
        tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([0.0, 0.0], [1.0, 0.1])),
        tfd.MultivariateNormalTriL([0.0, 0.0], [[1.0, 0.0], [0.5, 1.0]]),  # correlated
        {"*/kernel": tfd.Normal(0.0, 1.0), "*": tfd.Cauchy(0.0, 1.0)},
    ],
    ids=["Laplace", "Student", "mixture", "correlated", "one of two"],
)
def test_other_priors_are_not_taken_for_normal_ones(prior):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])  # last axes of 2
    assert Problem(network, likelihoods.Gaussian(1.0), prior, 10).normal_prior is None
