"""Bayesian neural networks that work, and model-based control that learns in a handful of trials.

Submodules are imported on first use, so that `import bnnrl` and `bnnrl --help` stay quick and quiet:
TensorFlow is loaded only when something needs it.
"""

import importlib as _importlib
import os as _os
import sys as _sys
import tempfile as _tempfile
from typing import TYPE_CHECKING

# TensorFlow's C++ side logs to stderr from its own import on; a user's own setting wins.
_QUIET = "TF_CPP_MIN_LOG_LEVEL" not in _os.environ
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__version__ = "0.1.0"

_EXPORTS = {
    "BayesianModel": "bnnrl.model",
    "Problem": "bnnrl.problem",
    "load": "bnnrl.saving",
    "PILCO": "bnnrl.rl.pilco",
    "Dynamics": "bnnrl.rl.regression",
    "PolicySearch": "bnnrl.rl.search",
    "Task": "bnnrl.rl.tasks",
    "check": "bnnrl.rl.checking",
}
_SUBMODULES = {
    **{name: f"bnnrl.{name}" for name in ("callbacks", "data", "diagnostics", "inference", "likelihoods", "metrics")},
    **{name: f"bnnrl.{name}" for name in ("plots", "posterior", "priors", "report", "tracking")},
    **{name: f"bnnrl.rl.{name}" for name in ("planners", "policies", "tasks")},
}
# fmt: off
__all__ = [
    "PILCO", "BayesianModel", "Dynamics", "PolicySearch", "Problem", "Task", "__version__", "callbacks", "check",
    "data", "diagnostics", "inference", "likelihoods", "load", "metrics", "planners", "plots", "policies", "posterior",
    "priors", "report", "tasks", "tracking",
]
# fmt: on

if TYPE_CHECKING:
    from bnnrl import (  # fmt: skip
        callbacks,
        data,
        diagnostics,
        inference,
        likelihoods,
        metrics,
        plots,
        posterior,
        priors,
        report,
        tracking,
    )
    from bnnrl.model import BayesianModel
    from bnnrl.problem import Problem
    from bnnrl.rl import planners, policies, tasks
    from bnnrl.rl.checking import check
    from bnnrl.rl.pilco import PILCO
    from bnnrl.rl.regression import Dynamics
    from bnnrl.rl.search import PolicySearch
    from bnnrl.rl.tasks import Task
    from bnnrl.saving import load


def _import_tensorflow() -> None:
    """Import TensorFlow without its chatter.

    While it is being imported it writes to file descriptor 2 before any log level is heeded, so that the descriptor
    is turned away meanwhile. If the import fails, what was written is shown.
    """
    if "tensorflow" in _sys.modules or not _QUIET:
        return
    with _tempfile.TemporaryFile() as chatter:
        stderr = _os.dup(2)
        _os.dup2(chatter.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
            import tensorflow_probability  # noqa: F401
        except BaseException:
            chatter.seek(0)
            _os.write(stderr, chatter.read())
            raise
        finally:
            _os.dup2(stderr, 2)
            _os.close(stderr)


def __getattr__(name: str):
    if name not in _EXPORTS and name not in _SUBMODULES:
        raise AttributeError(f"module 'bnnrl' has no attribute {name!r}")
    _import_tensorflow()
    if name in _EXPORTS:
        return getattr(_importlib.import_module(_EXPORTS[name]), name)
    return _importlib.import_module(_SUBMODULES[name])


def __dir__() -> list[str]:
    return sorted(__all__)
