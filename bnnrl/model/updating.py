"""New rows for a fitted BayesianModel: which of its posteriors takes them how."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl import data, inference
from bnnrl.inference import new_rows
from bnnrl.linearised import is_linearised
from bnnrl.model import inputs
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.posterior import Mixture, Posterior, Samples
from bnnrl.problem import Problem

_ROWS = 256  # of a batch, whose Jacobian is in memory


def takes_new_rows_alone(posterior: Posterior, method: inference.Method | None, replay: Any) -> bool:
    """Return whether the posterior is that of Laplace's approximation, and not that of a method that is run again.

    Raises:
        ValueError: if the method is a sampler, if the rows to replay are missing, or are given although the posterior
            needs none.
    """
    inner = None if method is None else inference.innermost(method)
    if isinstance(inner, inference.Sampler) or (method is None and not is_linearised(posterior)):
        raise ValueError(
            "Invalid model: expected Laplace, Gauss-Newton learning, or an optimiser such as Ensemble. Received: "
            f"{type(inner).__name__ if inner else 'a model that was loaded without its method'}, whose draws belong to "
            "the earlier rows. Fit the model to the earlier and the new rows together, from `initial=` its draws: "
            "model.fit(x, y, initial=model.posterior.sample(1, 0)[0])."
        )
    alone = is_linearised(posterior) or isinstance(inner, inference.Laplace)
    if alone and replay is not None:
        raise ValueError(
            f"Invalid `replay`: expected None, as the posterior of {type(inner).__name__} holds what the earlier rows "
            "told. Received: rows."
        )
    if not alone and replay is None:
        raise ValueError(
            f"Invalid `replay`: expected the earlier rows, on which {type(inner).__name__} is trained further together "
            "with the new ones, since it would forget them otherwise. Received: None."
        )
    return alone


def with_new_rows(
    problem: Problem, adapter: DataAdapter, posterior: Posterior, reference: inputs.Arrays | None, x: Any, y: Any
) -> Posterior:
    """Return the posterior of Laplace's approximation after new rows.

    Args:
        problem: the model's problem.
        adapter: the model's.
        posterior: the posterior of the earlier rows.
        reference: the rows from which batch normalisation takes its statistics; None for the network's own.
        x: the new rows, as in `BayesianModel.fit`.
        y: their targets.
    """
    if not new_rows.can_update(posterior):
        raise ValueError(
            "Invalid model: expected one whose curvature is known. Received: one whose fit ended before, or Laplace's "
            "approximation in function space or by samples. Fit it for more epochs, or use another `structure`."
        )
    shards = adapter.shards(*_training_rows(x, y), _ROWS)
    rows = None if reference is None else tf.nest.map_structure(tf.constant, reference)
    return new_rows.updated(problem.with_num_data(shards.num_data), posterior, lambda: shards.batches(_ROWS), rows)


def with_replay(adapter: DataAdapter, x: Any, y: Any, replay: Any) -> data.Data:
    """Return the earlier rows `replay` and the new ones (x, y), given as in `fit`, with the model's scalers."""
    parts = [adapter.own_rows(*_training_rows(*rows)) for rows in ((replay, None), (x, y))]
    rows = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
    scalers = adapter.x_scaler, adapter.y_scaler
    return data.Data(rows, None, None, *scalers, None, None, "earlier and new rows", adapter.columns)


def _training_rows(x: Any, y: Any) -> tuple[Any, Any]:
    return (x.train, None) if y is None and isinstance(x, data.Data) else (x, y)


def members(posterior: Posterior) -> tf.Tensor:
    """Return where a method is trained further: θ of each member or particle [M, D], or of the only one [D]."""
    if isinstance(posterior, Samples):
        return posterior.draws
    if isinstance(posterior, Mixture):
        return tf.stack([component.mean() for component in posterior.components])
    return posterior.mean()
