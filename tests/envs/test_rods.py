"""Environments with rods: equations against a Lagrangian, energy, episodes, cost, success, pictures and errors."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from bnnrl_envs import cart_double_pendulum, double_pendulum, pendubot, pendulum
from bnnrl_envs.chain import SwingUp


@dataclass(frozen=True)
class Expected:
    """Expected parameters of a plant, written independently of its code."""

    masses: tuple[float, ...]
    lengths: tuple[float, ...]
    cart: float | None
    damping: tuple[float, ...]  # of each coordinate
    bounds: tuple[float, ...]
    dt: float
    horizon: int
    width: float
    success_steps: int


PLANTS: dict[str, tuple[SwingUp, Expected]] = {
    "Pendulum": (
        pendulum.SWING_UP,
        Expected((1.0,), (1.0,), None, (0.01,), (2.5,), 0.1, 40, 0.5, 10),
    ),
    "DoublePendulum": (
        double_pendulum.SWING_UP,
        Expected((0.5, 0.5), (0.5, 0.5), None, (0, 0), (2.0, 2.0), 0.1, 30, 0.5, 10),
    ),
    "Pendubot": (
        pendubot.SWING_UP,
        Expected((0.5, 0.5), (0.5, 0.5), None, (0, 0), (3.5,), 0.05, 60, 0.25, 20),
    ),
    "CartDoublePendulum": (
        cart_double_pendulum.SWING_UP,
        Expected((0.5, 0.5), (0.6, 0.6), 0.5, (0.1, 0, 0), (20.0,), 0.05, 100, 0.5, 20),
    ),
}
every_plant = pytest.mark.parametrize("name", PLANTS)


def make(name, **kwargs) -> Any:  # Any, since the tests read attributes of the environment itself
    return gymnasium.make(f"bnnrl/{name}-v0", **kwargs)


def random_states(name, n, seed=0):
    states = np.random.default_rng(seed).normal(size=(n, PLANTS[name][0].chain.size))
    return states * np.tile([3.0, 8.0], states.shape[1] // 2)


def random_actions(name, n, seed=1):
    bounds = PLANTS[name][1].bounds
    return np.random.default_rng(seed).uniform(-1, 1, (n, len(bounds))) * bounds


def start_of(name, angles: ArrayLike, x=0.0):
    """Return the state at rest with the rods at the given angles."""
    p = PLANTS[name][1]
    positions = [x] * (p.cart is not None) + [*np.broadcast_to(angles, len(p.lengths))]
    return np.stack([positions, np.zeros(len(positions))], axis=1).ravel()


# The reference replaces each rod by two point masses at the nodes of Gauss-Legendre quadrature, which is exact for the
# energies, and takes the Euler-Lagrange equations by complex-step differentiation. It uses none of the tested formulas.


def energies(p: Expected, q, v) -> tuple[Any, Any]:
    """Kinetic and potential energy [...] of coordinates and velocities [..., N], which may be complex."""
    q, v = np.broadcast_arrays(q, v)
    right, up = (q[..., 0], 0.0) if p.cart else (0.0, 0.0)
    vright, vup = (v[..., 0], 0.0) if p.cart else (0.0, 0.0)
    kinetic, potential = (p.cart * v[..., 0] ** 2 / 2 if p.cart else 0.0), 0.0
    nodes = (np.polynomial.legendre.leggauss(2)[0] + 1) / 2
    for i, (m, l) in enumerate(zip(p.masses, p.lengths, strict=True), p.cart is not None):
        s, c, w = np.sin(q[..., i]), np.cos(q[..., i]), v[..., i]
        for r in l * nodes:
            kinetic = kinetic + m / 2 * ((vright + r * c * w) ** 2 + (vup + r * s * w) ** 2) / 2
            potential = potential + m / 2 * 9.82 * (up - r * c)
        right, up, vright, vup = right + l * s, up - l * c, vright + l * c * w, vup + l * s * w
    return kinetic, potential


def mass_matrix(p: Expected, q):
    """Return the mass matrix [N, N] by polarisation of the kinetic energy."""
    unit = np.eye(len(q))
    kinetic = lambda v: energies(p, q, v)[0]
    return kinetic(unit[:, None] + unit) - kinetic(unit)[:, None] - kinetic(unit)


def lagrangian_derivative(p: Expected, state, action, damping):
    """Return the time derivative of a state from d/dt (M v) = dL/dq + Q."""
    q, v, h = state[::2], state[1::2], 1e-30
    kinetic, potential = energies(p, q + 1j * h * np.eye(len(q)), v)
    dL_dq = (kinetic - potential).imag / h
    M = mass_matrix(p, q + 1j * h * v)  # + i h dM/dt
    generalised = np.pad(action, (0, len(q) - len(action))) - np.multiply(damping, v)
    accelerations = np.linalg.solve(M.real, generalised + dL_dq - M.imag / h @ v)
    return np.stack([v, accelerations], axis=1).ravel()


# Plant


@every_plant
@pytest.mark.parametrize("friction", [None, 0.3])
def test_derivative_is_that_of_the_lagrangian(name, friction):
    swing_up, p = PLANTS[name]
    chain, damping = swing_up.chain, p.damping
    if friction is not None:
        chain = replace(chain, friction=friction)
        damping = (friction, 0, 0) if p.cart else (friction,) * len(p.masses)
    states, actions = random_states(name, 50), random_actions(name, 50)
    expected = [lagrangian_derivative(p, s, u, damping) for s, u in zip(states, actions, strict=True)]
    np.testing.assert_allclose(chain.derivative(states, actions), expected, rtol=1e-9, atol=1e-9)


@every_plant
def test_energy_is_that_of_the_point_masses(name):
    chain, p, states = PLANTS[name][0].chain, PLANTS[name][1], random_states(name, 50)
    np.testing.assert_allclose(chain.energy(states), sum(energies(p, states[:, ::2], states[:, 1::2])), rtol=1e-12)


@every_plant
@pytest.mark.parametrize("steps", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_episodes_match_scipy(name, steps):
    p = PLANTS[name][1]

    def reference(state, action):
        def f(_, y):
            return lagrangian_derivative(p, y, action, p.damping)

        return solve_ivp(f, (0, p.dt), state, "DOP853", rtol=1e-10, atol=1e-10).y[:, -1]

    env = make(name)
    state = env.reset(seed=0)[1]["state"]
    for action in random_actions(name, min(steps, p.horizon)):
        state = reference(state, action)
        np.testing.assert_allclose(env.step(action)[4]["state"], state, atol=1e-5)


def fall(name, friction, seed):
    """Return the energies of a free fall from near upright for a whole episode."""
    env, rng = make(name, friction=friction), np.random.default_rng(seed)
    state = start_of(name, 0.9 * np.pi)
    state = state + rng.normal(scale=0.1, size=len(state))
    states = [env.reset(options={"state": state})[1]["state"]]
    for _ in range(env.unwrapped.horizon):
        states.append(env.step(np.zeros(env.action_space.shape))[4]["state"])
    return env.unwrapped.chain.energy(states)


@every_plant
def test_energy_is_conserved_without_friction_and_lost_with_it(name):
    kept = fall(name, 0.0, seed=0)
    np.testing.assert_allclose(kept, kept[0], rtol=1e-6)
    lost = fall(name, 0.1, seed=0)
    assert (np.diff(lost) < 0).all() and lost[0] - lost[-1] > 0.1


@every_plant
def test_energy_changes_by_the_power_of_actions_and_friction(name):
    swing_up, p = PLANTS[name]
    chain = replace(swing_up.chain, friction=0.2)
    states, actions = random_states(name, 50), random_actions(name, 50)
    rates, h = chain.derivative(states, actions), 1e-6
    change = (chain.energy(states + h * rates) - chain.energy(states - h * rates)) / (2 * h)
    v = states[:, 1::2]
    braked = v[:, :1] if p.cart else v
    power = (actions * v[:, : actions.shape[1]]).sum(axis=1) - 0.2 * (braked**2).sum(axis=1)
    np.testing.assert_allclose(change, power, rtol=1e-5, atol=1e-4)


@every_plant
def test_functions_are_vectorised_over_leading_axes(name):
    swing_up = PLANTS[name][0]
    chain = replace(swing_up.chain, max_step=0.02)
    states, actions = random_states(name, 6).reshape(2, 3, -1), random_actions(name, 6).reshape(2, 3, -1)
    for function in (chain.derivative, lambda s, u: chain.advance(s, u, 0.1)):
        singly = [[function(states[i, j], actions[i, j]) for j in range(3)] for i in range(2)]
        np.testing.assert_allclose(function(states, actions), singly, rtol=1e-10)
    assert chain.energy(states).shape == swing_up.cost(states).shape == (2, 3)
    assert chain.tip(states).shape == (2, 3, 2)


@every_plant
def test_tip(name):
    chain, p = PLANTS[name][0].chain, PLANTS[name][1]
    reach, x = sum(p.lengths), 0.3 if p.cart else 0.0
    for angle, place in ((0, (0, -reach)), (np.pi, (0, reach)), (np.pi / 2, (reach, 0)), (-np.pi / 2, (-reach, 0))):
        np.testing.assert_allclose(chain.tip(start_of(name, angle, x)), place + np.array([x, 0]), atol=1e-12)
    if len(p.lengths) == 2:  # the outer angle is from hanging, not from the inner rod
        np.testing.assert_allclose(chain.tip(start_of(name, [np.pi / 2, 0])), [p.lengths[0], -p.lengths[1]], atol=1e-12)


# Cost and success


@every_plant
def test_cost(name):
    swing_up, p = PLANTS[name]
    for turn in (-np.pi, np.pi, 3 * np.pi):
        np.testing.assert_allclose(swing_up.cost(start_of(name, turn)), 0, atol=1e-12)
    hanging = 1 - np.exp(-((2 * sum(p.lengths) / p.width) ** 2) / 2)
    np.testing.assert_allclose(swing_up.cost(start_of(name, 0)), hanging)
    assert hanging > 0.999
    if p.cart:
        np.testing.assert_allclose(swing_up.cost(start_of(name, np.pi, x=p.width)), 1 - np.exp(-0.5))


@every_plant
def test_success(name):
    swing_up, p = PLANTS[name]
    steps, degree = p.success_steps, np.pi / 180

    def success(last, angles: ArrayLike = np.pi, x=0.0):
        """Return whether an episode succeeds that hangs, but for its `last` states, which are at the angles and x."""
        states = np.tile(start_of(name, 0), (p.horizon + 1, 1))
        states[-last:] = start_of(name, angles, x)
        return swing_up.is_success(states)

    assert success(steps + 1) is True  # the time includes both of its ends
    assert success(steps) is False
    assert success(p.horizon + 1)
    for turn in (-np.pi, np.pi, 5 * np.pi):
        assert success(steps + 1, turn + 9.9 * degree) and not success(steps + 1, turn - 10.1 * degree)
    assert not success(steps + 1, 2 * np.pi) and not success(steps + 1, np.nan)
    if len(p.lengths) == 2:  # one rod is not enough
        assert not success(steps + 1, [np.pi, 0]) and not success(steps + 1, [0, np.pi])
    if p.cart:
        assert success(steps + 1, x=-0.099) and not success(steps + 1, x=-0.101)
    up = np.tile(start_of(name, np.pi), (p.horizon + 1, 1))
    assert not swing_up.is_success(up[:steps])  # too short an episode
    for i in (-1, -steps - 1):  # a single fall within the time is a failure
        fallen = up.copy()
        fallen[i] = start_of(name, 0)
        assert not swing_up.is_success(fallen)
    with pytest.raises(ValueError, match=r"Invalid `states`: .* \(T \+ 1, \d\)"):
        swing_up.is_success(up[:, 1:])


# Episodes


# Gymnasium warns of actions that are not in [-1, 1], and of the unbounded observations of angles that are not wrapped.
@pytest.mark.filterwarnings(
    "error",
    "ignore:.*recommend using a symmetric and normalized space",
    "ignore:.*observation space minimum value is -infinity",
    "ignore:.*observation space maximum value is infinity",
)
@every_plant
def test_check_env(name):
    check_env(make(name).unwrapped)
    check_env(make(name, render_mode="rgb_array").unwrapped)


@every_plant
def test_spaces_length_and_reward(name):
    swing_up, p = PLANTS[name]
    env = make(name)
    assert env.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (swing_up.chain.size,), np.float32)
    high = np.array(p.bounds, np.float32)
    assert env.action_space == gymnasium.spaces.Box(-high, high, dtype=np.float32)
    assert env.metadata["render_fps"] == round(1 / p.dt)
    env.reset(seed=0)
    ends = []
    for _ in range(p.horizon):
        observation, reward, *end, info = env.step(env.action_space.sample())
        ends.append(end[:2])
        assert observation.dtype == np.float32 and info["state"].dtype == np.float64
        assert -reward == info["cost"] == swing_up.cost(info["state"]) and -1 <= reward <= 0
    assert ends == [[False, False]] * (p.horizon - 1) + [[False, True]]
    short = make(name, horizon=1)
    short.reset(seed=0)
    assert short.step(env.action_space.sample())[3]


@every_plant
def test_a_seed_fixes_the_episode(name):
    def episode(seed):
        env = make(name)
        observations = [env.reset(seed=seed)[0]]
        return np.array(observations + [env.step(u)[0] for u in random_actions(name, 3)])

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3) != episode(4)).any(axis=1).all()


@every_plant
def test_start_and_noise(name):
    n, env = 2000, make(name).unwrapped
    env.reset(seed=0)
    pairs = [env.reset() for _ in range(n)]
    starts = np.array([info["state"] for _, info in pairs])
    noise = np.array([observation for observation, _ in pairs]) - starts
    for sample, std in ((starts, 0.1), (noise, 0.01)):
        slack = 5 * std / np.sqrt(n)  # five standard errors
        np.testing.assert_allclose(sample.mean(axis=0), 0, atol=slack)
        np.testing.assert_allclose(sample.std(axis=0), std, atol=slack)
    observation, info = make(name, obs_noise_std=0.0).reset(seed=0)
    np.testing.assert_array_equal(observation, info["state"].astype(np.float32))


@every_plant
def test_actions_are_clipped(name):
    def reached(scale):
        env = make(name)
        env.reset(seed=0)
        return env.step(scale * np.array(PLANTS[name][1].bounds))[4]["state"]

    np.testing.assert_array_equal(reached(5.0), reached(1.0))
    np.testing.assert_array_equal(reached(-5.0), reached(-1.0))
    assert (reached(1.0) != reached(0.9)).any()


# Pictures


@every_plant
def test_frames_show_the_state_and_the_action(name):
    env, p = make(name, render_mode="rgb_array"), PLANTS[name][1]

    def frame(angles, action=None):
        env.reset(seed=0, options={"state": start_of(name, angles)})
        if action is not None:
            env.step(action)
        return env.render()

    hanging, upright = frame(0), frame(np.pi)
    assert hanging.shape == (320, 480, 3) and hanging.dtype == np.uint8
    np.testing.assert_array_equal(frame(2 * np.pi), hanging)
    assert (frame(0.1) != hanging).any(axis=-1).sum() > 100
    down, up = (np.flatnonzero(((image.astype(int) @ [1, 0, -1]) > 100).any(axis=1)) for image in (hanging, upright))
    assert up.max() < 180 and up.min() < 80 and down.max() > 240  # rows of red and orange rods
    for i in range(len(p.bounds)):  # blue arrows
        blue = [
            ((frame(0, share * np.eye(len(p.bounds))[i] * p.bounds).astype(int) @ [-1, 0, 1]) > 100).sum()
            for share in (-1, 0, 0.3, 1)
        ]
        assert blue[1] == 0 and blue[0] > blue[2] > 20 and blue[3] > blue[2]
    np.testing.assert_array_equal(copy.deepcopy(env).render(), env.render())
    env.close()


# Mistakes


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"horizon": 0}, "Invalid `horizon`: expected a positive integer .* horizon=0"),
        ({"friction": -0.1}, "Invalid `friction`.*friction=-0.1"),
        ({"obs_noise_std": -1}, "Invalid `obs_noise_std`.*obs_noise_std=-1"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make("Pendulum", **kwargs)


def test_bad_actions_and_starts():
    env = make("DoublePendulum").unwrapped
    with pytest.raises(ValueError, match=r"Invalid `options\['state'\]`: expected finite numbers of shape \(4,\)"):
        env.reset(options={"state": np.zeros(2)})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"Invalid `action`: expected finite numbers of shape \(2,\)"):
        env.step([1.0])
