"""A registered task of a point mass, named tests.faults.small_task:test/Small-v0, that may be told to fail."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

import bnnrl
from tests.rl.point_mass import TASK, PointMass

STEPS = 4

# {"step": 7, "does": "raises"} lets the 7th step of the process fail, {"reset": 2} the second reset.
fault: dict[str, Any] = {}
counts = {"step": 0, "reset": 0}
RETURNED = {
    "observation is NaN": (np.array([0.0, np.nan], np.float32), 0.0),
    "observation is infinite": (np.array([np.inf, 0.0], np.float32), 0.0),
    "observation is missing": (None, 0.0),
    "observation has another shape": (np.zeros(3, np.float32), 0.0),
    "reward is NaN": (np.zeros(2, np.float32), np.nan),
    "reward is infinite": (np.zeros(2, np.float32), -np.inf),
    "reward is missing": (np.zeros(2, np.float32), None),
}


class Small(PointMass):
    """A point mass that fails as `fault` says."""

    def reset(self, **options):
        self._count("reset")
        return super().reset(**options)

    def step(self, action):
        if self._count("step"):
            obs, reward = RETURNED[fault["does"]]
            return obs, reward, False, False, {}
        return super().step(action)

    def _count(self, what: str) -> bool:
        """Count a step or a reset; return whether it is the faulty one, or raise an error if the fault is one."""
        counts[what] += 1
        is_faulty = fault.get(what) == counts[what]
        if is_faulty and fault["does"] == "error":
            raise OSError("the cable broke")
        return is_faulty


gymnasium.register("test/Small-v0", lambda **kwargs: Small(**kwargs), max_episode_steps=STEPS, disable_env_checker=True)
bnnrl.tasks.register(replace(TASK, env_id="test/Small-v0"))
