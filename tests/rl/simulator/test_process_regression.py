"""Gaussian processes as the dynamics model: rollouts, their gradient, too many rows, saving and learning."""

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.simulator import process_regression
from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.gaussian_process import ProcessPosterior
from bnnrl.rl.simulator.process_regression import ProcessDraws, ProcessRegression, SubsetWarning
from bnnrl.rl.simulator.propagation import PROPAGATIONS, noise_columns, propagate
from bnnrl.rl.simulator.settings import Dynamics
from tests.rl.point_mass import STEPS, TASK, control_of, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")


def transitions(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    obs, actions = rng.normal(size=(n, 2)), rng.uniform(-1, 1, size=(n, 1))
    velocity = obs[:, 1] - 0.5 * np.sin(obs[:, 0]) + 0.5 * actions[:, 0] + 0.01 * rng.normal(size=n)
    next_obs = np.column_stack([obs[:, 0] + 0.25 * (obs[:, 1] + velocity), velocity])
    return obs.astype(np.float32), actions.astype(np.float32), next_obs.astype(np.float32)


@pytest.fixture(scope="module")
def fitted(without_xla):
    model = DynamicsModel(Dynamics(method="gp"), Features(2), 1, capacity=64)
    model.fit(*transitions(50), seed=0)
    return model


def tiled(a, draws: int = 4) -> tf.Tensor:
    return tf.tile(tf.constant(a)[tf.newaxis], [draws, 1, 1])


def test_a_step_is_accurate_and_its_noise_is_that_of_the_system(fitted):
    obs, actions, next_obs = transitions(100, seed=1)
    step = fitted.make_step(fitted.sample(4, 0))
    zeros = tf.zeros([4, 100, 2])
    found = step(tiled(obs), tiled(actions), zeros).numpy()
    assert np.sqrt(np.square(found.mean(axis=0) - next_obs).mean(axis=0))[1] < 0.03
    noise = step(tiled(obs), tiled(actions), zeros + 1.0).numpy() - found
    np.testing.assert_allclose(noise[..., 1], 0.01, rtol=0.5)


def test_draws_of_a_rollout_have_the_posteriors_mean_and_deviation(fitted):
    obs, actions, _ = transitions(8, seed=2)
    draws = fitted.sample(400, 3)
    inputs = np.concatenate([obs, actions], axis=-1)
    found = fitted.predictive(draws)(tiled(inputs, 400)).mean().numpy()
    mean, std = fitted.posterior.predict(fitted.scalers[0].transform(inputs).astype(np.float64))
    assert (np.abs(found.mean(axis=0) - mean) < 5 * std / np.sqrt(400) + 1e-3).all()
    np.testing.assert_allclose(found.std(axis=0), std, rtol=0.25)
    rough = fitted.regression.predictive(draws, rough=True)(tiled(inputs, 400)).mean().numpy()
    np.testing.assert_allclose(rough[0], mean, atol=1e-3)


@pytest.mark.parametrize("midpoint", [False, True])
def test_the_gradient_through_a_rollout_equals_finite_differences(midpoint):
    model = DynamicsModel(Dynamics(method="gp", midpoint=midpoint), Features(2), 1, 64, {0: 1}, 0.5)
    model.fit(*transitions(30), seed=0)
    step, noise = model.make_step(model.sample(2, 0)), tf.zeros([2, 1, 2])

    def end(action: tf.Tensor) -> tf.Tensor:
        obs = tf.constant([[[0.3, -0.2]], [[-0.5, 0.4]]])
        for _ in range(3):
            obs = step(obs, tf.broadcast_to(action, [2, 1, 1]), noise)
        return tf.reduce_sum(obs[..., 0])

    action = tf.constant(0.2)
    with tf.GradientTape() as tape:
        tape.watch(action)
        value = end(action)
    difference = (end(action + 0.02) - end(action - 0.02)) / 0.04
    np.testing.assert_allclose(tape.gradient(value, action), difference, rtol=2e-2)


def test_more_rows_than_fit_are_a_warning_and_a_subset(monkeypatch):
    obs, actions, next_obs = transitions(40)
    model = DynamicsModel(Dynamics(method="gp", max_rows=25), Features(2), 1, capacity=16)
    with pytest.warns(SubsetWarning, match="at most 25 rows .*Received: 40 rows, whose .* GiB.*25 of them at random"):
        model.fit(obs, actions, next_obs, seed=0)
    assert isinstance(model.posterior, ProcessPosterior) and len(np.unique(model.posterior.x, axis=0)) == 25
    draws = model.sample(2, 0)
    assert isinstance(draws, ProcessDraws) and draws.rows.shape == (25, 3)
    monkeypatch.setattr(process_regression, "available_bytes", lambda: 8 * 8 * 20**2)
    with pytest.warns(SubsetWarning, match=r"at most 20 rows \(`max_rows` is 25\)"):
        model.fit(obs, actions, next_obs, seed=0)


def test_growing_data_keep_the_shapes_until_they_outgrow_the_capacity():
    model, shapes = ProcessRegression(1000, 16), []
    for n in (5, 16, 17):
        obs, actions, next_obs = transitions(n)
        model.fit(np.concatenate([obs, actions], axis=-1), next_obs - obs, seed=0)
        shapes.append(model.sample(3, 0).functions.weights.shape)
    assert shapes == [(3, 2, 16), (3, 2, 16), (3, 2, 32)]


def test_constant_columns_and_a_single_row():
    for n in (1, 12):
        obs, actions, next_obs = transitions(n)
        obs[:, 0] = next_obs[:, 0] = 7.0
        model = DynamicsModel(Dynamics(method="gp"), Features(2), 1, capacity=16)
        model.fit(obs, actions, next_obs, seed=0)
        found = model.make_step(model.sample(4, 0))(tiled(obs), tiled(actions), tf.zeros([4, n, 2])).numpy()
        np.testing.assert_allclose(found[..., 0], 7.0, atol=0.1)
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hidden": (8,)}, r"`hidden`: .*method='gp'.*Received: hidden=\(8,\)"),
        ({"activation": "tanh"}, "`activation`"),
        ({"likelihood": bnnrl.likelihoods.Gaussian()}, "`likelihood`"),
        ({"size": 5}, "`size`"),
        ({"steps": 100}, "`steps`"),
        ({"batch_size": 8}, "`batch_size`"),
        ({"learning_rate": 0.1}, "`learning_rate`"),
        ({"prior_std": 2.0}, "`prior_std`"),
        ({"prior": "learned"}, "`prior`"),
        ({"separate_outputs": True}, "`separate_outputs`"),
        ({"max_rows": 0}, "`max_rows`: expected an integer"),
        ({"method": "ensemble", "max_rows": 10}, "`max_rows`: expected None with method='ensemble'"),
        ({"method": "gpp"}, "Did you mean 'gp'"),
    ],
)
def test_settings_of_networks_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Dynamics(**{"method": "gp", **kwargs})


def test_it_is_a_model_of_dynamics_only(fitted):
    with pytest.raises(ValueError, match=r"`method`.*model of dynamics only, bnnrl\.Dynamics\(method='gp'\)"):
        bnnrl.inference.get("gp")
    with pytest.raises(ValueError, match="`reward_model`: expected settings of a network"):
        bnnrl.PILCO("CartPole-v1", reward_model=Dynamics(method="gp"))
    with pytest.raises(ValueError, match="expected one with a network"):
        _ = fitted.problem
    with pytest.raises(ValueError, match="Call fit first"):
        DynamicsModel(Dynamics(method="gp"), Features(2), 1).sample(2, 0)


@pytest.mark.slow
def test_an_agent_learns_is_saved_and_goes_on_as_if_it_had_never_stopped(tmp_path):
    agent = make_agent(dynamics=Dynamics(method="gp")).learn(2, evaluation_episodes=1)
    agent.save(tmp_path / "agent")
    loaded = bnnrl.load(tmp_path / "agent", task=TASK)
    assert loaded.dynamics == agent.dynamics
    for a, b in zip(*(tf.nest.flatten(each.model.sample(3, 0)) for each in (agent, loaded)), strict=True):
        np.testing.assert_array_equal(a, b)
    for each in (agent, loaded):
        each.learn(1, evaluation_episodes=1)
    assert loaded.history[-1].real_cost == agent.history[-1].real_cost
    assert loaded.history[-1].predicted_cost == agent.history[-1].predicted_cost
    np.testing.assert_array_equal(control_of(loaded).population, control_of(agent).population)
    assert len(loaded.episodes[-1]) == STEPS


@pytest.mark.parametrize("name", PROPAGATIONS)
def test_every_propagation_moves_particles_by_the_process(fitted, name):
    obs, actions, next_obs = (a[:1].repeat(6, axis=0) for a in transitions(1, seed=4))
    step = propagate(name, fitted.make_step(fitted.sample(20, 0)), num_policies=2)
    noise = tf.random.stateless_normal([20, 6, noise_columns(name, 2)], [0, 1])
    found = step(tiled(obs, 20), tiled(actions, 20), noise).numpy()
    assert found.shape == (20, 6, 2)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), next_obs[0], atol=0.05)
    spread = found.std(axis=(0, 1))  # of "mean", rounding alone
    assert (spread < 1e-5).all() if name == "mean" else (spread > 1e-3).all()


def test_the_polynomial_cosine_is_as_exact_as_its_argument():
    x = tf.constant(np.linspace(-30, 30, 10_001), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = process_regression._cosine(x)
    exact = x.numpy().astype(np.float64)
    np.testing.assert_allclose(y, np.cos(exact), atol=4e-6)  # float32 keeps 30 rad to 2e-6
    np.testing.assert_allclose(tape.gradient(y, x), -np.sin(exact), atol=4e-6)


def test_a_buffer_for_long_episodes_begins_small():
    model = ProcessRegression(max_rows=1000, capacity=4096)
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, np.newaxis]
    model.fit(x, np.sin(3 * x), seed=0)
    assert model.sample(2, (0, 1)).functions.weights.shape[-1] == 256
    model._grow(300)
    assert model.sample(2, (0, 1)).functions.weights.shape[-1] == 512
