"""Model-based reinforcement learning: tasks, a learned simulator, policy search and PILCO.

Submodules are imported on first use, so that the command line can look up a task without loading TensorFlow.
"""

import importlib as _importlib
from typing import TYPE_CHECKING

_EXPORTS = {
    "Callback": "bnnrl.rl.callbacks",
    "ConstraintWarning": "bnnrl.rl.control",
    "EnvironmentFault": "bnnrl.rl.episodes",
    "ExtrapolationWarning": "bnnrl.rl.simulator.learned_env",
    "NonFiniteWarning": "bnnrl.rl.simulator.non_finite",
    "PILCO": "bnnrl.rl.pilco",
    "PrecisionWarning": "bnnrl.rl.checks.precision",
    "Prediction": "bnnrl.rl.callbacks",
    "Trial": "bnnrl.rl.callbacks",
    "TrialTracker": "bnnrl.rl.tracker",
}
__all__ = [
    "PILCO",
    "Callback",
    "ConstraintWarning",
    "EnvironmentFault",
    "ExtrapolationWarning",
    "NonFiniteWarning",
    "PrecisionWarning",
    "Prediction",
    "Trial",
    "TrialTracker",
]

if TYPE_CHECKING:
    from bnnrl.rl.callbacks import Callback, Prediction, Trial
    from bnnrl.rl.checks.precision import PrecisionWarning
    from bnnrl.rl.control import ConstraintWarning
    from bnnrl.rl.episodes import EnvironmentFault
    from bnnrl.rl.pilco import PILCO
    from bnnrl.rl.simulator.learned_env import ExtrapolationWarning
    from bnnrl.rl.simulator.non_finite import NonFiniteWarning
    from bnnrl.rl.tracker import TrialTracker


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
