"""A hierarchical prior: normal distributions over groups of weights, whose scales are unknowns with hyperpriors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf

from bnnrl.checks import check_choice, check_fields, check_flag, check_positive
from bnnrl.network import Network
from bnnrl.storage import config
from bnnrl.structure import structure

LOG_RANGE = (math.log(1e-4), math.log(50.0))  # of the log-scales that methods choose by evidence
_HYPERPRIORS = ("lognormal", "half_cauchy", "gamma")


@dataclass(frozen=True)
class Learned:
    """A prior whose scales are inferred together with the weights, one for each group of weights.

        w = m + s b u,   u ~ N(0, 1) for each weight,   s from a hyperprior for each group

    A kernel is a group, and so is each bias or other vector of weights. The kernel of a layer that reads the model's
    input has a group for each input column, so that columns without influence are switched off: automatic relevance
    determination. b is 1/√(fan-in) for a kernel and 1 for other weights. m is 1 for the scales of normalisation layers,
    named "gamma" by Keras, and 0 for all other weights.

    θ holds u in the place of the weights, and log s after the likelihood's parameters. Given this parametrisation, in
    which u and log s are independent under the prior, every method infers the scales, and samplers meet no funnel.

    Source: Neal, "Bayesian Learning for Neural Networks", 1996, for scales by group; Betancourt & Girolami,
    "Hamiltonian Monte Carlo for Hierarchical Models", 2013, for the parametrisation.

    Args:
        hyperprior: "lognormal", log s ~ N(0, spread²); "half_cauchy", s ~ HalfCauchy(spread); or "gamma",
            1/s² ~ Gamma(shape ½, rate spread²/2). Variational methods need "lognormal", under which the prior of θ is
            normal.
        spread: as above; positive.
        relevance: whether each input column has a scale of its own.

    Raises:
        ValueError: for an argument out of its range.
    """

    hyperprior: str = "lognormal"
    spread: float = 2.0
    relevance: bool = True

    def __post_init__(self):
        check_choice("hyperprior", self.hyperprior, _HYPERPRIORS)
        check_fields(self, spread=check_positive, relevance=check_flag)


config.register(Learned)


class NormalPrior(NamedTuple):
    """θ ~ N(mean, 1/precision), independently for each entry.

    Attributes:
        mean: [D], or [] if all entries have the same.
        precision: [D], or [] if all entries have the same.
    """

    mean: tf.Tensor
    precision: tf.Tensor


class _Group(NamedTuple):
    """The groups of one weight: `count` of them, each with equally many consecutive entries."""

    path: str
    size: int  # entries of the weight
    count: int
    base: float  # b
    mean: float  # m


class LearnedPrior:
    """The prior `Learned` of a network's weights.

    Args:
        settings: the hyperprior.
        network: the network.

    Attributes:
        settings: as given.
        num_params: G, the number of groups, which is that of the log-scales in θ.
    """

    def __init__(self, settings: Learned, network: Network):
        self.settings = settings
        reads_input = _input_kernels(network.model) if settings.relevance else set()
        weights = zip(network.paths, network.shapes, network.model.trainable_variables, strict=True)
        self._groups = [_group(path, shape, id(v) in reads_input) for path, shape, v in weights]
        self.num_params = sum(group.count for group in self._groups)

    @property
    def names(self) -> list[str]:
        """The name of each group: the path of its weight, with the number of the input column where it has one."""
        columns = lambda g: [""] if g.count == 1 else [f"[{i}]" for i in range(g.count)]
        return [f"{group.path}{column}" for group in self._groups for column in columns(group)]

    @property
    def group_of_each(self) -> np.ndarray:
        """The number of the group of each weight, [W] int."""
        sizes = [group.size // group.count for group in self._groups for _ in range(group.count)]
        return np.repeat(np.arange(self.num_params), sizes)

    @property
    def has_simple_form(self) -> bool:
        """Whether `as_normal` knows the form of the distribution: always, here."""
        return True

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled log density."""
        return structure(self.settings), tuple(group[1:] for group in self._groups)  # names shape nothing

    def numbers(self) -> list[tf.Tensor]:
        """Return the numbers that compiled functions take as tensors: none."""
        return []

    def with_numbers(self, tensors: Iterator[tf.Tensor]) -> Self:
        """Return this prior, which takes none of the tensors."""
        return self

    def init(self) -> tf.Tensor:
        """Return the initial log-scales [G], which are 0."""
        return tf.zeros([self.num_params])

    def scales(self, log_scales: tf.Tensor) -> tf.Tensor:
        """Return s b of each weight, the prior's standard deviations [..., W], given the log-scales [..., G]."""
        lead, parts = log_scales.shape[:-1], tf.split(tf.exp(log_scales), [g.count for g in self._groups], axis=-1)
        each = lambda g, s: tf.reshape(
            tf.broadcast_to(g.base * s[..., tf.newaxis], [*lead, g.count, g.size // g.count]), [*lead, g.size]
        )
        return tf.concat([each(g, s) for g, s in zip(self._groups, parts, strict=True)], axis=-1)

    @property
    def means(self) -> np.ndarray:
        """The prior mean m of each weight, [W]."""
        return np.repeat([g.mean for g in self._groups], [g.size for g in self._groups]).astype(np.float32)

    def weights(self, theta: tf.Tensor, log_scales: tf.Tensor) -> tf.Tensor:
        """Return the network's weights [..., W] of u [..., W] and log-scales [..., G]."""
        weights = self.scales(log_scales) * theta
        return weights + self.means if np.any(self.means) else weights

    def whiten(self, weights: tf.Tensor, log_scales: tf.Tensor) -> tf.Tensor:
        """Return u [..., W] of the network's weights [..., W] and log-scales [..., G]: the inverse of `weights`."""
        return (weights - self.means) / self.scales(log_scales)

    def as_normal(self) -> NormalPrior | None:
        """Return the mean and the precision of u, which are 0 and 1; None if that of log s is not normal."""
        return NormalPrior(tf.zeros([]), tf.ones([])) if self.settings.hyperprior == "lognormal" else None

    @property
    def normal_log_scales(self) -> NormalPrior:
        """The mean and the precision of log s under the lognormal hyperprior."""
        return NormalPrior(tf.zeros([]), tf.constant(1.0 / self.settings.spread**2))

    def log_prob(self, theta: tf.Tensor, log_scales: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return log p(u, log s) in nats, [...], for u [..., W] and log s [..., G], summed in `dtype`."""
        normal = -0.5 * tf.square(theta) - 0.5 * math.log(2.0 * math.pi)
        total = lambda a: tf.reduce_sum(tf.cast(a, dtype), axis=-1)
        return total(normal) + total(self._log_hyperprior(log_scales))

    def _log_hyperprior(self, log_scales: tf.Tensor) -> tf.Tensor:
        """Return the log density of each log-scale, the density of s times s."""
        spread = self.settings.spread
        if self.settings.hyperprior == "lognormal":
            return -0.5 * tf.square(log_scales / spread) - math.log(spread) - 0.5 * math.log(2.0 * math.pi)
        if self.settings.hyperprior == "half_cauchy":
            relative = log_scales - math.log(spread)
            return math.log(2.0 / math.pi) + relative - tf.math.softplus(2.0 * relative)
        # 1/s² ~ Gamma(½, spread²/2) is log τ = -2 log s with the Jacobian 2.
        log_precision, rate = -2.0 * log_scales, spread**2 / 2.0
        log_density = 0.5 * math.log(rate) - math.lgamma(0.5) + 0.5 * log_precision - rate * tf.exp(log_precision)
        return log_density + math.log(2.0)


def _group(path: str, shape: Sequence[int], by_column: bool) -> _Group:
    is_kernel = len(shape) >= 2
    size, fan_in = int(np.prod(shape)), int(np.prod(shape[:-1]))
    count = shape[0] if by_column and len(shape) == 2 else 1
    mean = 1.0 if path.rsplit("/", 1)[-1] == "gamma" else 0.0
    return _Group(path, size, count, 1.0 / math.sqrt(fan_in) if is_kernel else 1.0, mean)


def _input_kernels(model: keras.Model) -> set[int]:
    """Return the identities of the kernels of Dense layers that read one of the model's inputs."""
    # A Sequential model calls its layers within a Functional model of its own. A subclassed model has no input tensors.
    model = getattr(model, "_functional", None) or model
    inputs = {id(tensor) for tensor in keras.tree.flatten(getattr(model, "inputs", None) or [])}
    reads = lambda layer: any(id(t) in inputs for node in layer._inbound_nodes for t in node.input_tensors)
    return {id(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.Dense) and reads(layer)}
