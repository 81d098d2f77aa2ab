"""MCLMC against the equations in NumPy and known targets, and checks that the tests can fail."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import kstest, norm

import bnnrl
from bnnrl.diagnostics import SamplingWarning, diagnose
from bnnrl.inference import MCLMC, Driver, Ensemble, WarmStart
from bnnrl.inference.mclmc import _turned, autocorrelation_time
from bnnrl.likelihoods import Gaussian
from bnnrl.seeds import as_seed, fold_in, normal, split, uniform
from tests.scenarios import chains_of, draws, expected_moments, gaussian_target, linear_regression, moments, z_scores

LINE = linear_regression()
BATCH = tuple(tf.stack([a] * 2) for a in LINE.data)
STD = np.sqrt(np.diag(LINE.cov))
LAMBDA = 0.1931833275037836


def log_joint(theta):
    """Return log p(θ, data) of LINE by hand, up to a constant, for θ [D]."""
    residual = np.c_[LINE.x, np.ones(24)].astype(np.float64) @ theta - LINE.y[:, 0]
    return -(residual @ residual) / 2 / LINE.noise**2 - theta @ theta / 2 / LINE.prior**2


def turn(u, g, length):
    """Return u and the kinetic energy gained after `length`, as in equation 16 of Robnik et al. 2023."""
    e, delta = g / np.linalg.norm(g), length * np.linalg.norm(g) / (len(g) - 1)
    along = e @ u
    new = (u + e * (np.sinh(delta) + along * (np.cosh(delta) - 1))) / (np.cosh(delta) + along * np.sinh(delta))
    return new, (len(g) - 1) * np.log(np.cosh(delta) + along * np.sinh(delta))


def integrate(theta, u, epsilon, scale):
    """Return θ, u and the kinetic energy gained of a step of the minimal-norm integrator."""
    length, work = epsilon * np.sqrt(len(theta)), 0.0
    for share, move in ((LAMBDA, True), (1 - 2 * LAMBDA, True), (LAMBDA, False)):
        u, gained = turn(u, -24 * LINE.grad(theta) * scale, share * length)
        work += gained
        theta = theta + length / 2 * scale * u if move else theta
    return theta, u, work


@pytest.mark.parametrize("adjusted", [False, True])
def test_golden_transitions(adjusted):
    """The prior's standard deviation is 1.5, the scale of a step; some adjusted trajectories are rejected."""
    epsilon, trajectory = (0.12, 0.6) if adjusted else (0.05, 0.25)
    method = MCLMC(epsilon, trajectory, adjusted=adjusted, chains=2, burn_in=0)
    theta = (LINE.mean + 0.1 * draws(2, 3)).astype(np.float32).astype(np.float64)
    state = method.init(LINE.problem, seed=0, theta=tf.constant(theta))
    u = state.direction.numpy().astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, rtol=1e-5)
    step = tf.function(lambda state, seed: method.step(LINE.problem, state, BATCH, seed), autograph=False)
    outcomes = []
    for t in range(8):
        direction_seed, noise_seed, length_seed, accept_seed = split(t, 4)
        anew = normal([2, 3], direction_seed).numpy()
        anew /= np.linalg.norm(anew, axis=1, keepdims=True)
        factor = float(uniform([], length_seed, 0.0, 2.0)) if adjusted else 1.0
        state, info = step(state, as_seed(t))
        for i in range(2):
            found, v, work = theta[i], anew[i] if adjusted else u[i], 0.0
            for k in range(int(np.ceil(np.float32(factor * trajectory / epsilon)))):
                found, v, gained = integrate(found, v, epsilon, 1.5)
                work += gained
                if not adjusted:
                    noise = np.sqrt(np.expm1(2 * epsilon / trajectory) / 3)
                    v = v + noise * normal([2, 3], fold_in(noise_seed, k)).numpy()[i]
                    v /= np.linalg.norm(v)
            accept = np.exp(min(log_joint(found) - log_joint(theta[i]) - work, 0)) if adjusted else 1.0
            np.testing.assert_allclose(info.accept[i], accept, rtol=2e-3)
            outcomes.append(uniform([2], accept_seed).numpy()[i] < accept)
            theta[i], u[i] = (found, v) if outcomes[-1] else (theta[i], anew[i])
        np.testing.assert_allclose(state.theta, theta, rtol=1e-4)
        np.testing.assert_allclose(state.direction, u, rtol=1e-3, atol=3e-4)
        np.testing.assert_allclose(state.grad, [-24 * LINE.grad(q) for q in theta], rtol=1e-3, atol=2e-2)
        # Go on from the float32 values, so that rounding does not add up over transitions.
        theta, u = (value.numpy().astype(np.float64) for value in (state.theta, state.direction))
    assert any(outcomes) and all(outcomes) != adjusted


def test_a_turn_is_exact_for_short_and_long_ways():
    u, g = np.array([[0.6, 0.8, 0.0]]), np.array([[1.0, -2.0, 3.0]])
    for length in (1e-4, 0.3, 4.0):
        found, work = _turned(tf.constant(u, tf.float32), tf.constant(g, tf.float32), tf.constant(length))
        expected, gained = turn(u[0], g[0], length)
        np.testing.assert_allclose(found[0], expected, atol=1e-6)
        np.testing.assert_allclose(work[0], gained, rtol=1e-4)
    still, work = _turned(tf.constant(u, tf.float32), tf.zeros([1, 3]), tf.constant(1.0))
    np.testing.assert_allclose(still, u, atol=1e-6)
    assert work[0] == 0


def after_burn_in(method, line, steps):
    driver = Driver(line.problem, method, None)
    state, _ = driver.run(method.init(line.problem, 0), line.data, method.burn_in, 1)
    state, info = driver.run(state, line.data, steps, 1, start=method.burn_in)
    return state, info, chains_of(method.posterior(line.problem, state))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["conjugate regression", "random covariance"])
def test_adjusted_chains_are_exact(target):
    line, epsilon = (LINE, 0.01) if target == "conjugate regression" else (gaussian_target(5), 1e-4)
    method = MCLMC(epsilon, adjusted=True, chains=300, burn_in=300, thin=2, max_draws=150)
    state, info, chains = after_burn_in(method, line, 300)
    assert not info.divergent.numpy().any() and abs(np.mean(info.accept) - 0.9) < 0.05
    assert np.abs(z_scores(moments(chains, line.mean), expected_moments(line.cov))).max() < 3.5
    np.testing.assert_allclose(state.scales.scale, np.sqrt(np.diag(line.cov)), rtol=0.1)


@pytest.mark.slow
def test_the_bias_of_unadjusted_chains_shrinks_with_the_energy_error():
    """The variance of each direction of a normal target is off by a share that falls with the energy error."""
    target, root = gaussian_target(5), np.linalg.inv(np.linalg.cholesky(gaussian_target(5).cov))
    off = []
    for energy_error in (0.3, 5e-4):
        method = MCLMC(1e-4, energy_error=energy_error, chains=400, burn_in=300, thin=2, max_draws=200, max_leapfrog=20)
        _, _, chains = after_burn_in(method, target, 400)
        white = (chains.reshape(-1, 5) - target.mean) @ root.T
        off.append(np.abs(np.cov(white.T) - np.eye(5)).max())
        assert np.abs(white.mean(axis=0)).max() < 0.03
    assert off[1] < 0.05 < 0.1 < off[0]


@pytest.mark.parametrize("adjusted", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_exact_draws_stay_exact_and_only_for_the_right_target(adjusted):
    """Unadjusted steps are short here, so that their bias is below what 20 000 draws show."""
    epsilon = 0.9 if adjusted else 0.3
    method = MCLMC(epsilon, adjusted=adjusted, chains=20_000, burn_in=0, max_draws=1)
    driver = Driver(LINE.problem, method, None, jit_compile=False)
    for target, right in [(LINE, True), (linear_regression(noise=0.55), False)]:  # each under the steps of LINE
        exact = np.random.default_rng(2).multivariate_normal(target.mean, target.cov, 20_000)
        state = method.init(LINE.problem, 0, tf.constant(exact))
        state = state._replace(scales=state.scales._replace(scale=tf.constant(STD, tf.float32)))
        state, info = driver.run(state, LINE.data, 2, seed=3)
        assert np.mean(info.accept) > 0.7
        std = np.sqrt(np.diag(target.cov))
        p = [kstest(state.theta[:, i], norm(target.mean[i], std[i]).cdf).pvalue for i in range(3)]
        assert min(p) > 1e-3 if right else max(p) < 1e-3


@pytest.mark.filterwarnings("ignore::bnnrl.diagnostics.SamplingWarning")  # ten draws have not mixed
def test_the_burn_in_adapts_the_step_to_the_energy_error_and_the_scales_to_the_draws():
    method = MCLMC(1e-3, chains=20, burn_in=60, max_draws=10, max_leapfrog=10)
    driver = Driver(LINE.problem, method, None, jit_compile=False)
    state, _ = driver.run(method.init(LINE.problem, 0, tf.constant(LINE.mean)), LINE.data, 60, 1)
    np.testing.assert_allclose(state.scales.scale, STD, rtol=0.3)
    kept = state
    state, _ = driver.run(state, LINE.data, 10, 1, start=60)
    assert state.adaptation.step_size == kept.adaptation.step_size and 0.4 < float(kept.adaptation.step_size) < 1.2
    np.testing.assert_array_equal(state.scales.scale, kept.scales.scale)
    found = diagnose(method.posterior(LINE.problem, state), info=None, state=state)
    assert found.step_size == float(state.adaptation.step_size)


@pytest.mark.parametrize("adjusted", [False, True])
def test_divergent_trajectories_are_counted_and_rejected(adjusted):
    method = MCLMC(1e4, chains=2, burn_in=5, max_draws=1, adjusted=adjusted)
    start = method.init(LINE.problem, 0)
    for step_size in (1e4, 1e25):  # a finite energy, and one that is not
        state = start._replace(adaptation=start.adaptation._replace(step_size=tf.constant(step_size)))
        state, info = method.step(LINE.problem, state, BATCH, seed=0)
        np.testing.assert_array_equal(info.divergent, 1)
        np.testing.assert_array_equal(info.accept, 0)
        np.testing.assert_array_equal(state.theta, start.theta)
        assert np.isfinite(state.log_joint).all() and np.isfinite(state.grad).all()
        assert adjusted or float(state.adaptation.step_size) <= step_size / 2


def test_chains_by_name_start_from_an_ensemble():
    method = bnnrl.inference.for_run("mclmc", bnnrl.inference.Run(400, 100, 100, 300))
    assert isinstance(method, WarmStart) and isinstance(method.method, MCLMC) and method.steps == 200
    assert method.method.burn_in == 100


@pytest.mark.usefixtures("without_xla")
def test_the_acceptance_of_unadjusted_chains_is_no_reason_to_warn():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for adjusted in (False, True):
        method = MCLMC(1e-3, adjusted=adjusted, chains=2, burn_in=5, max_leapfrog=3, target_accept=None)
        bnn = bnnrl.BayesianModel(network, Gaussian(0.5), method=method)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SamplingWarning)
            bnn.fit(LINE.x, LINE.y, None, epochs=12, verbose=0)
        assert adjusted == any("Acceptance is" in str(w.message) for w in caught)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`batch_size`: expected None, for all rows.*Received: 8.*exact log joint"):
        Driver(LINE.problem, MCLMC(), 8)
    with pytest.raises(ValueError, match="`method`: expected an instance of a method for one member"):
        Ensemble(MCLMC())
    with pytest.raises(ValueError, match="`tune_memory`: expected False with adjusted=True.*Received"):
        MCLMC(adjusted=True, tune_memory=True)
    for name, bad in (("trajectory", 0.0), ("energy_error", -1.0), ("mass", "dense"), ("adjusted", 1), ("chains", 0)):
        with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
            MCLMC(**{name: bad})  # pyright: ignore[reportArgumentType]


def test_one_parameter_is_too_few():
    problem = gaussian_target(1).problem
    with pytest.raises(ValueError, match="expected at least 2 parameters.*Received: 1"):
        MCLMC().init(problem, 0)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_autocorrelation_time_of_a_known_process(rho):
    """x(t) = ρ x(t − 1) + noise has n / ESS = (1 + ρ) / (1 − ρ); the mean over entries has an error of some percent."""
    noise = np.random.default_rng(0).normal(size=[4, 600, 31]).astype(np.float32)
    x = noise.copy()
    for t in range(1, 600):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    x[..., 30] = 2.0  # an entry that never moves does not count
    for count in (600, 300):
        x[:, count:] = 1e3  # draws that do not count
        found = autocorrelation_time(tf.constant(x), tf.constant(count))
        np.testing.assert_allclose(found, (1 + rho) / (1 - rho), rtol=0.15)


@pytest.mark.filterwarnings("ignore::bnnrl.diagnostics.SamplingWarning")  # few draws have not mixed
def test_the_last_stage_of_the_burn_in_sets_the_memory():
    """A stretch of 40 of 160 transitions, of which every second is a draw, as the buffer holds 20."""
    method = MCLMC(0.02, chains=4, burn_in=160, max_draws=20, max_leapfrog=5, tune_memory=True)
    driver = Driver(LINE.problem, method, None, jit_compile=False)
    state, _ = driver.run(method.init(LINE.problem, 0, tf.constant(LINE.mean)), LINE.data, 120, 1)
    assert float(state.memory) == 1.0 and int(state.draws.seen) == 0
    adapted = state
    state, _ = driver.run(state, LINE.data, 39, 1, start=120)
    assert float(state.memory) == 1.0 and int(state.draws.seen) == 39
    state, _ = driver.run(state, LINE.data, 1, 1, start=159)
    epsilon = float(state.adaptation.step_size)
    assert epsilon == float(adapted.adaptation.step_size)  # the stretch has fixed steps and scales
    np.testing.assert_array_equal(state.scales.scale, adapted.scales.scale)
    steps = min(np.ceil(1.0 / epsilon), 5)
    time = float(autocorrelation_time(state.draws.theta, tf.constant(20)))
    np.testing.assert_allclose(state.memory, 0.4 * epsilon * 2 * steps * time, rtol=1e-4)
    assert int(state.draws.seen) == 0
    after, _ = driver.run(state, LINE.data, 3, 1, start=160)
    assert method.posterior(LINE.problem, after).sample(1, 0).shape == (1, 3) and int(after.draws.seen) == 3
    assert float(after.memory) == float(state.memory)


def test_a_short_stretch_leaves_the_memory_as_it_is():
    method = MCLMC(0.02, chains=2, burn_in=36, max_draws=20, max_leapfrog=2, tune_memory=True)  # a stretch of nine
    state, _ = Driver(LINE.problem, method, None, jit_compile=False).run(method.init(LINE.problem, 0), LINE.data, 36, 1)
    assert float(state.memory) == 1.0
