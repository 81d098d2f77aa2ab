"""`bnnrl.load`: rebuild a saved model or agent from its folder."""

from __future__ import annotations

import importlib
import os
import warnings
from functools import partial
from typing import Any

from bnnrl.checks import check_mapping, check_path
from bnnrl.storage import checkpoint
from bnnrl.storage.arrays import Arrays

# Kind of a saved object -> the class whose `from_saved` rebuilds it. They are named by strings, because storage lies
# below both classes and imports neither of them until one is asked for.
_KINDS = {"bayesian_model": ("bnnrl.model", "BayesianModel"), "pilco": ("bnnrl.rl.pilco", "PILCO")}


def load(
    folder: checkpoint.Folder, task: Any = None, env: Any = None, custom_objects: dict[str, Any] | None = None
) -> Any:
    """Return the BayesianModel or the PILCO agent that a folder holds.

    No code is stored in such a folder, and none is run from it.

    Args:
        folder: where a model or an agent was saved; or a run folder, whose newest readable checkpoint is loaded.
        task: the bnnrl.Task of an agent that was made with one; it is not saved, because its functions are code.
        env: the environment, in any form that PILCO takes, of an agent whose environment cannot be made from what was
            saved, such as an object of a class that is not registered.
        custom_objects: likelihoods and Keras layers of your own by their names, unless they are registered by
            `keras.saving.register_keras_serializable`.

    Raises:
        CheckpointError: if the folder holds nothing, or something damaged. It is a ValueError too.
        ValueError: if the folder holds something of a kind that this version does not know, or if `task` or `env` is
            missing or superfluous.
    """
    path = str(check_path("folder", folder))
    config, arrays = _read(path)
    if not isinstance(config.get("kind"), str) or config["kind"] not in _KINDS:
        raise ValueError(
            f"Invalid `folder`: expected a saved {' or '.join(sorted(_KINDS))}. "
            f"Received: {path}, of kind {config.get('kind')!r}. Read it with `bnnrl.storage.checkpoint.read`."
        )
    given = {name: value for name, value in (("task", task), ("env", env)) if value is not None}
    if given and config["kind"] != "pilco":
        name, value = next(iter(given.items()))
        raise ValueError(f"Invalid `{name}`: expected None for a saved {config['kind']}. Received: {value!r}.")
    module, name = _KINDS[config["kind"]]
    keras_saving = importlib.import_module("keras").saving
    try:
        with keras_saving.custom_object_scope(check_mapping("custom_objects", custom_objects or {})):
            return getattr(importlib.import_module(module), name).from_saved(config, arrays, **given)
    except Exception as error:
        if isinstance(error, ImportError) or str(error).startswith("Invalid"):
            raise
        raise checkpoint.CheckpointError(
            f"Invalid checkpoint: expected a {config['kind']} as bnnrl saved it. Received: one in {path} with other "
            f"entries or arrays ({type(error).__name__}: {error}). Restore it from a copy, or save again."
        ) from error


def _read(path: str) -> tuple[dict[str, Any], Arrays]:
    """Return the configuration and arrays of a checkpoint, or of a run folder's newest readable one."""
    if not os.path.isdir(os.path.join(path, "checkpoints")):
        return checkpoint.read(path)
    warn_at_call_of_load = partial(warnings.warn, stacklevel=4)
    found = checkpoint.read_latest(path, warn_at_call_of_load)
    if found is None:
        raise checkpoint.CheckpointError(
            f"Invalid `folder`: expected a run with at least one checkpoint. Received: {path}, which has none yet. "
            "Let the run write its first one."
        )
    _, config, arrays = found
    return config, arrays
