"""Tasks of the environments in `bnnrl_envs`. Their costs are those of the environments, written in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bnnrl._tensorflow import import_tensorflow
from bnnrl.rl.tasks.task import SaturatingCost, Task
from bnnrl_envs import cart_double_pendulum, cartpole_swingup, double_pendulum, pendubot, pendulum, realaigym
from bnnrl_envs.chain import START_STD, SwingUp
from bnnrl_envs.two_links import DESIGN_C1

if TYPE_CHECKING:  # TensorFlow is imported when a task is made, so that the command line can list tasks quickly
    import tensorflow as tf

_REALAIGYM_PLAN = 3.0  # s, planned over where 60 to 100 steps last so long: the swing-up takes 1 to 2 s


def _cartpole_swingup(preset: str = "pilco", **env_kwargs) -> Task:
    parameters = cartpole_swingup.find_preset(preset)
    import_tensorflow()
    import tensorflow as tf

    def angle_and_position(next_obs: tf.Tensor) -> tf.Tensor:  # Amadio et al. 2022; see bnnrl_envs.cartpole_swingup
        x, theta = next_obs[..., 0], next_obs[..., 2]
        return tf.square((tf.abs(theta) - np.pi) / 3) + tf.square(x)

    tip_distance = _tip_distance((parameters.length,), True, parameters.cost_width)
    return Task(
        "bnnrl/CartPoleSwingUp-v0",
        SaturatingCost(tip_distance if parameters.cost == "tip" else angle_and_position),
        angles=(2,),
        invariant=(0,),
        velocities={0: 1, 2: 3} if preset == "mc-pilco" else {},
        env_kwargs={"preset": preset, **env_kwargs},
        success=lambda states: cartpole_swingup.is_success(states, preset),
        dt=parameters.dt,
        labels=("x, m", "x′, m/s", "θ, rad", "θ′, rad/s"),
        initial_std=4 * (parameters.start_std,),
    )


def _swing_up(env_id: str, plant: SwingUp, /, **env_kwargs) -> Task:
    import_tensorflow()
    chain, cart = plant.chain, plant.chain.has_cart
    names = ("θ",) if len(chain.lengths) == 1 else ("θ₁", "θ₂")
    labels = ("x, m", "x′, m/s") if cart else ()
    for name in names:
        labels += (f"{name}, rad", f"{name}′, rad/s")
    return Task(
        env_id,
        SaturatingCost(_tip_distance(chain.lengths, cart, plant.cost_width)),
        angles=tuple(range(2 * cart, chain.size, 2)),
        invariant=(0,) if cart else (),
        env_kwargs=env_kwargs,
        success=plant.is_success,
        velocities={i: i + 1 for i in range(0, chain.size, 2)} if len(names) > 1 else {},
        dt=plant.dt,
        labels=labels,
        initial_std=chain.size * (START_STD,),
    )


def _tip_distance(lengths: Sequence[float], cart: bool, width: float) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the exponent d² / (2 width²) of a saturating cost, with d in m from the last rod's tip to its goal.

    The goal is the tip's position when all rods are upright above the origin.

    Args:
        lengths: lengths of the rods in m, from the inside outwards.
        cart: whether the rods hang from a cart, whose position is the first entry of the observation.
        width: width of the cost in m.
    """
    import tensorflow as tf

    def exponent(next_obs: tf.Tensor) -> tf.Tensor:
        positions = tf.unstack(next_obs[..., ::2], axis=-1)
        dx, dy = (positions[0] if cart else 0.0), sum(lengths)
        for length, theta in zip(lengths, positions[cart:], strict=True):
            dx, dy = dx + length * tf.sin(theta), dy + length * tf.cos(theta)
        return (tf.square(dx) + tf.square(dy)) / (2 * width**2)

    return exponent


def _realaigym(env_id: str, /, control_period: float = 0.02, **env_kwargs) -> Task:
    import_tensorflow()
    import tensorflow as tf

    distance = _tip_distance(DESIGN_C1.lengths, False, realaigym.COST_WIDTH)

    def exponent(next_obs: tf.Tensor) -> tf.Tensor:
        """Return the exponent of a state with q2 measured from hanging, as `_tip_distance` takes it."""
        q1, q2, w1, w2 = tf.unstack(next_obs, 4, axis=-1)
        return distance(tf.stack([q1, w1, q1 + q2, w2], axis=-1))

    return Task(
        env_id,
        SaturatingCost(exponent),
        angles=(0, 1),
        velocities={0: 2, 1: 3},
        env_kwargs={"control_period": control_period, **env_kwargs},
        success=lambda states: realaigym.is_success(states, control_period),
        dt=control_period,
        labels=("q₁, rad", "q₂, rad", "q₁′, rad/s", "q₂′, rad/s"),
        horizon=min(max(round(_REALAIGYM_PLAN / control_period), 60), 100),
    )


# Environment id -> function from keyword arguments of the environment to its task.
TASKS: Mapping[str, Callable[..., Task]] = {
    "bnnrl/CartPoleSwingUp-v0": _cartpole_swingup,
    **{
        env_id: partial(_swing_up, env_id, plant.SWING_UP)
        for env_id, plant in (
            ("bnnrl/Pendulum-v0", pendulum),
            ("bnnrl/DoublePendulum-v0", double_pendulum),
            ("bnnrl/Pendubot-v0", pendubot),
            ("bnnrl/CartDoublePendulum-v0", cart_double_pendulum),
        )
    },
    **{name: partial(_realaigym, name) for name in ("bnnrl/RealAIGymPendubot-v0", "bnnrl/RealAIGymAcrobot-v0")},
}
