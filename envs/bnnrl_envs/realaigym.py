"""RealAIGym's double pendulum: swing-up of two links by a torque in one joint, with the disturbances of its benchmark.

The torque is in the inner joint (pendubot) or in the outer one (acrobot), at most 6 N m. The state is
(q1, q2, q1', q2') in rad and rad/s, q1 from hanging and q2 from the first link's direction; the goal is (pi, 0, 0, 0).
An episode begins hanging at rest, and lasts 10 s. It is integrated by RK4 in steps of 2 ms; an action is held for a
control period. Mechanics: `bnnrl_envs.two_links`. Score and robustness: `bnnrl_envs.realaigym_score`.

Source: Wiebe et al., "Open Source Dual-Purpose Acrobot and Pendubot Platform", IEEE Robotics & Automation Magazine,
2024, and the leaderboards of the package double_pendulum of DFKI's Underactuated Lab (BSD-3-Clause).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnrl_envs.plant import Floats, PlantEnv, check_episode, check_nonnegative, rk4
from bnnrl_envs.two_links import DESIGN_C1, TwoLinks

__all__ = [
    "COST_WIDTH",
    "DURATION",
    "MAX_TORQUE",
    "STEP",
    "Disturbances",
    "Machine",
    "RealAIGymAcrobotEnv",
    "RealAIGymEnv",
    "RealAIGymPendubotEnv",
    "cost",
    "is_success",
]

STEP = 0.002  # s, of the integration and of the benchmark's records
DURATION = 10.0  # s, of an episode
MAX_TORQUE = 6.0  # N m
COST_WIDTH = 0.25  # m, of the saturating cost
# Pushes of the benchmark's robustness test.
_PUSHES = 3  # in each joint
_PUSH_GAP = 1.0  # s, the shortest time between two pushes of either joint
_PUSH_WIDTH = 0.05, 0.1  # s, standard deviation of a push's Gaussian profile
_PUSH_TORQUE = 0.5, 5.0  # N m, height of a push


@dataclass(frozen=True)
class Disturbances:
    """What the benchmark disturbs beside the machine's parameters. Fields may be arrays, for many machines.

    Args:
        velocity_noise: standard deviation of the noise of measured velocities, rad/s.
        torque_noise: standard deviation of the noise of the driven joint's torque in each step of 2 ms, N m.
        torque_response: k; in each step of 2 ms, the torque moves from its last value by k times the difference.
        delay: number of steps of 2 ms by which measurements are late.
        pushes: whether torques of unknown origin push both joints.
    """

    velocity_noise: Any = 0.0
    torque_noise: Any = 0.0
    torque_response: Any = 1.0
    delay: Any = 0
    pushes: Any = False


class Machine:
    """Simulation of one machine, or of many side by side, from hanging at rest.

    Args:
        links: the mechanics.
        joint: the driven joint, 0 or 1.
        disturbances: what disturbs measurements and torques.
        rng: source of noise and pushes.
        shape: () for one machine, or (B,) for many.
        state: entries (q1, q2, q1', q2') of the initial state; hanging at rest by default.
        seconds: the longest time to be simulated.

    Attributes:
        states: recorded states at steps of 2 ms, float64 [T + 1, 4, *shape].
        asked: torques that were asked for in these steps, float64 [T, 2, *shape].
        time: number of steps so far.
    """

    def __init__(
        self,
        links: TwoLinks,
        joint: int,
        disturbances: Disturbances,
        rng: np.random.Generator,
        shape: tuple[int, ...] = (),
        state: ArrayLike = (0.0, 0.0, 0.0, 0.0),
        seconds: float = DURATION,
    ):
        self._links, self._joint, self._disturbances, self._rng, self._shape = links, joint, disturbances, rng, shape
        steps = round(seconds / STEP)
        self.states = np.zeros((steps + 1, 4, *shape))
        self.states[0] = np.reshape(state, (4, *[1] * len(shape)))
        self.asked = np.zeros((steps, 2, *shape))
        self.time = 0
        self._torque: Any = 0.0 if shape == () else np.zeros(shape)
        self._pushes = self._draw_pushes(steps) if np.any(disturbances.pushes) else None

    @property
    def state(self) -> Floats:
        """The true state, [4, *shape]."""
        return self.states[self.time].copy()

    def measure(self) -> Floats:
        """Return a measurement of the state, late and with noise, [4, *shape]."""
        past = np.maximum(0, self.time - np.asarray(self._disturbances.delay))
        if self._shape:
            past = np.broadcast_to(past, self._shape)
            measured = np.moveaxis(self.states[past, :, np.arange(*self._shape)], 0, -1).copy()
        else:
            measured = self.states[past].copy()
        noise = self._rng.normal(size=(2, *self._shape))  # drawn even if unused, as in all environments here
        measured[2:] += self._disturbances.velocity_noise * noise
        return measured

    def hold(self, torque: Any, steps: int) -> None:
        """Ask for a torque in the driven joint, a number or [*shape], for a number of steps."""
        torque = np.clip(torque, -MAX_TORQUE, MAX_TORQUE)
        self.asked[self.time : self.time + steps, self._joint] = torque
        noise = self._disturbances.torque_noise * self._rng.normal(size=(steps, *self._shape))
        single = self._shape == ()
        torque = float(torque) if single else torque
        functions, state = (math, self.states[self.time].tolist()) if single else (np, list(self.states[self.time]))
        for disturbance in noise.tolist() if single else noise:
            applied = self._applied(torque + disturbance)
            state = rk4(lambda s, a=applied: self._links.rates(s, a, functions), state, STEP, STEP)
            self.time += 1
            self.states[self.time] = state

    def _applied(self, asked: Any) -> list:
        """Return the torques of both joints in a step, for the torque asked for with its noise."""
        change = self._disturbances.torque_response * (asked - self._torque)
        moved = self._torque + change
        if self._shape == ():
            self._torque = min(max(moved, -MAX_TORQUE), MAX_TORQUE)
        else:
            self._torque = np.clip(moved, -MAX_TORQUE, MAX_TORQUE)
        torques = [0.0, 0.0]
        torques[self._joint] = self._torque
        if self._pushes is not None:
            torques = [torque + push for torque, push in zip(torques, self._pushes[self.time], strict=True)]
        return torques

    def _draw_pushes(self, steps: int) -> Floats:
        """Return torques of random pushes, [T, 2, *shape]: Gaussian profiles in time, one after the other."""
        rng, shape, number = self._rng, self._shape, 2 * _PUSHES
        slack = (steps * STEP - (number + 1) * _PUSH_GAP) / number
        if slack <= 0:
            raise ValueError(
                f"Invalid `horizon`: expected more than {(number + 1) * _PUSH_GAP:g} s with pushes=True. Received: "
                f"{steps * STEP:g} s."
            )
        times = np.cumsum(_PUSH_GAP + slack * rng.uniform(size=(number, *shape)), axis=0)
        times = rng.permuted(times, axis=0).reshape(2, _PUSHES, *shape)
        width = rng.uniform(*_PUSH_WIDTH, size=times.shape)
        height = rng.choice([-1.0, 1.0], size=times.shape) * rng.uniform(*_PUSH_TORQUE, size=times.shape)
        clock = STEP * np.arange(steps).reshape(steps, *[1] * times.ndim)
        pushes = (height * np.exp(-(((clock - times) / width) ** 2) / 2)).sum(axis=2)
        return pushes * np.asarray(self._disturbances.pushes)


def is_success(states: ArrayLike, control_period: float = 0.02) -> bool:
    """Return whether the end of the outer link is above 0.9 (l1 + l2) in the last second of an episode.

    A shorter episode is not a success.

    Args:
        states: the true states of one episode, [T + 1, 4], with the initial state.
        control_period: seconds between two of them.

    Raises:
        ValueError: if the states do not have this shape.
    """
    heights, steps = DESIGN_C1.tip(check_episode(states, 4))[:, 1], round(1.0 / control_period)
    return len(heights) > steps and bool((heights[-steps - 1 :] > 0.9 * sum(DESIGN_C1.lengths)).all())


def cost(states: ArrayLike) -> Floats:
    """Return the cost 1 - exp(-d^2 / (2 width^2)) of states [..., 4], d from the tip to its upright position in m."""
    d2 = np.square(DESIGN_C1.tip(states) - [0.0, sum(DESIGN_C1.lengths)]).sum(axis=-1)
    return -np.expm1(-d2 / (2 * COST_WIDTH**2))


class RealAIGymEnv(PlantEnv):
    """Environment: RealAIGym's double pendulum, to be swung up and held by a torque in one joint.

    - Observation: float32 [4], the measured state; angles are not wrapped, so the space is unbounded.
    - Action: float32 [1], the torque in N m, clipped to [-6, 6] and held for the control period.
    - Reward: minus the cost 1 - exp(-d^2 / (2 width^2)) of the true state reached, with the distance d of the tip from
      its upright position and a width of 0.25 m.
    - Episode: never terminated; truncated after 10 s.
    - Info: "state", a copy of the true state, float64 [4]; "cost", its cost; and at the end of an episode "record", the
      states [T + 1, 4] and torques asked for [T, 2] at steps of 2 ms, of which `bnnrl_envs.realaigym_score` is.
    - Reset: at the state in `options={"state": [...]}`; without it, hanging at rest.

    Args:
        render_mode: None or "rgb_array".
        control_period: time for which an action is held, a multiple of 0.002 s.
        horizon: steps of an episode; None takes those of 10 s.
        mass_scale: factors on the masses of the two links; also a number for both, as for the next four.
        centre_scale: factors on the distances of the centres of mass.
        inertia_scale: factors on the moments of inertia.
        damping: viscous damping of the two joints, N m s.
        friction: Coulomb friction of the two joints, N m.
        motor_inertia: moment of inertia of each motor, kg m^2, before a gear of 6.
        velocity_noise: standard deviation of the noise of measured velocities, rad/s.
        torque_noise: standard deviation of the torque's noise in each 2 ms, N m.
        torque_response: k; in each 2 ms, the torque moves from its last value by k times the difference.
        delay: time by which measurements are late, ms, a multiple of 2.
        pushes: whether three random pushes act on each joint.

    Raises:
        ValueError: if an argument, an initial state or an action is not as described.
    """

    joint: ClassVar[int]

    def __init__(
        self,
        render_mode: str | None = None,
        control_period: float = 0.02,
        horizon: int | None = None,
        mass_scale: Any = 1.0,
        centre_scale: Any = 1.0,
        inertia_scale: Any = 1.0,
        damping: Any = 0.0,
        friction: Any = 0.0,
        motor_inertia: float = 0.0,
        velocity_noise: float = 0.0,
        torque_noise: float = 0.0,
        torque_response: float = 1.0,
        delay: float = 0.0,
        pushes: bool = False,
    ):
        self._held = _steps_of("control_period", control_period, 1.0, least=1)
        scaled = lambda name, value, default: tuple(s * d for s, d in zip(_pair(name, value), default, strict=True))
        self.links = replace(
            DESIGN_C1,
            masses=scaled("mass_scale", mass_scale, DESIGN_C1.masses),
            centres=scaled("centre_scale", centre_scale, DESIGN_C1.centres),
            inertias=scaled("inertia_scale", inertia_scale, DESIGN_C1.inertias),
            damping=_pair("damping", damping),
            friction=_pair("friction", friction),
            motor_inertia=check_nonnegative("motor_inertia", motor_inertia),
        )
        self.disturbances = Disturbances(
            check_nonnegative("velocity_noise", velocity_noise),
            check_nonnegative("torque_noise", torque_noise),
            check_nonnegative("torque_response", torque_response),
            _steps_of("delay", delay, 1e-3, least=0),
            bool(pushes),
        )
        horizon = round(DURATION / (self._held * STEP)) if horizon is None else horizon
        lengths, dt = DESIGN_C1.lengths, self._held * STEP
        super().__init__(lengths, False, (MAX_TORQUE,), dt, horizon, 0.0, 0.0, render_mode)

    def _begin(self, state: Floats) -> None:
        super()._begin(state)
        seconds = self.horizon * self.dt
        self._machine = Machine(self.links, self.joint, self.disturbances, self.np_random, (), state, seconds)

    def _advance(self, state: Floats, action: Floats) -> Floats:
        self._machine.hold(action[0], self._held)
        return self._machine.state

    def _observe(self) -> NDArray[np.float32]:
        return self._machine.measure().astype(np.float32)

    def _cost(self, state: Floats) -> float:
        return float(cost(state))

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        if self._steps >= self.horizon:
            info["record"] = self._machine.states.copy(), self._machine.asked.copy()
        return info

    def _picture(self) -> tuple[Floats, Floats, Floats]:
        torques = np.zeros(2)
        torques[self.joint] = self._action[0]
        return np.cumsum(self._state[:2]), torques, np.full(2, MAX_TORQUE)


class RealAIGymPendubotEnv(RealAIGymEnv):
    """Environment: the double pendulum with a motor in the inner joint. Arguments are those of `RealAIGymEnv`."""

    joint = 0


class RealAIGymAcrobotEnv(RealAIGymEnv):
    """Environment: the double pendulum with a motor in the outer joint. Arguments are those of `RealAIGymEnv`."""

    joint = 1


def _pair(name: str, value: Any) -> tuple[float, float]:
    """Return two finite numbers, the same one twice for a single number, or raise ValueError."""
    try:
        pair = np.broadcast_to(np.asarray(value, np.float64), (2,))
    except (TypeError, ValueError):
        pair = np.array([np.nan])
    if not np.isfinite(pair).all():
        raise ValueError(
            f"Invalid `{name}`: expected a finite number, or one for each link. Received: {name}={value!r}."
        )
    return float(pair[0]), float(pair[1])


def _steps_of(name: str, value: float, unit: float, least: int) -> int:
    """Return how many steps of 2 ms a time in a unit of seconds is, or raise ValueError."""
    steps = check_nonnegative(name, value) * unit / STEP
    if abs(steps - round(steps)) > 1e-6 or round(steps) < least:
        raise ValueError(
            f"Invalid `{name}`: expected a multiple of {STEP / unit:g}, at least {least * STEP / unit:g}. "
            f"Received: {name}={value!r}."
        )
    return round(steps)
