"""What Keras callbacks, and other callbacks written for Keras, read of `model.optimizer`."""

from __future__ import annotations

import tensorflow as tf

from bnnrl.inference import Method


class KerasOptimizerView:
    """Shows an inference method to callbacks as a Keras optimizer; it optimises nothing.

    Args:
        method: the inference method, or None for a loaded model without one.

    Attributes:
        iterations: steps taken in the present fit.
    """

    def __init__(self, method: Method | None):
        self.iterations = 0
        self._method = method

    @property
    def learning_rate(self) -> tf.Tensor:
        """The method's learning rate or step size at the present step, []; NaN for a method without one."""
        found = self._method.current_rate(self.iterations) if self._method else None
        return tf.constant(found[1] if found else float("nan"))

    @learning_rate.setter
    def learning_rate(self, value) -> None:
        raise ValueError(
            "Invalid callback: expected none that sets the learning rate, which is part of the compiled method. "
            f"Received: learning_rate={float(value):g}. Give the method a schedule, see `bnnrl.inference`."
        )
