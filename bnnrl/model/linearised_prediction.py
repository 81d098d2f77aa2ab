"""Predictions of linearised posteriors, which share what does not differ between draws."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import tensorflow as tf

from bnnrl import posterior
from bnnrl.around_point import AroundPoint, can_share, draws_around, num_fixed, outputs_around
from bnnrl.compiled import CompiledFunction, share
from bnnrl.linearised import LinearisedProblem, expanded
from bnnrl.model import inputs
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.model.prediction import Predictor
from bnnrl.problem import Problem
from bnnrl.structure import key_or_none


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
        make = lambda: CompiledFunction(partial(outputs_around, self._base), jit_compile=False)
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
