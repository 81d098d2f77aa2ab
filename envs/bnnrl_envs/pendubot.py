"""Pendubot: swing-up of two rods by a torque on the inner one alone, a task of the PILCO family.

The rods are those of `bnnrl_envs.double_pendulum`. The state is (theta1, theta1', theta2, theta2') in rad and rad/s,
both angles from hanging. The torque on the inner rod is at most 3.5 N m; the outer rod is not driven. Equations:
`bnnrl_envs.chain`.

Masses, lengths and the absence of friction are those of Deisenroth, "Efficient Reinforcement Learning using Gaussian
Processes", KIT Scientific Publishing, 2010, and of the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen.
Unlike here, the toolbox draws initial angles with a standard deviation of 0.01, not 0.1. Success is judged over the
last second of the 3: a planned torque with linear feedback has both rods upright after 1.75 s, and keeps them there.
"""

from bnnrl_envs.chain import ChainEnv, SwingUp
from bnnrl_envs.double_pendulum import RODS

__all__ = ["SWING_UP", "PendubotEnv"]

SWING_UP = SwingUp(RODS, max_action=(3.5,), dt=0.05, horizon=60, cost_width=0.25)


class PendubotEnv(ChainEnv):
    """Environment: swing two rods up by a torque on the inner one. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
