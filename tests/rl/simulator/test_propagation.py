"""Propagations against the exact moments of a linear-Gaussian system."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.simulator.propagation import PROPAGATIONS, _cholesky, noise_columns, propagate

S, Q, O, H = 3, 20_000, 2, 4
RNG = np.random.default_rng(0)
A = np.array([[[0.9, 0.3], [-0.2, 0.8]], [[1.0, 0.2], [-0.5, 0.7]], [[0.8, 0.5], [0.1, 1.0]]])  # [S, O, O]
B = np.array([[0.3, -0.2], [-0.1, 0.4], [0.1, 0.1]])  # [S, O]
NOISE = np.array([[0.1, 0.2], [0.3, 0.1], [0.2, 0.2]])  # [S, O] standard deviations
MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[0.2, 0.05], [0.05, 0.1]])


def step(obs, action, noise):
    a, b, std = (tf.constant(x, obs.dtype) for x in (A, B[:, np.newaxis], NOISE[:, np.newaxis]))
    return tf.matmul(obs, a, transpose_b=True) + b + std * noise + 0.0 * action[..., :1]


def particles(name, steps=H, seed=1, per_draw=Q, start=None):
    """Return where particles are after `steps`, [S Q, O]."""
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(MEAN, COVARIANCE, size=(1 if name == "mean" else S, per_draw))
    obs = tf.constant(np.broadcast_to(drawn, [S, per_draw, O]) if start is None else start)
    move, columns = propagate(name, step, 1), noise_columns(name, O)
    for _ in range(steps):
        obs = move(obs, tf.zeros_like(obs), tf.constant(rng.normal(size=(S, per_draw, columns))))
    return obs.numpy()


def of_a_draw(s, steps):
    m, v = MEAN, COVARIANCE
    for _ in range(steps):
        m, v = A[s] @ m + B[s], A[s] @ v @ A[s].T + np.diag(NOISE[s] ** 2)
    return m, v


def of_the_mixture(steps):
    """The moments where each particle keeps its draw: those of the mixture of what all draws give."""
    means, variances = map(np.array, zip(*(of_a_draw(s, steps) for s in range(S)), strict=True))
    return means.mean(0), variances.mean(0) + np.cov(means.T, bias=True)


def of_fresh_draws(steps):
    """The moments where each step has a draw of its own: E[A Σ Aᵀ + diag(σ²)] + Cov[A m + b].

    They depend on the moments before alone, so that particles which are drawn anew from a Gaussian of those moments
    have them too: the first two moments of "ts1" and of "moment_matching" are the same, for a linear system.
    """
    m, v = MEAN, COVARIANCE
    for _ in range(steps):
        moved = A @ m + B
        within = [A[s] @ v @ A[s].T + np.diag(NOISE[s] ** 2) for s in range(S)]
        m, v = moved.mean(0), np.mean(within, axis=0) + np.cov(moved.T, bias=True)
    return m, v


def assert_moments(obs, mean, covariance):
    """Compare moments of particles [N, O] with known ones, in standard errors of as many independent ones."""
    n, centred = len(obs), obs - mean
    products = centred[:, :, np.newaxis] * centred[:, np.newaxis]
    z = np.concatenate(
        [
            centred.mean(0) / (centred.std(0) / np.sqrt(n)),
            ((products.mean(0) - covariance) / (products.std(0) / np.sqrt(n))).ravel(),
        ]
    )
    assert np.abs(z).max() < 4, z
    assert np.abs(centred.mean(0)).max() < 0.02 and np.abs(products.mean(0) - covariance).max() < 0.03  # it has power


@pytest.mark.parametrize(
    ("name", "moments"), [("ts_inf", of_the_mixture), ("ts1", of_fresh_draws), ("moment_matching", of_fresh_draws)]
)
def test_moments(name, moments):
    assert_moments(particles(name).reshape(-1, O), *moments(H))


def test_the_systems_tell_the_propagations_apart():
    (_, kept), (_, fresh) = of_the_mixture(H), of_fresh_draws(H)
    assert np.abs(kept - fresh).max() > 0.1


def test_a_draw_of_ts_inf_has_its_own_moments():
    for s, own in enumerate(particles("ts_inf")):
        assert_moments(own, *of_a_draw(s, H))


@pytest.mark.parametrize("name", ["ts1", "moment_matching"])
def test_draws_are_alike_where_particles_change_theirs(name):
    """After the deal of the last step, particles of any one draw have all particles' moments."""
    moments = of_fresh_draws(H)
    for own in particles(name):
        assert_moments(own, *moments)


def kurtosis(x):
    z = (x - x.mean()) / x.std()
    return np.mean(z**4), np.sqrt(24 / len(x))


def test_moment_matching_makes_the_marginals_gaussian():
    apart = np.array([-3.0, 0.0, 3.0])[:, np.newaxis, np.newaxis] + 0.3 * RNG.normal(size=(S, Q, O))
    for name, is_gaussian in (("ts_inf", False), ("moment_matching", True)):
        obs = particles(name, steps=1, start=apart).reshape(-1, O)
        for x in (*obs.T, obs @ [0.6, -0.8]):
            value, error = kurtosis(x)
            assert (abs(value - 3) < 4 * error) == is_gaussian


def test_the_mean_alone_moves_and_its_spread_is_the_starts():
    start = np.broadcast_to(RNG.normal(size=(1, 50, O)), [S, 50, O])
    moved, expected = particles("mean", per_draw=50, start=start), start[0]
    for _ in range(H):
        expected = expected @ A.mean(0).T + B.mean(0)
    np.testing.assert_allclose(moved, np.broadcast_to(expected, moved.shape), rtol=1e-10)
    one = particles("mean", per_draw=5, start=np.broadcast_to(MEAN, [S, 5, O]))
    np.testing.assert_array_equal(one, np.broadcast_to(one[:1, :1], one.shape))


def test_a_particle_of_ts1_stays_where_it_was_while_its_draws_change():
    """Of particles that no draw moves, each keeps its place; of those that drift, any one is moved by any draw."""
    start = tf.constant(np.arange(S * 40 * O).reshape(S, 40, O), tf.float64)
    noise = tf.constant(RNG.normal(size=(S, 40, noise_columns("ts1", O))))
    still = propagate("ts1", lambda obs, action, noise: obs, 1)
    np.testing.assert_array_equal(still(start, start, noise), start)
    own = tf.constant([1.0, 10.0, 100.0], tf.float64)[:, np.newaxis, np.newaxis]
    drift = propagate("ts1", lambda obs, action, noise: obs + own, 1)
    moved = (drift(start, start, noise) - start).numpy()[..., 0]
    np.testing.assert_array_equal(np.sort(moved.ravel()), np.repeat([1, 10, 100], 40))  # each draw moves as many
    assert all(len(np.unique(row)) == 3 for row in moved)
    carried = propagate("ts1", lambda obs, action, noise: obs + 0.5 * action, 1)
    np.testing.assert_allclose(carried(start, start, noise), 1.5 * start)  # an action stays with its particle


@pytest.mark.parametrize("name", PROPAGATIONS)
def test_policies_never_mix(name):
    num_policies, per_draw = 3, 7
    rng = np.random.default_rng(2)
    noise = tf.constant(rng.normal(size=(S, per_draw, noise_columns(name, O))))
    starts = [tf.constant(rng.normal(size=(S, per_draw, O))) for _ in range(num_policies)]
    actions = [tf.constant(rng.normal(size=(S, per_draw, 1))) for _ in range(num_policies)]
    pushed = lambda obs, action, noise: step(obs, action, noise) + tf.tanh(action)
    together = propagate(name, pushed, num_policies)(
        tf.concat(starts, 1), tf.concat(actions, 1), tf.tile(noise, [1, num_policies, 1])
    )
    for i, (start, action) in enumerate(zip(starts, actions, strict=True)):
        alone = propagate(name, pushed, 1)(start, action, noise)
        np.testing.assert_allclose(together[:, i * per_draw : (i + 1) * per_draw], alone, rtol=1e-10)


@pytest.mark.parametrize("name", PROPAGATIONS)
def test_a_gradient_against_finite_differences(name):
    noise = tf.constant(RNG.normal(size=(H, S, 5, noise_columns(name, O))))
    start, weights = tf.constant(RNG.normal(size=(S, 5, O))), tf.constant(RNG.normal(size=(S, 5, O)))
    move = propagate(name, lambda obs, action, noise: tf.tanh(step(obs, action, noise)) + action, 1)

    def value(start):
        obs = start
        for t in range(H):
            obs = move(obs, tf.sin(obs), noise[t])
        return tf.reduce_sum(weights * obs)

    with tf.GradientTape() as tape:
        tape.watch(start)
        out = value(start)
    gradient = tape.gradient(out, start)
    assert gradient is not None and np.abs(gradient).max() > 1e-3
    rng, eps = np.random.default_rng(3), 1e-6
    for _ in range(4):
        direction = rng.normal(size=start.shape)
        difference = (value(start + eps * direction) - value(start - eps * direction)) / (2 * eps)
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_cholesky_factor(size):
    root = RNG.normal(size=(4, size, size))
    a = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(size)
    np.testing.assert_allclose(_cholesky(tf.constant(a)), np.linalg.cholesky(a), rtol=1e-8, atol=1e-10)


def test_particles_that_are_all_the_same_or_on_a_line_can_be_matched():
    noise = tf.constant(RNG.normal(size=(1, 50, 2 * O)), tf.float32)
    for spread in ([0.0, 0.0], [1.0, -2.0]):
        start = tf.constant(RNG.normal(size=(1, 50, 1)) * spread, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(start)
            moved = propagate("moment_matching", lambda obs, action, noise: obs, 1)(start, start, noise)
        assert np.isfinite(tape.gradient(moved, start)).all()
        x, y = moved.numpy()[0].T
        np.testing.assert_allclose(y - y.mean(), -2.0 * (x - x.mean()), atol=0.02 * abs(spread[1]) + 1e-6)


def test_how_many_columns_of_noise_a_step_takes():
    assert [noise_columns(name, 4) for name in PROPAGATIONS] == [4, 5, 8, 4]
