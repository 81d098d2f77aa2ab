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

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnrl_envs._cartpole_drawing import CartPoleDrawing

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

Floats = NDArray[np.float64]

CART_MASS = 0.5  # M, kg
POLE_MASS = 0.5  # m, kg
FRICTION = 0.1  # b, N s/m, on the cart
MAX_FORCE = 10.0  # N
UPRIGHT_TOLERANCE = math.radians(10.0)
# The plant amplifies small errors. Over whole episodes of random forces RK4 with this step is off
# by 7e-7 at the median and 4e-5 at worst; with 10 ms it would be 1e-5 and 7e-4.
MAX_SUBSTEP = 0.005  # s


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
    states = np.asarray(states, np.float64)
    substeps = math.ceil(dt / MAX_SUBSTEP)
    h = dt / substeps
    plant = (force, length, gravity, friction)
    for _ in range(substeps):
        k1 = derivative(states, *plant)
        k2 = derivative(states + h / 2 * k1, *plant)
        k3 = derivative(states + h / 2 * k2, *plant)
        k4 = derivative(states + h * k3, *plant)
        states = states + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return states


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
    states, p = np.asarray(states, np.float64), find_preset(preset)
    if states.ndim != 2 or states.shape[1] != 4:
        raise ValueError(
            "Invalid `states`: expected the states of one episode, of shape (T + 1, 4). "
            f"Received: shape={states.shape}."
        )
    steps = round(p.success_time / p.dt)
    x, theta = states[-steps - 1 :, 0], states[-steps - 1 :, 2]
    tilt = np.abs(np.mod(theta, 2 * np.pi) - np.pi)
    up = (np.abs(x) < p.success_position) & (tilt <= UPRIGHT_TOLERANCE)
    return len(states) > steps and bool(up.all())


class CartPoleSwingUpEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Swing a rod up from hanging, and hold it up with the cart at the origin.

    Observation: float32 [4], (x, x', theta, theta') in m, m/s, rad, rad/s, plus the preset's noise;
        theta is unwrapped, so nothing bounds the space.
    Action: float32 [1], the force on the cart in N, held for dt; clipped to [-10, 10].
    Reward: minus the `cost` of the true state reached, in [-1, 0].
    Episode: never terminated; truncated at step `horizon`.
    Info: "state", a copy of the true state, float64 [4]; "cost", its cost.
    Reset: `options={"state": [x, x', theta, theta']}` starts there; otherwise the start is drawn
        around hanging at rest.

    Args:
        preset: "pilco", "deep-pilco" or "mc-pilco", see `PRESETS`.
        render_mode: None or "rgb_array".
        horizon: steps an episode; None takes the preset's.
        friction: b of the cart, N s/m.

    Raises:
        ValueError: for an argument, a start state or an action that is none of the above.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        preset: str = "pilco",
        render_mode: str | None = None,
        horizon: int | None = None,
        friction: float = FRICTION,
    ):
        self.preset = preset
        self.parameters = find_preset(preset)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"Invalid `render_mode`: expected None or 'rgb_array'. Received: render_mode={render_mode!r}."
            )
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self.parameters.dt)}
        self.horizon = _check_horizon(self.parameters.horizon if horizon is None else horizon)
        self.friction = _check_friction(friction)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = gymnasium.spaces.Box(-MAX_FORCE, MAX_FORCE, (1,), np.float32)
        self._drawing: CartPoleDrawing | None = None
        self._begin(np.zeros(4))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        if set(options) - {"state"}:
            raise ValueError(
                f"Invalid `options`: expected a dictionary with no key but 'state'. Received: options={options}."
            )
        # Drawn even if not used: a given start leaves the noise of a seed as it was.
        start = self.np_random.normal(scale=self.parameters.start_std, size=4)
        if "state" in options:
            start = _check_vector("options['state']", options["state"], 4)
        self._begin(start)
        return self._observe(), self._info()

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        p = self.parameters
        force = float(_check_vector("action", action, 1)[0])
        self._force = min(max(force, -MAX_FORCE), MAX_FORCE)
        self._state = advance(self._state, self._force, p.dt, p.length, p.gravity, friction=self.friction)
        self._steps += 1
        info = self._info()
        return self._observe(), -info["cost"], False, self._steps >= self.horizon, info

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Frame [320, 480, 3] of the true state and the last force, or None without a mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("`render()` draws nothing: make the environment with render_mode='rgb_array'.")
            return None
        if self._drawing is None:
            self._drawing = CartPoleDrawing(self.parameters.length, MAX_FORCE)
        time = self._steps * self.parameters.dt
        return self._drawing.draw(self._state[0], self._state[2], self._force, time)

    def close(self) -> None:
        self._drawing = None

    def _begin(self, state: Floats) -> None:
        self._state, self._force, self._steps = state, 0.0, 0

    def _observe(self) -> NDArray[np.float32]:
        noise = self.np_random.normal(scale=self.parameters.noise_std, size=4)
        return (self._state + noise).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "cost": float(cost(self._state, self.preset))}


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


def _check_horizon(horizon: int) -> int:
    is_integer = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not is_integer or horizon < 1:
        raise ValueError(f"Invalid `horizon`: expected a positive integer or None. Received: horizon={horizon!r}.")
    return int(horizon)


def _check_friction(friction: float) -> float:
    if not (isinstance(friction, (int, float, np.number)) and 0 <= friction < math.inf):
        raise ValueError(
            f"Invalid `friction`: expected a finite number of at least 0. Received: friction={friction!r}."
        )
    return float(friction)


def _check_vector(name: str, value: ArrayLike, size: int) -> Floats:
    """A fresh float64 copy of `value`, which must be [size] and finite."""
    try:
        vector = np.array(value, np.float64)
    except (TypeError, ValueError):
        vector = None
    if vector is None or vector.shape != (size,) or not np.isfinite(vector).all():
        raise ValueError(f"Invalid `{name}`: expected finite numbers of shape ({size},). Received: {value!r}.")
    return vector
