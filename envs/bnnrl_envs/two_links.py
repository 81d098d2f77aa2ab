"""Mechanics of two links with motors in their joints, as on RealAIGym's double pendulum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.chain import solve
from bnnrl_envs.plant import Entries, Floats

__all__ = ["DESIGN_C1", "TwoLinks"]

_FRICTION_SLOPE = 100.0  # s/rad, how fast Coulomb friction rises around standstill

Pair = Sequence[Any]  # a number for each link or joint, or an array for many machines


@dataclass(frozen=True)
class TwoLinks:
    """Two links on a pivot, with the state (q1, q2, q1', q2') in rad and rad/s.

    q1 is measured from hanging, q2 from the direction of the first link. The equations of motion are M q'' = tau - h,

        M11 = I1 + I2 + m2 l1^2 + 2 m2 l1 r2 cos q2 + (n^2 + 1) J
        M12 = I2 + m2 l1 r2 cos q2 - n J
        M22 = I2 + n^2 J
        h1  = -m2 l1 r2 sin q2 (2 q1' q2' + q2'^2) + g (m1 r1 + m2 l1) sin q1 + g m2 r2 sin(q1 + q2) + F1
        h2  = m2 l1 r2 sin q2 q1'^2 + g m2 r2 sin(q1 + q2) + F2
        Fi  = bi qi' + ci arctan(100 qi')

    Every field may hold arrays of the same shape in place of numbers, for many machines.

    Source: Wiebe et al., "Open Source Dual-Purpose Acrobot and Pendubot Platform", IEEE Robotics & Automation
    Magazine, 2024, and the package double_pendulum of DFKI's Underactuated Lab (BSD-3-Clause).

    Args:
        masses: m, kg, of the inner and the outer link.
        lengths: l, m.
        centres: r, distances of the centres of mass from the links' inner joints, m.
        inertias: I, moments of inertia about the links' inner joints, kg m^2.
        damping: b, viscous damping of the joints, N m s.
        friction: c, Coulomb friction of the joints, N m; its limit is c pi / 2.
        motor_inertia: J, moment of inertia of each motor, kg m^2.
        gear_ratio: n of both motors.
        gravity: g, m/s^2.
    """

    masses: Pair
    lengths: Pair
    centres: Pair
    inertias: Pair
    damping: Pair = (0.0, 0.0)
    friction: Pair = (0.0, 0.0)
    motor_inertia: Any = 0.0
    gear_ratio: float = 6.0
    gravity: float = 9.81

    def rates(self, state: Entries, torques: Entries, functions: ModuleType = np) -> list:
        """Return the time derivatives (q1', q2', q1'', q2'') of the entries of a state.

        Args:
            state: entries of the state, numbers or arrays.
            torques: torques of both joints, N m, numbers or arrays.
            functions: the module with sin and cos of entries: math for numbers, NumPy for arrays.
        """
        q1, q2, w1, w2 = state
        arctan = math.atan if functions is math else np.arctan
        (m1, m2), (r1, r2), g = self.masses, self.centres, self.gravity
        coupled = m2 * self.lengths[0] * r2
        spin, outer = coupled * functions.sin(q2), g * m2 * r2 * functions.sin(q1 + q2)
        inner = g * (m1 * r1 + m2 * self.lengths[0]) * functions.sin(q1)
        force1 = torques[0] + spin * w2 * (2 * w1 + w2) - inner - outer - self.damping[0] * w1
        force2 = torques[1] - spin * w1 * w1 - outer - self.damping[1] * w2
        force1 = force1 - self.friction[0] * arctan(_FRICTION_SLOPE * w1)
        force2 = force2 - self.friction[1] * arctan(_FRICTION_SLOPE * w2)
        M11, M12, M22 = self._mass_matrix(coupled * functions.cos(q2))
        return [w1, w2, *solve([[M11, M12], [M12, M22]], [force1, force2])]

    def _mass_matrix(self, coupled: Any) -> tuple[Any, Any, Any]:
        """Return the entries M11, M12 and M22 of the mass matrix, given m2 l1 r2 cos q2."""
        (i1, i2), J, n = self.inertias, self.motor_inertia, self.gear_ratio
        M11 = i1 + i2 + self.masses[1] * self.lengths[0] ** 2 + 2 * coupled + (n * n + 1) * J
        return M11, i2 + coupled - n * J, i2 + n * n * J

    def energy(self, states: ArrayLike) -> Floats:
        """Return the energy q'^T M q' / 2 + potential of states [..., 4], in J, [...]; 0 at rest at the pivot's height.

        The potential is -g (m1 r1 + m2 l1) cos q1 - g m2 r2 cos(q1 + q2).
        """
        q1, q2, w1, w2 = np.moveaxis(np.asarray(states, np.float64), -1, 0)
        (m1, m2), (r1, r2), l1 = self.masses, self.centres, self.lengths[0]
        M11, M12, M22 = self._mass_matrix(m2 * l1 * r2 * np.cos(q2))
        kinetic = (M11 * w1**2 + 2 * M12 * w1 * w2 + M22 * w2**2) / 2
        return kinetic - self.gravity * ((m1 * r1 + m2 * l1) * np.cos(q1) + m2 * r2 * np.cos(q1 + q2))

    def tip(self, states: ArrayLike) -> Floats:
        """Return the end of the outer link, horizontal and vertical distance from the pivot in m, [..., 2]."""
        states, (l1, l2) = np.asarray(states, np.float64), self.lengths
        inner, outer = states[..., 0], states[..., 0] + states[..., 1]
        return np.stack([l1 * np.sin(inner) + l2 * np.sin(outer), -l1 * np.cos(inner) - l2 * np.cos(outer)], axis=-1)


# Model 1.0 of the machine C.1, as the benchmark's simulation has it: without motor inertia, damping and friction.
DESIGN_C1 = TwoLinks(
    masses=(0.5234602302310271, 0.6255677234174437),
    lengths=(0.2, 0.3),
    centres=(0.2, 0.25569305436052964),
    inertias=(0.031887199591513114, 0.05086984812807257),
)
