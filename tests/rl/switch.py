"""An environment without a task: a point mass with three discrete actions, which terminates at a wall and renders."""

import gymnasium
import numpy as np

from tests.rl.point_mass import Drawn

ENV_ID = "tests.rl.switch:test/Switch-v0"


class Switch(Drawn):
    """A point mass on which an action, 1, 2 or 3, pushes left, not at all, or right."""

    action_space = gymnasium.spaces.Discrete(3, start=1)

    def step(self, action):
        assert self.action_space.contains(action), action
        self._state = self._state + 0.25 * np.array([self._state[1], action - 2])
        self._steps += 1
        reward = -float((self._state[0] - 1) ** 2)
        return self._observe(), reward, bool(self._state[0] < -0.4), False, {}


gymnasium.register("test/Switch-v0", lambda **kwargs: Switch(**kwargs), max_episode_steps=6, disable_env_checker=True)
