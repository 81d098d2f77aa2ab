"""Cart-pole swing-up: equations of motion, noise, episodes, pictures and errors."""

import copy
import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs import registration
from gymnasium.utils.env_checker import check_env
from scipy.integrate import solve_ivp

import bnnrl_envs
from bnnrl_envs.cartpole_swingup import PRESETS, Preset, advance, cost, derivative, energy, is_success

ENV_ID = "bnnrl/CartPoleSwingUp-v0"
every_preset = pytest.mark.parametrize("preset", PRESETS)


def make(**kwargs) -> Any:  # Any, since the tests read attributes of the environment itself
    return gymnasium.make(ENV_ID, **kwargs)


def random_states(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4)) * [1.0, 2.0, 3.0, 8.0]


# The reference replaces the rod by two point masses at the nodes of Gauss-Legendre quadrature, which is exact for
# kinetic and potential energy. So it uses neither a moment of inertia nor any of the tested formulas.
def rod_points(length):
    nodes, weights = np.polynomial.legendre.leggauss(2)
    return zip(0.5 * weights / 2, length * (nodes + 1) / 2, strict=True)


def lagrangian_derivative(state, force, length, gravity, friction):
    _, xdot, theta, thetadot = state
    s, c = np.sin(theta), np.cos(theta)
    mass_matrix = np.diag([0.5, 0.0])
    generalised = np.array([force - friction * xdot, 0.0])
    for m, r in rod_points(length):
        jacobian = np.array([[1.0, r * c], [0.0, r * s]])  # of (x + r s, -r c) by (x, theta)
        centripetal = r * thetadot**2 * np.array([-s, c])
        mass_matrix += m * jacobian.T @ jacobian
        generalised += m * jacobian.T @ (np.array([0.0, -gravity]) - centripetal)
    xddot, thetaddot = np.linalg.solve(mass_matrix, generalised)
    return np.array([xdot, xddot, thetadot, thetaddot])


def point_energy(state, length, gravity):
    _, xdot, theta, thetadot = state
    total = 0.5 * xdot**2 / 2
    for m, r in rod_points(length):
        velocity = [xdot + r * thetadot * np.cos(theta), r * thetadot * np.sin(theta)]
        total += m * (np.square(velocity).sum() / 2 - gravity * r * np.cos(theta))
    return total


# Registration


def test_registered_by_import_by_hand_and_inside_a_namespace():
    assert ENV_ID in gymnasium.registry
    before = set(gymnasium.registry)
    bnnrl_envs.register_envs()  # a second time, without a warning or a change
    for scope in (None, "bnnrl"):  # as a plugin loader of Gymnasium before 1.0 calls it
        gymnasium.registry.pop(ENV_ID)
        with registration.namespace(scope):  # pyright: ignore[reportArgumentType]
            bnnrl_envs.register_envs()
            bnnrl_envs.register_envs()
        assert set(gymnasium.registry) == before
    env: Any = gymnasium.make(f"bnnrl_envs:{ENV_ID}")
    assert env.spec.id == ENV_ID


# Gymnasium warns of forces that are not in [-1, 1], and of the unbounded observations of an angle that is not wrapped.
@pytest.mark.filterwarnings(
    "error",
    "ignore:.*recommend using a symmetric and normalized space",
    "ignore:.*observation space minimum value is -infinity",
    "ignore:.*observation space maximum value is infinity",
)
@every_preset
def test_check_env(preset):
    check_env(make(preset=preset).unwrapped)


def test_preset_table():
    assert make().unwrapped.parameters is PRESETS["pilco"]
    table = {name: dataclasses.astuple(p)[:7] for name, p in PRESETS.items()}
    assert table == {
        "pilco": (0.5, 9.82, 0.1, 40, 0.1, 0.01, "tip"),
        "deep-pilco": (0.6, 9.82, 0.1, 25, 0.1, 0.0, "tip"),
        "mc-pilco": (0.5, 9.81, 0.05, 60, 0.01, 0.01, "angle"),
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["pilco"].length = 1.0  # pyright: ignore[reportAttributeAccessIssue]


@every_preset
def test_spaces_and_frame_rate(preset):
    env = make(preset=preset)
    assert env.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-10, 10, (1,), np.float32)
    assert env.metadata["render_fps"] == {"mc-pilco": 20}.get(preset, 10)
    assert env.unwrapped.__class__.metadata["render_fps"] == 10  # instances do not change the class


# Plant


@pytest.mark.parametrize(("length", "gravity", "friction"), [(0.5, 9.82, 0.1), (0.6, 9.81, 0.0)])
def test_derivative_is_that_of_the_lagrangian(length, gravity, friction):
    states = random_states(50)
    forces = np.random.default_rng(1).uniform(-10, 10, 50)
    expected = [
        lagrangian_derivative(state, force, length, gravity, friction)
        for state, force in zip(states, forces, strict=True)
    ]
    actual = derivative(states, forces, length, gravity, friction)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_functions_are_vectorised_over_leading_axes():
    states, forces = random_states(6).reshape(2, 3, 4), np.arange(6.0).reshape(2, 3)
    for function in (derivative, lambda s, u: advance(s, u, 0.1)):
        singly = [[function(states[i, j], forces[i, j]) for j in range(3)] for i in range(2)]
        np.testing.assert_allclose(function(states, forces), singly, rtol=1e-12)
    assert energy(states).shape == cost(states).shape == cost(states, "mc-pilco").shape == (2, 3)


@every_preset
def test_episodes_match_scipy(preset):
    p, env = PRESETS[preset], make(preset=preset)

    def reference(state, force):
        def f(_, y):
            return lagrangian_derivative(y, force, p.length, p.gravity, 0.1)

        return solve_ivp(f, (0, p.dt), state, "DOP853", rtol=1e-10, atol=1e-10).y[:, -1]

    for seed in range(2):
        state = env.reset(seed=seed)[1]["state"]
        env.action_space.seed(seed)
        for _ in range(p.horizon):
            action = env.action_space.sample()
            state = reference(state, action[0])
            reached = env.step(action)[4]["state"]
            np.testing.assert_allclose(reached, state, atol=1e-4)


def test_energy_is_that_of_the_point_masses():
    states = random_states(20)
    expected = [point_energy(state, 0.6, 9.81) for state in states]
    np.testing.assert_allclose(energy(states, 0.6, 9.81), expected, rtol=1e-12)
    # Upright costs m g l more than hanging.
    lift = energy([0, 0, np.pi, 0], 0.6, 9.81) - energy([0, 0, 0, 0], 0.6, 9.81)
    np.testing.assert_allclose(lift, 0.5 * 9.81 * 0.6)


def episode_energy(preset, friction):
    p, env = PRESETS[preset], make(preset=preset, friction=friction)
    _, info = env.reset(seed=0, options={"state": [0.2, 1.0, 2.5, 3.0]})
    states = [info["state"]]
    for _ in range(p.horizon):
        states.append(env.step(np.zeros(1, np.float32))[4]["state"])
    return energy(states, p.length, p.gravity)


@every_preset
def test_energy_is_conserved_without_friction_and_lost_with_it(preset):
    kept = episode_energy(preset, friction=0.0)
    np.testing.assert_allclose(kept, kept[0], atol=1e-6)
    assert kept[0] - episode_energy(preset, friction=0.1)[-1] > 0.05
    assert (np.diff(episode_energy(preset, friction=0.1)) < 0).all()


# Cost


@pytest.mark.parametrize("preset", ["pilco", "deep-pilco"])
def test_tip_cost(preset):
    length = PRESETS[preset].length
    goal = [[0, 0, np.pi, 0], [0, 5, -np.pi, 5], [0, 0, 3 * np.pi, 0]]
    np.testing.assert_allclose(cost(goal, preset), 0, atol=1e-12)
    np.testing.assert_allclose(cost([0.25, 0, np.pi, 0], preset), 1 - np.exp(-0.5))
    hanging = 1 - np.exp(-((2 * length / 0.25) ** 2) / 2)
    np.testing.assert_allclose(cost([0, 0, 0, 0], preset), hanging)
    # With a horizontal rod and the cart one length to the left, the tip is l below the goal.
    under = 1 - np.exp(-((length / 0.25) ** 2) / 2)
    np.testing.assert_allclose(cost([-length, 0, np.pi / 2, 0], preset), under)


def test_angle_cost():
    np.testing.assert_allclose(cost([[0, 0, np.pi, 0], [0, 0, -np.pi, 0]], "mc-pilco"), 0)
    np.testing.assert_allclose(cost([1, 0, np.pi, 0], "mc-pilco"), 1 - np.exp(-1))
    np.testing.assert_allclose(cost([0, 0, 0, 0], "mc-pilco"), 1 - np.exp(-((np.pi / 3) ** 2)))


@every_preset
def test_reward_is_minus_the_cost_of_the_state_reached(preset):
    env = make(preset=preset)
    env.reset(seed=0)
    for _ in range(PRESETS[preset].horizon):
        _, reward, terminated, _, info = env.step(env.action_space.sample())
        assert -reward == info["cost"] == cost(info["state"], preset)
        assert -1 <= reward <= 0 and not terminated


# Randomness


def episode(env, seed):
    env.action_space.seed(seed)
    observations = [env.reset(seed=seed)[0]]
    for _ in range(10):
        observations.append(env.step(env.action_space.sample())[0])
    return np.array(observations)


def test_a_seed_fixes_the_episode():
    first, again, other = episode(make(), 3), episode(make(), 3), episode(make(), 4)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=1).all()


@every_preset
def test_start_and_noise_have_the_standard_deviation_of_the_preset(preset):
    p, env, n = PRESETS[preset], make(preset=preset).unwrapped, 4000
    env.reset(seed=0)
    pairs = [env.reset() for _ in range(n)]
    starts = np.array([info["state"] for _, info in pairs])
    noise = np.array([observation for observation, _ in pairs]) - starts
    # Five standard errors of a mean and of a standard deviation.
    for sample, std in ((starts, p.start_std), (noise, p.noise_std)):
        slack = 5 * std / np.sqrt(n) + 1e-7  # float32 rounding
        np.testing.assert_allclose(sample.mean(axis=0), 0, atol=slack)
        np.testing.assert_allclose(sample.std(axis=0), std, atol=slack)
    correlation = np.corrcoef(np.hstack([starts, noise + 1e-9 * starts]).T)
    if p.noise_std:
        np.testing.assert_allclose(correlation, np.eye(8), atol=5 / np.sqrt(n))


def test_noise_affects_observations_but_not_the_state():
    p, env = PRESETS["pilco"], make()
    _, info = env.reset(seed=0, options={"state": [0.1, 0.2, 0.3, 0.4]})
    np.testing.assert_array_equal(info["state"], [0.1, 0.2, 0.3, 0.4])
    state, noise = info["state"], []
    for _ in range(p.horizon):
        observation, _, _, _, info = env.step(np.ones(1, np.float32))
        state = advance(state, 1.0, p.dt, p.length, p.gravity)
        np.testing.assert_array_equal(info["state"], state)
        assert observation.dtype == np.float32
        noise.append(observation - state)
    assert 0.007 < np.std(noise) < 0.013


def test_callers_cannot_change_the_state_through_shared_arrays():
    env, start = make(), np.zeros(4)
    _, info = env.reset(seed=0, options={"state": start})
    info["state"] += 1
    start += 1
    np.testing.assert_array_equal(env.step(np.zeros(1))[4]["state"], 0)


# Episodes


@pytest.mark.parametrize(
    ("kwargs", "horizon"),
    [
        ({}, 40),
        ({"preset": "deep-pilco"}, 25),
        ({"preset": "mc-pilco"}, 60),
        ({"preset": "mc-pilco", "horizon": 7}, 7),
        ({"horizon": np.int64(1)}, 1),
    ],
)
def test_truncated_at_the_horizon(kwargs, horizon):
    env = make(**kwargs)
    for seed in range(2):
        env.reset(seed=seed)
        ends = [env.step(env.action_space.sample())[2:4] for _ in range(horizon)]
        assert ends == [(False, False)] * (horizon - 1) + [(False, True)]


def test_actions_are_clipped():
    def reached(force):
        env = make()
        env.reset(seed=0)
        return env.step(np.array([force]))[4]["state"]

    np.testing.assert_array_equal(reached(50.0), reached(10.0))
    np.testing.assert_array_equal(reached(-50.0), reached(-10.0))
    assert reached(10.0)[1] > reached(9.0)[1] > 0 > reached(-10.0)[1]


# Pictures


def test_frames_show_the_state():
    env = make(render_mode="rgb_array")

    def frame(*state):
        env.reset(seed=0, options={"state": state})
        return env.render()

    hanging = frame(0, 0, 0, 0)
    assert hanging.shape == (320, 480, 3) and hanging.dtype == np.uint8
    np.testing.assert_array_equal(frame(0, 5, 2 * np.pi, 5), hanging)
    for other in (frame(0, 0, 0.1, 0), frame(0.1, 0, 0, 0), frame(50, 0, 0, 0)):
        assert (other != hanging).any(axis=-1).sum() > 100
    upright = frame(0, 0, np.pi, 0)
    down, up = ((image.astype(int) @ [1, -1, -1]) > 100 for image in (hanging, upright))  # red
    rows_down, rows_up = (np.flatnonzero(rod.any(axis=1)) for rod in (down, up))
    assert rows_up.max() < rows_down.min() + 30 and rows_up.min() < 100 and rows_down.max() > 220
    assert down.any(axis=0).sum() < 12  # a vertical line


def test_frames_show_the_force_and_are_the_callers_own():
    env = make(render_mode="rgb_array")
    frames = []
    for force in (-9.0, 0.0, 9.0):
        env.reset(seed=0, options={"state": np.zeros(4)})
        env.step(np.array([force]))
        frames.append(env.render())
    blue = [((frame.astype(int) @ [-1, 0, 1]) > 100).sum() for frame in frames]
    assert blue[1] == 0 and blue[0] > 100 and blue[2] > 100
    env.render()[:] = 0
    np.testing.assert_array_equal(env.render(), frames[2])
    env.close()


def test_an_environment_that_has_drawn_can_be_copied():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    np.testing.assert_array_equal(copy.deepcopy(env).render(), frame)


def test_render_without_a_mode_warns():
    env = make()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert env.unwrapped.render() is None


# Success


def held(p: Preset, last: int, x=0.0, theta=np.pi):
    """Return an episode that hangs at the origin, but for its `last` states, which are at x and theta."""
    states = np.zeros((p.horizon + 1, 4))
    states[-last:] = [x, 0, theta, 0]
    return states


@pytest.mark.parametrize(
    ("preset", "steps", "limit"),
    [("pilco", 10, 0.1), ("deep-pilco", 5, 0.3), ("mc-pilco", 20, 0.1)],
)
def test_success(preset, steps, limit):
    p, degree = PRESETS[preset], np.pi / 180

    def success(*args, **kwargs):
        return is_success(held(p, *args, **kwargs), preset)

    assert success(steps + 1) is True  # the time includes both of its ends
    assert success(steps) is False
    assert success(p.horizon + 1)
    assert success(steps + 1, x=0.99 * limit) and success(steps + 1, x=-0.99 * limit)
    assert not success(steps + 1, x=1.01 * limit) and not success(steps + 1, x=-1.01 * limit)
    for turn in (-3 * np.pi, -np.pi, np.pi, 5 * np.pi):
        for sign in (-1, 1):
            assert success(steps + 1, theta=turn + sign * 9.9 * degree)
            assert not success(steps + 1, theta=turn + sign * 10.1 * degree)
    assert not success(steps + 1, theta=2 * np.pi)
    for i in (-1, -steps - 1):  # a single fall within the time is a failure
        states = held(p, steps + 1)
        states[i, 2] = 0
        assert not is_success(states, preset)
    assert not is_success(held(p, steps + 1)[-steps:], preset)  # too short an episode
    assert not success(steps + 1, theta=np.nan)


# Mistakes


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"preset": "pilko"}, "Invalid `preset`: expected one of 'pilco', .* preset='pilko'"),
        ({"preset": ["pilco"]}, "Invalid `preset`"),
        ({"horizon": 0}, "Invalid `horizon`: expected a positive integer .* horizon=0"),
        ({"horizon": 2.5}, "Invalid `horizon`"),
        ({"horizon": True}, "Invalid `horizon`"),
        ({"friction": -0.1}, "Invalid `friction`.*friction=-0.1"),
        ({"friction": float("nan")}, "Invalid `friction`"),
        ({"friction": "low"}, "Invalid `friction`"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")  # Gymnasium's own word
def test_bad_render_mode():
    with pytest.raises(ValueError, match="Invalid `render_mode`: .* render_mode='ascii'"):
        make(render_mode="ascii")


@pytest.mark.parametrize("action", [0.0, [], [0.0, 0.0], [[0.0]], [np.nan], [np.inf], ["left"], None, [None]])
def test_bad_action(action):
    env = make(disable_env_checker=True)
    before = env.reset(seed=0)[1]["state"]
    with pytest.raises(ValueError, match=r"Invalid `action`: .*shape \(1,\)\. Received: "):
        env.step(action)
    np.testing.assert_array_equal(env.unwrapped._state, before)


@pytest.mark.parametrize("options", [{"state": [0, 0, 0]}, {"state": [0, 0, np.nan, 0]}, {"state": None}, {"start": 0}])
def test_bad_start(options):
    with pytest.raises(ValueError, match="Invalid `options.*Received: "):
        make().reset(seed=0, options=options)


def test_bad_calls_of_the_functions():
    with pytest.raises(ValueError, match="Invalid `preset`"):
        cost(np.zeros(4), "pilko")
    with pytest.raises(ValueError, match="Invalid `preset`"):
        is_success(np.zeros((41, 4)), "pilko")
    with pytest.raises(ValueError, match=r"Invalid `states`.*\(2, 41, 4\)"):
        is_success(np.zeros((2, 41, 4)))


def test_step_before_reset():
    with pytest.raises(gymnasium.error.ResetNeeded):
        make().step(np.zeros(1, np.float32))
