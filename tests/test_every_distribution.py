"""Every distribution of TFP as a likelihood by a callable and as a prior, and why some cannot be one."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import bnnrl
from tests.distribution_cases import MULTIVARIATE, REAL, SIMPLEX, SPHERE, UNIVARIATE

S, B, F, K, N = 2, 3, 2, 6, 30
CLASSES = [name for name in dir(tfd) if inspect.isclass(c := getattr(tfd, name)) and issubclass(c, tfd.Distribution)]
LIKELIHOODS = UNIVARIATE | MULTIVARIATE
# One distribution of each kind. The tests of the others, half a second each, are marked slow.
FAST = (
    "Autoregressive BatchReshape Bernoulli Categorical Dirichlet Independent Inflated Laplace LogNormal Mixture "
    "MixtureSameFamily Multinomial MultivariateNormalDiag Normal OneHotCategorical Poisson QuantizedDistribution "
    "Sample StudentT TransformedDistribution VonMises"
)

# Distributions that cannot be a likelihood, with the reason. Each reason has its test below.
BASE = "a base class without a density of its own"
SEVERAL = "a target of several tensors: `Blockwise` makes them one"
FLAT = "log p(y), where finite, has no gradient in the outputs"
UNUSABLE = {
    "Distribution": BASE,
    "AutoCompositeTensorDistribution": BASE,
    "JointDistribution": BASE,
    "JointDistributionCoroutine": SEVERAL,
    "JointDistributionCoroutineAutoBatched": SEVERAL,
    "JointDistributionNamed": SEVERAL,
    "JointDistributionNamedAutoBatched": SEVERAL,
    "JointDistributionSequential": SEVERAL,
    "JointDistributionSequentialAutoBatched": SEVERAL,
    "Deterministic": FLAT,
    "VectorDeterministic": FLAT,
    "Empirical": FLAT,
    "FlatDirichlet": FLAT,
    "SphericalUniform": FLAT,
    "PixelCNN": "a Keras 2 network with weights of its own; log_prob takes the outputs beside the image",
}

rng = np.random.default_rng(0)
X = rng.normal(size=(S, B, F)).astype(np.float32)
THETA = (0.5 * rng.normal(size=(S, F * K + K))).astype(np.float32)
OUTPUTS = X @ THETA[:, : F * K].reshape(S, F, K) + THETA[:, np.newaxis, F * K :]


def problem_of(likelihood, prior=None):
    network = keras.Sequential([keras.Input((F,)), keras.layers.Dense(K)])
    return bnnrl.Problem(network, likelihood, prior or tfd.Normal(0.0, 1.0), N)


def fast(names):
    return [pytest.param(name, marks=() if name in FAST.split() else pytest.mark.slow) for name in names]


def because(reason):
    return [name for name, its_reason in UNUSABLE.items() if its_reason == reason]


def test_every_class_is_in_one_of_the_two_tables():
    assert len(LIKELIHOODS) >= 40
    assert sorted([*LIKELIHOODS, *UNUSABLE]) == sorted(CLASSES)


@pytest.mark.parametrize("name", fast(LIKELIHOODS))
def test_likelihood(name):
    build, y = LIKELIHOODS[name]
    expected = stats.norm.logpdf(THETA).sum(axis=-1)
    for draw, row in np.ndindex(S, B):  # one row at a time, so that no target meets the outputs of another row
        distribution = build(tf.constant(OUTPUTS[draw, row]))
        assert isinstance(distribution, getattr(tfd, name))
        expected[draw] += N / B * np.sum(distribution.log_prob(tf.cast(y[row], distribution.dtype)))
    problem, theta, x, y = problem_of(build), tf.constant(THETA), tf.constant(X), tf.constant(y)

    with tf.GradientTape() as tape:
        tape.watch(theta)
        stacked = problem.log_joint(theta, (x, tf.stack([y] * S)))
    grad = tape.gradient(stacked, theta).numpy()

    assert np.all(np.isfinite(expected))
    np.testing.assert_allclose(stacked, expected, rtol=1e-5)
    np.testing.assert_allclose(problem.log_joint(theta[0], (x[0], y)), expected[0], rtol=1e-5)
    assert np.all(np.isfinite(grad))
    assert np.all(np.abs(grad + THETA).max(axis=-1) > 1e-3)  # the gradient of the prior is −θ


@pytest.mark.parametrize("name", because(BASE))
def test_base_class_has_no_density(name):
    if name == "JointDistribution":
        with pytest.raises(TypeError, match="abstract"):
            tfd.JointDistribution(dtype=tf.float32, validate_args=False, parameters={}, name=name)
        return
    base = getattr(tfd, name)(tf.float32, tfd.NOT_REPARAMETERIZED, validate_args=False, allow_nan_stats=True)
    with pytest.raises(NotImplementedError, match="log_prob"):
        base.log_prob(0.0)


@pytest.mark.parametrize("name", because(SEVERAL))
def test_joint_distribution_has_a_target_of_several_tensors(name):
    def build(o):
        first, second = tfd.Normal(o[..., 0], 1.0), tfd.Poisson(log_rate=o[..., 1])

        def coroutine():
            yield first if name.endswith("AutoBatched") else tfd.JointDistributionCoroutine.Root(first)
            yield second if name.endswith("AutoBatched") else tfd.JointDistributionCoroutine.Root(second)

        models = {"Coroutine": coroutine, "Named": {"a": first, "b": second}, "Sequential": [first, second]}
        model = models[name.removeprefix("JointDistribution").removesuffix("AutoBatched")]
        batched = {"batch_ndims": len(o.shape) - 1} if name.endswith("AutoBatched") else {}
        return getattr(tfd, name)(model, **batched)

    joint = build(tf.constant(OUTPUTS[0]))
    y = joint.sample(seed=0)
    assert tf.nest.is_nested(y) and np.all(np.isfinite(joint.log_prob(y)))
    with pytest.raises((AttributeError, TypeError, ValueError)):
        problem_of(build).log_joint(tf.constant(THETA[0]), (tf.constant(X[0]), y))


@pytest.mark.parametrize("name", because(FLAT))
def test_log_prob_has_no_gradient_in_the_outputs(name):
    build, target = {
        "Deterministic": (lambda o: tfd.Deterministic(o[..., 0]), OUTPUTS[0, :, 0]),
        "Empirical": (lambda o: tfd.Empirical(o[..., :3]), OUTPUTS[0, :, 0]),
        "FlatDirichlet": (lambda o: tfd.FlatDirichlet([*o.shape[:-1], 3]), SIMPLEX),
        "SphericalUniform": (lambda o: tfd.SphericalUniform(3, batch_shape=o.shape[:-1]), SPHERE),
        "VectorDeterministic": (lambda o: tfd.VectorDeterministic(o[..., :3]), OUTPUTS[0, :, :3]),
    }[name]
    outputs = tf.constant(OUTPUTS[0])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        log_prob = build(outputs).log_prob(target)
    assert np.all(np.isfinite(log_prob))
    np.testing.assert_array_equal(tape.gradient(log_prob, outputs, unconnected_gradients="zero"), 0.0)


@pytest.mark.slow
def test_pixel_cnn_takes_the_outputs_beside_the_image():
    pixels = tfd.PixelCNN((2, 2, 1), (K,), num_resnet=1, num_hierarchies=1, num_filters=1, num_logistic_mix=1)
    images = np.zeros([B, 2, 2, 1], np.float32)
    with pytest.raises(ValueError, match="expects 2 input"):
        pixels.log_prob(images)
    assert np.all(np.isfinite(pixels.log_prob(images, conditional_input=OUTPUTS[0])))
    assert pixels.trainable_variables


# Priors. A weight may be any real number, so the support of its prior must be the real line.
BOUNDED = {"GeneralizedExtremeValue", "VonMises"}  # their targets are real numbers above a bound or in an interval
PRIORS = {name: build for name, (build, y) in UNIVARIATE.items() if y is REAL and name not in BOUNDED}
PARAMETERS = np.array([0.3, 0.5, -0.2, 0.4, 0.1, 1.0], np.float32)


@pytest.mark.parametrize(
    "name", [name for name, (_, y) in UNIVARIATE.items() if not np.issubdtype(y.dtype, np.integer)]
)
def test_priors_are_the_distributions_supported_on_the_real_line(name):
    bijector = UNIVARIATE[name][0](tf.constant(PARAMETERS)).experimental_default_event_space_bijector()
    if name == "Mixture":
        assert bijector is None  # not given by TFP; its components, Normal and Laplace, have the real line
        return
    low, high = np.sort([bijector.forward(-25.0), bijector.forward(25.0)])
    assert (low <= -25 and high >= 25) == (name in PRIORS)


@pytest.mark.parametrize("name", fast(PRIORS))
def test_prior(name):
    prior, theta = PRIORS[name](tf.constant(PARAMETERS)), tf.constant(THETA)
    problem = problem_of(lambda o: tfd.Laplace(o[..., 0], 1.0), prior)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        log_prior = problem.log_prior(theta)
    grad = tape.gradient(log_prior, theta).numpy()
    np.testing.assert_allclose(log_prior, np.sum(prior.log_prob(theta), axis=-1), rtol=1e-5)
    assert np.all(np.isfinite(log_prior)) and np.all(np.isfinite(grad)) and np.all(grad != 0)


def test_prior_for_each_weight_path():
    kernel, bias, theta = tfd.Horseshoe(0.5), tfd.StudentT(3.0, 0.0, 1.0), tf.constant(THETA)
    problem = problem_of(lambda o: tfd.Laplace(o[..., 0], 1.0), {"*/kernel": kernel, "*/bias": bias})
    with tf.GradientTape() as tape:
        tape.watch(theta)
        log_prior = problem.log_prior(theta)
    expected = np.sum(kernel.log_prob(THETA[:, : F * K]), axis=-1) + stats.t.logpdf(THETA[:, F * K :], 3).sum(axis=-1)
    np.testing.assert_allclose(log_prior, expected, rtol=1e-5)
    grad = tape.gradient(log_prior, theta).numpy()
    assert np.all(np.isfinite(grad)) and np.all(grad != 0)
