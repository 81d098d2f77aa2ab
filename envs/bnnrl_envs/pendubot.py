"""Swing-up of two rods by a torque on the inner one alone, the Pendubot of the PILCO family.

The rods are those of `bnnrl_envs.double_pendulum`, the state is (theta1, theta1', theta2, theta2') in rad and rad/s,
both angles from hanging, and the one torque is at most 3.5 N m. The outer rod is free.

Source: Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT Scientific Publishing, 2010,
and the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen, whose masses, lengths and absence of friction
these are. The toolbox starts with a standard deviation of 0.01 in the angles, not 0.1. Success is judged over the
last second of the 3: a planned torque with linear feedback has both rods up after 1.75 s, and holds them there.
"""

from bnnrl_envs.chain import ChainEnv, SwingUp
from bnnrl_envs.double_pendulum import RODS

__all__ = ["SWING_UP", "PendubotEnv"]

SWING_UP = SwingUp(RODS, max_action=(3.5,), dt=0.05, horizon=60, cost_width=0.25)


class PendubotEnv(ChainEnv):
    """Swing two rods up by a torque on the inner one. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
