"""Gymnasium environments of bnnrl: swing-up tasks of the PILCO family and RealAIGym, with ids `bnnrl/Name-v0`.

Importing this package or `bnnrl` registers them. Gymnasium ignores entry points since 1.0, so a program that imports
neither makes them by `gymnasium.make("bnnrl_envs:bnnrl/CartPoleSwingUp-v0")`.
"""

from gymnasium.envs.registration import register, registry

__all__ = ["register_envs"]

_ENVS = {
    # Without max_episode_steps: the length depends on preset and arguments, so the environments truncate themselves.
    "bnnrl/CartPoleSwingUp-v0": "bnnrl_envs.cartpole_swingup:CartPoleSwingUpEnv",
    "bnnrl/Pendulum-v0": "bnnrl_envs.pendulum:PendulumEnv",
    "bnnrl/DoublePendulum-v0": "bnnrl_envs.double_pendulum:DoublePendulumEnv",
    "bnnrl/Pendubot-v0": "bnnrl_envs.pendubot:PendubotEnv",
    "bnnrl/CartDoublePendulum-v0": "bnnrl_envs.cart_double_pendulum:CartDoublePendulumEnv",
    "bnnrl/RealAIGymPendubot-v0": "bnnrl_envs.realaigym:RealAIGymPendubotEnv",
    "bnnrl/RealAIGymAcrobot-v0": "bnnrl_envs.realaigym:RealAIGymAcrobotEnv",
}


def register_envs() -> None:
    """Register every environment with Gymnasium, unless it is registered already."""
    for env_id, entry_point in _ENVS.items():
        if env_id not in registry:
            register(id=env_id, entry_point=entry_point)


register_envs()
