"""The settings of an agent for a task where none are given."""

from __future__ import annotations

from bnnrl.rl.search.settings import PolicySearch
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.rl.tasks import Task

_EXTRAPOLATION = 0.25  # widths of the observed range; rods that whirl leave it soon


def default_dynamics(task: Task) -> Dynamics:
    """Return the settings of the dynamics model: Gauss-Newton learning for linked rods, else an ensemble.

    An ensemble is too sure of what it has not seen of linked rods, and did not learn the double pendulum. Its time
    hardly grows with the data, while that of Gauss-Newton learning grows with their square to cube.
    """
    return Dynamics(method="gauss_newton") if task.angular_rates else Dynamics()


def default_search(task: Task) -> PolicySearch:
    """Return the settings of the policy search, for linked rods with a bound on how far rollouts leave the data."""
    return PolicySearch(extrapolation=_EXTRAPOLATION) if task.angular_rates else PolicySearch()
