"""Cart-pole swing-up: the benchmark of the PILCO family, as a Gymnasium environment.

A rod hangs from a cart on a track. Forces on the cart must swing the rod up and balance it, with the cart at the
origin. The state is (x, x', theta, theta') in m, m/s, rad, rad/s, and theta = 0 is hanging.

Sources of the presets:
    pilco       Deisenroth & Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy
                Search", ICML 2011.
    deep-pilco  Gal, McAllister & Rasmussen, "Improving PILCO with Bayesian Neural Network Dynamics
                Models", ICML workshop on Data-Efficient Machine Learning, 2016.
    mc-pilco    Amadio et al., "Model-Based Policy Search Using Monte Carlo Gradient Estimation With
                Real Systems Application", IEEE Transactions on Robotics, 2022.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.plant import Entries, Floats, PlantEnv, check_episode, check_nonnegative, entries_of, is_upright, rk4

__all__ = [
    "PRESETS",
    "CartPoleSwingUpEnv",
    "Preset",
    "advance",
    "cost",
    "derivative",
    "energy",
    "find_preset",
    "is_success",
]

CART_MASS = 0.5  # M, kg
POLE_MASS = 0.5  # m, kg
FRICTION = 0.1  # b, N s/m, on the cart
MAX_FORCE = 10.0  # N


@dataclass(frozen=True)
class Preset:
    """Parameters of one published variant of the task."""

    length: float  # l, m
    gravity: float  # g, m/s^2
    dt: float  # s, for which a force is held
    horizon: int  # steps of an episode
    start_std: float  # standard deviation of each entry of the initial state around hanging at rest
    noise_std: float  # standard deviation of the noise of each observation entry
    cost: Literal["tip", "angle"]  # see `cost`
    cost_width: float = 0.25  # m, width of the "tip" cost
    success_position: float = 0.1  # m, largest distance of the cart from the origin in `success_time`
    success_time: float = 1.0  # s, for which the pole must be upright at the end of an episode


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "pilco": Preset(0.5, 9.82, 0.1, 40, start_std=0.1, noise_std=0.01, cost="tip"),
        # An episode of 2.5 s leaves no time to centre the cart, so success is judged more mildly.
        "deep-pilco": Preset(
            *(0.6, 9.82, 0.1, 25),
            start_std=0.1,
            noise_std=0.0,
            cost="tip",
            success_position=0.3,
            success_time=0.5,
        ),
        "mc-pilco": Preset(0.5, 9.81, 0.05, 60, start_std=0.01, noise_std=0.01, cost="angle"),
    }
)


def derivative(
    states: ArrayLike,
    force: ArrayLike,
    length: float = 0.5,
    gravity: float = 9.82,
    friction: float = FRICTION,
) -> Floats:
    """Return the time derivative of states of the cart with its uniform rod.

    The equations of motion (Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", 2010, appendix C;
    dynamics_cp.m in the PILCO toolbox) are, with s = sin theta and c = cos theta,

        x''     = [2 m l theta'^2 s + 3 m g s c + 4 (u - b x')] / [4 (M + m) - 3 m c^2]
        theta'' = [-3 m l theta'^2 s c - 6 (M + m) g s - 6 (u - b x') c] / [l (4 (M + m) - 3 m c^2)]

    Args:
        states: (x, x', theta, theta'), [..., 4].
        force: force u on the cart, N, [...].
        length: length l of the rod, m.
        gravity: g, m/s^2.
        friction: viscous friction b of the cart, N s/m.

    Returns:
        (x', x'', theta', theta''), [..., 4].
    """
    states, force = np.asarray(states, np.float64), np.asarray(force, np.float64)
    found = _rates(entries_of(states), force, np, length, gravity, friction)
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def _rates(state: Entries, u: Any, functions: ModuleType, l: float, g: float, friction: float) -> list:
    """Return the time derivatives of the entries of a state, given functions sin and cos of entries."""
    M, m = CART_MASS, POLE_MASS
    _, xdot, theta, thetadot = state
    s, c = functions.sin(theta), functions.cos(theta)
    push = u - friction * xdot
    spin = m * l * thetadot**2 * s
    inertia = 4 * (M + m) - 3 * m * c**2
    xddot = (2 * spin + 3 * m * g * s * c + 4 * push) / inertia
    thetaddot = (-3 * spin * c - 6 * (M + m) * g * s - 6 * push * c) / (l * inertia)
    return [xdot, xddot, thetadot, thetaddot]


def advance(
    states: ArrayLike,
    force: ArrayLike,
    dt: float,
    length: float = 0.5,
    gravity: float = 9.82,
    friction: float = FRICTION,
) -> Floats:
    """Return the states [..., 4] after a force [...] in N was held for dt seconds, by RK4 in steps of at most 5 ms.

    The other arguments are those of `derivative`.
    """
    states, force = np.asarray(states, np.float64), np.asarray(force, np.float64)
    single = states.ndim == 1 and force.ndim == 0
    u, functions = (float(force), math) if single else (force, np)
    found = rk4(lambda s: _rates(s, u, functions, length, gravity, friction), entries_of(states), dt)
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def energy(states: ArrayLike, length: float = 0.5, gravity: float = 9.82) -> Floats:
    """Return the kinetic plus potential energy of states [..., 4], in J, [...]; the potential is 0 at the cart.

    The rod's centre of mass is at (x + l/2 sin theta, -l/2 cos theta), and its moment of inertia about the hinge is
    m l^2 / 3.
    """
    states = np.asarray(states, np.float64)
    M, m, l = CART_MASS, POLE_MASS, length
    xdot, thetadot, c = states[..., 1], states[..., 3], np.cos(states[..., 2])
    kinetic = (M + m) / 2 * xdot**2 + m * l / 2 * xdot * thetadot * c + m * l**2 / 6 * thetadot**2
    return kinetic - m * gravity * l / 2 * c


def cost(states: ArrayLike, preset: str = "pilco") -> Floats:
    """Return the cost of true states [..., 4], in [0, 1], [...]; 0 means upright at the origin.

    "tip" is 1 - exp(-d^2 / (2 width^2)) with the distance d of the rod's end from (0, l), as in PILCO. "angle" is
    1 - exp(-((abs(theta) - pi) / 3)^2 - x^2), as in MC-PILCO; its minima are at theta = pi and -pi only.

    Raises:
        ValueError: if the preset is not in `PRESETS`.
    """
    states, p = np.asarray(states, np.float64), find_preset(preset)
    x, theta = states[..., 0], states[..., 2]
    if p.cost == "angle":
        exponent = ((np.abs(theta) - np.pi) / 3) ** 2 + x**2
    else:
        d2 = (x + p.length * np.sin(theta)) ** 2 + p.length**2 * (1 + np.cos(theta)) ** 2
        exponent = d2 / (2 * p.cost_width**2)
    return -np.expm1(-exponent)


def is_success(states: ArrayLike, preset: str = "pilco") -> bool:
    """Return whether an episode ended with the pole upright and the cart at the origin.

    In every state of the last second (0.5 s for "deep-pilco"), including the first one of that time, the cart must be
    within 0.1 m of the origin (0.3 m for "deep-pilco"), and the pole within 10 degrees of upright, modulo full turns.
    A shorter episode is not a success.

    Args:
        states: the true states of one episode, [T + 1, 4], with the initial state.
        preset: a name in `PRESETS`.

    Raises:
        ValueError: if the preset is unknown, or the states do not have this shape.
    """
    p = find_preset(preset)
    states = check_episode(states, 4)
    steps = round(p.success_time / p.dt)
    x, theta = states[-steps - 1 :, 0], states[-steps - 1 :, 2]
    up = (np.abs(x) < p.success_position) & is_upright(theta)
    return len(states) > steps and bool(up.all())


class CartPoleSwingUpEnv(PlantEnv):
    """Environment: swing a rod up from hanging, and balance it with the cart at the origin.

    - Observation: float32 [4], (x, x', theta, theta') in m, m/s, rad, rad/s, plus the preset's Gaussian noise;
      theta is not wrapped, so the space is unbounded.
    - Action: float32 [1], the force on the cart in N, clipped to [-10, 10] and held for dt.
    - Reward: minus the `cost` of the true state reached, in [-1, 0].
    - Episode: never terminated; truncated at step `horizon`.
    - Info: "state", a copy of the true state, float64 [4]; "cost", its cost.
    - Reset: at the state in `options={"state": [x, x', theta, theta']}`; without it, at a random state around hanging
      at rest.

    Args:
        preset: "pilco", "deep-pilco" or "mc-pilco", see `PRESETS`.
        render_mode: None or "rgb_array".
        horizon: steps of an episode; None takes the preset's.
        friction: viscous friction of the cart, N s/m.

    Raises:
        ValueError: if an argument, an initial state or an action is not as described.
    """

    def __init__(
        self,
        preset: str = "pilco",
        render_mode: str | None = None,
        horizon: int | None = None,
        friction: float = FRICTION,
    ):
        self.preset = preset
        self.parameters = p = find_preset(preset)
        horizon = p.horizon if horizon is None else horizon
        super().__init__((p.length,), True, (MAX_FORCE,), p.dt, horizon, p.start_std, p.noise_std, render_mode)
        self.friction = check_nonnegative("friction", friction)

    def _advance(self, state: Floats, action: Floats) -> Floats:
        p = self.parameters
        return advance(state, action[0], p.dt, p.length, p.gravity, self.friction)

    def _cost(self, state: Floats) -> float:
        return float(cost(state, self.preset))


def find_preset(preset: str) -> Preset:
    """Return a preset by its name.

    Raises:
        ValueError: if it is not in `PRESETS`.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(
            f"Invalid `preset`: expected one of {', '.join(map(repr, PRESETS))}. Received: preset={preset!r}."
        )
    return PRESETS[preset]
