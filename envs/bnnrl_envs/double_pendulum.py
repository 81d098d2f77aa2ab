"""Double pendulum: swing-up of two rods by a torque on each, a task of the PILCO family.

Two uniform rods of 0.5 m and 0.5 kg hang from a pivot. The state is (theta1, theta1', theta2, theta2') in rad and
rad/s, both angles from hanging. The two torques are at most 2 N m each. This is enough to lift the outer rod slowly,
but not the inner one, which takes 3.7 N m to hold horizontally, so it must be swung. Equations: `bnnrl_envs.chain`.

Masses, lengths, torques and the absence of friction are those of Deisenroth, "Efficient Reinforcement Learning using
Gaussian Processes", KIT Scientific Publishing, 2010, and of the PILCO toolbox of Deisenroth, McHutchon, Hall and
Rasmussen. As there, each torque acts between its rod and the ground, so the second torque has no reaction on the first
rod; friction, which is an option here, also acts between each rod and the ground. Unlike here, the toolbox draws
initial angles with a standard deviation of 0.01, not 0.1. Success is judged over the last second of the 3: planned
torques with linear feedback have both rods upright after 1.2 s, and keep them there.
"""

from bnnrl_envs.chain import Chain, ChainEnv, SwingUp

__all__ = ["RODS", "SWING_UP", "DoublePendulumEnv"]

RODS = Chain(masses=(0.5, 0.5), lengths=(0.5, 0.5))
SWING_UP = SwingUp(RODS, max_action=(2.0, 2.0), dt=0.1, horizon=30, cost_width=0.5)


class DoublePendulumEnv(ChainEnv):
    """Environment: swing two rods up by a torque on each. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
