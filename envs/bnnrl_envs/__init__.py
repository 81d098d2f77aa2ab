"""Gymnasium environments of bnnrl, all under the namespace `bnnrl/`.

Importing this package registers them. Gymnasium reads no entry points since 1.0, so a program that
imports neither `bnnrl_envs` nor something that does asks for `"bnnrl_envs:bnnrl/CartPoleSwingUp-v0"`.
"""

from gymnasium.envs.registration import register, registry

__all__ = ["register_envs"]

_ENVS = {
    # No max_episode_steps: the horizon depends on preset or arguments, so the environment truncates itself.
    "bnnrl/CartPoleSwingUp-v0": "bnnrl_envs.cartpole_swingup:CartPoleSwingUpEnv",
    "bnnrl/Pendulum-v0": "bnnrl_envs.pendulum:PendulumEnv",
    "bnnrl/DoublePendulum-v0": "bnnrl_envs.double_pendulum:DoublePendulumEnv",
    "bnnrl/Pendubot-v0": "bnnrl_envs.pendubot:PendubotEnv",
    "bnnrl/CartDoublePendulum-v0": "bnnrl_envs.cart_double_pendulum:CartDoublePendulumEnv",
}


def register_envs() -> None:
    """Register every environment with Gymnasium; calling it again does nothing."""
    for env_id, entry_point in _ENVS.items():
        if env_id not in registry:
            register(id=env_id, entry_point=entry_point)


register_envs()
