"""A point mass that a switch of three positions moves: discrete, without a task, with pictures; ends on a wall."""

import gymnasium
import numpy as np

from tests.rl.point_mass import Drawn

ENV_ID = "tests.rl.switch:test/Switch-v0"


class Switch(Drawn):
    action_space = gymnasium.spaces.Discrete(3, start=1)

    def step(self, action):
        assert self.action_space.contains(action), action
        self._state = self._state + 0.25 * np.array([self._state[1], action - 2])
        self._steps += 1
        reward = -float((self._state[0] - 1) ** 2)
        return self._observe(), reward, bool(self._state[0] < -0.4), False, {}


gymnasium.register("test/Switch-v0", lambda **kwargs: Switch(**kwargs), max_episode_steps=6, disable_env_checker=True)
