"""RealAIGym's double pendulum: equations against a Lagrangian, energy, episodes, disturbances, score and robustness."""

import math
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from bnnrl_envs.realaigym import DURATION, STEP, Disturbances, Machine, is_success
from bnnrl_envs.realaigym_score import robustness, score, swing_up_time
from bnnrl_envs.two_links import DESIGN_C1, TwoLinks

NAMES = {"RealAIGymPendubot": 0, "RealAIGymAcrobot": 1}
every_machine = pytest.mark.parametrize("name", NAMES)
LOSSY = replace(DESIGN_C1, damping=(0.05, 0.03), friction=(0.16, 0.12), motor_inertia=6.287e-5)
UP = np.array([np.pi, 0.0, 0.0, 0.0])


def make(name, **kwargs) -> Any:  # Any, since the tests read attributes of the environment itself
    return gymnasium.make(f"bnnrl/{name}-v0", **kwargs)


def random_states(n):
    return np.random.default_rng(0).normal(size=(n, 4)) * [3.0, 3.0, 8.0, 8.0]


# The reference adds the energies of the two links and of the rotors, of which the outer one turns with the inner link
# and against its own joint, and takes the Euler-Lagrange equations by complex-step differentiation.


def lagrangian(p: TwoLinks, q, w):
    """Kinetic and potential energy [...] of angles and rates [..., 2], which may be complex."""
    (m1, m2), (r1, r2), (i1, i2), l1 = p.masses, p.centres, p.inertias, p.lengths[0]
    inner, outer, spin = q[..., 0], q[..., 0] + q[..., 1], w[..., 0] + w[..., 1]
    elbow = l1 * w[..., 0]  # speed of the elbow, perpendicular to the inner link
    along = np.cos(outer - inner)  # between the elbow's velocity and that of the centre about the elbow
    kinetic = i1 * w[..., 0] ** 2 / 2 + m2 * elbow**2 / 2 + m2 * elbow * r2 * spin * along + i2 * spin**2 / 2
    rotors = (p.gear_ratio * w[..., 0]) ** 2 + (w[..., 0] - p.gear_ratio * w[..., 1]) ** 2
    height = -m1 * r1 * np.cos(inner) - m2 * (l1 * np.cos(inner) + r2 * np.cos(outer))
    return kinetic + p.motor_inertia * rotors / 2, p.gravity * height


def lagrangian_rates(p: TwoLinks, state, torques):
    """Return the time derivative of a state from d/dt (M w) = dL/dq + torques - friction."""
    q, w, h, unit = state[:2], state[2:], 1e-30, np.eye(2)
    kinetic, potential = lagrangian(p, q + 1j * h * unit, np.broadcast_to(w, (2, 2)))
    dL_dq = (kinetic - potential).imag / h

    def mass_matrix(q):
        energy = lambda w: lagrangian(p, np.broadcast_to(q, w.shape), w)[0]
        return energy(unit[:, None] + unit) - energy(unit)[:, None] - energy(unit)

    M = mass_matrix(q + 1j * h * w)  # + i h dM/dt
    friction = np.multiply(p.damping, w) + np.multiply(p.friction, np.arctan(100 * w))
    return np.concatenate([w, np.linalg.solve(M.real, torques - friction + dL_dq - M.imag / h @ w)])


@pytest.mark.parametrize("links", [DESIGN_C1, LOSSY])
def test_rates_are_those_of_the_lagrangian(links):
    states, torques = random_states(50), np.random.default_rng(1).uniform(-6, 6, (50, 2))
    expected = np.array([lagrangian_rates(links, *row) for row in zip(states, torques, strict=True)])
    np.testing.assert_allclose(np.stack(links.rates(states.T, torques.T), axis=1), expected, rtol=1e-9, atol=1e-9)
    singly = [links.rates(s.tolist(), u.tolist(), math) for s, u in zip(states, torques, strict=True)]
    np.testing.assert_allclose(singly, expected, rtol=1e-9, atol=1e-9)
    energies = sum(lagrangian(links, states[:, :2], states[:, 2:]))
    np.testing.assert_allclose(links.energy(states), energies, rtol=1e-12)


def test_equilibria():
    for q in ((0, 0), (np.pi, 0), (0, np.pi), (np.pi, np.pi)):
        np.testing.assert_allclose(DESIGN_C1.rates([*q, 0.0, 0.0], [0.0, 0.0]), 0, atol=1e-13)
    held = [DESIGN_C1.gravity * (0.5234602302310271 * 0.2 + 0.6255677234174437 * 0.2), 0.0]
    np.testing.assert_allclose(DESIGN_C1.rates([np.pi / 2, np.pi / 2, 0.0, 0.0], held), 0, atol=1e-13)


def test_energy_is_conserved_without_friction_and_lost_with_it():
    def fall(links):
        machine = Machine(links, 0, Disturbances(), np.random.default_rng(0), state=(0.9 * np.pi, 0.1, 0.0, 0.0))
        machine.hold(0.0, 5000)
        return links.energy(machine.states)

    kept = fall(DESIGN_C1)
    assert np.abs(kept - kept[0]).max() < 1e-3 * np.abs(kept[0])
    lost = fall(LOSSY)
    assert (np.diff(lost) < 1e-9).all() and lost[0] - lost[-1] > 1.0


@every_machine
def test_an_episode_is_integrated_at_2_ms_and_a_torque_is_held(name):
    env, joint = make(name, control_period=0.006, horizon=4), NAMES[name]
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-8, 8, (4, 1))
    x, states, torques = np.zeros(4), [np.zeros(4)], []
    info: dict[str, Any] = {}
    for u in actions:
        info = env.step(u)[4]
        for _ in range(3):
            torque = np.zeros(2)
            torque[joint] = np.clip(u[0], -6, 6)
            k1 = lagrangian_rates(DESIGN_C1, x, torque)
            k2 = lagrangian_rates(DESIGN_C1, x + STEP / 2 * k1, torque)
            k3 = lagrangian_rates(DESIGN_C1, x + STEP / 2 * k2, torque)
            k4 = lagrangian_rates(DESIGN_C1, x + STEP * k3, torque)
            x = x + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            states.append(x)
            torques.append(torque)
        np.testing.assert_allclose(info["state"], x, rtol=1e-10)
    np.testing.assert_allclose(info["record"][0], states, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(info["record"][1], torques)


@every_machine
def test_an_episode_lasts_10_s(name):
    for period, steps in ((0.02, 500), (0.05, 200)):
        env = make(name, control_period=period)
        assert env.unwrapped.horizon == steps and env.unwrapped.dt == pytest.approx(period)
    env = make(name, control_period=0.05)
    np.testing.assert_array_equal(env.reset(seed=0)[0], np.zeros(4))
    for _ in range(199):
        env.step([0.0])
    _, reward, terminated, truncated, info = env.step([0.0])
    assert truncated and not terminated and -reward == info["cost"] == pytest.approx(1 - np.exp(-1 / 0.125))
    assert info["record"][0].shape == (5001, 4) and info["record"][1].shape == (5000, 2)


# Gymnasium warns of actions that are not in [-1, 1], and of the unbounded observations of angles that are not wrapped.
@pytest.mark.filterwarnings(
    "error",
    "ignore:.*recommend using a symmetric and normalized space",
    "ignore:.*observation space minimum value is -infinity",
    "ignore:.*observation space maximum value is infinity",
)
@every_machine
def test_check_env(name):
    check_env(make(name, render_mode="rgb_array", pushes=True, delay=6).unwrapped)


@every_machine
def test_a_frame_shows_the_driven_joint_and_the_outer_link_from_the_inner_one(name):
    env = make(name, render_mode="rgb_array")

    def frame(q1, q2, torque=None):
        env.reset(options={"state": [q1, q2, 0, 0]})
        if torque is not None:
            env.step([torque])
        return env.render().astype(int)

    np.testing.assert_array_equal(frame(np.pi, 0), frame(-np.pi, 2 * np.pi))
    orange = lambda image: np.argwhere((image @ [1, 0, -1] > 150) & (image[..., 1] > 80)).mean(axis=0)
    assert orange(frame(np.pi / 2, 0))[1] > orange(frame(np.pi / 2, np.pi / 2))[1] > orange(frame(0, 0))[1]
    blue = np.argwhere(frame(np.pi, 0, 6.0) @ [-1, 0, 1] > 100).mean(axis=0)
    # The pivot is 5 pixels below the middle, and the outer joint 0.2 m, 32 pixels, above it.
    np.testing.assert_allclose(blue, [165 - 32 * NAMES[name], 240], atol=12)


# Disturbances


def hold(torques, **disturbances):
    """Return the machine after torques were each held for one step from upright."""
    machine = Machine(DESIGN_C1, 0, Disturbances(**disturbances), np.random.default_rng(0), state=UP, seconds=0.1)
    for torque in torques:
        machine.hold(torque, 1)
    return machine


def test_a_slow_motor_moves_by_a_share_of_the_difference():
    expected = hold([0.5, 0.75, 0.875]).states[:4]
    np.testing.assert_allclose(hold([1.0, 1.0, 1.0], torque_response=0.5).states[:4], expected)
    np.testing.assert_allclose(hold([1.0, 1.0], torque_response=2.0).states[:3], hold([2.0, 0.0]).states[:3])
    np.testing.assert_array_equal(hold([1.0], torque_response=0.5).asked[0], [1.0, 0.0])


def test_measurements_are_late_and_their_velocities_noisy():
    machine = hold([1.0, -2.0, 3.0], delay=2)
    np.testing.assert_array_equal(machine.measure(), machine.states[1])
    np.testing.assert_array_equal(hold([1.0], delay=2).measure(), UP)
    noisy = np.array([hold([1.0], velocity_noise=0.5).measure()])
    assert (noisy[:, :2] == hold([1.0]).measure()[:2]).all()
    machine = Machine(DESIGN_C1, 0, Disturbances(velocity_noise=np.full(2000, 0.5)), np.random.default_rng(0), (2000,))
    noise = machine.measure()
    assert (noise[:2] == 0).all() and np.abs(noise[2:].std(axis=1) - 0.5).max() < 0.05


def test_torque_noise_is_drawn_in_every_step():
    """Of noise without a torque, the mean speed after n steps grows with the square root of n."""
    machine = Machine(DESIGN_C1, 1, Disturbances(torque_noise=np.full(2000, 1.0)), np.random.default_rng(0), (2000,))
    machine.hold(0.0, 4)
    spread = machine.states[:5, 3].std(axis=1)
    np.testing.assert_allclose(spread[[2, 4]] / spread[1], [np.sqrt(2), 2], rtol=0.1)
    single = DESIGN_C1.rates([0.0] * 4, [0.0, 1.0])[3] * STEP
    assert spread[1] == pytest.approx(single, rel=0.1)


def test_pushes_are_apart_and_of_the_given_size():
    machine = Machine(DESIGN_C1, 0, Disturbances(pushes=True), np.random.default_rng(0))
    pushes = machine._pushes
    assert pushes is not None and pushes.shape == (5000, 2)
    peaks = [(t, abs(pushes[t, j])) for j in (0, 1) for t in range(1, 4999) if _is_peak(np.abs(pushes[:, j]), t)]
    assert len(peaks) == 6 and all(0.5 <= height <= 5.0 for _, height in peaks)
    assert np.diff(sorted(t for t, _ in peaks)).min() * STEP > 0.99
    assert np.abs(Machine(DESIGN_C1, 0, Disturbances(), np.random.default_rng(0)).states).max() == 0


def _is_peak(values, t):
    return values[t] > 0.1 and values[t - 1] < values[t] >= values[t + 1]


def test_many_machines_side_by_side_are_the_single_ones():
    delays, responses, scales = np.array([0, 3, 8]), np.array([1.0, 0.4, 1.7]), np.array([0.8, 1.0, 1.2])
    links = replace(DESIGN_C1, masses=(DESIGN_C1.masses[0], scales * DESIGN_C1.masses[1]))
    many = Machine(links, 1, Disturbances(torque_response=responses, delay=delays), np.random.default_rng(0), (3,))
    act = lambda measured: 1.0 + 3.0 * np.sin(measured[0])
    for _ in range(20):
        many.hold(act(many.measure()), 10)
    for i in range(3):
        env = make("RealAIGymAcrobot", mass_scale=(1.0, scales[i]), torque_response=responses[i], delay=2.0 * delays[i])
        obs, _ = env.reset(seed=0)
        for _ in range(20):
            obs, *_, info = env.step([act(obs)])
        np.testing.assert_allclose(many.state[:, i], info["state"], atol=1e-4)  # observations are float32


# Score


def test_score_by_hand():
    """Two steps of one second: the sums are those of the formula, written out."""
    states = np.array([[3.0, 0.2, 0.5, 0.0], [3.1, 0.1, 1.0, 2.0], [3.1, 0.1, 0.0, 0.0]])
    torques = np.array([[2.0, 0.0], [-1.0, 0.5]])
    energy, effort, speed = 0.1 * 2.0, 4.0 + 1.0 + 0.25, 0.25 + 1.0 + 4.0
    # A single change of torque has a standard deviation of 0.
    parts = [0.0, energy / 60, effort / 20, 0.0, speed / 400]
    assert swing_up_time(states, 1.0) == 0.0
    assert score(states, torques, 1.0) == pytest.approx(1 - sum(math.tanh(math.pi * p) for p in parts) / 5)
    rough = score(np.vstack([states, states[-1:]]), np.vstack([torques, [[1.0, 0.5]]]), 1.0)
    std = np.std([-3.0, 2.0]) + np.std([0.5, 0.0])
    parts = [0.0, energy / 60, (effort + 1.25) / 20, std / 0.1, speed / 400]
    assert rough == pytest.approx(1 - sum(math.tanh(math.pi * p) for p in parts) / 5)


def test_swing_up_time_is_from_when_the_tip_stays_up():
    hanging, states = np.zeros(4), np.tile(UP, (6, 1))
    states[0] = states[2] = hanging
    assert swing_up_time(states, 0.5) == 1.5
    states[-1] = hanging
    assert swing_up_time(states, 0.5) is None and score(states, np.zeros((5, 2)), 0.5) == 0.0
    # 0.9 of the height, with the outer link upright, is where the inner one leans by arccos 0.75.
    lean = np.arccos(0.75)
    for angle, reached in ((lean - 0.01, True), (lean + 0.01, False)):
        assert (swing_up_time([hanging, [np.pi - angle, angle, 0, 0]]) is not None) == reached


def test_a_score_needs_a_torque_for_each_step():
    with pytest.raises(ValueError, match=r"Invalid `torques`: expected shape \(T, 2\)"):
        score(np.zeros((3, 4)), np.zeros((3, 2)))


def test_success_needs_the_last_second():
    states = np.zeros((201, 4))
    states[-21:] = UP
    assert is_success(states, 0.05)
    states[-21] = 0
    assert not is_success(states, 0.05)
    assert not is_success(np.tile(UP, (20, 1)), 0.05)


# Robustness


def linear_feedback(joint):
    """Return the gains of a linear-quadratic regulator about upright for a period of 20 ms, by finite differences."""
    from scipy.linalg import expm, solve_discrete_are

    def rates(x, u):
        torques = [0.0, 0.0]
        torques[joint] = u
        return np.array(DESIGN_C1.rates(list(x), torques))

    h, unit = 1e-6, np.eye(4)
    A = np.stack([(rates(UP + h * e, 0.0) - rates(UP - h * e, 0.0)) / (2 * h) for e in unit], axis=1)
    B = (rates(UP, h) - rates(UP, -h)) / (2 * h)
    whole = expm(0.02 * np.block([[A, B[:, None]], [np.zeros((1, 5))]]))
    Ad, Bd = whole[:4, :4], whole[:4, 4:]
    P = solve_discrete_are(Ad, Bd, np.eye(4), 0.1 * np.eye(1))
    return np.linalg.solve(0.1 + Bd.T @ P @ Bd, Bd.T @ P @ Ad)[0]


def test_robustness_counts_every_episode(monkeypatch):
    """From upright, feedback holds the undisturbed machine; from hanging and without torques, nothing succeeds."""
    monkeypatch.setattr("bnnrl_envs.realaigym_score.DURATION", 2.0)
    none = robustness(lambda measured: np.zeros(len(measured)), 0)
    kinds = ("model", "velocity noise", "torque noise", "torque response", "delay", "pushes", "all")
    # Hanging at rest is a failure whatever the parameters; pushes begin after a second.
    assert none == dict.fromkeys(kinds, 0.0)
    begin = Machine.__init__
    upright = lambda self, *args, **kwargs: begin(self, *args, **kwargs, state=UP + [0.02, 0, 0, 0])
    monkeypatch.setattr(Machine, "__init__", upright)
    gains = linear_feedback(0)
    held = robustness(lambda measured: -(measured - UP) @ gains, 0)
    assert (
        held["model"] > 0.9
        and 0.1 < held["delay"] < 0.9
        and held["all"] == pytest.approx(np.mean([held[kind] for kind in kinds[:-1]]))
    )


def test_the_benchmarks_values_are_21_of_each_parameter():
    from bnnrl_envs.realaigym_score import _episodes

    kinds, links, disturbances = _episodes()
    assert [(kinds == kind).sum() for kind in ("model", "delay", "pushes")] == [210, 21, 50] and len(kinds) == 344
    count = 0
    for name in ("masses", "centres", "inertias", "damping", "friction"):
        for varied, given in zip(getattr(links, name), getattr(DESIGN_C1, name), strict=True):
            changed = varied != given
            assert changed.sum() in (0, 20) and not changed[kinds != "model"].any()
            count += changed.sum() == 20
    assert count == 9 and np.ptp(links.motor_inertia) == 1e-4
    assert disturbances.delay.max() * STEP == 0.04 and DURATION == 10.0
    assert disturbances.torque_response.min() == 0.1 and disturbances.torque_noise.max() == 1.1


# Mistakes


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"control_period": 0.003}, r"Invalid `control_period`: expected a multiple of 0.002, at least 0.002.*=0.003"),
        ({"control_period": 0}, "Invalid `control_period`"),
        ({"delay": 3}, "Invalid `delay`: expected a multiple of 2, at least 0.*delay=3"),
        ({"mass_scale": (1, 2, 3)}, r"Invalid `mass_scale`: expected a finite number.*\(1, 2, 3\)"),
        ({"damping": "much"}, "Invalid `damping`"),
        ({"velocity_noise": -1}, "Invalid `velocity_noise`"),
        ({"pushes": True, "horizon": 100}, "Invalid `horizon`: expected more than 7 s with pushes=True"),
        ({"horizon": 0}, "Invalid `horizon`"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make("RealAIGymPendubot", **kwargs)
