"""Network outputs and predictive distributions for model draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from bnnrl import data, metrics, posterior
from bnnrl.checks import check_memory
from bnnrl.compiled import CompiledForShapes, share
from bnnrl.model import calibration, inputs
from bnnrl.model.cross_conformal import CrossConformal
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.network import Network, map_one_by_one
from bnnrl.problem import Problem
from bnnrl.seeds import host_seed
from bnnrl.structure import key_or_none

# Rows are evaluated in chunks of _ROWS: hidden layers of some hundred units then stay in the processor's cache, and
# memory is bounded. Up to _BATCHED rows times draws are one vectorised call; beyond that, one plain call of the network
# for each draw takes half the time.
_ROWS, _BATCHED = 2**11, 2**13
# A prediction holds at most _DRAW_BYTES of posterior samples of θ at a time. What is reduced over draws is computed in
# blocks of rows whose outputs for all draws are at most _BLOCK_OUTPUTS numbers, 64 MiB.
_DRAW_BYTES, _BLOCK_OUTPUTS = 2**29, 2**24
# Families of which mean + std z has the location mean + std loc and the scale std scale. LogNormal, for example, has
# both parameters and is none of them.
_LOCATION_SCALE = (tfd.Normal, tfd.Laplace, tfd.StudentT, tfd.Cauchy, tfd.Logistic, tfd.Gumbel, tfd.GeneralizedNormal)
_REFERENCE_ROWS = 1024  # enough for the mean and variance of each channel


class Predictor:
    """Evaluates the network and the likelihood for S draws of θ.

    Args:
        problem: the network and its likelihood.
        adapter: the model's scalers.

    Attributes:
        reference: rows of the training inputs, standardised. Each draw's batch normalisation takes its statistics from
            them. None for a network without batch normalisation.
        calibrations: the model's "recalibration" and "conformal" calibration, so far as there are such.
        cross_conformal: the model's calibration by CV+, if there is one.
    """

    def __init__(self, problem: Problem, adapter: DataAdapter):
        self._problem, self._adapter = problem, adapter
        self.reference: inputs.Arrays | None = None
        self.calibrations: dict[str, calibration.Calibration] = {}
        self.cross_conformal: CrossConformal | None = None
        self._network = problem.network
        self._outputs_of_row = _outputs_of_row(problem)
        self._outputs_of = share(_key(self._network), partial(_compiled_outputs, self._network))
        self._statistics_of = CompiledForShapes(self._many_statistics, jit_compile=False)

    def choose_reference(self, x: inputs.Arrays, seed) -> None:
        """Choose at most 1024 of the standardised training inputs x at random, if the network needs them."""
        self.reference = None
        if self._problem.network.has_statistics:
            order = np.random.default_rng(host_seed(seed, 0)).permutation(inputs.num_rows(x))
            self.reference = inputs.take(x, np.sort(order[:_REFERENCE_ROWS]))

    def outputs(self, theta: tf.Tensor, x: inputs.Arrays) -> Any:
        """Return the network's outputs [S, B, ...], a structure of them if there are several, for θ [S, D]."""
        weights = self._problem.split(theta)[0]
        statistics = [] if self.reference is None else self._statistics_of(weights, self.reference)
        return self._by_chunks(lambda chunk: self._outputs_of(weights, chunk, statistics), x)

    def _by_chunks(self, outputs_of: Callable[[inputs.Arrays], Any], x: inputs.Arrays) -> Any:
        """Return outputs_of(chunk), [S, rows of the chunk, ...], of all chunks of x, [S, B, ...]."""
        total, outputs = inputs.num_rows(x), [outputs_of(chunk) for chunk in _chunks(x)]
        return tf.nest.map_structure(lambda *arrays: tf.concat(arrays, axis=1)[:, :total], *outputs)

    def _likelihood_params(self, theta: Any) -> tf.Tensor:
        """Return the likelihood's own parameters under each draw, [S, L]."""
        return self._problem.split(theta)[1]

    def draw(self, source: posterior.Posterior, n: int, seed) -> Iterator[tf.Tensor]:
        """Yield `n` samples of θ from a posterior in pieces [S, D]: a single one, if all take at most 512 MiB."""
        return posterior.pieces(source, n, seed, self._piece_size(n))

    def _piece_size(self, n: int) -> int:
        """Return the largest number of samples in a piece of `n`."""
        size = max(1, _DRAW_BYTES // (4 * self._problem.num_params))
        return size if n <= size else max(1, size // 2)  # a piece is in use while the next one is drawn

    def check_memory(self, x: inputs.Arrays, draws: int) -> None:
        """Raise ValueError if the outputs for all rows and draws do not fit into memory twice, as they come to be."""
        bytes_each = 2 * 4 * inputs.num_rows(x) * self._outputs_of_row
        check_memory("num_samples", draws, bytes_each, "Ask for fewer samples, or pass fewer rows at a time.")

    def all_outputs(self, pieces: Iterable[tf.Tensor], x: inputs.Arrays) -> tuple[Any, tf.Tensor]:
        """Return the outputs [S, B, ...] and the likelihood's parameters [S, L] of all pieces of θ, of S draws."""
        found = [(self.outputs(theta, x), self._likelihood_params(theta)) for theta in pieces]
        return tf.nest.map_structure(lambda *arrays: tf.concat(arrays, axis=0), *found)

    def mean(self, pieces: Iterable[tf.Tensor], x: inputs.Arrays) -> np.ndarray:
        """Return the predictive mean [B, ...] over all draws; for classes, their probabilities [B, C]."""
        found = [(_num_draws(theta), self._mean_of_piece(theta, x)) for theta in pieces]
        draws, means = zip(*found, strict=True)
        return np.average(means, axis=0, weights=draws).astype(np.float32)

    def _mean_of_piece(self, theta: tf.Tensor, x: inputs.Arrays) -> np.ndarray:
        blocks = (self.distribution([theta], inputs.take(x, rows)) for rows in self.blocks(x, _num_draws(theta)))
        return np.concatenate([tf.reduce_mean(metrics.mean(block), axis=0) for block in blocks])

    def blocks(self, x: inputs.Arrays, draws: int) -> Iterator[slice]:
        """Yield the blocks of rows of `x` whose outputs for a number of draws are in memory at a time."""
        rows = max(1, _BLOCK_OUTPUTS // (draws * self._outputs_of_row))
        rows -= rows % _ROWS if rows > _ROWS else 0
        yield from (slice(first, first + rows) for first in range(0, inputs.num_rows(x), rows))

    def first_outputs(self, x: inputs.Arrays) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function from θ [S, D] to the network's outputs [S, B, ...], the first if there are several."""
        return lambda theta: tf.nest.flatten(self.outputs(theta, x))[0]

    def distribution(self, pieces: Iterable[tf.Tensor], x: inputs.Arrays) -> tfd.Distribution:
        """Return the distribution of the targets under each draw, batch shape [S, B, ...], in the targets' units.

        It is recalibrated by a temperature or a spread, if the model has one.
        """
        outputs, params = self.all_outputs(pieces, x)
        distribution = self._in_target_units(self._problem.likelihood(outputs, params))
        return calibration.recalibrated(distribution, self.calibrations, draws_axis=0)

    def mixture(self, pieces: Iterable[tf.Tensor], x: inputs.Arrays) -> tfd.Distribution:
        """Return the equal mixture of `distribution` over the draws, batch shape [B]."""
        # [B, S, 1, ...]: the likelihood expects an axis of rows that share one draw's parameters, here of size 1.
        swap = lambda a: tf.experimental.numpy.swapaxes(a, 0, 1)[:, :, tf.newaxis]
        outputs, params = self.all_outputs(pieces, x)
        outputs = tf.nest.map_structure(swap, outputs)
        components = self._in_target_units(self._problem.likelihood(outputs, params)[:, :, 0])
        components = calibration.recalibrated(components, self.calibrations, draws_axis=1)
        target_axes = components.batch_shape.rank - 2  # axes beyond [B, S] belong to one target
        components = tfd.Independent(components, target_axes) if target_axes else components
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(components.batch_shape[:2])), components)

    def _in_target_units(self, distribution: tfd.Distribution) -> tfd.Distribution:
        """Return the distribution of y, given that of (y − mean) / std."""
        scaler = self._adapter.y_scaler
        if scaler is None:
            return distribution
        if isinstance(distribution, tfd.Independent):
            inner = self._in_target_units(distribution.distribution)
            return tfd.Independent(inner, distribution.reinterpreted_batch_ndims)
        mean, std = (a.astype(np.float32) for a in (scaler.mean, scaler.std))
        loc, scale = (distribution.parameters.get(name) for name in ("loc", "scale"))
        # Unlike a TransformedDistribution, a copy knows its variance.
        if type(distribution) in _LOCATION_SCALE and tf.is_tensor(loc) and tf.is_tensor(scale):
            return distribution.copy(loc=mean + std * loc, scale=std * scale)
        return tfd.TransformedDistribution(distribution, tfb.Chain([tfb.Shift(mean), tfb.Scale(std)]))

    def _many_statistics(self, weights: tf.Tensor, x: inputs.Arrays) -> list[tf.Tensor]:
        return _for_each(lambda weights, x, _: self._network.statistics(weights, x), weights, x, [])


def _num_draws(theta: Any) -> int:
    """Return the number S of draws in a piece: the size of the first axis of its last tensor."""
    return tf.nest.flatten(theta)[-1].shape[0]


def _outputs_of_row(problem: Problem) -> int:
    """Return how many numbers the network returns for a row; axes of unknown size count as 1."""
    outputs = getattr(problem.network.model, "outputs", None)  # a subclassed model has none
    if outputs is None:
        return max(1, problem.num_outputs)
    return sum(math.prod(size or 1 for size in output.shape[1:]) for output in outputs)


def _key(network: Network) -> Hashable | None:
    """Return the key of the compiled outputs, or None if they cannot be shared."""
    if network.has_statistics:  # a network that has not been fitted uses its own statistics
        return None
    return key_or_none(lambda: (_compiled_outputs, network.structure))


def _compiled_outputs(network: Network) -> CompiledForShapes:
    """Return the function from weights [S, W], inputs [B, ...] and statistics to outputs [S, B, ...]."""
    outputs = lambda weights, x, statistics: network(weights, x, statistics=statistics)
    return CompiledForShapes(partial(_for_each, outputs), jit_compile=False)


def _chunks(x: inputs.Arrays) -> list[inputs.Arrays]:
    """Return chunks of at most _ROWS rows, all of one of few sizes, so that few functions have to be compiled."""
    total = inputs.num_rows(x)
    count = -(-total // _ROWS)
    size = data.round_up_rows(-(-total // count), sizes=4)
    parts = zip(*(tf.split(data.pad_rows(a, count * size), count) for a in tf.nest.flatten(x)), strict=True)
    return [tf.nest.pack_sequence_as(x, list(arrays)) for arrays in parts]


def _for_each(function: Callable[..., Any], theta: tf.Tensor, x: inputs.Arrays, statistics: list[tf.Tensor]):
    """Return function(θ, x, statistics), [S, ...], for draws θ [S, D] and their statistics [S, ...]."""
    draws = theta.shape[0]
    if draws * inputs.num_rows(x) <= _BATCHED:
        same = tf.nest.map_structure(lambda a: tf.broadcast_to(a, [draws, *a.shape]), x)
        return function(theta, same, statistics)
    return map_one_by_one(lambda own: function(own[0], x, own[1]), (theta, statistics))
