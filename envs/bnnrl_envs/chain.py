"""Uniform rods hinged end to end, hanging from a pivot or a cart, and the task of swinging them up."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.plant import Floats, PlantEnv, check_episode, check_nonnegative, is_upright, rk4

__all__ = ["Chain", "ChainEnv", "SwingUp"]

START_STD = 0.1  # of each state entry, around hanging at rest
SUCCESS_TIME = 1.0  # s, how long at the end the rods must be up
SUCCESS_POSITION = 0.1  # m, how near the origin the cart must stay


@dataclass(frozen=True)
class Chain:
    """Mechanics of n rods, which have N = n coordinates q on a pivot and N = n + 1 on a cart.

    q = (theta_1, ..., theta_n), after x on a cart; each angle is from hanging, not from the rod before. States are
    (q_1, q_1', q_2, q_2', ...) in m, m/s, rad, rad/s. The Lagrangian q'^T M q' / 2 + sum_i g k_i cos phi_i gives

        M q'' = u - b q' - g k sin phi - S w^2,    M_ij = A_ij cos(phi_i - phi_j),    S_ij = A_ij sin(phi_i - phi_j)

    with the constants, for i < j,

        k_i = l_i (m_i / 2 + sum_{j>i} m_j),    A_ii = l_i^2 (m_i / 3 + sum_{j>i} m_j),    A_ij = A_ji = l_i k_j

    and phi = q, w = q' on a pivot. A cart goes before the rods as a rod of 1 m that cannot turn, so that its phi, w
    and k are 0, and whose mass all moves with x, so that its A_ii has m_i in the place of m_i / 3.
    u_i works on q_i: a force on the cart, or a torque between a rod and the ground.

    Args:
        masses: m of the rods, kg, from the inside outwards.
        lengths: l of the rods, m.
        cart_mass: kg, None for a fixed pivot.
        friction: b of the cart in N s/m, or without a cart of every rod in N m s.
        gravity: g, m/s^2.
        max_step: of the integration, s. Two rods swing faster than one: while they fall freely from near upright for
            a whole episode, their energy drifts by at most 3e-7 of itself with 1 ms, and by 6e-4 with 5 ms.
    """

    masses: tuple[float, ...]
    lengths: tuple[float, ...]
    cart_mass: float | None = None
    friction: float = 0.0
    gravity: float = 9.82
    max_step: float = 0.001

    @property
    def has_cart(self) -> bool:
        return self.cart_mass is not None

    @property
    def size(self) -> int:
        """Number of state entries, 2 N."""
        return 2 * (len(self.masses) + self.has_cart)

    @cached_property
    def _turns(self) -> Floats:
        """1 for a rod, 0 for the cart, [N]."""
        return np.array([0.0] * self.has_cart + [1.0] * len(self.masses))

    @cached_property
    def _constants(self) -> tuple[Floats, Floats, Floats]:
        """A [N, N], g k [N] and b [N]."""
        cart = [] if self.cart_mass is None else [self.cart_mass]
        m, l = np.array([*cart, *self.masses]), np.array([*np.ones(len(cart)), *self.lengths])
        outer = m[::-1].cumsum()[::-1] - m  # sum_{j>i} m_j
        k = self._turns * l * (m / 2 + outer)
        upper = np.triu(np.outer(l, k), 1)
        A = upper + upper.T + np.diag(l**2 * (np.where(self._turns, m / 3, m) + outer))
        return A, self.gravity * k, self.friction * (1 - self._turns if self.has_cart else self._turns)

    def derivative(self, states: ArrayLike, actions: ArrayLike) -> Floats:
        """Time derivative of states.

        Args:
            states: [..., 2 N].
            actions: [..., A], u of the first A coordinates; nothing drives the others.

        Returns:
            [..., 2 N], (q_1', q_1'', q_2', q_2'', ...).
        """
        states, actions = np.asarray(states, np.float64), np.asarray(actions, np.float64)
        (A, gk, b), qdot = self._constants, states[..., 1::2]
        phi, w = states[..., ::2] * self._turns, qdot * self._turns
        gaps = phi[..., :, None] - phi[..., None, :]  # [..., N, N]
        M, S = A * np.cos(gaps), A * np.sin(gaps)
        force = -b * qdot - gk * np.sin(phi) - (S @ (w**2)[..., None])[..., 0]
        force[..., : actions.shape[-1]] += actions
        rates = np.empty_like(states)
        rates[..., ::2], rates[..., 1::2] = qdot, np.linalg.solve(M, force[..., None])[..., 0]
        return rates

    def advance(self, states: ArrayLike, actions: ArrayLike, dt: float) -> Floats:
        """States [..., 2 N] after the actions [..., A] were held for dt (s): RK4 in steps of `max_step` or less."""
        return rk4(lambda s: self.derivative(s, actions), states, dt, self.max_step)

    def energy(self, states: ArrayLike) -> Floats:
        """Kinetic plus potential energy [...] in J of states [..., 2 N]; zero potential at the pivot."""
        states = np.asarray(states, np.float64)
        (A, gk, _), qdot, phi = self._constants, states[..., 1::2], states[..., ::2] * self._turns
        M = A * np.cos(phi[..., :, None] - phi[..., None, :])
        kinetic = np.einsum("...i,...ij,...j->...", qdot, M, qdot) / 2
        return kinetic - np.cos(phi) @ gk

    def tip(self, states: ArrayLike) -> Floats:
        """Where the last rod ends, (right, up) of the pivot or the cart's home in m, [..., 2]."""
        q, l = np.asarray(states, np.float64)[..., ::2], np.array(self.lengths)
        angles = q[..., self.has_cart :]
        x = q[..., 0] if self.has_cart else 0.0
        return np.stack([x + np.sin(angles) @ l, -np.cos(angles) @ l], axis=-1)


@dataclass(frozen=True)
class SwingUp:
    """The task: from hanging to upright, and over the origin on a cart.

    Args:
        chain: the plant.
        max_action: bound of each action, N or N m.
        dt: seconds an action is held.
        horizon: steps an episode.
        cost_width: m.
    """

    chain: Chain
    max_action: tuple[float, ...]
    dt: float
    horizon: int
    cost_width: float

    def cost(self, states: ArrayLike) -> Floats:
        """1 - exp(-d^2 / (2 width^2)) [...] of true states [..., 2 N], d from the tip to where it is upright, in m."""
        goal = [0.0, sum(self.chain.lengths)]
        d2 = np.square(self.chain.tip(states) - goal).sum(axis=-1)
        return -np.expm1(-d2 / (2 * self.cost_width**2))

    def is_success(self, states: ArrayLike) -> bool:
        """Whether an episode ended with every rod up, and the cart at home.

        Both must hold in every state of the last second, its first included: each rod within 10 degrees of upright,
        however many turns it made, and abs(x) under 0.1 m. An episode shorter than that time is no success.

        Args:
            states: [T + 1, 2 N], the true states of one episode, its start included.

        Raises:
            ValueError: if the states are not [T + 1, 2 N].
        """
        positions = check_episode(states, self.chain.size)[:, ::2]
        steps = round(SUCCESS_TIME / self.dt)
        end, cart = positions[-steps - 1 :], int(self.chain.has_cart)
        up = is_upright(end[:, cart:]).all() and (np.abs(end[:, :cart]) < SUCCESS_POSITION).all()
        return len(positions) > steps and bool(up)


class ChainEnv(PlantEnv):
    """Swing the rods of a chain up from hanging, and hold them up.

    - Observation: float32 [2 N], the state plus noise. Angles are unwrapped, so nothing bounds the space.
    - Action: float32 [A], forces in N or torques in N m, held for dt and clipped to their bounds.
    - Reward: minus the cost of the true state reached, in [-1, 0].
    - Episode: never terminated; truncated at step `horizon`.
    - Info: "state", a copy of the true state, float64 [2 N]; "cost", its cost.
    - Reset: `options={"state": [...]}` starts there; otherwise the start is drawn around hanging at rest.

    Args:
        render_mode: None or "rgb_array".
        horizon: steps an episode; None takes the plant's.
        friction: b of the cart in N s/m, or without a cart of every rod in N m s; None takes the plant's.
        obs_noise_std: of each observation entry, in its unit.

    Raises:
        ValueError: for an argument, a start state or an action that is none of the above.
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
