"""Cart with a double pendulum: swing-up of two rods by a force on their cart, the hardest task of the PILCO family.

Two uniform rods of 0.6 m and 0.5 kg hang from a cart of 0.5 kg with viscous friction of 0.1 N s/m. The force on the
cart is at most 20 N. The state is (x, x', theta1, theta1', theta2, theta2') in m, m/s, rad, rad/s, both angles from
hanging. Equations: `bnnrl_envs.chain`.

Masses, lengths and friction are those of Deisenroth, "Efficient Reinforcement Learning using Gaussian Processes", KIT
Scientific Publishing, 2010, and of the PILCO toolbox of Deisenroth, McHutchon, Hall and Rasmussen. Unlike here, the
toolbox draws initial angles with a standard deviation of 0.01, not 0.1, and its cost assumes rods of 1 m; this cost
uses their true lengths. Success is judged over the last second, with the cart within 0.1 m of the origin, as for the
cart-pole.
"""

from bnnrl_envs.chain import Chain, ChainEnv, SwingUp

__all__ = ["SWING_UP", "CartDoublePendulumEnv"]

RODS = Chain(masses=(0.5, 0.5), lengths=(0.6, 0.6), cart_mass=0.5, friction=0.1)
SWING_UP = SwingUp(RODS, max_action=(20.0,), dt=0.05, horizon=100, cost_width=0.5)


class CartDoublePendulumEnv(ChainEnv):
    """Environment: swing two rods up by a force on their cart. Spaces and arguments are those of `ChainEnv`."""

    swing_up = SWING_UP
