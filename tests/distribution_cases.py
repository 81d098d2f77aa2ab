"""Likelihoods of every suitable TFP distribution: a function of network outputs, and targets in its support."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import math as tfm

_float32 = lambda values: np.array(values, np.float32)

# Targets of the B rows.
REAL = _float32([-0.7, 0.4, 1.3])
POSITIVE = _float32([0.4, 1.0, 2.5])
UNIT = _float32([0.2, 0.5, 0.9])
COUNT = np.array([0, 1, 3])
BINARY = np.array([0, 1, 1])
CLASS = np.array([0, 2, 1])
REAL3 = _float32([[-0.7, 0.4, 1.3], [0.1, 0.0, 2.0], [1.0, -1.0, 0.5]])
SIMPLEX = _float32([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
COUNT3 = np.array([[5, 0, 0], [1, 2, 2], [0, 4, 1]])
ONE_HOT = np.eye(3, dtype=int)
SPHERE = REAL3 / np.linalg.norm(REAL3, axis=-1, keepdims=True)
MATRIX = np.stack([REAL3[:2, :2], REAL3[:2, 1:], REAL3[1:, :2]])
LOWER = _float32([[[1, 0], [r, np.sqrt(1 - r**2)]] for r in UNIT])  # factors of correlation matrices
CORRELATION = LOWER @ LOWER.swapaxes(-1, -2)
POINTS = _float32([[0.0], [0.7], [2.0]])

pos = tf.math.softplus
diag = tf.linalg.LinearOperatorDiag
lower = tf.linalg.LinearOperatorLowerTriangular


def tril(o):
    return tfb.FillScaleTriL()(o[..., 3:6])


def kernel(o):
    return tfm.psd_kernels.ExponentiatedQuadratic(pos(o[..., 0]), pos(o[..., 1]))


# The i-th argument of a scalar distribution is output r_i ("r") or softplus(r_i) ("p").
BY_ARGUMENTS = [
    ("r", BINARY, "Bernoulli ProbitBernoulli"),
    ("r", UNIT, "ContinuousBernoulli"),
    ("r", COUNT, "Geometric"),
    ("p", COUNT, "Poisson"),
    ("p", POSITIVE, "Chi Chi2 Exponential HalfNormal"),
    ("p", REAL, "Horseshoe"),
    ("rp", REAL, "Cauchy DoublesidedMaxwell Gumbel Laplace Logistic Moyal Normal VonMises"),
    ("rp", POSITIVE, "LogLogistic LogNormal"),
    ("rp", UNIT, "LogitNormal"),
    ("rp", COUNT, "PoissonLogNormalQuadratureCompound"),
    ("pr", UNIT, "RelaxedBernoulli"),
    ("pp", REAL, "ExpGamma ExpInverseGamma SigmoidBeta"),
    ("pp", POSITIVE, "Gamma InverseGamma InverseGaussian NoncentralChi2 Weibull"),
    ("pp", UNIT, "Beta Kumaraswamy"),
    ("pp", COUNT - 1, "Skellam"),
    ("ppp", POSITIVE, "GammaGamma"),
    ("pppp", UNIT, "BetaQuotient"),
    ("prp", REAL, "StudentT"),
    ("prpp", REAL, "TwoPieceStudentT"),
    ("rpp", REAL, "ExponentiallyModifiedGaussian GeneralizedNormal LambertWNormal TwoPieceNormal"),
    ("rprp", REAL, "JohnsonSU SinhArcsinh"),
]

# Other distributions of scalars, from r = [r_0, ..., r_K−1], each [B] or [S, B], and p = softplus(r).
SCALAR = {
    "Bates": (lambda r, p: tfd.Bates(3.0, -p[0], 1 + p[1]), UNIT),
    "BetaBinomial": (lambda r, p: tfd.BetaBinomial(5.0, p[0], p[1]), COUNT),
    "Binomial": (lambda r, p: tfd.Binomial(5.0, logits=r[0]), COUNT),
    "GeneralizedExtremeValue": (lambda r, p: tfd.GeneralizedExtremeValue(r[0], 1 + p[1], 0.1), REAL),
    "GeneralizedPareto": (lambda r, p: tfd.GeneralizedPareto(0.0, p[0], p[1]), POSITIVE),
    "HalfCauchy": (lambda r, p: tfd.HalfCauchy(0.0, p[0]), POSITIVE),
    "HalfStudentT": (lambda r, p: tfd.HalfStudentT(p[0], 0.0, p[1]), POSITIVE),
    "Inflated": (lambda r, p: tfd.Inflated(tfd.Poisson(p[0]), inflated_loc_logits=r[1]), COUNT),
    "LambertWDistribution": (lambda r, p: tfd.LambertWDistribution(tfd.Laplace(r[0], p[1]), 0.0, 1.0, p[2]), REAL),
    "Masked": (lambda r, p: tfd.Masked(tfd.Normal(r[0], p[1]), validity_mask=True), REAL),
    "Mixture": (
        lambda r, p: tfd.Mixture(
            tfd.Categorical(logits=tf.stack(r[:2], axis=-1)), [tfd.Normal(r[2], p[3]), tfd.Laplace(r[4], p[5])]
        ),
        REAL,
    ),
    "NegativeBinomial": (lambda r, p: tfd.NegativeBinomial(4.0, logits=r[0]), COUNT),
    "NormalInverseGaussian": (
        lambda r, p: tfd.NormalInverseGaussian(r[0], p[1], tailweight=p[2], skewness=p[2] * tf.tanh(r[3])),
        REAL,
    ),
    "OrderedLogistic": (lambda r, p: tfd.OrderedLogistic([-1.0, 0.0, 1.0], r[0]), COUNT),
    "PERT": (lambda r, p: tfd.PERT(-p[0], 0.5, 1 + p[1]), UNIT),
    "Pareto": (lambda r, p: tfd.Pareto(p[0], 0.3 * tf.sigmoid(r[1])), POSITIVE),
    "QuantizedDistribution": (lambda r, p: tfd.QuantizedDistribution(tfd.Logistic(r[0], p[1]), 0.0, 3.0), COUNT),
    "StoppingRatioLogistic": (lambda r, p: tfd.StoppingRatioLogistic([-1.0, 0.0, 1.0], r[0]), COUNT),
    "TransformedDistribution": (lambda r, p: tfd.TransformedDistribution(tfd.Normal(r[0], p[1]), tfb.Exp()), POSITIVE),
    "Triangular": (lambda r, p: tfd.Triangular(-p[0], 1 + p[1], tf.sigmoid(r[2])), UNIT),
    "TruncatedCauchy": (lambda r, p: tfd.TruncatedCauchy(r[0], p[1], 0.0, 1.0), UNIT),
    "TruncatedNormal": (lambda r, p: tfd.TruncatedNormal(r[0], p[1], 0.0, 1.0), UNIT),
    "Uniform": (lambda r, p: tfd.Uniform(-p[0], 1 + p[1]), UNIT),
    "ZeroInflatedNegativeBinomial": (
        lambda r, p: tfd.ZeroInflatedNegativeBinomial(inflated_loc_logits=r[0], total_count=4.0, logits=r[1]),
        COUNT,
    ),
    "Zipf": (lambda r, p: tfd.Zipf(1 + p[0]), COUNT + 1),
}

# Distributions of classes, vectors, matrices and series, from outputs o, [B, K] or [S, B, K].
MULTIVARIATE = {
    "Autoregressive": (
        lambda o: tfd.Autoregressive(
            lambda y: tfd.Independent(tfd.Normal(o[..., :3] + tf.cumsum(y, axis=-1, exclusive=True), 1.0), 1),
            sample0=tf.zeros_like(o[..., :3]),
            num_steps=3,
        ),
        REAL3,
    ),
    "BatchBroadcast": (lambda o: tfd.BatchBroadcast(tfd.Normal(o[..., :1], 1.0), with_shape=[3]), REAL3),
    "BatchConcat": (
        lambda o: tfd.BatchConcat([tfd.Normal(o[..., :1], 1.0), tfd.Normal(o[..., 1:3], 1.0)], axis=len(o.shape) - 1),
        REAL3,
    ),
    "BatchReshape": (lambda o: tfd.BatchReshape(tfd.Normal(tf.reshape(o[..., 0], [-1]), 1.0), o.shape[:-1]), REAL),
    "Blockwise": (
        lambda o: tfd.Blockwise([tfd.Normal(o[..., 0], 1.0), tfd.MultivariateNormalDiag(o[..., 1:3])]),
        REAL3,
    ),
    "Categorical": (lambda o: tfd.Categorical(logits=o[..., :3]), CLASS),
    "CholeskyLKJ": (lambda o: tfd.CholeskyLKJ(2, pos(o[..., 0])), LOWER),
    "DeterminantalPointProcess": (
        lambda o: tfd.DeterminantalPointProcess(pos(o[..., :3]), tf.linalg.qr(REAL3)[0]),
        np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1]]),
    ),
    "Dirichlet": (lambda o: tfd.Dirichlet(pos(o[..., :3])), SIMPLEX),
    "DirichletMultinomial": (lambda o: tfd.DirichletMultinomial(5.0, pos(o[..., :3])), COUNT3),
    "ExpRelaxedOneHotCategorical": (lambda o: tfd.ExpRelaxedOneHotCategorical(0.7, logits=o[..., :3]), np.log(SIMPLEX)),
    "FiniteDiscrete": (lambda o: tfd.FiniteDiscrete([0.0, 1.0, 3.0], logits=o[..., :3]), COUNT),
    "GaussianProcess": (lambda o: tfd.GaussianProcess(kernel(o), POINTS, observation_noise_variance=0.1), REAL3),
    "GaussianProcessRegressionModel": (
        lambda o: tfd.GaussianProcessRegressionModel(
            kernel(o), POINTS, POINTS[:2] + 0.3, [0.5, 0.1], observation_noise_variance=0.1
        ),
        REAL3,
    ),
    "HiddenMarkovModel": (
        lambda o: tfd.HiddenMarkovModel(
            tfd.Categorical(logits=o[..., :2]),
            tfd.Categorical(logits=[[1.0, 0.0], [0.0, 1.0]]),
            tfd.Normal(o[..., 2:4], pos(o[..., 4:6])),
            num_steps=3,
        ),
        REAL3,
    ),
    "Independent": (lambda o: tfd.Independent(tfd.Normal(o[..., :3], pos(o[..., 3:])), 1), REAL3),
    "LKJ": (lambda o: tfd.LKJ(2, pos(o[..., 0])), CORRELATION),
    "LinearGaussianStateSpaceModel": (
        lambda o: tfd.LinearGaussianStateSpaceModel(
            num_timesteps=3,
            transition_matrix=tf.tanh(o[..., :1, tf.newaxis]),
            transition_noise=tfd.MultivariateNormalDiag(o[..., 1:2], pos(o[..., 2:3])),
            observation_matrix=[[1.0]],
            observation_noise=tfd.MultivariateNormalDiag([0.0], [0.5]),
            initial_state_prior=tfd.MultivariateNormalDiag(o[..., 3:4], pos(o[..., 4:5])),
        ),
        REAL3[..., np.newaxis],
    ),
    "MarkovChain": (
        lambda o: tfd.MarkovChain(
            tfd.Normal(o[..., 0], 1.0), lambda _, y: tfd.Normal(y * o[..., 1], pos(o[..., 2])), num_steps=3
        ),
        REAL3,
    ),
    "MatrixNormalLinearOperator": (
        lambda o: tfd.MatrixNormalLinearOperator(
            tf.reshape(o[..., :4], [*o.shape[:-1], 2, 2]), diag(pos(o[..., 4:])), diag([1.0, 1.0])
        ),
        MATRIX,
    ),
    "MatrixTLinearOperator": (
        lambda o: tfd.MatrixTLinearOperator(
            4.0, tf.reshape(o[..., :4], [*o.shape[:-1], 2, 2]), diag(pos(o[..., 4:])), diag([1.0, 1.0])
        ),
        MATRIX,
    ),
    "MixtureSameFamily": (
        lambda o: tfd.MixtureSameFamily(tfd.Categorical(logits=o[..., :2]), tfd.Normal(o[..., 2:4], pos(o[..., 4:]))),
        REAL,
    ),
    "Multinomial": (lambda o: tfd.Multinomial(5.0, logits=o[..., :3]), COUNT3),
    "MultivariateNormalDiag": (lambda o: tfd.MultivariateNormalDiag(o[..., :3], pos(o[..., 3:])), REAL3),
    "MultivariateNormalDiagPlusLowRank": (
        lambda o: tfd.MultivariateNormalDiagPlusLowRank(o[..., :3], [1.0, 1.0, 1.0], o[..., 3:, tf.newaxis]),
        REAL3,
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": (
        lambda o: tfd.MultivariateNormalDiagPlusLowRankCovariance(o[..., :3], [1.0, 1.0, 1.0], o[..., 3:, tf.newaxis]),
        REAL3,
    ),
    "MultivariateNormalFullCovariance": (
        lambda o: tfd.MultivariateNormalFullCovariance(o[..., :2], tril(o) @ tf.linalg.matrix_transpose(tril(o))),
        REAL3[:, :2],
    ),
    "MultivariateNormalLinearOperator": (
        lambda o: tfd.MultivariateNormalLinearOperator(o[..., :3], diag(pos(o[..., 3:]))),
        REAL3,
    ),
    "MultivariateNormalTriL": (lambda o: tfd.MultivariateNormalTriL(o[..., :2], tril(o)), REAL3[:, :2]),
    "MultivariateStudentTLinearOperator": (
        lambda o: tfd.MultivariateStudentTLinearOperator(4.0, o[..., :2], lower(tril(o))),
        REAL3[:, :2],
    ),
    "OneHotCategorical": (lambda o: tfd.OneHotCategorical(logits=o[..., :3]), ONE_HOT),
    "PlackettLuce": (lambda o: tfd.PlackettLuce(pos(o[..., :3])), np.array([[0, 1, 2], [2, 0, 1], [1, 0, 2]])),
    "PowerSpherical": (lambda o: tfd.PowerSpherical(tf.math.l2_normalize(o[..., :3], axis=-1), pos(o[..., 3])), SPHERE),
    "RelaxedOneHotCategorical": (lambda o: tfd.RelaxedOneHotCategorical(0.7, logits=o[..., :3]), SIMPLEX),
    "Sample": (lambda o: tfd.Sample(tfd.Normal(o[..., 0], pos(o[..., 1])), 3), REAL3),
    "StudentTProcess": (lambda o: tfd.StudentTProcess(4.0, kernel(o), POINTS, observation_noise_variance=0.1), REAL3),
    "StudentTProcessRegressionModel": (
        lambda o: tfd.StudentTProcessRegressionModel(
            4.0, kernel(o), POINTS, POINTS[:2] + 0.3, [0.5, 0.1], observation_noise_variance=0.1
        ),
        REAL3,
    ),
    "VariationalGaussianProcess": (
        lambda o: tfd.VariationalGaussianProcess(
            kernel(o), POINTS, POINTS[:2] + 0.3, o[..., 2:4], tf.eye(2), observation_noise_variance=0.1
        ),
        REAL3,
    ),
    "VonMisesFisher": (lambda o: tfd.VonMisesFisher(tf.math.l2_normalize(o[..., :3], axis=-1), pos(o[..., 3])), SPHERE),
    "WishartLinearOperator": (lambda o: tfd.WishartLinearOperator(3.0, lower(tril(o))), CORRELATION),
    "WishartTriL": (lambda o: tfd.WishartTriL(3.0, tril(o)), CORRELATION),
}


def _scalar(build):
    def of_outputs(o):
        r = tf.unstack(o, axis=-1)
        return build(r, [pos(a) for a in r])

    return of_outputs


def _by_arguments(name, letters):
    return lambda r, p: getattr(tfd, name)(*[(r if c == "r" else p)[i] for i, c in enumerate(letters)])


UNIVARIATE = {name: (_scalar(build), y) for name, (build, y) in SCALAR.items()} | {
    name: (_scalar(_by_arguments(name, letters)), y) for letters, y, names in BY_ARGUMENTS for name in names.split()
}
