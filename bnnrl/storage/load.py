"""`bnnrl.load`: rebuild whatever a folder holds."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from bnnrl.storage import checkpoint

# Kind of a saved object -> the class whose `from_saved` rebuilds it. They are named by strings, because storage lies
# below both classes and imports neither of them until one is asked for.
_KINDS = {"bayesian_model": ("bnnrl.model", "BayesianModel"), "pilco": ("bnnrl.rl.pilco", "PILCO")}


def load(folder: checkpoint.Folder, task: Any = None) -> Any:
    """Return what was saved to `folder`, or to the newest readable checkpoint of a run folder.

    No code is stored in the folder and none is run from it.

    Args:
        folder: the folder.
        task: for an agent that was given a bnnrl.Task, that task again: its cost is code.

    Raises:
        CheckpointError: if there is nothing saved, or it is damaged; a ValueError, like the other errors of this call.
        ValueError: if it is of a kind this version does not know, or it needs a `task`, or it takes none.
    """
    path = os.fspath(folder)
    if os.path.isdir(os.path.join(path, "checkpoints")):
        found = checkpoint.read_latest(path, lambda message: warnings.warn(message, stacklevel=4))
        if found is None:
            raise checkpoint.CheckpointError(
                f"Invalid `folder`: expected a run with at least one checkpoint. Received: {path}, which has none yet. "
                "Let the run finish its first trial."
            )
        _, config, arrays = found
    else:
        config, arrays = checkpoint.read(path)
    if config.get("kind") not in _KINDS:
        raise ValueError(
            f"Invalid `folder`: expected a saved {' or '.join(sorted(_KINDS))}. "
            f"Received: {path}, of kind {config.get('kind')!r}. Read it with `bnnrl.storage.checkpoint.read`."
        )
    module, name = _KINDS[config["kind"]]
    if task is not None and config["kind"] != "pilco":
        raise ValueError(f"Invalid `task`: expected None for a saved {config['kind']}. Received: {task!r}.")
    more = {} if task is None else {"task": task}
    return getattr(importlib.import_module(module), name).from_saved(config, arrays, **more)
