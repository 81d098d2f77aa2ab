"""Keras layers with which a distribution over the last layer is an approximate Gaussian process."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from bnnrl.checks import check_count, check_positive, check_seed


@keras.saving.register_keras_serializable("bnnrl")
class RandomFeatures(keras.layers.Layer):
    """Random Fourier features φ(x) = √(2 / units) cos(W x + b) of the kernel k(x, z) = exp(−|x − z|² / (2 ℓ²)).

    W has independent entries of N(0, 1 / ℓ²) and b of U(0, 2π), drawn once and never trained. φ(x)ᵀ φ(z) has the mean
    k(x, z) and an error of about 1 / √units. A Dense layer of the features with N(0, 1) priors over its kernel is
    therefore nearly a Gaussian process of variance 1, and its posterior given Gaussian noise is normal:
    `Laplace` finds the posterior after the training, and `VBLL` together with the layers before, which are then a deep
    kernel. Far from the data, the features do not grow, so that the posterior returns to the prior.

    Source: Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007; Liu et al., "Simple and
    Principled Uncertainty Estimation with Deterministic Deep Learning via Distance Awareness", NeurIPS 2020.

    Args:
        units: the number of features, at least 1.
        length_scale: ℓ, in units of the layer's inputs.
        seed: of W and b.
        **kwargs: arguments of `keras.layers.Layer`, such as its name.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, units: int, length_scale: float = 1.0, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.seed = check_count("units", units), check_seed("seed", seed)
        self.length_scale = check_positive("length_scale", length_scale)

    def build(self, input_shape: Any) -> None:
        """Draw W [inputs, units] and b [units] for inputs of a shape [..., inputs]."""
        rng, inputs = np.random.default_rng(self.seed), input_shape[-1]
        values = {
            "frequencies": rng.normal(size=(inputs, self.units)) / self.length_scale,
            "phases": rng.uniform(0.0, 2.0 * math.pi, self.units),
        }
        self.frequencies, self.phases = (
            self.add_weight(name=name, shape=value.shape, initializer=_constant(value), trainable=False)
            for name, value in values.items()
        )

    def call(self, inputs: Any) -> Any:
        """Return the features, [..., units], of inputs [..., inputs]."""
        cosines: Any = keras.ops.cos(keras.ops.matmul(inputs, self.frequencies) + self.phases)
        return math.sqrt(2.0 / self.units) * cosines

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """Return the shape of the features."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        own = {"units": self.units, "length_scale": self.length_scale, "seed": self.seed}
        return {**super().get_config(), **own}


def _constant(value: np.ndarray) -> Any:
    return lambda shape, dtype=None: keras.ops.convert_to_tensor(value, dtype=dtype)
