"""Uniform rods hinged end to end, hanging from a pivot or a cart: mechanics, swing-up task, and environment."""

from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.plant import (
    Entries,
    Floats,
    PlantEnv,
    check_episode,
    check_nonnegative,
    entries_of,
    is_upright,
    math_of,
    rk4,
)

__all__ = ["Chain", "ChainEnv", "SwingUp"]

START_STD = 0.1  # standard deviation of each entry of the initial state around hanging at rest
SUCCESS_TIME = 1.0  # s, for which the rods must be upright at the end of an episode
SUCCESS_POSITION = 0.1  # m, largest distance of the cart from the origin in that time


@dataclass(frozen=True)
class Chain:
    """Mechanics of n rods in a plane, with N generalised coordinates q: N = n on a pivot, N = n + 1 on a cart.

    On a pivot q = (theta_1, ..., theta_n), on a cart q = (x, theta_1, ..., theta_n). Every angle is measured from
    hanging, not from the previous rod. A state is (q_1, q_1', q_2, q_2', ...) in m, m/s, rad, rad/s. The Lagrangian
    L = q'^T M q' / 2 + sum_i g k_i cos phi_i gives the equations of motion (Euler-Lagrange)

        M q'' = u - b q' - g k sin phi - S w^2,    M_ij = A_ij cos(phi_i - phi_j),    S_ij = A_ij sin(phi_i - phi_j)

    with the constants, for i < j,

        k_i = l_i (m_i / 2 + sum_{j>i} m_j),    A_ii = l_i^2 (m_i / 3 + sum_{j>i} m_j),    A_ij = A_ji = l_i k_j

    and phi = q, w = q' on a pivot. A cart is treated as an additional first rod with l = 1 m that cannot turn: its
    phi, w and k are 0, and its whole mass moves with x, so that its A_ii has m_i instead of m_i / 3. The generalised
    force u_i acts on q_i: a force on the cart, or a torque between a rod and the ground.

    Args:
        masses: masses m of the rods, kg, from the inside outwards.
        lengths: lengths l of the rods, m.
        cart_mass: mass of the cart, kg; None for a fixed pivot.
        friction: viscous friction b: of the cart, N s/m; without a cart, of every rod, N m s.
        gravity: g, m/s^2.
        max_step: largest step of the integration, s. Two rods swing faster than one: while they fall freely from near
            upright for a whole episode, the relative drift of their energy is at most 3e-7 with 1 ms, 6e-4 with 5 ms.
    """

    masses: tuple[float, ...]
    lengths: tuple[float, ...]
    cart_mass: float | None = None
    friction: float = 0.0
    gravity: float = 9.82
    max_step: float = 0.001

    @property
    def has_cart(self) -> bool:
        """Whether the rods hang from a cart."""
        return self.cart_mass is not None

    @property
    def size(self) -> int:
        """Number of state entries, 2 N."""
        return 2 * (len(self.masses) + self.has_cart)

    @cached_property
    def _turns(self) -> Floats:
        """1 for the coordinate of a rod, 0 for that of the cart, [N]."""
        return np.array([0.0] * self.has_cart + [1.0] * len(self.masses))

    @cached_property
    def _constants(self) -> tuple[Floats, Floats, Floats]:
        """The constants of the equations of motion: A [N, N], g k [N] and b [N]."""
        cart = [] if self.cart_mass is None else [self.cart_mass]
        m, l = np.array([*cart, *self.masses]), np.array([*np.ones(len(cart)), *self.lengths])
        outer = m[::-1].cumsum()[::-1] - m  # sum_{j>i} m_j
        k = self._turns * l * (m / 2 + outer)
        upper = np.triu(np.outer(l, k), 1)
        A = upper + upper.T + np.diag(l**2 * (np.where(self._turns, m / 3, m) + outer))
        return A, self.gravity * k, self.friction * (1 - self._turns if self.has_cart else self._turns)

    def derivative(self, states: ArrayLike, actions: ArrayLike) -> Floats:
        """Return the time derivative of states.

        Args:
            states: states, [..., 2 N].
            actions: forces or torques u on the first A coordinates, [..., A]; the others are not driven.

        Returns:
            (q_1', q_1'', q_2', q_2'', ...), [..., 2 N].
        """
        states, actions = np.asarray(states, np.float64), np.asarray(actions, np.float64)
        found = self.rates(entries_of(states), entries_of(actions), math_of(states, actions))
        return np.stack(np.broadcast_arrays(*found), axis=-1)

    def advance(self, states: ArrayLike, actions: ArrayLike, dt: float) -> Floats:
        """Return the states [..., 2 N] after actions [..., A] were held for dt seconds, integrated by RK4."""
        states, actions = np.asarray(states, np.float64), np.asarray(actions, np.float64)
        held, functions = entries_of(actions), math_of(states, actions)
        found = rk4(lambda state: self.rates(state, held, functions), entries_of(states), dt, self.max_step)
        return np.stack(np.broadcast_arrays(*found), axis=-1)

    def rates(self, state: Entries, action: Entries, functions: ModuleType) -> list:
        """Return the time derivatives of the entries of a state.

        Args:
            state: the 2 N entries, which are numbers, arrays or tensors of the same shape.
            action: the A entries of an action, as in `derivative`.
            functions: a module with the functions sin and cos of such entries, such as NumPy or TensorFlow.
        """
        A, pairs, gk, b = self._numbers
        q, qdot, first = state[::2], state[1::2], int(self.has_cart)
        sines = [0.0] * first + [functions.sin(angle) for angle in q[first:]]
        cosines = [1.0] * first + [functions.cos(angle) for angle in q[first:]]
        squares = [0.0] * first + [w * w for w in qdot[first:]]
        force = [-d * w - k * s for d, w, k, s in zip(b, qdot, gk, sines, strict=True)]
        for i, u in enumerate(action):
            force[i] = force[i] + u
        M = [row[:] for row in A]
        for i, j, a in pairs:
            si, ci, sj, cj = sines[i], cosines[i], sines[j], cosines[j]
            M[i][j] = M[j][i] = a * (ci * cj + si * sj)
            S = a * (si * cj - ci * sj)
            force[i], force[j] = force[i] - S * squares[j], force[j] + S * squares[i]
        rates = list(state)
        rates[::2], rates[1::2] = qdot, solve(M, force)
        return rates

    @cached_property
    def _numbers(self) -> tuple[list[list], list[tuple[int, int, float]], list[float], list[float]]:
        """The constants as lists, and (i, j, A_ij) of all pairs i < j: entries of arrays take longer to reach."""
        A, gk, b = (constant.tolist() for constant in self._constants)
        pairs = [(i, j, A[i][j]) for j in range(len(b)) for i in range(j)]
        return A, pairs, gk, b

    def energy(self, states: ArrayLike) -> Floats:
        """Return the energy q'^T M q' / 2 - sum_i g k_i cos phi_i of states [..., 2 N], in J, [...]."""
        states = np.asarray(states, np.float64)
        (A, gk, _), qdot, phi = self._constants, states[..., 1::2], states[..., ::2] * self._turns
        M = A * np.cos(phi[..., :, None] - phi[..., None, :])
        kinetic = np.einsum("...i,...ij,...j->...", qdot, M, qdot) / 2
        return kinetic - np.cos(phi) @ gk

    def tip(self, states: ArrayLike) -> Floats:
        """Return the end of the last rod, horizontal and vertical distance from the origin in m, [..., 2].

        The origin is the pivot, or on a cart the hinge at x = 0.
        """
        q, l = np.asarray(states, np.float64)[..., ::2], np.array(self.lengths)
        angles = q[..., self.has_cart :]
        x = q[..., 0] if self.has_cart else 0.0
        return np.stack([x + np.sin(angles) @ l, -np.cos(angles) @ l], axis=-1)


def solve(M: list[list], force: list) -> list:
    """Return the solution a of M a = force by Gaussian elimination, for a positive definite matrix of few rows.

    Entries are numbers, or arrays of the same shape for many systems. The arguments are overwritten.
    """
    n = len(force)
    for i, pivot in enumerate(M):
        for j in range(i + 1, n):
            row = M[j]
            ratio = row[i] / pivot[i]
            for k in range(i + 1, n):
                row[k] = row[k] - ratio * pivot[k]
            force[j] = force[j] - ratio * force[i]
    for i in reversed(range(n)):
        row, rest = M[i], force[i]
        for k in range(i + 1, n):
            rest = rest - row[k] * force[k]
        force[i] = rest / row[i]
    return force


@dataclass(frozen=True)
class SwingUp:
    """Swing-up task: from hanging to upright, on a cart above the origin.

    Args:
        chain: mechanics of the rods.
        max_action: largest absolute value of each action entry, N or N m.
        dt: time for which an action is held, s.
        horizon: steps of an episode.
        cost_width: width of the saturating cost, m.
    """

    chain: Chain
    max_action: tuple[float, ...]
    dt: float
    horizon: int
    cost_width: float

    def cost(self, states: ArrayLike) -> Floats:
        """Return the cost 1 - exp(-d^2 / (2 width^2)) of states [..., 2 N], in [0, 1], [...].

        d is the distance in m from the end of the last rod to its upright position above the origin.
        """
        goal = [0.0, sum(self.chain.lengths)]
        d2 = np.square(self.chain.tip(states) - goal).sum(axis=-1)
        return -np.expm1(-d2 / (2 * self.cost_width**2))

    def is_success(self, states: ArrayLike) -> bool:
        """Return whether an episode ended with every rod upright and the cart at the origin.

        In every state of the last second, including the first one of that time, each rod must be within 10 degrees of
        upright, modulo full turns, and the cart within 0.1 m of the origin. A shorter episode is not a success.

        Args:
            states: the true states of one episode, [T + 1, 2 N], with the initial state.

        Raises:
            ValueError: if the states do not have this shape.
        """
        positions = check_episode(states, self.chain.size)[:, ::2]
        steps = round(SUCCESS_TIME / self.dt)
        end, cart = positions[-steps - 1 :], int(self.chain.has_cart)
        up = is_upright(end[:, cart:]).all() and (np.abs(end[:, :cart]) < SUCCESS_POSITION).all()
        return len(positions) > steps and bool(up)


class ChainEnv(PlantEnv):
    """Environment: swing the rods of a chain up from hanging, and balance them.

    - Observation: float32 [2 N], the state plus Gaussian noise; angles are not wrapped, so the space is unbounded.
    - Action: float32 [A], forces in N or torques in N m, clipped to their bounds and held for dt.
    - Reward: minus the cost of the true state reached, in [-1, 0].
    - Episode: never terminated; truncated at step `horizon`.
    - Info: "state", a copy of the true state, float64 [2 N]; "cost", its cost.
    - Reset: at the state in `options={"state": [...]}`; without it, at a random state around hanging at rest.

    Args:
        render_mode: None or "rgb_array".
        horizon: steps of an episode; None takes the task's.
        friction: viscous friction of the cart, N s/m, or without a cart of every rod, N m s; None takes the chain's.
        obs_noise_std: standard deviation of the noise of each observation entry, in the entry's unit.

    Raises:
        ValueError: if an argument, an initial state or an action is not as described.
    """

    swing_up: ClassVar[SwingUp]

    def __init__(
        self,
        render_mode: str | None = None,
        horizon: int | None = None,
        friction: float | None = None,
        obs_noise_std: float = 0.01,
    ):
        task = self.swing_up
        self.chain = chain = task.chain
        if friction is not None:
            self.chain = replace(chain, friction=check_nonnegative("friction", friction))
        horizon = task.horizon if horizon is None else horizon
        plant = (chain.lengths, chain.has_cart, task.max_action, task.dt)
        super().__init__(*plant, horizon, START_STD, obs_noise_std, render_mode)

    def _advance(self, state: Floats, action: Floats) -> Floats:
        return self.chain.advance(state, action, self.dt)

    def _cost(self, state: Floats) -> float:
        return float(self.swing_up.cost(state))
