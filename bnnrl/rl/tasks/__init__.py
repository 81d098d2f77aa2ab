"""Tasks: what an agent may know of an environment, and the registered ones."""

from bnnrl.rl.tasks.registry import check_exists, get, is_registered, register
from bnnrl.rl.tasks.task import Cost, SaturatingCost, Task

__all__ = ["Cost", "SaturatingCost", "Task", "check_exists", "get", "is_registered", "register"]
