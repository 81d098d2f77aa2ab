"""Pendulum swing-up with too weak a motor, of the PILCO family.

A uniform rod of 1 m and 1 kg hangs from a pivot, where a motor gives 2.5 N m; to hold the rod level would take
m g l / 2 = 4.9 N m, so it must be swung. The state is (theta, theta') in rad, rad/s, and theta = 0 hangs down:

    theta'' = (u - b theta' - m g l sin(theta) / 2) / (m l^2 / 3)

Source: Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT Scientific Publishing, 2010,
and the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen for masses and lengths. The friction b is our
choice: the toolbox at UCL-SML/pilco-matlab has 1 N m s and no gravity, which needs no swinging. Ours too are a
start with standard deviation 0.1 in both entries, and noise of 0.01 on both. Success is judged over the last second.
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
    """Swing one rod up by a torque. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
