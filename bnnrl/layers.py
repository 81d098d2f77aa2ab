"""Keras layers for approximate Gaussian processes: random Fourier features, and Dense layers of bounded norm."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from bnnrl.checks import check_count, check_positive, check_seed

_SQUARINGS = 6  # of the Gram matrix: its power 64 gives the Schatten norm of order 256


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


@keras.saving.register_keras_serializable("bnnrl")
class SpectralDense(keras.layers.Dense):
    """A Dense layer whose kernel is divided by max(1, σ / c), so that its spectral norm is at most c.

    The layer is then Lipschitz with the constant c, up to that of its activation, and does not map distant inputs to
    the same features. Layers of this kind before `RandomFeatures` and a last layer with a posterior are SNGP. The
    division belongs to `call` and is differentiated, so that every inference method trains the divided kernel;
    `keras.layers.SpectralNormalization` assigns to its kernel in Keras's own training instead.

    σ is the Schatten norm of order 256, (Σ sᵢ²⁵⁶)^(1/256) over the singular values sᵢ, found by squaring the smaller
    Gram matrix of the kernel six times. The Schatten norm is never smaller than the spectral norm, and larger by at
    most the factor n^(1/256) for n singular values, 1.8 % for 100. Unlike a few power iterations, which can be off by
    several per cent in the other direction, it is a bound, and it is smooth where singular values cross.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018; Liu et al., "Simple
    and Principled Uncertainty Estimation with Deterministic Deep Learning via Distance Awareness", NeurIPS 2020.

    Args:
        units: the number of outputs, at least 1.
        activation: as in `keras.layers.Dense`.
        norm_bound: c, the largest spectral norm.
        **kwargs: further arguments of `keras.layers.Dense`.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, units: int, activation: Any = None, norm_bound: float = 0.95, **kwargs: Any):
        super().__init__(check_count("units", units), activation, **kwargs)
        self.norm_bound = check_positive("norm_bound", norm_bound)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the outputs [..., units] of inputs [..., inputs]."""
        outputs = keras.ops.matmul(inputs, self.bounded_kernel())
        if self.bias is not None:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def bounded_kernel(self) -> Any:
        """Return the kernel that multiplies the inputs, [inputs, units]."""
        ops: Any = keras.ops
        kernel = ops.convert_to_tensor(self.kernel)
        return kernel / ops.maximum(ops.exp(_log_schatten_norm(kernel)) / self.norm_bound, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        return {**super().get_config(), "norm_bound": self.norm_bound}


def _log_schatten_norm(kernel: Any) -> Any:
    """Return the logarithm of the Schatten norm of order 4 · 2^_SQUARINGS of a matrix, []."""
    ops: Any = keras.ops
    rows, columns = kernel.shape
    transposed = ops.transpose(kernel)
    power = ops.matmul(kernel, transposed) if rows <= columns else ops.matmul(transposed, kernel)
    log_norm = 0.0
    for i in range(_SQUARINGS + 1):
        power = ops.matmul(power, power) if i else power
        # Normalised at each power, which would overflow. The small number keeps a kernel of zeros differentiable.
        size = ops.sqrt(ops.sum(ops.square(power)) + 1e-30)
        power, log_norm = power / size, log_norm + 0.5**i * ops.log(size)
    return log_norm / 2


def _constant(value: np.ndarray) -> Any:
    return lambda shape, dtype=None: keras.ops.convert_to_tensor(value, dtype=dtype)
