"""Swing-up of two rods on a cart by pushing the cart, the hardest plant of the PILCO family.

Two uniform rods of 0.6 m and 0.5 kg hang from a cart of 0.5 kg with friction 0.1 N s/m, which is pushed with at
most 20 N. The state is (x, x', theta1, theta1', theta2, theta2') in m, m/s, rad, rad/s, both angles from hanging.

Source: Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT Scientific Publishing, 2010,
and the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen, whose masses, lengths and friction these are. The
toolbox starts with a standard deviation of 0.01 in the angles, not 0.1, and its cost takes the rods for 1 m long;
ours takes them as they are. Success is judged over the last second, with the cart within 0.1 m of the origin, as for
the cart-pole.
"""

from bnnrl_envs.chain import Chain, ChainEnv, SwingUp

__all__ = ["SWING_UP", "CartDoublePendulumEnv"]

RODS = Chain(masses=(0.5, 0.5), lengths=(0.6, 0.6), cart_mass=0.5, friction=0.1)
SWING_UP = SwingUp(RODS, max_action=(20.0,), dt=0.05, horizon=100, cost_width=0.5)


class CartDoublePendulumEnv(ChainEnv):
    """Swing two rods up by a force on their cart. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
