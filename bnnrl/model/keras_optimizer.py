"""What Keras callbacks, and other callbacks written for Keras, read of `model.optimizer`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bnnrl.inference.schedules import rate


class KerasOptimizerView:
    """Shows an inference method to callbacks as a Keras optimizer; it optimises nothing.

    Args:
        method: the inference method.

    Attributes:
        iterations: steps taken in the present fit.
    """

    def __init__(self, method: Any):
        self.iterations = 0
        self._method = method

    @property
    def learning_rate(self) -> tf.Tensor:
        """The method's learning rate or step size at the present step, []; NaN for a method without one."""
        method, found = self._method, None
        while method is not None and found is None:  # Ensemble, SWAG and the like hold another method
            found = getattr(method, "learning_rate", getattr(method, "step_size", None))
            method = getattr(method, "method", getattr(method, "optimizer", None))
        return tf.constant(float("nan") if found is None else float(rate(found, tf.constant(self.iterations))))

    @learning_rate.setter
    def learning_rate(self, value) -> None:
        raise ValueError(
            "Invalid callback: expected none that sets the learning rate, which is part of the compiled method. "
            f"Received: learning_rate={float(value):g}. Give the method a schedule, see `bnnrl.inference`."
        )
