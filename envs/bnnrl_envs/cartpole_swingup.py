"""Cart-pole swing-up: the benchmark of the PILCO family, as a Gymnasium environment.

A rod hangs from a cart on a track; pushing the cart must swing it up and hold it there, with the
cart back at the origin. The state is (x, x', theta, theta') in m, m/s, rad, rad/s, and theta = 0
hangs down.

Sources of the presets:
    pilco       Deisenroth & Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy
                Search", ICML 2011.
    deep-pilco  Gal, McAllister & Rasmussen, "Improving PILCO with Bayesian Neural Network Dynamics
                Models", ICML workshop on Data-Efficient Machine Learning, 2016.
    mc-pilco    Amadio et al., "Model-Based Policy Search Using Monte Carlo Gradient Estimation With
                Real Systems Application", IEEE Transactions on Robotics, 2022.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.plant import Floats, PlantEnv, check_episode, check_nonnegative, is_upright, rk4

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
    """One published variant of the task."""

    length: float  # l, m
    gravity: float  # g, m/s^2
    dt: float  # s, a force is held this long
    horizon: int  # steps an episode
    start_std: float  # of each state entry, around hanging at rest
    noise_std: float  # of each observation entry
    cost: Literal["tip", "angle"]
    cost_width: float = 0.25  # m, of the "tip" cost
    success_position: float = 0.1  # m, how near the origin the cart must stay
    success_time: float = 1.0  # s, how long at the end the pole must be up


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "pilco": Preset(0.5, 9.82, 0.1, 40, start_std=0.1, noise_std=0.01, cost="tip"),
        # Its 2.5 s leave no time to centre the cart, hence the milder success.
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
    """Time derivative of the state of the cart and its uniform rod.

    x'' = [2 m l theta'^2 s + 3 m g s c + 4 (u - b x')] / [4 (M + m) - 3 m c^2]
    theta'' = [-3 m l theta'^2 s c - 6 (M + m) g s - 6 (u - b x') c] / [l (4 (M + m) - 3 m c^2)]
    with s = sin theta, c = cos theta.

    Args:
        states: [..., 4], (x, x', theta, theta').
        force: [...], u on the cart in N.
        length: l of the rod, m.
        gravity: g, m/s^2.
        friction: b of the cart, N s/m.

    Returns:
        [..., 4], (x', x'', theta', theta'').
    """
    states = np.asarray(states, np.float64)
    M, m, l, g = CART_MASS, POLE_MASS, length, gravity
    xdot, thetadot = states[..., 1], states[..., 3]
    s, c = np.sin(states[..., 2]), np.cos(states[..., 2])
    push = np.asarray(force) - friction * xdot
    spin = m * l * thetadot**2 * s
    inertia = 4 * (M + m) - 3 * m * c**2
    xddot = (2 * spin + 3 * m * g * s * c + 4 * push) / inertia
    thetaddot = (-3 * spin * c - 6 * (M + m) * g * s - 6 * push * c) / (l * inertia)
    return np.stack([xdot, xddot, thetadot, thetaddot], axis=-1)


def advance(
    states: ArrayLike,
    force: ArrayLike,
    dt: float,
    length: float = 0.5,
    gravity: float = 9.82,
    friction: float = FRICTION,
) -> Floats:
    """States [..., 4] after the force [...] (N) was held for dt (s): RK4 in steps of 5 ms or less.

    The other arguments are those of `derivative`.
    """
    return rk4(lambda s: derivative(s, force, length, gravity, friction), states, dt)


def energy(states: ArrayLike, length: float = 0.5, gravity: float = 9.82) -> Floats:
    """Kinetic plus potential energy [...] in J of states [..., 4]; zero potential at the pivot.

    The rod's centre of mass is at (x + l/2 sin theta, -l/2 cos theta) and its moment of inertia
    about the pivot is m l^2 / 3.
    """
    states = np.asarray(states, np.float64)
    M, m, l = CART_MASS, POLE_MASS, length
    xdot, thetadot, c = states[..., 1], states[..., 3], np.cos(states[..., 2])
    kinetic = (M + m) / 2 * xdot**2 + m * l / 2 * xdot * thetadot * c + m * l**2 / 6 * thetadot**2
    return kinetic - m * gravity * l / 2 * c


def cost(states: ArrayLike, preset: str = "pilco") -> Floats:
    """Cost [...] in [0, 1] of true states [..., 4]; 0 is upright at the origin.

    "tip" saturates in the distance d of the rod's tip from (0, l): 1 - exp(-d^2 / (2 width^2));
    "angle" is 1 - exp(-((abs(theta) - pi) / 3)^2 - x^2), of which only theta = +-pi are minima.

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
    """Whether an episode ended with the pole up and the cart at home.

    Both must hold in every state of the last second (0.5 s for "deep-pilco"), its first included:
    abs(x) under 0.1 m (0.3 m for "deep-pilco"), and the pole within 10 degrees of upright, however
    many turns it made. An episode shorter than that time is no success.

    Args:
        states: [T + 1, 4], the true states of one episode, its start included.
        preset: a name in `PRESETS`.

    Raises:
        ValueError: if the preset is unknown or the states are not [T + 1, 4].
    """
    p = find_preset(preset)
    states = check_episode(states, 4)
    steps = round(p.success_time / p.dt)
    x, theta = states[-steps - 1 :, 0], states[-steps - 1 :, 2]
    up = (np.abs(x) < p.success_position) & is_upright(theta)
    return len(states) > steps and bool(up.all())


class CartPoleSwingUpEnv(PlantEnv):
    """Swing a rod up from hanging, and hold it up with the cart at the origin.

    - Observation: float32 [4], (x, x', theta, theta') in m, m/s, rad, rad/s, plus the preset's noise. theta is
      unwrapped, so nothing bounds the space.
    - Action: float32 [1], the force on the cart in N, held for dt and clipped to [-10, 10].
    - Reward: minus the `cost` of the true state reached, in [-1, 0].
    - Episode: never terminated; truncated at step `horizon`.
    - Info: "state", a copy of the true state, float64 [4]; "cost", its cost.
    - Reset: `options={"state": [x, x', theta, theta']}` starts there; otherwise the start is drawn around hanging at
      rest.

    Args:
        preset: "pilco", "deep-pilco" or "mc-pilco", see `PRESETS`.
        render_mode: None or "rgb_array".
        horizon: steps an episode; None takes the preset's.
        friction: b of the cart, N s/m.

    Raises:
        ValueError: for an argument, a start state or an action that is none of the above.
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
