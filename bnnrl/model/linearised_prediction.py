"""Predictions of linearised posteriors, which share what does not differ between draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import tensorflow as tf

from bnnrl import likelihoods, posterior
from bnnrl.around_point import AroundPoint, can_share, directions, draws_around, num_fixed, outputs_around
from bnnrl.compiled import CompiledForShapes, share
from bnnrl.linearised import LinearisedProblem, expanded
from bnnrl.model import inputs
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.model.prediction import Predictor
from bnnrl.problem import Problem
from bnnrl.structure import key_or_none

_DIRECTIONS = 64  # along which the outputs of a block of rows are in memory at a time


class LinearisedPredictor(Predictor):
    """Evaluates the linearised network and the likelihood for draws.

    The draws are `AroundPoint` where the network is a chain of Dense layers, or only the last layer deviates and is
    Dense. Else they are pairs of a point and a deviation, [S, 2D], as for posteriors that are not linearised yet.

    Args:
        problem: the network that is linearised, and its likelihood.
        adapter: the model's scalers.
    """

    def __init__(self, problem: Problem, adapter: DataAdapter):
        self._expansion = LinearisedProblem(problem)
        super().__init__(self._expansion, adapter)
        self._base, self._covered = problem.network, dict[int, bool]()
        key = key_or_none(lambda: (outputs_around, self._base.structure)) if not self._base.has_statistics else None
        make = lambda: CompiledForShapes(partial(outputs_around, self._base), jit_compile=False)
        self._outputs_around = share(key, make)

    def draw(self, source: posterior.Posterior, n: int, seed) -> Iterator[Any]:
        """Yield `n` draws of a posterior in pieces, as `Predictor.draw` does."""
        size = self._piece_size(n)
        if not self._can_share(source):
            yield from posterior.pieces(expanded(source), n, seed, size)
            return
        shares = source.shares(n, seed) if isinstance(source, posterior.Mixture) else [(source, n, seed)]
        for component, count, own in shares:
            yield from draws_around(cast(posterior.Linearised, component), count, own, size)

    def outputs(self, theta: Any, x: inputs.Arrays) -> Any:
        """Return the network's outputs [S, B, ...] for draws."""
        if not isinstance(theta, AroundPoint):
            return super().outputs(theta, x)
        weights, changes, _ = self._expansion.split_around(*theta)
        statistics = []
        if self.reference is not None:
            whole = tf.concat([weights, tf.zeros_like(weights)], axis=0)[tf.newaxis]
            statistics = [a[0] for a in self._statistics_of(whole, self.reference)]
        return self._by_chunks(lambda chunk: self._outputs_around(weights, changes, chunk, statistics), x)

    def probit(self, source: posterior.Posterior, x: inputs.Arrays) -> np.ndarray:
        """Return class probabilities [B, C], or [B, K] of a Bernoulli, by the probit approximation.

        The logits of the linearised network are normal. Under a Bernoulli, p = sigmoid(μ / √(1 + π σ² / 8)) for a
        logit's mean μ and variance σ². Of several classes, p_c is proportional to 1 / Σ_j exp(−z_cj), where z_cj is the
        mean of the difference of the logits c and j divided by √(1 + π v / 8), with the variance v of the difference;
        of two, this is the same approximation. The probabilities of a mixture are the mean over its components.

        Source: MacKay, "The Evidence Framework Applied to Classification Networks", Neural Computation 1992; for
        several classes Lu, Ie and Sha, "Mean-Field Approximation to Gaussian-Softmax Integral", arXiv 2006.07584, 2020.

        Args:
            source: a linearised posterior, or a mixture of such.
            x: inputs in standard units.

        Raises:
            ValueError: if the likelihood has no logits, or a component of the posterior is not linearised.
        """
        likelihood = self._problem.likelihood
        parts = source.components if isinstance(source, posterior.Mixture) else (source,)
        if not isinstance(likelihood, likelihoods.Categorical | likelihoods.Bernoulli):
            raise ValueError(
                "Invalid `probit`: expected False for a likelihood without classes. Received: True for "
                f"{type(likelihood).__name__}, whose predictive mean needs no approximation."
            )
        if any(isinstance(getattr(part, "source", None), posterior.FunctionSpace) for part in parts):
            raise ValueError(
                "Invalid `probit`: expected False for Laplace's approximation in function space, which has draws "
                "alone. Received: True. Use another `structure`."
            )
        if not all(isinstance(part, posterior.Linearised) for part in parts):
            raise ValueError(
                "Invalid `probit`: expected a fit that has reached the curvature. Received: a shorter one."
            )
        blocks = list(self.blocks(x, max(_DIRECTIONS, self._outputs_of_row)))  # which bounds the covariances too
        of_part = lambda part: np.concatenate([self._probit_of(part, inputs.take(x, rows)) for rows in blocks])
        return np.mean([of_part(part) for part in parts], axis=0)

    def _probit_of(self, source: posterior.Linearised, x: inputs.Arrays) -> np.ndarray:
        point, fixed = source.point, num_fixed(source)
        along = lambda deviations: self._outputs_along(point, fixed, deviations, x)
        base = along(tf.zeros([1, point.shape[0] - fixed]))
        mean = along((source.mean() - point)[tf.newaxis, fixed:])
        found = self.calibrations.get("recalibration")
        temperature = 1.0 if found is None else float(found.values)
        mean = mean[0] / temperature
        changes = ((along(piece.deviations) - base) / temperature for piece in directions(source, _DIRECTIONS))
        if isinstance(self._problem.likelihood, likelihoods.Bernoulli):
            variance = sum((tf.reduce_sum(tf.square(d), axis=0) for d in changes), tf.zeros_like(mean))
            return tf.sigmoid(_shrunk(mean, variance)).numpy()
        zero = tf.zeros([*mean.shape, mean.shape[-1]])
        covariance = sum((tf.einsum("s...c,s...j->...cj", d, d) for d in changes), zero)
        own = tf.linalg.diag_part(covariance)
        pairs = lambda of_c, of_j: of_c[..., tf.newaxis] + of_j[..., tf.newaxis, :]
        z = _shrunk(pairs(mean, -mean), tf.maximum(pairs(own, own) - 2.0 * covariance, 0.0))
        return tf.nn.softmax(-tf.reduce_logsumexp(-z, axis=-1), axis=-1).numpy()

    def _outputs_along(self, point: tf.Tensor, fixed: int, deviations: tf.Tensor, x: inputs.Arrays) -> tf.Tensor:
        """Return the logits of the linearised network at deviations [k, D − K] from the point, [k, B, ...]."""
        if self._covers(fixed):
            return self.outputs(AroundPoint(point, deviations), x)
        whole = tf.pad(deviations, [[0, 0], [fixed, 0]])
        return self.outputs(tf.concat([tf.broadcast_to(point, whole.shape), whole], axis=-1), x)

    def _likelihood_params(self, theta: Any) -> tf.Tensor:
        if not isinstance(theta, AroundPoint):
            return super()._likelihood_params(theta)
        return self._expansion.split_around(*theta)[2]

    def _can_share(self, source: posterior.Posterior) -> bool:
        parts = source.components if isinstance(source, posterior.Mixture) else (source,)
        return all(isinstance(part, posterior.Linearised) and self._covers(num_fixed(part)) for part in parts)

    def _covers(self, offset: int) -> bool:
        if offset not in self._covered:
            self._covered[offset] = can_share(self._base, offset)
        return self._covered[offset]


def _shrunk(mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """Return μ / √(1 + π σ² / 8), whose sigmoid is nearly the mean of that of a normal variable."""
    return mean / tf.sqrt(1.0 + math.pi / 8 * variance)
