"""Posteriors: what inference leaves behind, from which draws of θ are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.seeds import as_seed, fold_in, uniform

Arrays = dict[str, np.ndarray]


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

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        specs, arrays = [], {}
        for i, component in enumerate(self.components):
            spec, part = component.to_arrays()
            specs.append(spec)
            arrays |= {f"{i}/{name}": value for name, value in part.items()}
        return {"kind": "mixture", "components": specs}, arrays

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: Arrays) -> Mixture:
        components = []
        for i, part in enumerate(spec["components"]):
            prefix = f"{i}/"
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            components.append(from_arrays(part, own))
        return cls(tuple(components))


_KINDS = {"point": Point, "samples": Samples, "mixture": Mixture}


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
