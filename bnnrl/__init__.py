"""Bayesian neural networks with many inference methods, and model-based reinforcement learning with them.

Submodules are imported on first use, and TensorFlow only when a name needs it, so that `import bnnrl` and
`bnnrl --help` are quick and print no messages of TensorFlow.
"""

import importlib as _importlib
from typing import TYPE_CHECKING

from bnnrl import _compilation_cache, _moved, _registration
from bnnrl import _tensorflow as _tf

_tf.set_environment()
_compilation_cache.enable()
_moved.install()
_registration.install()

__version__ = "0.2.0"

_EXPORTS = {
    "BayesianModel": "bnnrl.model",
    "Converged": "bnnrl.model",
    "laplace": "bnnrl.model.post_hoc",
    "cross_validate": "bnnrl.model.cross_validation",
    "Problem": "bnnrl.problem",
    "load": "bnnrl.storage.load",
    "PILCO": "bnnrl.rl.pilco",
    "Dynamics": "bnnrl.rl.simulator.settings",
    "PolicySearch": "bnnrl.rl.search",
    "Task": "bnnrl.rl.tasks",
    "check": "bnnrl.rl.checks",
}
_SUBMODULES = {
    **{name: f"bnnrl.{name}" for name in ("callbacks", "data", "diagnostics", "inference", "layers", "likelihoods")},
    **{name: f"bnnrl.{name}" for name in ("metrics", "plots", "posterior", "priors", "report", "sklearn", "tracking")},
    **{name: f"bnnrl.rl.{name}" for name in ("planners", "policies", "tasks")},
}
# fmt: off
__all__ = [
    "PILCO", "BayesianModel", "Converged", "Dynamics", "PolicySearch", "Problem", "Task", "__version__", "callbacks",
    "check", "cross_validate", "data", "diagnostics", "inference", "laplace", "layers", "likelihoods", "load",
    "metrics", "planners", "plots", "policies", "posterior", "priors", "report", "sklearn", "tasks", "tracking",
]
# fmt: on

if TYPE_CHECKING:
    from bnnrl import (
        callbacks,
        data,
        diagnostics,
        inference,
        layers,
        likelihoods,
        metrics,
        plots,
        posterior,
        priors,
        report,
        sklearn,
        tracking,
    )
    from bnnrl.model.bayesian_model import BayesianModel
    from bnnrl.model.convergence import Converged
    from bnnrl.model.cross_validation import cross_validate
    from bnnrl.model.post_hoc import laplace
    from bnnrl.problem import Problem
    from bnnrl.rl import planners, policies, tasks
    from bnnrl.rl.checks import check
    from bnnrl.rl.pilco import PILCO
    from bnnrl.rl.search import PolicySearch
    from bnnrl.rl.simulator.settings import Dynamics
    from bnnrl.rl.tasks import Task
    from bnnrl.storage.load import load


def __getattr__(name: str):
    if name not in _EXPORTS and name not in _SUBMODULES:
        raise AttributeError(f"module 'bnnrl' has no attribute {name!r}")
    _tf.import_tensorflow()
    if name in _EXPORTS:
        return getattr(_importlib.import_module(_EXPORTS[name]), name)
    return _importlib.import_module(_SUBMODULES[name])


def __dir__() -> list[str]:
    return sorted(__all__)
