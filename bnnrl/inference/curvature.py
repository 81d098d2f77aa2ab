"""The generalised Gauss-Newton matrix of a batch, Σ Jᵀ Λ J, and its diagonal and Kronecker factors.

J is the Jacobian of what the likelihood sees, z = (outputs, the likelihood's own parameters), and Λ [K, K] the
curvature of −log p(y | z) of a row. All is computed from J times a root of Λ, a backward pass for each column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.jacobian import Factor, shifted_dense
from bnnrl.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, Poisson
from bnnrl.network import last_dense, last_layer
from bnnrl.problem import Batch, Problem, align_targets, masked, num_rows, without_padding

_map: Any = tf.nest.map_structure


class Factors(NamedTuple):
    """Kronecker factors: of a Dense layer's kernel and bias the matrix is inputs ⊗ outputs, for weights [F + 1, O]."""

    inputs: tuple[tf.Tensor, ...]  # [..., F, F] of each layer, the mean of x xᵀ; F + 1 with a bias, where x ends with 1
    outputs: tuple[tf.Tensor, ...]  # [..., O, O] of each layer, the mean of gᵀ Λ g, with g [K, O] by the layer's sums
    own: tf.Tensor  # [..., L, L] the matrix of the likelihood's own parameters


class Columns(NamedTuple):
    """The matrix N H of all rows as Cᵀ C + diag(own), for fewer targets than entries."""

    rows: tf.Tensor  # C [n, P]
    own: tf.Tensor  # [P]


class RowFactors(NamedTuple):
    """The matrix N H of all rows as Cᵀ C + diag(own) for a chain of Dense layers, where C [n, P] is known by factors.

    A row of C, for one of R columns of a row's root of Λ, is in a layer's weights [F, O] the outer product of the
    layer's inputs and of the gradient in its sums.
    """

    inputs: tuple[tf.Tensor, ...]  # [N, F] of each layer, where the last one is 1 with a bias
    grads: tuple[tf.Tensor, ...]  # [N, R, O] of each layer
    params: tf.Tensor  # [N, R, L], C in the likelihood's own parameters
    own: Any  # [P]

    @classmethod
    def of(cls, problem: Problem, theta: tf.Tensor, batch: Batch) -> RowFactors:
        """Return the factors of a batch (x, y, weight) at θ [D]; those of padding are 0."""
        rows = Rows.of(theta, batch)
        inputs, grads, root = _layers(problem, theta, rows)
        weight = tf.sqrt(rows.weight)[:, tf.newaxis, tf.newaxis]
        own = num_rows(rows.weight) * tf.pad(root.own, [[problem.network.num_params, 0]])
        params = weight * tf.linalg.matrix_transpose(root.params)
        return cls(tuple(inputs), tuple(weight * grad for grad in grads), params, own)

    @classmethod
    def joined(cls, parts: Sequence[RowFactors]) -> RowFactors:
        """Return the factors of the rows of several batches."""
        *rows, own = zip(*parts, strict=True)
        inputs, grads, params = (_map(lambda *a: tf.concat(a, axis=0), *each) for each in rows)
        return cls(inputs, grads, params, tf.add_n(own))

    def some(self, rows: slice) -> RowFactors:
        """Return the factors of some rows in float64."""
        inputs, grads, params = _map(lambda a: tf.cast(a[rows], tf.float64), tuple(self[:3]))
        return RowFactors(inputs, grads, params, self.own)

    def times(self, u: tf.Tensor) -> tf.Tensor:
        """Return C u, [S, N, R], for u [S, P]."""
        *kernels, own = tf.split(u, [*self._sizes, self.params.shape[-1]], axis=-1)
        products = tf.einsum("nrl,sl->snr", self.params, own)
        for x, g, part in zip(self.inputs, self.grads, kernels, strict=True):
            sums = tf.matmul(x, tf.reshape(part, [-1, x.shape[-1], g.shape[-1]]))
            products += tf.einsum("nro,sno->snr", g, sums)
        return products

    def transposed_times(self, v: tf.Tensor) -> tf.Tensor:
        """Return Cᵀ v, [S, P], for v [S, N, R]."""
        by_sums = (tf.einsum("nro,snr->sno", g, v) for g in self.grads)
        kernels = [tf.matmul(x, g, transpose_a=True) for x, g in zip(self.inputs, by_sums, strict=True)]
        flat = [tf.reshape(kernel, [-1, size]) for kernel, size in zip(kernels, self._sizes, strict=True)]
        return tf.concat([*flat, tf.einsum("nrl,snr->sl", self.params, v)], axis=-1)

    @property
    def _sizes(self) -> list[int]:
        return [x.shape[-1] * g.shape[-1] for x, g in zip(self.inputs, self.grads, strict=True)]


class _Root(NamedTuple):
    """A root of Λ: Λ = root rootᵀ for root = (outputs, params), plus diag(own) for the likelihood's parameters."""

    outputs: tf.Tensor  # [..., B, T, R]
    params: tf.Tensor  # [..., B, L, R]
    own: tf.Tensor  # [..., L]


class Rows(NamedTuple):
    """The rows of a batch without padding."""

    x: Any
    y: tf.Tensor
    weight: tf.Tensor  # [..., B]

    @classmethod
    def of(cls, theta: tf.Tensor, batch: Batch) -> Rows:
        """Return the rows of a batch (x, y) or (x, y, weight), with padding replaced by the first real row."""
        x, y = batch[:2]
        if len(batch) == 2:
            return cls(x, y, tf.ones([*theta.shape[:-1], y.shape[theta.shape.rank - 1]]))
        x, y = _map(lambda a: without_padding(a, batch[2] > 0), (x, y))
        return cls(x, y, batch[2])


def gauss_newton(problem: Problem, theta: tf.Tensor, batch: Batch, offset: int) -> tf.Tensor:
    """Return the matrix of the batch's mean row for the entries of (weights, likelihood's parameters) from `offset` on.

    Args:
        problem: the problem. Under a learned prior the weights are those of the network, not u.
        theta: [..., D].
        batch: (x, y) or (x, y, weight).
        offset: the number of first weights that are left out.

    Returns:
        [..., P, P].
    """
    columns, own = weighted_columns(problem, theta, batch, offset)
    return tf.matmul(columns, columns, transpose_a=True) + tf.linalg.diag(own)


def weighted_columns(problem: Problem, theta: tf.Tensor, batch: Batch, offset: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return C [..., B R, P] and d [..., P], of which the matrix of `gauss_newton` is Cᵀ C + diag(d)."""
    rows = Rows.of(theta, batch)
    problem = _with_fixed_statistics(problem, theta, rows.x)
    columns, root = _columns(problem, theta, rows, offset)
    columns = tf.concat([columns, tf.linalg.matrix_transpose(root.params)], axis=-1)  # [..., B, R, P]
    columns *= tf.sqrt(rows.weight / _total(rows))[..., tf.newaxis, tf.newaxis]
    *lead, B, R, P = columns.shape
    own = tf.pad(root.own, [[0, 0]] * len(lead) + [[P - root.own.shape[-1], 0]])
    return tf.reshape(columns, [*lead, B * R, P]), own


def gauss_newton_diagonal(problem: Problem, theta: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Return the diagonal of the matrix of `gauss_newton` for all entries, [..., P]."""
    rows = Rows.of(theta, batch)
    problem = _with_fixed_statistics(problem, theta, rows.x)
    share = rows.weight / _total(rows)
    if problem.network.is_dense_chain:
        inputs, grads, root = _layers(problem, theta, rows)
        square = lambda g: share[..., tf.newaxis] * tf.reduce_sum(tf.square(g), axis=-2)
        each = [tf.matmul(tf.square(x), square(g), transpose_a=True) for x, g in zip(inputs, grads, strict=True)]
        parts = [tf.reshape(a, [*a.shape[:-2], a.shape[-2] * a.shape[-1]]) for a in each]
    else:
        columns, root = _columns(problem, theta, rows, 0)
        parts = [tf.reduce_sum(share[..., tf.newaxis, tf.newaxis] * tf.square(columns), axis=[-3, -2])]
    of_params = tf.reduce_sum(share[..., tf.newaxis] * tf.reduce_sum(tf.square(root.params), axis=-1), axis=-2)
    return tf.concat([*parts, of_params + root.own], axis=-1)


def kronecker_factors(problem: Problem, theta: tf.Tensor, batch: Batch) -> Factors:
    """Return the Kronecker factors of the batch's mean row, for a chain of Dense layers."""
    rows = Rows.of(theta, batch)
    share = (rows.weight / _total(rows))[..., tf.newaxis]
    inputs, grads, root = _layers(problem, theta, rows)
    summed = lambda g: tf.einsum("...bra,...brc->...ac", share[..., tf.newaxis] * g, g)
    own = summed(tf.linalg.matrix_transpose(root.params)) + tf.linalg.diag(root.own)
    return Factors(
        tuple(tf.matmul(x, share * x, transpose_a=True) for x in inputs), tuple(summed(g) for g in grads), own
    )


def mean_over_rows(function: Callable[[Batch], Any], batches: Iterable[Batch]) -> tuple[Any, float]:
    """Return the mean over rows of what `function` returns for batches (x, y, weight), and the number of rows."""
    mean, total = None, 0.0
    for batch in batches:
        rows, found = float(num_rows(batch[2])), function(batch)
        total += rows
        add = lambda old, new: old + rows / total * (new - old)  # noqa: B023
        mean = found if mean is None else _map(add, mean, found)
    return mean, total


def units(problem: Problem, theta: tf.Tensor) -> tf.Tensor:
    """Return the derivative of each weight and parameter of the likelihood in its entry of θ, [..., P]."""
    scales, count = problem.weight_scales(theta), problem.num_params - problem.prior.num_params
    return tf.concat([scales, tf.ones([*scales.shape[:-1], count - scales.shape[-1]])], axis=-1)


def _with_fixed_statistics(problem: Problem, theta: tf.Tensor, x: Any) -> Problem:
    """Return the problem with batch normalisation by fixed statistics, so that rows are independent."""
    return problem if problem.has_fixed_statistics else problem.with_batch_statistics(theta, x)


def _total(rows: Rows) -> tf.Tensor:
    return num_rows(rows.weight, keepdims=True)


# J times a root of Λ


def _columns(problem: Problem, theta: tf.Tensor, rows: Rows, offset: int) -> tuple[tf.Tensor, _Root]:
    """Return Jᵀ root of each row for the weights from `offset` on, [..., B, R, W − offset], and the root."""
    network = problem.network
    if not (network.is_dense_chain or (offset and last_dense(network, offset))):
        return _columns_by_copies(problem, theta, rows, offset)
    inputs, grads, root = _layers(problem, theta, rows, offset)
    return tf.concat([Factor(x, g).matrix() for x, g in zip(inputs, grads, strict=True)], axis=-1), root


def _layers(
    problem: Problem, theta: tf.Tensor, rows: Rows, offset: int = 0
) -> tuple[list[tf.Tensor], list[tf.Tensor], _Root]:
    """Return the inputs [..., B, F] of Dense layers, which end with 1 for a bias, and rootᵀ J by their sums.

    The latter is [..., B, R, O] for each layer. With an offset there is one layer, the last.
    """
    network, layers = problem.network, problem.network.dense_layers
    weights, x = network.unflatten(problem.split(theta)[0]), rows.x
    if offset:
        x, layers, weights = last_layer(network, weights, x, offset, problem._repeated_statistics(theta))
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        outputs, inputs, shifts = shifted_dense(layers, weights, tf.cast(x, tf.float32), tape)
    root = _root(problem, theta, outputs, rows)
    by_column = [tape.gradient(outputs, shifts, output_gradients=a) for a in tf.unstack(root.outputs, axis=-1)]
    with_one = lambda x, bias: tf.concat([x, tf.ones_like(x[..., :1])], axis=-1) if bias else x
    inputs = [with_one(x, use_bias) for x, (_, use_bias) in zip(inputs, layers, strict=True)]
    return inputs, [tf.stack(grads, axis=-2) for grads in zip(*by_column, strict=True)], root


def _columns_by_copies(problem: Problem, theta: tf.Tensor, rows: Rows, offset: int) -> tuple[tf.Tensor, _Root]:
    """Return the same as `_columns` for any network: a copy of the weights for each row has that row's gradient."""
    weights = problem.split(theta)[0]
    *lead, W = weights.shape
    B = rows.weight.shape[-1]
    own = tf.reshape(tf.repeat(weights[..., tf.newaxis, :], B, axis=-2), [-1, W])
    head, tail = tf.split(own, [offset, W - offset], axis=-1)
    each = lambda a: tf.reshape(a, [-1, 1, *a.shape[len(lead) + 1 :]])
    statistics = problem._repeated_statistics(theta)
    if not lead:
        statistics = [a[tf.newaxis] for a in statistics]
    statistics = [tf.repeat(a, B, axis=0) for a in statistics]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(tail)
        outputs = problem.network(tf.concat([head, tail], axis=-1), _map(each, rows.x), statistics=statistics)
        flat = _flat(outputs, 2)[:, 0]  # [M B, T]
    restored = _map(lambda a: tf.reshape(a, [*lead, B, *a.shape[2:]]), outputs)
    root = _root(problem, theta, restored, rows)
    by_column = tf.unstack(tf.reshape(root.outputs, [-1, *root.outputs.shape[-2:]]), axis=-1)
    zero = tf.UnconnectedGradients.ZERO
    grads = [tape.gradient(flat, tail, output_gradients=a, unconnected_gradients=zero) for a in by_column]
    return tf.reshape(tf.stack(grads, axis=1), [*lead, B, len(grads), W - offset]), root


# Λ


def _flat(outputs: Any, rank: int) -> tf.Tensor:
    """Return all outputs of a row as one vector, [..., B, T], given the number of axes up to B."""
    parts = [tf.reshape(a, [*a.shape[:rank], math.prod(a.shape[rank:])]) for a in tf.nest.flatten(outputs)]
    return tf.concat(parts, axis=-1)


def _root(problem: Problem, theta: tf.Tensor, outputs: Any, rows: Rows) -> _Root:
    """Return a root of Λ at the outputs [..., B, ...], which no tape follows."""
    outputs = _map(tf.stop_gradient, outputs)
    rank, params, likelihood = theta.shape.rank, tf.stop_gradient(problem.split(theta)[1]), problem.likelihood
    mask = problem.network.output_mask(rows.x, stacked=rank > 1)
    no_params = lambda root: _Root(root, tf.zeros([*root.shape[:-2], params.shape[-1], root.shape[-1]]), params * 0.0)
    if isinstance(likelihood, Categorical) and outputs.shape.rank == rank + 1:
        p = tf.nn.softmax(outputs)
        half = tf.sqrt(p)
        return no_params(tf.linalg.diag(half) - p[..., tf.newaxis] * half[..., tf.newaxis, :])
    if isinstance(likelihood, Gaussian | Bernoulli | Poisson):
        positions = outputs.shape.rank - rank - 1
        diagonal, own = _independent(likelihood, outputs, params[(..., *[tf.newaxis] * positions, slice(None))])
        root = no_params(tf.linalg.diag(_flat(masked(diagonal, mask), rank)))
        # The number of positions that share the parameters, of the mean row.
        repeats = tf.fill(rows.weight.shape, float(math.prod(outputs.shape[rank:-1])))
        repeats = repeats if mask is None else tf.reduce_sum(mask, axis=-1)
        repeats = tf.reduce_sum(rows.weight * repeats, axis=-1, keepdims=True) / _total(rows)
        return root if own is None else root._replace(own=repeats * tf.reshape(own, params.shape))
    return _root_of_hessian(likelihood, outputs, params, rows.y, mask)


def _independent(
    likelihood: Gaussian | Bernoulli | Poisson, outputs: tf.Tensor, params: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return √Λ for outputs whose Fisher information is diagonal, in their shape, and that of learned log-scales."""
    if isinstance(likelihood, Bernoulli):
        return tf.sqrt(tf.sigmoid(outputs) * tf.sigmoid(-outputs)), None
    if isinstance(likelihood, Poisson):
        return tf.exp(outputs / 2.0), None
    if likelihood._is("heteroscedastic"):
        scale = likelihood(outputs, params).stddev()
        by_raw = math.sqrt(2.0) * tf.sigmoid(outputs[..., outputs.shape[-1] // 2 :]) / scale
        return tf.concat([1.0 / scale, by_raw], axis=-1), None
    if not likelihood._is("learned"):
        return tf.fill(outputs.shape, 1.0) / tf.cast(likelihood.scale, tf.float32), None
    exp = tf.exp(params)
    scale = likelihood.floor + exp
    return tf.broadcast_to(1.0 / scale[..., tf.newaxis, :], outputs.shape), 2.0 * tf.square(exp / scale)


def _root_of_hessian(
    likelihood: Likelihood, outputs: Any, params: tf.Tensor, y: tf.Tensor, mask: tf.Tensor | None
) -> _Root:
    """Return a root of the Hessian of −log p at the observed y, its negative eigenvalues set to 0, for any likelihood.

    Each row becomes a draw of its own, so that the likelihood's parameters have an entry for each row.
    """
    rank = params.shape.rank
    lead = tf.nest.flatten(outputs)[0].shape[:rank]  # [..., B]
    each = lambda a: tf.reshape(a, [-1, 1, *a.shape[rank:]])
    outputs, y, mask = _map(each, outputs), each(y), None if mask is None else each(mask)
    params = tf.repeat(tf.reshape(params, [-1, params.shape[-1]]), lead[-1], axis=0)
    shapes = [a.shape for a in tf.nest.flatten(outputs)]
    sizes = [math.prod(shape[2:]) for shape in shapes]
    z = tf.concat([_flat(outputs, 2)[:, 0], params], axis=-1)  # [n, K]
    positions = shapes[0].rank - 3
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
        outer.watch(z)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(z)
            *parts, own = tf.split(z, [*sizes, params.shape[-1]], axis=-1)
            parts = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
            whole = tf.nest.pack_sequence_as(outputs, parts)
            distribution = likelihood(whole, own[(..., *[tf.newaxis] * positions, slice(None))])
            loss = -masked(distribution.log_prob(align_targets(distribution, y)), mask)
        grads = tf.unstack(inner.gradient(loss, z), axis=-1)
    zero = tf.UnconnectedGradients.ZERO
    hessian = tf.stack([outer.gradient(g, z, unconnected_gradients=zero) for g in grads], axis=-2)
    root = tf.reshape(_positive_root(hessian), [*lead, *hessian.shape[-2:]])
    of_outputs, of_params = tf.split(root, [sum(sizes), params.shape[-1]], axis=-2)
    return _Root(of_outputs, of_params, tf.zeros([*lead[:-1], params.shape[-1]]))


def _positive_root(matrix: tf.Tensor) -> tf.Tensor:
    """Return R [n, K, K] with R Rᵀ the positive part of symmetric matrices; NaN for matrices that are not finite."""
    finite = tf.reduce_all(tf.math.is_finite(matrix), axis=[-2, -1], keepdims=True)
    values, vectors = tf.linalg.eigh(tf.where(finite, matrix, 0.0))
    return tf.where(finite, vectors * tf.sqrt(tf.maximum(values, 0.0))[..., tf.newaxis, :], math.nan)
