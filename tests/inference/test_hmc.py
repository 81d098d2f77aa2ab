"""HMC and NUTS against the equations in NumPy and known targets, and checks that the tests can fail."""

from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.stats import kstest, norm
from tensorflow_probability import distributions as tfd

from bnnrl import posterior
from bnnrl.inference import HMC, NUTS, Driver, Ensemble
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Mixture, Samples
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed, fold_in, split, uniform
from tests.scenarios import chains_of, draws, expected_moments, gaussian_target, linear_regression, moments, z_scores

LINE = linear_regression()
BATCH = tuple(tf.stack([a] * 2) for a in LINE.data)


def log_joint(theta):
    """Return log p(θ, data) of LINE by hand, up to a constant, for θ [D]."""
    residual = np.c_[LINE.x, np.ones(24)].astype(np.float64) @ theta - LINE.y[:, 0]
    return -(residual @ residual) / 2 / LINE.noise**2 - theta @ theta / 2 / LINE.prior**2


def leapfrog(theta, p, grad, epsilon, steps):
    for _ in range(steps):
        p = p + epsilon / 2 * grad(theta)
        theta = theta + epsilon * p
        p = p + epsilon / 2 * grad(theta)
    return theta, p


@pytest.mark.parametrize("step_size", [0.02, 0.08], ids=["small steps", "large steps"])
def test_golden_transitions(step_size):
    """The prior's standard deviation is 1.5, the unit of a step; steps are so large that some are rejected."""
    method = HMC(step_size, num_leapfrog=7, chains=2, burn_in=0, target_accept=None, jitter=0.5)
    theta = (LINE.mean + 0.1 * draws(2, 3)).astype(np.float32).astype(np.float64)
    state = method.init(LINE.problem, seed=0, theta=tf.constant(theta))
    step = tf.function(lambda state, seed: method.step(LINE.problem, state, BATCH, seed), autograph=False)
    outcomes = []
    for t in range(6):
        momentum_seed, accept_seed, jitter_seed = split(t, 3)
        epsilon = step_size * float(uniform([], jitter_seed, 0.5, 1.5)) * 1.5
        momentum = tf.random.stateless_normal([2, 3], tfp.random.split_seed(momentum_seed, 1)[0]).numpy()
        u = uniform([2], accept_seed).numpy()
        state, info = step(state, as_seed(t))
        for i in range(2):
            before = log_joint(theta[i])
            found, p = leapfrog(theta[i], momentum[i], lambda q: -24 * LINE.grad(q), epsilon, 7)
            ratio = log_joint(found) - before + (momentum[i] @ momentum[i] - p @ p) / 2
            np.testing.assert_allclose(info.accept[i], np.exp(min(ratio, 0)), rtol=1e-3, atol=1e-7)
            np.testing.assert_allclose(info.grad_norm[i], np.linalg.norm(LINE.grad(theta[i])), rtol=1e-4)
            outcomes.append(u[i] < np.exp(min(ratio, 0)))
            theta[i] = found if outcomes[-1] else theta[i]
        np.testing.assert_allclose(state.theta, theta, rtol=1e-4)
        np.testing.assert_allclose(state.grad, [-24 * LINE.grad(q) for q in theta], rtol=1e-3, atol=1e-3)
    assert any(outcomes) and all(outcomes) == (step_size == 0.02)


def test_energies_survive_float32():
    """50 000 weights and no data: the log prior is −70 000, where float32's spacing is 0.008."""
    dim = 50_000
    model = keras.Sequential([keras.Input((dim,)), keras.layers.Dense(1, use_bias=False)])
    problem = Problem(model, Gaussian(1.0), tfd.Normal(0.0, 1.0), 1)
    method = HMC(0.05, num_leapfrog=3, chains=1, burn_in=0, target_accept=None, jitter=0.0)
    theta, batch = draws(1, dim), (tf.zeros([1, 1, dim]), tf.zeros([1, 1, 1]))
    for t in range(3):
        momentum = tf.random.stateless_normal([1, dim], tfp.random.split_seed(split(t, 3)[0], 1)[0]).numpy()[0]
        q, p = leapfrog(theta[0].astype(np.float64), momentum.astype(np.float64), lambda q: -q, 0.05, 3)
        ratio = (theta[0].astype(np.float64) @ theta[0] - q @ q + momentum.astype(np.float64) @ momentum - p @ p) / 2
        _, info = method.step(problem, method.init(problem, 0, tf.constant(theta)), batch, seed=t)
        assert abs(np.log(info.accept[0].numpy()) - min(ratio, 0)) < 2e-4 and ratio < -0.003


@cache
def driver_of(method, jit_compile):
    """Return the driver of a method on LINE; drivers keep no state, so that tests share one and its trace."""
    return Driver(LINE.problem, method, None, jit_compile)


def run(method, line=LINE, steps=200, seed=1, jit_compile=True):
    driver = driver_of(method, jit_compile) if line is LINE else Driver(line.problem, method, None, jit_compile)
    state, _ = driver.run(method.init(line.problem, 0), line.data, method.burn_in, seed)
    state, info = driver.run(state, line.data, steps - method.burn_in, seed, start=method.burn_in)
    assert driver.num_traces == 1
    return state, info, chains_of(method.posterior(line.problem, state))


@pytest.mark.parametrize(
    "method",
    [
        HMC(chains=200),
        pytest.param(HMC(chains=200, mass="diagonal"), marks=pytest.mark.slow),
        pytest.param(NUTS(chains=200, max_doublings=5), marks=pytest.mark.slow),
        pytest.param(NUTS(chains=200, max_doublings=5, mass="diagonal"), marks=pytest.mark.slow),
    ],
    ids=lambda m: f"{type(m).__name__}, {m.mass}",
)
def test_conjugate_regression(method):
    _, info, chains = run(method)
    assert chains.shape == (200, 100, 3) and not info.divergent.numpy().any()
    z = z_scores(moments(chains, LINE.mean), expected_moments(LINE.cov))
    assert np.abs(z).max() < 3


@pytest.mark.slow
@pytest.mark.parametrize("method", [HMC, NUTS])
def test_conjugate_regression_by_the_chains_own_effective_sample_size(method):
    _, _, chains = run(method(chains=4, burn_in=500, max_draws=4000), steps=4500)
    centred = chains - LINE.mean
    products = np.einsum("cki,ckj->ckij", centred, centred)[:, :, *np.triu_indices(3)]
    each = np.concatenate([centred, products], axis=-1).swapaxes(0, 1).astype(np.float64)  # [K, C, 9]
    ess = tfp.mcmc.effective_sample_size(each, cross_chain_dims=1).numpy()
    z = (each.mean((0, 1)) - expected_moments(LINE.cov)) / (each.std((0, 1)) / np.sqrt(ess))
    assert np.abs(z).max() < 3 and ess.min() > 1000


@pytest.mark.slow
@pytest.mark.parametrize("method", [HMC, NUTS])
def test_gaussian_of_random_covariance(method):
    target = gaussian_target(5)
    # ε is in units of the prior's standard deviation, 1000, and those of the posterior are near 1.
    _, _, chains = run(method(1e-4, chains=400, burn_in=100, thin=2, max_draws=200), target, steps=500)
    assert np.abs(z_scores(moments(chains, target.mean), expected_moments(target.cov))).max() < 3.5  # of 20
    cov, mean = np.cov(chains.reshape(-1, 5).T), chains.mean((0, 1))
    inverse = np.linalg.inv(target.cov)
    gap = mean - target.mean
    kl = (np.trace(inverse @ cov) - 5 + gap @ inverse @ gap - np.linalg.slogdet(inverse @ cov)[1]) / 2
    assert kl < 2e-3  # 5 · 8 / 4n for n independent draws: those of 5000 or more


@pytest.mark.parametrize(
    "method",
    [
        HMC(0.05, num_leapfrog=12, chains=20_000, burn_in=0, max_draws=1, target_accept=None),
        pytest.param(
            NUTS(0.08, chains=20_000, max_doublings=5, burn_in=0, max_draws=1, target_accept=None),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda m: type(m).__name__,
)
def test_exact_draws_stay_exact_and_only_for_the_right_target(method):
    driver = driver_of(method, True)
    for target, right in [(LINE, True), (linear_regression(noise=0.55), False)]:  # each under the steps of LINE
        exact = np.random.default_rng(2).multivariate_normal(target.mean, target.cov, 20_000)
        state, info = driver.run(method.init(LINE.problem, 0, tf.constant(exact)), LINE.data, 1, seed=3)
        assert np.mean(info.accept) > 0.7
        p = [kstest(state.theta[:, i], norm(target.mean[i], target.cov[i, i] ** 0.5).cdf).pvalue for i in range(3)]
        assert min(p) > 1e-3 if right else max(p) < 1e-3


@pytest.mark.slow
def test_simulation_based_calibration():
    """Simulation-based calibration: logistic regression with three weights, 200 data sets drawn from the prior."""
    loops, rows, kept = 200, 12, 19
    rng = np.random.default_rng(0)
    truth, x = rng.normal(size=(loops, 3)), rng.normal(size=(loops, rows, 2))
    logits = np.einsum("crf,cf->cr", x, truth[:, :2]) + truth[:, 2:]
    y = rng.uniform(size=(loops, rows)) < 1 / (1 + np.exp(-logits))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    problem = Problem(model, "bernoulli", tfd.Normal(0.0, 1.0), rows)
    batch = tf.constant(x, tf.float32), tf.constant(y[..., np.newaxis], tf.float32)
    method = HMC(0.3, chains=loops, burn_in=50, thin=5, max_draws=kept)

    @tf.function(autograph=False, jit_compile=True)
    def sample(state):
        body = lambda i, state: (i + 1, method.step(problem, state, batch, fold_in(7, i))[0])
        return tf.while_loop(lambda i, _: i < 50 + 5 * kept, body, (tf.constant(0), state))[1]

    state = sample(method.init(problem, 0))
    chains = chains_of(method.posterior(problem, state))
    assert chains.shape == (loops, kept, 3)
    ranks = (chains < truth[:, np.newaxis]).sum(axis=1)  # 0 to 19
    for i in range(3):
        counts = np.bincount(ranks[:, i], minlength=20)
        assert np.square(counts - loops / 20).sum() / (loops / 20) < 43.8  # χ²(19) at 0.001


METHODS = [
    HMC(0.1, num_leapfrog=3, chains=3, burn_in=10, thin=2, max_draws=8),
    NUTS(0.1, max_doublings=3, chains=3, burn_in=10, thin=2, max_draws=8),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_run_cut_in_pieces_equals_the_whole_and_traces_once(method, jit_compile):
    driver, start = driver_of(method, jit_compile), method.init(LINE.problem, 3)
    whole, _ = driver.run(start, LINE.data, 25, seed=5)
    pieces, step = start, 0
    for length in (1, 8, 0, 16):
        pieces, _ = driver.run(pieces, LINE.data, length, seed=5, start=step)
        step += length
    for a, b in zip(tf.nest.flatten(whole), tf.nest.flatten(pieces), strict=True):
        assert tf.is_tensor(b)
        np.testing.assert_array_equal(a, b)
    assert driver.num_traces == 1


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_epsilon_is_adapted_over_the_burn_in_and_then_kept(method):
    driver, state = driver_of(method, False), method.init(LINE.problem, 3)
    seen = []
    for step in range(13):
        state, _ = driver.run(state, LINE.data, 1, seed=5, start=step)
        seen.append(float(state.adaptation.step_size))
    assert len(set(seen[:10])) == 10 and len(set(seen[9:])) == 1
    assert seen[9] == pytest.approx(float(state.adaptation.average))


def test_dual_averaging():
    method = HMC(0.1, num_leapfrog=1, chains=3, burn_in=10, target_accept=0.7)
    driver, state = Driver(LINE.problem, method, None, jit_compile=False), method.init(LINE.problem, 3)
    error, log_average = 0.0, np.log(0.1)
    for t in range(1, 7):
        state, info = driver.run(state, LINE.data, 1, seed=5, start=t - 1)
        error = (1 - 1 / (t + 10)) * error + (0.7 - info.accept.numpy().mean()) / (t + 10)
        log_step = np.log(10 * 0.1) - np.sqrt(t) / 0.05 * error
        log_average = t**-0.75 * log_step + (1 - t**-0.75) * log_average
        np.testing.assert_allclose(np.log(state.adaptation.step_size), log_step, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.log(state.adaptation.average), log_average, rtol=1e-4, atol=1e-5)


def test_the_trajectory_gives_the_number_of_leapfrogs():
    assert HMC()._leapfrogs(tf.constant(0.1)) == 16  # π/2 / 0.1
    assert HMC()._leapfrogs(tf.constant(1e-6)) == 200 and HMC()._leapfrogs(tf.constant(50.0)) == 1
    assert HMC(num_leapfrog=3)._leapfrogs(tf.constant(0.1)) == 3


@pytest.mark.parametrize("method", [HMC, NUTS])
def test_divergent_trajectories_are_counted_and_rejected(method):
    method = method(1e4, chains=2, burn_in=0, max_draws=1, target_accept=None)
    start = method.init(LINE.problem, 0)
    for step_size in (1e4, 1e25):  # a finite energy, and one that is not
        state = start._replace(adaptation=start.adaptation._replace(step_size=tf.constant(step_size)))
        state, info = method.step(LINE.problem, state, BATCH, seed=0)
        np.testing.assert_array_equal(info.divergent, 1)
        np.testing.assert_array_equal(info.accept, 0)
        np.testing.assert_array_equal(state.theta, start.theta)
        assert np.isfinite(state.log_joint).all() and np.isfinite(state.grad).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_starts_and_posterior(method):
    problem = LINE.problem
    np.testing.assert_array_equal(method.init(problem, 4).theta, problem.init(4, 3))
    np.testing.assert_array_equal(method.init(problem, 0, tf.fill([3], 2.0)).theta, tf.fill([3, 3], 2.0))
    with pytest.raises(ValueError, match=r"`theta`: expected shape \[D\], or \[C, D\] with C = 3 chains. Received"):
        method.init(problem, 0, tf.zeros([2, 3]))
    with pytest.raises(ValueError, match="`burn_in`: expected fewer steps"):
        method.posterior(problem, method.init(problem, 0))
    state, _, chains = run(method, steps=16, jit_compile=False)
    found = method.posterior(problem, state)
    assert isinstance(found, Mixture) and all(isinstance(c, Samples) for c in found.components)
    assert found.num_distinct == 9 and len(np.unique(found.sample(9, 0), axis=0)) == len(
        np.unique(chains.reshape(9, 3), axis=0)
    )
    np.testing.assert_array_equal(posterior.from_arrays(*found.to_arrays()).sample(12, 3), found.sample(12, 3))
    np.testing.assert_allclose(found.mean(), chains.mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize("cls", [HMC, NUTS])
def test_minibatches_and_members_are_refused(cls):
    with pytest.raises(ValueError, match=r"`batch_size`: expected None, for all rows.*Received: 8.*exact log joint"):
        Driver(LINE.problem, cls(), 8)
    with pytest.raises(ValueError, match="`method`: expected an instance of a method for one member"):
        Ensemble(cls())


@pytest.mark.parametrize(
    ("cls", "bad"),
    [
        (HMC, {"step_size": 0.0}),
        (HMC, {"num_leapfrog": 0}),
        (HMC, {"trajectory": -1.0}),
        (HMC, {"max_leapfrog": 0}),
        (HMC, {"jitter": 1.0}),
        (HMC, {"target_accept": 1.0}),
        (HMC, {"burn_in": -1}),
        (NUTS, {"step_size": float("nan")}),
        (NUTS, {"max_doublings": 0}),
        (NUTS, {"chains": 0}),
        (NUTS, {"target_accept": 0}),
        (NUTS, {"thin": 0}),
    ],
)
def test_hyper_parameters_are_checked(cls, bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        cls(**bad)
