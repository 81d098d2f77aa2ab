"""Posteriors: what inference leaves behind, from which draws of θ are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_count
from bnnrl.seeds import as_seed, fold_in, normal, split, uniform
from bnnrl.storage.arrays import Arrays, flatten, select


class Posterior(Protocol):
    """A distribution over θ [D]."""

    @property
    def num_distinct(self) -> int | None:
        """How many different values a draw can take; None where there is no such bound."""
        ...

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` draws, [n, D]."""
        ...

    def mean(self) -> tf.Tensor:
        """Return the mean of θ, [D]."""
        ...

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return a JSON-able description and named arrays, from which `from_arrays` rebuilds the posterior."""
        ...


@dataclass(frozen=True)
class Point:
    """All mass on one θ [D]: a maximum a posteriori estimate."""

    theta: tf.Tensor

    @property
    def num_distinct(self) -> int:
        return 1

    def sample(self, n: int, seed) -> tf.Tensor:
        n = check_count("n", n)
        return tf.tile(self.theta[tf.newaxis], [n, 1])

    def mean(self) -> tf.Tensor:
        return self.theta

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        return {"kind": "point"}, {"theta": np.asarray(self.theta)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Point:
        return cls(tf.constant(arrays["theta"]))


@dataclass(frozen=True)
class Samples:
    """Equal masses on K draws [K, D] of a Markov chain, in its order.

    `sample` repeats none of them before it has given all: up to K without replacement, and of more each K-th part.
    """

    draws: tf.Tensor

    @property
    def num_distinct(self) -> int:
        return len(self.draws)

    def sample(self, n: int, seed) -> tf.Tensor:
        n = check_count("n", n)
        order = tf.argsort(uniform([self.num_distinct], seed))
        return tf.gather(self.draws, tf.gather(order, tf.range(n) % self.num_distinct))

    def mean(self) -> tf.Tensor:
        return tf.reduce_mean(self.draws, axis=0)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        return {"kind": "samples"}, {"draws": np.asarray(self.draws)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Samples:
        return cls(tf.constant(arrays["draws"]))


@dataclass(frozen=True)
class MeanField:
    """A normal distribution with independent entries, mean and standard deviation [D] each."""

    loc: tf.Tensor
    scale: tf.Tensor
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        n = check_count("n", n)
        return tf.ensure_shape(_normal_draws(self.loc, self.scale, n, as_seed(seed)), [n, *self.loc.shape])

    def mean(self) -> tf.Tensor:
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...]."""
        return tf.reduce_sum(tfd.Normal(self.loc, self.scale).log_prob(theta), axis=-1)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        return {"kind": "mean_field"}, {"loc": np.asarray(self.loc), "scale": np.asarray(self.scale)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> MeanField:
        return cls(tf.constant(arrays["loc"]), tf.constant(arrays["scale"]))


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None]),
        tf.TensorSpec([None]),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ],
)
def _normal_draws(loc: tf.Tensor, scale: tf.Tensor, n: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return loc + scale ε, [n, D]. A graph computes it in place; eagerly three arrays of its size would be held."""
    return loc + scale * normal(tf.stack([n, tf.size(loc)]), seed)


@dataclass(frozen=True)
class LowRank:
    """A normal distribution with a diagonal and a low-rank part, N(loc, diag(scale²) + factor factorᵀ).

    Draws are loc + scale ε₁ + factor ε₂: no [D, D] matrix is made.

    Args:
        loc: [D].
        scale: [D], the diagonal part's standard deviations.
        factor: [K, D], its rows the columns of the low-rank part.
    """

    loc: tf.Tensor
    scale: tf.Tensor
    factor: tf.Tensor
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        diagonal, low_rank = split(seed)
        n = check_count("n", n)
        deviation = tf.matmul(normal([n, self.factor.shape[0]], low_rank), self.factor)
        return self.loc + self.scale * normal([n, *self.loc.shape], diagonal) + deviation

    def mean(self) -> tf.Tensor:
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...]; every entry needs a diagonal part."""
        # With C = I + A Aᵀ [K, K] for A = factor / scale, the inverse is I − Aᵀ C⁻¹ A and the determinant that of C.
        double = lambda a: tf.cast(a, tf.float64)
        scale = double(self.scale)
        a, z = double(self.factor) / scale, (double(theta) - double(self.loc)) / scale
        root = tf.linalg.cholesky(tf.eye(a.shape[0], dtype=a.dtype) + tf.matmul(a, a, transpose_b=True))
        flat = tf.reshape(z, [-1, z.shape[-1]])
        along = tf.linalg.triangular_solve(root, tf.matmul(a, flat, transpose_b=True))  # [K, n]
        square = tf.reduce_sum(flat**2, axis=-1) - tf.reduce_sum(along**2, axis=0)
        log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(root))) + 2.0 * tf.reduce_sum(tf.math.log(scale))
        log_prob = -0.5 * (square + log_det + z.shape[-1] * np.log(2.0 * np.pi))
        return tf.cast(tf.reshape(log_prob, z.shape[:-1]), tf.float32)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        arrays = {"loc": self.loc, "scale": self.scale, "factor": self.factor}
        return {"kind": "low_rank"}, {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> LowRank:
        return cls(*(tf.constant(arrays[name]) for name in ("loc", "scale", "factor")))


@dataclass(frozen=True)
class Dropout:
    """θ with rows of its kernels dropped at random: weights × masks / (1 − rate), a draw being one set of masks.

    Args:
        theta: [D], the weights, and after them entries that are never dropped.
        shapes: of each weight; the rows of a kernel [..., rows, out] lie on its last axis but one.
        rates: for each weight the probability that a row is dropped, 0 for a weight without masks.
    """

    theta: tf.Tensor
    shapes: tuple[tuple[int, ...], ...]
    rates: tuple[float, ...]
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        lead = [check_count("n", n)]
        return self.masked(self.theta, self.masks(lead, seed), lead)

    def mean(self) -> tf.Tensor:
        return self.theta

    def masks(self, lead: Sequence[int], seed) -> list[tf.Tensor | None]:
        """Return for each weight the factors 0 or 1 / (1 − rate) of its rows, [*lead, rows], or None."""
        rows = [shape[-2] if rate else 0 for shape, rate in zip(self.shapes, self.rates, strict=True)]
        chances = tf.split(uniform([*lead, sum(rows)], seed), rows, axis=-1)
        return [
            tf.where(chance < rate, 0.0, 1.0 / (1.0 - rate)) if rate else None
            for chance, rate in zip(chances, self.rates, strict=True)
        ]

    def masked(self, theta: tf.Tensor, masks: list[tf.Tensor | None], lead: Sequence[int]) -> tf.Tensor:
        """Return θ [..., D] times masks [*lead, rows], [*lead, D]."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = tf.split(theta, [*sizes, theta.shape[-1] - sum(sizes)], axis=-1)
        for i, (shape, mask) in enumerate(zip(self.shapes, masks, strict=True)):
            if mask is not None:
                kernel = tf.reshape(parts[i], [*parts[i].shape[:-1], *shape])
                around = [1] * (len(shape) - 2)  # axes of the kernel before its rows
                kernel *= tf.reshape(mask, [*mask.shape[:-1], *around, mask.shape[-1], 1])
                parts[i] = tf.reshape(kernel, [*lead, sizes[i]])
        return tf.concat([tf.broadcast_to(part, [*lead, part.shape[-1]]) for part in parts], axis=-1)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        spec = {"kind": "dropout", "shapes": [list(shape) for shape in self.shapes], "rates": list(self.rates)}
        return spec, {"theta": np.asarray(self.theta)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Dropout:
        return cls(tf.constant(arrays["theta"]), tuple(map(tuple, spec["shapes"])), tuple(spec["rates"]))


@dataclass(frozen=True)
class Mixture:
    """An equal mixture of posteriors.

    Draws are stratified: of `n` draws each component gives n // M or one more, so that an expectation over the
    draws has no variance from unequal shares, and n = M draws of a deep ensemble are its M members.
    """

    components: tuple[Posterior, ...]

    @property
    def num_distinct(self) -> int | None:
        counts = [c.num_distinct for c in self.components]
        return None if None in counts else sum(c for c in counts if c is not None)

    def sample(self, n: int, seed) -> tf.Tensor:
        n = check_count("n", n)
        seed = as_seed(seed)
        size = len(self.components)
        # Which components give one draw more is random, so that no component is favoured over many calls.
        order = np.argsort(uniform([size], fold_in(seed, size)).numpy())
        counts = np.full(size, n // size)
        counts[order[: n % size]] += 1
        return tf.concat(
            [
                component.sample(int(count), fold_in(seed, i))
                for i, (component, count) in enumerate(zip(self.components, counts, strict=True))
                if count
            ],
            axis=0,
        )

    def mean(self) -> tf.Tensor:
        return tf.reduce_mean(tf.stack([c.mean() for c in self.components]), axis=0)

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...].

        Raises:
            ValueError: if a component has no density, as points, draws and masks have none.
        """
        without = sorted({type(c).__name__ for c in self.components if not hasattr(c, "log_prob")})
        if without:
            raise ValueError(
                "Invalid posterior: expected a mixture of normal distributions, which have a density. "
                f"Received: {without}."
            )
        each = tf.stack([cast(Any, c).log_prob(theta) for c in self.components])
        return tf.reduce_logsumexp(each, axis=0) - math.log(len(self.components))

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        specs, parts = zip(*(component.to_arrays() for component in self.components), strict=True)
        groups = {str(i): part for i, part in enumerate(parts)}
        return {"kind": "mixture", "components": list(specs)}, flatten(groups)

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Mixture:
        specs = enumerate(spec["components"])
        return cls(tuple(from_arrays(own, select(arrays, str(i))) for i, own in specs))


_KINDS = {
    "point": Point,
    "samples": Samples,
    "mean_field": MeanField,
    "low_rank": LowRank,
    "dropout": Dropout,
    "mixture": Mixture,
}


def from_arrays(spec: dict[str, Any], arrays: Arrays) -> Posterior:
    """Return the posterior that `to_arrays` described.

    Raises:
        ValueError: if the description names a kind this version does not know.
    """
    if spec.get("kind") not in _KINDS:
        raise ValueError(f"Invalid posterior: expected a kind among {sorted(_KINDS)}. Received: {spec.get('kind')!r}")
    return _KINDS[spec["kind"]].from_arrays(spec, arrays)


def mixture(components: Sequence[Posterior]) -> Posterior:
    """Return the equal mixture of `components`, or the only one of them."""
    return components[0] if len(components) == 1 else Mixture(tuple(components))
