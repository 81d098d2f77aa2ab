"""Posteriors over θ, the results of inference: each can be sampled, averaged and saved as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_count, check_memory
from bnnrl.html_table import html_of_table
from bnnrl.seeds import as_seed, fold_in, normal, split, uniform
from bnnrl.storage.arrays import Arrays, flatten, select


class Posterior(Protocol):
    """A distribution over θ [D]."""

    @property
    def num_distinct(self) -> int | None:
        """The number of different values of θ that samples can take; None if infinite or not counted."""
        ...

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` samples of θ, [n, D].

        Args:
            n: the number of samples, at least 1.
            seed: an integer or a stateless seed pair.
        """
        ...

    def mean(self) -> tf.Tensor:
        """Return the mean of θ, [D]."""
        ...

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return a JSON-able description and named arrays, from which `from_arrays` restores the posterior."""
        ...


class _Displayed:
    """Base of the posteriors, which a notebook displays by a few facts in place of their arrays."""

    def _repr_html_(self) -> str:
        this: Any = self
        facts = {"posterior": type(self).__name__, "parameters": int(this.sample(1, 0).shape[-1])}
        if isinstance(this, Product | Mixture):
            kinds = sorted({type(component).__name__ for component in this.components})
            facts["components"] = f"{len(this.components)}: {', '.join(kinds)}"
        distinct = this.num_distinct
        return html_of_table(facts | {"distinct samples": "no limit" if distinct is None else distinct})


@dataclass(frozen=True)
class Point(_Displayed):
    """A point mass on one θ [D], such as the maximum a posteriori estimate."""

    theta: tf.Tensor

    @property
    def num_distinct(self) -> int:
        """Return 1."""
        return 1

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` copies of θ, [n, D]."""
        n = _check_number(n, self.theta)
        return tf.tile(self.theta[tf.newaxis], [n, 1])

    def mean(self) -> tf.Tensor:
        """Return θ."""
        return self.theta

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        return {"kind": "point"}, {"theta": np.asarray(self.theta)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Point:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(tf.constant(arrays["theta"]))


@dataclass(frozen=True)
class Samples(_Displayed):
    """Equal masses on the K draws [K, D] of a Markov chain, in the order of the chain.

    `sample` draws without replacement up to K; beyond that, it cycles through the same permutation.
    """

    draws: tf.Tensor

    @property
    def num_distinct(self) -> int:
        """Return K."""
        return len(self.draws)

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` of the draws in random order, [n, D]."""
        return tf.gather(self.draws, self.order(_check_number(n, self.draws), seed))

    def order(self, n: int, seed) -> tf.Tensor:
        """Return the indices, [n] int32, of the draws that `sample` returns."""
        order = tf.argsort(uniform([self.num_distinct], seed))
        return tf.gather(order, tf.range(n) % self.num_distinct)

    def mean(self) -> tf.Tensor:
        """Return the mean of the draws, [D]."""
        return tf.reduce_mean(self.draws, axis=0)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        return {"kind": "samples"}, {"draws": np.asarray(self.draws)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Samples:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(tf.constant(arrays["draws"]))


@dataclass(frozen=True)
class MeanField(_Displayed):
    """A normal distribution with independent entries.

    Args:
        loc: the mean, [D].
        scale: the standard deviation, [D].
    """

    loc: tf.Tensor
    scale: tf.Tensor
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` independent samples, [n, D]."""
        n = _check_number(n, self.loc)
        return tf.ensure_shape(_normal_draws(self.loc, self.scale, n, as_seed(seed)), [n, *self.loc.shape])

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...]."""
        return tf.reduce_sum(tfd.Normal(self.loc, self.scale).log_prob(theta), axis=-1)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        return {"kind": "mean_field"}, {"loc": np.asarray(self.loc), "scale": np.asarray(self.scale)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> MeanField:
        """Return the posterior of a description and arrays from `to_arrays`."""
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
    """Return loc + scale ε with standard normal ε, [n, D].

    A graph computes the sum in place; eagerly there would be three arrays of its size in memory.
    """
    return loc + scale * normal(tf.stack([n, tf.size(loc)]), seed)


@dataclass(frozen=True)
class LowRank(_Displayed):
    """A normal distribution whose covariance is diagonal plus low-rank, N(loc, diag(scale²) + factorᵀ factor).

    A sample is loc + scale ε₁ + factorᵀ ε₂ with standard normal ε₁ [D] and ε₂ [K]; no [D, D] matrix is computed.

    Args:
        loc: the mean, [D].
        scale: the standard deviations of the diagonal part, [D].
        factor: [K, D]; factorᵀ factor is the low-rank part.
    """

    loc: tf.Tensor
    scale: tf.Tensor
    factor: tf.Tensor
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` independent samples, [n, D]."""
        diagonal, low_rank = split(seed)
        n = _check_number(n, self.loc)
        deviation = tf.matmul(normal([n, self.factor.shape[0]], low_rank), self.factor)
        return _normal_draws(self.loc, self.scale, n, diagonal) + deviation

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...]; every entry of `scale` must be positive."""
        # With A = factor / scale and C = I + A Aᵀ [K, K], the standardised covariance I + Aᵀ A has the inverse
        # I − Aᵀ C⁻¹ A (Woodbury's identity) and the determinant of C.
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
        """Return the description and arrays for `from_arrays`."""
        arrays = {"loc": self.loc, "scale": self.scale, "factor": self.factor}
        return {"kind": "low_rank"}, {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> LowRank:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(*(tf.constant(arrays[name]) for name in ("loc", "scale", "factor")))


@dataclass(frozen=True)
class Kronecker(_Displayed):
    """A normal distribution of independent blocks, each of whose covariances is almost a Kronecker product.

    A block of θ, as a matrix [I, O], is loc + left (scale ε) rightᵀ with standard normal ε [I, O]. Entries of θ after
    the blocks are fixed at `loc`.

    Args:
        loc: the mean, [D].
        lefts: [I, I] for each block.
        scales: [I, O] for each block.
        rights: [O, O] for each block, orthogonal.
    """

    loc: tf.Tensor
    lefts: tuple[tf.Tensor, ...]
    scales: tuple[tf.Tensor, ...]
    rights: tuple[tf.Tensor, ...]
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` independent samples, [n, D]."""
        n, parts = _check_number(n, self.loc), []
        for i, (left, scale, right) in enumerate(self._blocks):
            noise = scale * normal([n, *scale.shape], fold_in(seed, i))
            parts.append(tf.reshape(left @ noise @ tf.transpose(right), [n, -1]))
        deviation = tf.concat(parts, axis=-1)
        return self.loc + tf.pad(deviation, [[0, 0], [0, len(self.loc) - deviation.shape[-1]]])

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of the blocks' entries of θ [..., D] in nats, [...]."""
        sizes = [int(np.prod(scale.shape)) for scale in self.scales]
        deviations = tf.split(theta - self.loc, [*sizes, theta.shape[-1] - sum(sizes)], axis=-1)
        total = tf.zeros(theta.shape[:-1])
        for deviation, (left, scale, right) in zip(deviations, self._blocks, strict=False):
            matrix = tf.reshape(deviation, [*theta.shape[:-1], *scale.shape])
            z = tf.linalg.solve(tf.broadcast_to(left, [*theta.shape[:-1], *left.shape]), matrix @ right) / scale
            log_det = scale.shape[1] * tf.linalg.slogdet(left)[1] + tf.reduce_sum(tf.math.log(scale))
            total += tf.reduce_sum(tfd.Normal(0.0, 1.0).log_prob(z), axis=[-2, -1]) - log_det
        return total

    @property
    def _blocks(self) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        return list(zip(self.lefts, self.scales, self.rights, strict=True))

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        groups = {name: _numbered(getattr(self, name)) for name in ("lefts", "scales", "rights")}
        return {"kind": "kronecker", "blocks": len(self.lefts)}, flatten({"": {"loc": np.asarray(self.loc)}, **groups})

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Kronecker:
        """Return the posterior of a description and arrays from `to_arrays`."""
        group = lambda name: tuple(tf.constant(arrays[f"{name}/{i}"]) for i in range(spec["blocks"]))
        return cls(tf.constant(arrays["loc"]), group("lefts"), group("scales"), group("rights"))


@dataclass(frozen=True)
class FunctionSpace(_Displayed):
    """A normal distribution N(loc, S (I + Bᵀ B)⁻¹ S) with S = diag(scale), for n rows of B and many more entries of θ.

    A sample is loc + S (z − Bᵀ (I + B Bᵀ)⁻¹ (B z + ε)) with standard normal z [D] and ε [n], by Matheron's rule; no
    [D, D] matrix is computed (Wilson et al., "Pathwise Conditioning of Gaussian Processes", JMLR 2021).

    Args:
        loc: the mean, [D].
        scale: the standard deviations without the rows, [D]; 0 for entries that are fixed.
        rows: B, [n, D].
        root: the lower Cholesky factor of I + B Bᵀ, [n, n].
    """

    loc: tf.Tensor
    scale: tf.Tensor
    rows: tf.Tensor
    root: tf.Tensor
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` independent samples, [n, D]."""
        n, (of_theta, of_rows) = _check_number(n, self.loc), split(seed)
        z = normal([n, self.loc.shape[0]], of_theta)
        noisy = tf.matmul(self.rows, z, transpose_b=True) + normal([self.rows.shape[0], n], of_rows)
        return self.loc + self.scale * (z - tf.matmul(tf.linalg.cholesky_solve(self.root, noisy), self.rows, True))

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return self.loc

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of the entries of θ [..., D] that are not fixed in nats, [...]."""
        is_free = self.scale > 0
        z = tf.where(is_free, tf.math.divide_no_nan(theta - self.loc, self.scale), 0.0)
        square = tf.reduce_sum(tf.square(z), axis=-1) + tf.reduce_sum(
            tf.square(tf.linalg.matvec(self.rows, z)), axis=-1
        )
        log_scales = tf.reduce_sum(tf.math.log(self.scale[is_free]) + 0.5 * math.log(2.0 * math.pi))
        return -0.5 * square - log_scales + tf.reduce_sum(tf.math.log(tf.linalg.diag_part(self.root)))

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        arrays = {"loc": self.loc, "scale": self.scale, "rows": self.rows, "root": self.root}
        return {"kind": "function_space"}, {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> FunctionSpace:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(*(tf.constant(arrays[name]) for name in ("loc", "scale", "rows", "root")))


def _numbered(tensors: Sequence[tf.Tensor]) -> Arrays:
    return {str(i): np.asarray(tensor) for i, tensor in enumerate(tensors)}


@dataclass(frozen=True)
class Dropout(_Displayed):
    """The posterior of Monte Carlo dropout: a sample is θ with rows of its kernels set to 0 at random.

    Each row of a kernel is multiplied by 0 with probability `rate`, and by 1 / (1 − rate) otherwise. A row holds the
    weights of one input of the layer (Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016).

    Args:
        theta: the weights and then entries that are never dropped, [D].
        shapes: the shape of each weight. The rows of a kernel [..., rows, out] are its last axis but one.
        rates: for each weight the probability that a row is dropped; 0 for a weight without masks.
    """

    theta: tf.Tensor
    shapes: tuple[tuple[int, ...], ...]
    rates: tuple[float, ...]
    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return θ under `n` sets of random masks, [n, D]."""
        lead = [_check_number(n, self.theta)]
        return self.masked(self.theta, self.masks(lead, seed), lead)

    def mean(self) -> tf.Tensor:
        """Return θ, which is the mean over masks."""
        return self.theta

    def masks(self, lead: Sequence[int], seed) -> list[tf.Tensor | None]:
        """Return random factors for the rows of each weight, [*lead, rows] each, or None where the rate is 0.

        Args:
            lead: the leading axes, such as [n] for n samples.
            seed: an integer or a stateless seed pair.
        """
        rows = [shape[-2] if rate else 0 for shape, rate in zip(self.shapes, self.rates, strict=True)]
        chances = tf.split(uniform([*lead, sum(rows)], seed), rows, axis=-1)
        return [
            tf.where(chance < rate, 0.0, 1.0 / (1.0 - rate)) if rate else None
            for chance, rate in zip(chances, self.rates, strict=True)
        ]

    def masked(self, theta: tf.Tensor, masks: list[tf.Tensor | None], lead: Sequence[int]) -> tf.Tensor:
        """Return θ with the rows of its weights multiplied by `masks`, [*lead, D].

        Args:
            theta: [..., D], whose leading axes broadcast to `lead`.
            masks: for each weight factors [*lead, rows], or None.
            lead: the leading axes of the result.
        """
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = tf.split(theta, [*sizes, theta.shape[-1] - sum(sizes)], axis=-1)
        for i, (shape, mask) in enumerate(zip(self.shapes, masks, strict=True)):
            if mask is not None:
                kernel = tf.reshape(parts[i], [*parts[i].shape[:-1], *shape])
                before = [1] * (len(shape) - 2)  # the kernel's axes before its rows
                kernel *= tf.reshape(mask, [*mask.shape[:-1], *before, mask.shape[-1], 1])
                parts[i] = tf.reshape(kernel, [*lead, sizes[i]])
        return tf.concat([tf.broadcast_to(part, [*lead, part.shape[-1]]) for part in parts], axis=-1)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        spec = {"kind": "dropout", "shapes": [list(shape) for shape in self.shapes], "rates": list(self.rates)}
        return spec, {"theta": np.asarray(self.theta)}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Dropout:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(tf.constant(arrays["theta"]), tuple(map(tuple, spec["shapes"])), tuple(spec["rates"]))


@dataclass(frozen=True)
class Linearised(_Displayed):
    """A posterior of the weights of a linearised network f(x; θ*) + J(x) (θ − θ*), as `bnnrl.linearised` describes it.

    `BayesianModel` and rollouts predict by this expansion. In the network itself, draws of θ would give predictions
    that are far too wide.

    Args:
        point: θ*, the point of the expansion, [D].
        source: the distribution of θ.
        log_evidence: log p(data) in nats by Laplace's approximation, where a method computes it.
    """

    point: tf.Tensor
    source: MeanField | LowRank | Kronecker | FunctionSpace | Product
    log_evidence: float | None = None

    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` independent samples of θ, [n, D]."""
        return self.source.sample(n, seed)

    def mean(self) -> tf.Tensor:
        """Return the mean of θ, [D]."""
        return self.source.mean()

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...]."""
        return cast(Any, self.source).log_prob(theta)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        spec, arrays = self.source.to_arrays()
        groups = {"": {"point": np.asarray(self.point)}, "source": arrays}
        return {"kind": "linearised", "source": spec, "log_evidence": self.log_evidence}, flatten(groups)

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Linearised:
        """Return the posterior of a description and arrays from `to_arrays`."""
        source = cast(Any, from_arrays(spec["source"], select(arrays, "source")))
        return cls(tf.constant(arrays["point"]), source, spec.get("log_evidence"))


@dataclass(frozen=True)
class Product(_Displayed):
    """Independent posteriors of the consecutive parts of θ, such as the networks of separate outputs."""

    components: tuple[Posterior, ...]

    @property
    def num_distinct(self) -> int | None:
        """Return the largest number among the components, whose draws are combined; None if one of them is None."""
        counts = [c.num_distinct for c in self.components]
        return None if None in counts else max(c for c in counts if c is not None)

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` samples, [n, D]."""
        return tf.concat([self.sample_part(i, n, seed) for i in range(len(self.components))], axis=-1)

    def sample_part(self, i: int, n: int, seed) -> tf.Tensor:
        """Return the part of component `i` in `sample(n, seed)`, [n, D of the component]."""
        return self.components[i].sample(n, fold_in(seed, i))

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return tf.concat([c.mean() for c in self.components], axis=-1)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        return _parts_to_arrays("product", self.components)

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Product:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(_parts_from_arrays(spec, arrays))


@dataclass(frozen=True)
class Mixture(_Displayed):
    """A mixture of M posteriors with equal weights, such as a deep ensemble or several Markov chains.

    Sampling is stratified: each component gives n // M of `n` samples, or one more. Unequal shares therefore add no
    variance to an average over samples, and n = M samples of a deep ensemble are its M members.
    """

    components: tuple[Posterior, ...]

    @property
    def num_distinct(self) -> int | None:
        """Return the sum over components; None if one of them is None."""
        counts = [c.num_distinct for c in self.components]
        return None if None in counts else sum(c for c in counts if c is not None)

    def sample(self, n: int, seed) -> tf.Tensor:
        """Return `n` samples, stratified by component and ordered by it, [n, D]."""
        return tf.concat([component.sample(count, own) for component, count, own in self.shares(n, seed)], axis=0)

    def shares(self, n: int, seed) -> list[tuple[Posterior, int, tf.Tensor]]:
        """Return (component, number of samples, seed) of each component that gives some of `n` samples."""
        n, seed = check_count("n", n), as_seed(seed)
        size = len(self.components)
        # The components that give one sample more are chosen at random, so that over many calls all have equal shares.
        order = np.argsort(uniform([size], fold_in(seed, size)).numpy())
        counts = np.full(size, n // size)
        counts[order[: n % size]] += 1
        listed = enumerate(zip(self.components, counts.tolist(), strict=True))
        return [(component, count, fold_in(seed, i)) for i, (component, count) in listed if count]

    def mean(self) -> tf.Tensor:
        """Return the mean of the components' means, [D]."""
        return tf.reduce_mean(tf.stack([c.mean() for c in self.components]), axis=0)

    def log_prob(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the log density of θ [..., D] in nats, [...].

        Raises:
            ValueError: if a component has no density: a Point, Samples or Dropout.
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
        """Return the description and arrays for `from_arrays`."""
        return _parts_to_arrays("mixture", self.components)

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Mixture:
        """Return the posterior of a description and arrays from `to_arrays`."""
        return cls(_parts_from_arrays(spec, arrays))


def _parts_to_arrays(kind: str, components: Sequence[Posterior]) -> tuple[dict[str, Any], Arrays]:
    specs, parts = zip(*(component.to_arrays() for component in components), strict=True)
    groups = {str(i): part for i, part in enumerate(parts)}
    return {"kind": kind, "components": list(specs)}, flatten(groups)


def _parts_from_arrays(spec: dict[str, Any], arrays: Arrays) -> tuple[Posterior, ...]:
    parts = enumerate(spec["components"])
    return tuple(from_arrays(part, select(arrays, str(i))) for i, part in parts)


def pieces(posterior: Posterior, n: int, seed, size: int) -> Iterator[tf.Tensor]:
    """Yield `n` samples of θ in pieces [at most `size`, D], so that they need not be in memory together.

    If `n` is at most `size`, the only piece is `posterior.sample(n, seed)`. The pieces of Samples are the same samples
    as those of `sample`, and the pieces of a Mixture are stratified in the same way. The pieces of other posteriors are
    drawn independently, by seeds of their own.

    Args:
        posterior: the posterior.
        n: the number of samples, at least 1.
        seed: an integer or a stateless seed pair.
        size: the largest number of samples in a piece, at least 1.
    """
    if n <= size:
        yield posterior.sample(n, seed)
    elif isinstance(posterior, Mixture):
        for component, count, own in posterior.shares(n, seed):
            yield from pieces(component, count, own, size)
    elif isinstance(posterior, Samples):
        order = posterior.order(n, seed)
        yield from (tf.gather(posterior.draws, order[first : first + size]) for first in range(0, n, size))
    else:
        starts = enumerate(range(0, n, size))
        yield from (posterior.sample(min(size, n - first), fold_in(seed, i)) for i, first in starts)


def _check_number(n: int, theta: tf.Tensor) -> int:
    """Return `n` as an int, or raise ValueError unless n ≥ 1 samples of θ's size, [D], fit into memory."""
    n = check_count("n", n)
    check_memory("n", n, 4 * theta.shape[-1])
    return n


_KINDS = {
    "point": Point,
    "samples": Samples,
    "mean_field": MeanField,
    "low_rank": LowRank,
    "kronecker": Kronecker,
    "function_space": FunctionSpace,
    "dropout": Dropout,
    "linearised": Linearised,
    "product": Product,
    "mixture": Mixture,
}


def from_arrays(spec: dict[str, Any], arrays: Arrays) -> Posterior:
    """Return the posterior of a description and arrays from `Posterior.to_arrays`.

    Raises:
        ValueError: if this version has no posterior of the description's kind.
    """
    if spec.get("kind") not in _KINDS:
        raise ValueError(f"Invalid posterior: expected a kind among {sorted(_KINDS)}. Received: {spec.get('kind')!r}")
    return _KINDS[spec["kind"]].from_arrays(spec, arrays)


def mixture(components: Sequence[Posterior]) -> Posterior:
    """Return the mixture of `components` with equal weights; a single component is returned itself."""
    return components[0] if len(components) == 1 else Mixture(tuple(components))
