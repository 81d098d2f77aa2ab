"""The dynamics model: its fit, its data buffer, and the step function that rollouts call."""

from typing import cast

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import HMC, REGISTRY, Adam, WarmStart
from bnnrl.likelihoods import Gaussian
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.regression import NetworkDraws, RegressionModel
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import as_seed

pytestmark = pytest.mark.usefixtures("without_xla")
SAMPLERS = ["hmc", "nuts", "mclmc", "sgld", "psgld", "csgld", "sghmc"]
A = np.array([[0.9, 0.2], [-0.1, 0.8]])
B = np.array([[0.0], [0.5]])


def transitions(n, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    obs, actions = rng.normal(size=(n, 2)), rng.uniform(-1, 1, size=(n, 1))
    next_obs = obs @ A.T + actions @ B.T + noise * rng.normal(size=obs.shape)
    return obs.astype(np.float32), actions.astype(np.float32), next_obs.astype(np.float32)


@pytest.fixture(scope="module")
def fitted(without_xla):
    model = DynamicsModel(Dynamics(hidden=(16,), size=3, steps=1500), Features(2), 1, capacity=64)
    model.fit(*transitions(64), seed=0)
    return model


def test_learns_a_linear_system(fitted):
    obs, actions, next_obs = transitions(200, seed=1, noise=0.0)
    step = fitted.make_step(fitted.sample(3, as_seed(0)))
    stacked = lambda a: tf.tile(tf.constant(a)[tf.newaxis], [3, 1, 1])
    mean = step(stacked(obs), stacked(actions), tf.zeros([3, 200, 2])).numpy().mean(0)
    assert np.sqrt(np.square(mean - next_obs).mean()) < 0.05
    sigma = step(stacked(obs), stacked(actions), tf.ones([3, 200, 2])).numpy().mean(0) - mean
    assert 0.003 < np.median(sigma) < 0.04  # the system's noise is 0.01


def test_positions_follow_from_their_velocities(fitted):
    obs, actions, _ = (tf.constant(a[np.newaxis]) for a in transitions(5))
    draws, noise = fitted.sample(1, as_seed(0)), tf.ones([1, 5, 2])
    model = DynamicsModel(Dynamics(hidden=(16,)), Features(2), 1, velocities={0: 1}, dt=0.5)
    learned, got = fitted.make_step(draws)(obs, actions, noise), model.make_step(draws)(obs, actions, noise)
    np.testing.assert_array_equal(got[..., 1], learned[..., 1])
    np.testing.assert_allclose(got[..., 0], obs[..., 0] + 0.25 * (obs[..., 1] + learned[..., 1]), rtol=1e-6)


def test_a_sampler_takes_all_rows():
    sampler = HMC(1e-2, 5, chains=2, burn_in=10, max_draws=4)
    dynamics = Dynamics(hidden=(8,), method=WarmStart(sampler, Adam(1e-2), 300), steps=314, batch_size=16)
    model = DynamicsModel(dynamics, Features(2), 1, capacity=64)
    obs, actions, next_obs = transitions(50)
    model.fit(obs, actions, next_obs, seed=0)
    assert model.posterior is not None and model.posterior.num_distinct == 8
    step, stacked = model.make_step(model.sample(8, 1)), lambda a: tf.tile(tf.constant(a)[tf.newaxis], [8, 1, 1])
    found = step(stacked(obs), stacked(actions), tf.zeros([8, 50, 2])).numpy().mean(0)
    assert np.sqrt(np.square(found - next_obs).mean()) < 0.2


def test_the_step_is_the_networks_output_unstandardised(fitted):
    obs, actions, _ = transitions(5, seed=2)
    draws = fitted.sample(3, as_seed(0))
    step, noise = fitted.make_step(draws), np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    stacked = lambda a: tf.tile(tf.constant(a)[tf.newaxis], [3, 1, 1])
    got = step(stacked(obs), stacked(actions), tf.constant(noise)).numpy()
    inputs, targets = fitted.scalers
    z = (np.concatenate([obs, actions], -1) - inputs.mean) / inputs.std
    for s in range(3):
        w = [a.numpy() for a in fitted.problem.network.unflatten(draws.theta[s])]
        hidden = z @ w[0] + w[1]
        out = (hidden / (1 + np.exp(-hidden))) @ w[2] + w[3]
        scale = 3e-2 + np.log1p(np.exp(out[:, 2:]))
        expected = obs + targets.mean + targets.std * (out[:, :2] + scale * noise[s])
        np.testing.assert_allclose(got[s], expected, rtol=1e-4, atol=1e-5)


def test_data_beyond_the_capacity_and_a_column_that_does_not_vary():
    model = DynamicsModel(Dynamics(hidden=(8,), size=2, steps=50), Features(2), 1, capacity=16)
    obs, actions, next_obs = transitions(40)
    obs[:, 0] = next_obs[:, 0] = 7.0
    model.fit(obs, actions, next_obs, seed=0)
    step = model.make_step(model.sample(2, as_seed(0)))
    out = step(
        tf.constant(obs[None, :3].repeat(2, 0)), tf.constant(actions[None, :3].repeat(2, 0)), tf.zeros([2, 3, 2])
    )
    np.testing.assert_allclose(out[..., 0], 7.0, atol=0.2)  # where it stays
    assert np.isfinite(out).all()
    model.fit(*transitions(30), seed=0)
    assert model.driver.num_traces == 1  # the doubled capacity stays


def theta(model: DynamicsModel, draws: int) -> tf.Tensor:
    return cast(NetworkDraws, model.sample(draws, as_seed(0))).theta


def test_rows_beyond_the_data_do_not_matter(monkeypatch):
    """Filled with NaN instead of zeros, they leave the draws as they are."""
    model = DynamicsModel(Dynamics(hidden=(8,), size=2, steps=50), Features(2), 1, capacity=64)
    model.fit(*transitions(40), seed=0)
    before, traces = theta(model, 2).numpy(), model.driver.num_traces

    def pad_with_nan(x, capacity):
        return tf.constant(np.concatenate([x, np.full([capacity - len(x), x.shape[1]], np.nan, np.float32)]))

    monkeypatch.setattr("bnnrl.rl.simulator.regression.pad_rows", pad_with_nan)
    model.fit(*transitions(40), seed=0)
    assert model.driver.num_traces == traces
    np.testing.assert_array_equal(theta(model, 2), before)
    model.fit(*transitions(40), seed=1)
    assert np.any(theta(model, 2).numpy() != before)


def test_a_fixed_noise_is_heeded():
    model = DynamicsModel(
        Dynamics(hidden=(8,), size=2, steps=50, likelihood=Gaussian(0.1)), Features(2), 1, capacity=64
    )
    model.fit(*transitions(40), seed=0)
    assert model.scalers is not None
    step = model.make_step(model.sample(2, as_seed(0)))
    zeros = tf.zeros([2, 4, 2])
    difference = step(zeros, zeros[..., :1], zeros + 1.0) - step(zeros, zeros[..., :1], zeros)
    np.testing.assert_allclose(difference[0, 0], 0.1 * model.scalers[1].std, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_each_method_learns_and_never_retraces(name):
    steps = None if name in SAMPLERS else 1500
    model = DynamicsModel(Dynamics(hidden=(16,), method=name, size=3, steps=steps), Features(2), 1, capacity=64)
    for n in (20, 64):
        model.fit(*transitions(n), seed=0)
    assert model.driver.num_traces == 1
    obs, actions, next_obs = transitions(200, seed=1, noise=0.0)
    step = model.make_step(model.sample(10, as_seed(0)))
    draws = theta(model, 10).shape[0]
    stacked = lambda a: tf.tile(tf.constant(a)[tf.newaxis], [draws, 1, 1])
    mean = step(stacked(obs), stacked(actions), tf.zeros([draws, 200, 2])).numpy().mean(0)
    assert np.sqrt(np.square(mean - next_obs).mean()) < 0.2 * (next_obs - obs).std()


def test_no_simulator_before_a_fit():
    with pytest.raises(ValueError, match="Call fit first"):
        DynamicsModel(Dynamics(hidden=(8,)), Features(2), 1).sample(2, as_seed(0))


@pytest.mark.parametrize(
    ("method", "first", "grown"),
    [(HMC(1e-3, burn_in=1, thin=1, max_draws=1), 256, 512), ("gauss_newton", 192, 320), ("ensemble", 4096, 4096)],
)
def test_the_buffer_of_a_method_that_trains_on_all_rows_begins_small(method, first, grown):
    """A minibatch takes as long on any buffer; a step on all rows takes as long as the buffer has rows.

    XLA compiles a step anew for each size of the buffer, except that of Gauss-Newton learning.
    """
    settings = Dynamics(method=method, hidden=(4,), size=1, steps=3)
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    fits = []
    for rows, expected in [(149, first), (300, grown)]:
        model = RegressionModel(settings, 2, 1, settings.likelihood, capacity=4096)
        for n in (149, rows):
            model.fit(x[:n], x[:n, :1] ** 2, seed=0)
        assert model._capacity == expected
        fits.append(model)
    small = RegressionModel(settings, 2, 1, settings.likelihood, capacity=fits[0]._capacity)
    small.fit(x[:149], x[:149, :1] ** 2, seed=0)
    np.testing.assert_array_equal(fits[0].sample(2, (0, 1)).theta, small.sample(2, (0, 1)).theta)
