"""Swing-up of two rods with a torque on each, of the PILCO family.

Two uniform rods of 0.5 m and 0.5 kg hang from a pivot. The state is (theta1, theta1', theta2, theta2') in rad and
rad/s, both angles from hanging. The two torques are at most 2 N m each, which lifts the outer rod but not the inner
one: to hold that level takes 3.7 N m.

Source: Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT Scientific Publishing, 2010,
and the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen, whose masses, lengths, absence of friction and
torques these are. There, as here, a torque turns its rod without turning the other one back: the second motor
stands on the ground, and not at the end of the first rod. A friction, if asked for, works on each rod likewise.
The toolbox starts with a standard deviation of 0.01 in the angles, not 0.1. Success is judged over the last second
of the 3: planned torques with linear feedback have both rods up after 1.2 s, and hold them there.
"""

from bnnrl_envs.chain import Chain, ChainEnv, SwingUp

__all__ = ["RODS", "SWING_UP", "DoublePendulumEnv"]

RODS = Chain(masses=(0.5, 0.5), lengths=(0.5, 0.5))
SWING_UP = SwingUp(RODS, max_action=(2.0, 2.0), dt=0.1, horizon=30, cost_width=0.5)


class DoublePendulumEnv(ChainEnv):
    """Swing two rods up by a torque on each. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
