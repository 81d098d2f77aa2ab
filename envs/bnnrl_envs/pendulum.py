"""Pendulum swing-up with a weak motor, a task of the PILCO family.

A uniform rod of 1 m and 1 kg hangs from a pivot with a motor of at most 2.5 N m. Holding the rod horizontally would
take m g l / 2 = 4.9 N m, so it must be swung. The state is (theta, theta') in rad, rad/s, theta = 0 is hanging, and

    theta'' = (u - b theta' - m g l sin(theta) / 2) / (m l^2 / 3)

Mass and length are those of Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT Scientific
Publishing, 2010, and of the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen. The friction of 0.01 N m s is
chosen here: the toolbox at UCL-SML/pilco-matlab has 1 N m s and no gravity, so there is nothing to swing up. The
standard deviations of the initial state, 0.1, and of the observation noise, 0.01, are chosen here, too. Success is
judged over the last second.
"""

from bnnrl_envs.chain import Chain, ChainEnv, SwingUp

__all__ = ["SWING_UP", "PendulumEnv"]

SWING_UP = SwingUp(
    Chain(masses=(1.0,), lengths=(1.0,), friction=0.01, max_step=0.005),
    max_action=(2.5,),
    dt=0.1,
    horizon=40,
    cost_width=0.5,
)


class PendulumEnv(ChainEnv):
    """Environment: swing one rod up by a torque. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
