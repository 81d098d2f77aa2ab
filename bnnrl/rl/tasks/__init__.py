"""Tasks: what an agent may know of an environment (`Task`), and a registry of tasks by environment."""

from bnnrl.rl.tasks.constraint import Constraint
from bnnrl.rl.tasks.registry import check_exists, get, is_registered, register, resolve
from bnnrl.rl.tasks.task import Cost, SaturatingCost, Task

__all__ = [
    "Constraint",
    "Cost",
    "SaturatingCost",
    "Task",
    "check_exists",
    "get",
    "is_registered",
    "register",
    "resolve",
]
