"""What the plants of the PILCO family share: episodes, noise, pictures, integration, and their checks."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnrl_envs._drawing import Floats, PlantDrawing

__all__ = ["Floats", "PlantEnv", "check_episode", "check_nonnegative", "is_upright", "rk4"]

UPRIGHT_TOLERANCE = math.radians(10.0)
# The plants amplify small errors. Over whole episodes of random forces on the cart-pole RK4 with this step is
# off by 7e-7 at the median and 4e-5 at worst; with 10 ms it would be 1e-5 and 7e-4.
MAX_SUBSTEP = 0.005  # s


def rk4(derivative: Callable[[Floats], Floats], states: ArrayLike, dt: float, max_step: float = MAX_SUBSTEP) -> Floats:
    """States after dt seconds, by the classical Runge-Kutta method in equal steps of at most max_step seconds."""
    states = np.asarray(states, np.float64)
    substeps = math.ceil(dt / max_step)
    h = dt / substeps
    for _ in range(substeps):
        k1 = derivative(states)
        k2 = derivative(states + h / 2 * k1)
        k3 = derivative(states + h / 2 * k2)
        k4 = derivative(states + h * k3)
        states = states + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return states


def is_upright(theta: ArrayLike) -> NDArray[np.bool_]:
    """Whether angles (rad) are within 10 degrees of upright, however many turns they made."""
    return np.abs(np.mod(theta, 2 * np.pi) - np.pi) <= UPRIGHT_TOLERANCE


class PlantEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Rods to be swung up from a pivot or a cart; a plant defines `_advance` and `_cost`.

    The state alternates positions and velocities: the cart's, if there is one, then each rod's angle from hanging.

    Args:
        lengths: of the rods, m.
        cart: whether they hang from a cart.
        max_action: bound of each action entry, N or N m.
        dt: seconds an action is held.
        horizon: steps an episode.
        start_std: of each state entry at the start, around hanging at rest.
        noise_std: of each observation entry.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: for an unknown render mode, a horizon that is no positive integer, or a negative noise.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        lengths: Sequence[float],
        cart: bool,
        max_action: Sequence[float],
        dt: float,
        horizon: int,
        start_std: float,
        noise_std: float,
        render_mode: str | None,
    ):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"Invalid `render_mode`: expected None or 'rgb_array'. Received: render_mode={render_mode!r}."
            )
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / dt)}
        self.horizon = _check_horizon(horizon)
        self.noise_std = check_nonnegative("obs_noise_std", noise_std)
        self.dt, self.start_std = dt, start_std
        self._lengths, self._cart = lengths, cart
        self._max_action = np.array(max_action, np.float64)
        self._size = 2 * (len(lengths) + cart)
        bound = self._max_action.astype(np.float32)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-bound, bound, dtype=np.float32)
        self._drawing: PlantDrawing | None = None
        self._begin(np.zeros(self._size))

    @abstractmethod
    def _advance(self, state: Floats, action: Floats) -> Floats:
        """The state after the action, which is within its bounds, was held for dt."""

    @abstractmethod
    def _cost(self, state: Floats) -> float:
        """Cost of a state, in [0, 1]."""

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
        start = self.np_random.normal(scale=self.start_std, size=self._size)
        if "state" in options:
            start = _check_vector("options['state']", options["state"], self._size)
        self._begin(start)
        return self._observe(), self._info()

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        action = _check_vector("action", action, len(self._max_action))
        self._action = np.clip(action, -self._max_action, self._max_action)
        self._state = self._advance(self._state, self._action)
        self._steps += 1
        info = self._info()
        return self._observe(), -info["cost"], False, self._steps >= self.horizon, info

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Frame [320, 480, 3] of the true state and the last action, or None without a mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("`render()` draws nothing: make the environment with render_mode='rgb_array'.")
            return None
        if self._drawing is None:
            self._drawing = PlantDrawing(self._lengths, self._max_action.tolist(), self._cart)
        return self._drawing.draw(self._state[::2], self._action, self._steps * self.dt)

    def close(self) -> None:
        self._drawing = None

    def _begin(self, state: Floats) -> None:
        self._state, self._action, self._steps = state, np.zeros(len(self._max_action)), 0

    def _observe(self) -> NDArray[np.float32]:
        noise = self.np_random.normal(scale=self.noise_std, size=self._size)
        return (self._state + noise).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "cost": self._cost(self._state)}


def check_episode(states: ArrayLike, size: int) -> Floats:
    """Float64 of `states`, which must be [T + 1, size]."""
    states = np.asarray(states, np.float64)
    if states.ndim != 2 or states.shape[1] != size:
        raise ValueError(
            f"Invalid `states`: expected the states of one episode, of shape (T + 1, {size}). "
            f"Received: shape={states.shape}."
        )
    return states


def check_nonnegative(name: str, value: float) -> float:
    """A float of `value`, which must be a finite number of at least 0."""
    if not (isinstance(value, (int, float, np.number)) and 0 <= value < math.inf):
        raise ValueError(f"Invalid `{name}`: expected a finite number of at least 0. Received: {name}={value!r}.")
    return float(value)


def _check_horizon(horizon: int) -> int:
    is_integer = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not is_integer or horizon < 1:
        raise ValueError(f"Invalid `horizon`: expected a positive integer or None. Received: horizon={horizon!r}.")
    return int(horizon)


def _check_vector(name: str, value: ArrayLike, size: int) -> Floats:
    """A fresh float64 copy of `value`, which must be [size] and finite."""
    try:
        vector = np.array(value, np.float64)
    except (TypeError, ValueError):
        vector = None
    if vector is None or vector.shape != (size,) or not np.isfinite(vector).all():
        raise ValueError(f"Invalid `{name}`: expected finite numbers of shape ({size},). Received: {value!r}.")
    return vector
