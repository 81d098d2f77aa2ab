"""Base class of the swing-up environments: episodes, observation noise, rendering, integration, argument checks."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnrl_envs._drawing import Floats, PlantDrawing

__all__ = [
    "Entries",
    "Floats",
    "PlantEnv",
    "check_episode",
    "check_nonnegative",
    "entries_of",
    "is_upright",
    "math_of",
    "rk4",
]

Entries = Sequence[Any]  # entries of a state: numbers, or arrays of the same shape for many states
UPRIGHT_TOLERANCE = math.radians(10.0)
# Swinging rods amplify integration errors. Measured over whole episodes of random forces on the cart-pole, the error of
# RK4 with this step is 7e-7 in the median and 4e-5 at most; with 10 ms it would be 1e-5 and 7e-4.
MAX_SUBSTEP = 0.005  # s


def rk4(
    derivative: Callable[[Entries], Sequence[Any]], state: Entries, dt: float, max_step: float = MAX_SUBSTEP
) -> list:
    """Integrate x' = derivative(x) over a time, by the classical fourth-order Runge-Kutta method.

    Args:
        derivative: function from the entries of a state to their time derivatives.
        state: entries of the initial state, which are numbers or arrays. For a single state, Python's numbers are ten
            times as fast as arrays.
        dt: time in s, which is divided into equal steps.
        max_step: largest step in s.

    Returns:
        The entries of the state after dt.
    """
    substeps = math.ceil(dt / max_step)
    h = dt / substeps
    half, sixth = h / 2, h / 6
    for _ in range(substeps):
        k1 = derivative(state)
        k2 = derivative([x + half * k for x, k in zip(state, k1, strict=True)])
        k3 = derivative([x + half * k for x, k in zip(state, k2, strict=True)])
        k4 = derivative([x + h * k for x, k in zip(state, k3, strict=True)])
        stages = zip(state, k1, k2, k3, k4, strict=True)
        state = [x + sixth * (a + 2 * b + 2 * c + d) for x, a, b, c, d in stages]
    return list(state)


def entries_of(array: Floats) -> Entries:
    """Return the entries of a state [S] as numbers, or those of states [..., S] as arrays [...]."""
    return array.tolist() if array.ndim == 1 else list(np.moveaxis(array, -1, 0))


def math_of(*arrays: Floats) -> ModuleType:
    """Return the module whose functions take what `entries_of` returns for all arrays: math for vectors, else NumPy."""
    return math if all(array.ndim == 1 for array in arrays) else np


def is_upright(theta: ArrayLike) -> NDArray[np.bool_]:
    """Return whether angles, in rad from hanging, are within 10 degrees of upright, modulo full turns."""
    return np.abs(np.mod(theta, 2 * np.pi) - np.pi) <= UPRIGHT_TOLERANCE


class PlantEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Environment of rods to be swung up from a pivot or a cart; subclasses define `_advance` and `_cost`.

    The state [S] alternates positions and velocities: those of the cart, if there is one, then the angle of each rod
    from hanging and its rate.

    Args:
        lengths: lengths of the rods, m, from the inside outwards.
        cart: whether the rods hang from a cart; otherwise they hang from a fixed pivot.
        max_action: largest absolute value of each action entry, N or N m.
        dt: time for which an action is held, s.
        horizon: steps of an episode.
        start_std: standard deviation of each entry of the initial state around hanging at rest.
        noise_std: standard deviation of the noise of each observation entry.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: if the render mode is unknown, the horizon is not a positive integer, or `noise_std` is negative.
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
        """Return the state [S] after a clipped action [A] was held for dt."""

    @abstractmethod
    def _cost(self, state: Floats) -> float:
        """Return the cost of a state [S], in [0, 1]."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode at a random state, or at the state in `options={"state": ...}`, [S].

        Returns:
            The noisy observation, float32 [S]; and info with the true "state", float64 [S], and its "cost".

        Raises:
            ValueError: if `options` has another key, or its state is not S finite numbers.
        """
        super().reset(seed=seed)
        options = options or {}
        if set(options) - {"state"}:
            raise ValueError(
                f"Invalid `options`: expected a dictionary with 'state' as its only key. Received: options={options}."
            )
        # Drawn even if unused, so that the observation noise of a seed does not depend on whether a state is given.
        start = self.np_random.normal(scale=self.start_std, size=self._size)
        if "state" in options:
            start = _check_vector("options['state']", options["state"], self._size)
        self._begin(start)
        return self._observe(), self._info()

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold an action [A], clipped to its bounds, for dt.

        Returns:
            Observation, float32 [S]; reward, minus the cost of the true state reached; terminated, always False;
            truncated, at step `horizon`; and info as from `reset`.

        Raises:
            ValueError: if the action is not A finite numbers.
        """
        action = _check_vector("action", action, len(self._max_action))
        self._action = np.clip(action, -self._max_action, self._max_action)
        self._state = self._advance(self._state, self._action)
        self._steps += 1
        info = self._info()
        return self._observe(), -info["cost"], False, self._steps >= self.horizon, info

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a picture of state and last action, uint8 [320, 480, 3], or None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("`render()` draws nothing: make the environment with render_mode='rgb_array'.")
            return None
        positions, action, bounds = self._picture()
        if self._drawing is None:
            self._drawing = PlantDrawing(self._lengths, bounds.tolist(), self._cart)
        return self._drawing.draw(positions, action, self._steps * self.dt)

    def close(self) -> None:
        """Free the memory of the figure."""
        self._drawing = None

    def _picture(self) -> tuple[Floats, Floats, Floats]:
        """Return what `PlantDrawing` draws: positions, with angles from hanging; the action; and its bounds."""
        return self._state[::2], self._action, self._max_action

    def _begin(self, state: Floats) -> None:
        self._state, self._action, self._steps = state, np.zeros(len(self._max_action)), 0

    def _observe(self) -> NDArray[np.float32]:
        noise = self.np_random.normal(scale=self.noise_std, size=self._size)
        return (self._state + noise).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "cost": self._cost(self._state)}


def check_episode(states: ArrayLike, size: int) -> Floats:
    """Return `states` as float64, or raise ValueError unless they have shape [T + 1, size]."""
    states = np.asarray(states, np.float64)
    if states.ndim != 2 or states.shape[1] != size:
        raise ValueError(
            f"Invalid `states`: expected the states of one episode, of shape (T + 1, {size}). "
            f"Received: shape={states.shape}."
        )
    return states


def check_nonnegative(name: str, value: float) -> float:
    """Return `value` as a float, or raise ValueError unless it is a finite number of at least 0."""
    if not (isinstance(value, (int, float, np.number)) and 0 <= value < math.inf):
        raise ValueError(f"Invalid `{name}`: expected a finite number of at least 0. Received: {name}={value!r}.")
    return float(value)


def _check_horizon(horizon: int) -> int:
    is_integer = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not is_integer or horizon < 1:
        raise ValueError(f"Invalid `horizon`: expected a positive integer or None. Received: horizon={horizon!r}.")
    return int(horizon)


def _check_vector(name: str, value: ArrayLike, size: int) -> Floats:
    """Return a float64 copy of `value`, or raise ValueError unless it has shape [size] and is finite."""
    try:
        vector = np.array(value, np.float64)
    except (TypeError, ValueError):
        vector = None
    if vector is None or vector.shape != (size,) or not np.isfinite(vector).all():
        raise ValueError(f"Invalid `{name}`: expected finite numbers of shape ({size},). Received: {value!r}.")
    return vector
