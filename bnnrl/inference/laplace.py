"""Laplace's approximation (MacKay 1992): a normal distribution around the MAP estimate, of the linearised network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import tensorflow as tf

from bnnrl.checks import available_bytes, check_choice, check_count, check_fields, check_flag, check_instance
from bnnrl.compiled import CompiledFunction
from bnnrl.inference import curvature as curvatures
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Diverged, Info, Method, starting_point, value_and_grad
from bnnrl.inference.divergence import entry_name
from bnnrl.inference.gradients import require_normal_prior
from bnnrl.inference.laplace_evidence import Evidence
from bnnrl.inference.laplace_normal import Curvature, Diagonal, Full, KroneckerFactored, OuterProducts, positive_part
from bnnrl.inference.laplace_samples import RowProducts, SampledEvidence, check_memory
from bnnrl.inference.sgd import SGD
from bnnrl.network import last_kernel
from bnnrl.posterior import FunctionSpace, Kronecker, Linearised, LowRank, MeanField, Point, Product
from bnnrl.problem import Batch, Problem, num_rows
from bnnrl.seeds import fold_in

MAX_ENTRIES = 4000  # rows of a matrix; a float32 matrix of 4000 × 4000 takes 64 MB
_IN_PLACE_OF_FULL = (
    "last_layer or diagonal, or bnnrl.laplace with structure='function' where rows are few, or 'samples' for chains of "
    "Dense layers"
)
_OF_ALL_ROWS = ("function", "samples")  # structures that hold all rows at once
_STRUCTURES = ("last_layer", "diagonal", "kronecker", "full", *_OF_ALL_ROWS)


class LaplaceState(NamedTuple):
    """State of Laplace's approximation; P counts the weights and the likelihood's parameters that are not fixed."""

    inner: Any  # the optimiser's state, with its step and θ [..., D]
    seen: tf.Tensor  # [] int32, number of batches that the following average
    curvature: Any  # H, the curvature of −log p(data | θ) / N, [..., P, P], [..., P] or `curvature.Factors`
    log_likelihood: tf.Tensor  # [...] log p(data | θ) / N

    @property
    def theta(self) -> tf.Tensor:
        """θ of the optimiser, [..., D]."""
        return self.inner.theta


@dataclass(frozen=True)
class Laplace(Method):
    """Laplace's approximation: `start` steps to the MAP estimate θ̂, then the likelihood's curvature H at θ̂.

        q(θ) = N(θ̂, (N H + λ)⁻¹)         under the prior N(m₀, 1/λ)
        "ggn"          H = Σ Jᵀ Λ J / N over rows, the generalised Gauss-Newton matrix
        "hessian"      H = −∇² log p(data | θ̂) / N, its negative eigenvalues set to 0

    J is the Jacobian of what the likelihood sees, the outputs and the likelihood's own parameters, and Λ a row's
    curvature: the Fisher information for the built-in likelihoods, and for another distribution the Hessian of
    −log p(y | outputs) at the observed y, its negative eigenvalues set to 0.

        "full"         all of H
        "kronecker"    H = A ⊗ G for each layer, with the means A of x xᵀ over its inputs and G of gᵀ Λ g over rows, g
                       being the outputs' gradients in the layer's sums; for chains of Dense layers
        "last_layer"   H of the last kernel and the parameters after it; the rest of θ is fixed at θ̂
        "function"     all of H, as the products of the rows' Jacobians: for fewer targets than weights, N·T of them, at
                       most 4000; by `bnnrl.laplace` only, as all rows are held
        "samples"      all of H, by samples of the linear model that are found by optimisation, where both weights and
                       targets are many; for chains of Dense layers, and by `bnnrl.laplace` only
        "diagonal"     the diagonal of H; with "hessian" that of the Fisher matrix, by targets drawn from the likelihood

    Predictions are those of the network's expansion in its weights, f(x; θ̂) + J(x) (θ − θ̂), to which this normal
    distribution belongs; see `bnnrl.linearised`. With `linearised=False`, draws of θ enter the network itself, which
    is the same for the last layer if it has no activation, and far too wide for the other structures.

    Use a learning-rate schedule that ends at `start`, and at least one epoch more: H is the mean over the batches after
    `start`, in which each row counts once if the batches of the epoch are of equal size. For a linear model with normal
    noise, q of "full" is then the posterior.

    Under a learned prior (`bnnrl.priors.Learned`), the scales of the prior and of a Gaussian's learned noise are those
    of the largest evidence at the weights of θ̂, see `bnnrl.inference.laplace_evidence`, and are fixed. The log
    evidence is the attribute `log_evidence` of the linearised posterior.

    "samples" knows no determinant of H, and therefore no evidence: the scales are those of MacKay's fixed point, at
    which the evidence has its maximum, with an effective number of parameters that 16 random vectors estimate. q is
    normal with the covariance of `samples` samples around θ̂, so that a predicted standard deviation has a relative
    error of 1 / √(2 samples), 9 % for 64.

    Source: MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 1992; Ritter,
    Botev & Barber, "A Scalable Laplace Approximation for Neural Networks", ICLR 2018, for Kronecker factors; Immer,
    Korzepa & Bauer, "Improving predictions of Bayesian neural nets via local linearization", AISTATS 2021; Daxberger et
    al., "Laplace Redux", NeurIPS 2021; Antorán et al., "Sampling-based inference for large linear models, with
    application to linearised Laplace", ICLR 2023, for "samples".

    Args:
        optimizer: Adam or SGD.
        start: number of steps of the optimiser.
        structure: "last_layer", "diagonal", "kronecker", "full", "function" or "samples".
        curvature: "ggn" or "hessian". A step of the latter takes as many gradients as there are parameters.
        linearised: whether predictions use the network's expansion.
        samples: the number of samples of "samples".

    Raises:
        ValueError: for a hyper-parameter out of its range, or "kronecker" with "hessian"; in `init` if the prior is not
            normal, H would have more than 4000 rows, or Kronecker factors do not cover the network or the prior.
    """

    optimizer: Adam | SGD = field(default_factory=Adam)
    start: int = 1000
    structure: str = "last_layer"
    curvature: str = "ggn"
    linearised: bool = True
    samples: int = 64

    tensor_fields: ClassVar = ("start",)

    def __post_init__(self):
        check_instance("optimizer", self.optimizer, Adam | SGD, "Adam or SGD")
        check_fields(self, start=check_count, linearised=check_flag, samples=check_count)
        check_choice("structure", self.structure, _STRUCTURES)
        check_choice("curvature", self.curvature, ("ggn", "hessian"))
        if self.structure in ("kronecker", *_OF_ALL_ROWS) and self.curvature == "hessian":
            raise ValueError(
                f"Invalid `curvature`: expected 'ggn', the only one that structure={self.structure!r} has. Received: "
                "curvature='hessian'."
            )

    @property
    def members_are_independent(self) -> bool:
        """Whether the members of an ensemble may be computed apart: not if targets are drawn from the likelihood."""
        return not self._draws_targets

    @property
    def _draws_targets(self) -> bool:
        return self.structure == "diagonal" and self.curvature == "hessian"

    @property
    def min_steps(self) -> int:
        """The steps of the optimiser, and one for the curvature."""
        return self.start + 1

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the optimiser's learning rate at a step."""
        return self.optimizer.current_rate(step)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> LaplaceState:
        """Return the state before the first step of the optimiser."""
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        lead = start.shape[:-1]
        zeros = lambda shape: tf.zeros([*lead, *shape])
        return LaplaceState(self.optimizer.start(start), tf.constant(0), _map(zeros, self._shape(problem)), zeros([]))

    def at(self, problem: Problem, theta: tf.Tensor, batches: Iterable[Batch]) -> LaplaceState:
        """Return the state at a given θ̂, without an optimiser, with the curvature of batches (x, y, weight).

        Args:
            problem: the problem.
            theta: θ̂ [D].
            batches: all rows once, in batches of the same shape; rows of weight 0 are padding.

        Raises:
            ValueError: as in `init`, if there are more than 4000 targets for "function", or if the network or the
                memory does not suit "samples".
        """
        if self.structure == "function":
            return self._in_function_space(problem, theta, batches)
        if self.structure == "samples":
            return self._by_factors(problem, theta, batches)

        def of_batch(theta: tf.Tensor, batch: Batch):
            found = self._curvature(problem, theta, batch, tf.constant([0, 0]))
            return found, problem.log_likelihood(theta, batch) / num_rows(batch[2])

        inner, compute = self.init(problem, 0, theta).inner, CompiledFunction(of_batch, jit_compile=False)
        mean, _ = curvatures.mean_over_rows(lambda batch: compute(theta, batch), batches)
        return LaplaceState(inner, tf.constant(1), *mean)

    def _in_function_space(self, problem: Problem, theta: tf.Tensor, batches: Iterable[Batch]) -> LaplaceState:
        """Return the state at θ̂ with the columns of all rows as its curvature."""

        def of_batch(theta: tf.Tensor, batch: Batch):
            columns, own = curvatures.weighted_columns(problem, theta, batch, 0)
            return columns, own, problem.log_likelihood(theta, batch)

        _check_targets(problem)
        require_normal_prior(problem, self)
        compute, parts = CompiledFunction(of_batch, jit_compile=False), []
        log_likelihood, total = 0.0, 0.0
        own = tf.zeros([_num_entries(problem)])
        for batch in batches:
            columns, own_of_row, log_likelihood_of_batch = compute(theta, batch)
            rows = num_rows(batch[2])
            real = tf.repeat(batch[2] > 0, columns.shape[0] // batch[2].shape[0])
            parts.append(tf.sqrt(rows) * tf.boolean_mask(columns, real))
            log_likelihood, total, own = log_likelihood + log_likelihood_of_batch, total + rows, own + rows * own_of_row
        curvature = curvatures.Columns(tf.concat(parts, axis=0), own)
        return LaplaceState(self.optimizer.start(theta), tf.constant(1), curvature, log_likelihood / total)

    def _by_factors(self, problem: Problem, theta: tf.Tensor, batches: Iterable[Batch]) -> LaplaceState:
        """Return the state at θ̂ with the factors of all rows as its curvature."""

        def of_batch(theta: tf.Tensor, batch: Batch):
            factors = curvatures.RowFactors.of(problem, theta, batch)
            return factors, problem.log_likelihood(theta, batch), num_rows(batch[2])

        check_memory(problem, self.samples)
        require_normal_prior(problem, self)
        compute = CompiledFunction(of_batch, jit_compile=False)
        parts, log_likelihoods, counts = zip(*(compute(theta, batch) for batch in batches), strict=True)
        log_likelihood = tf.add_n(log_likelihoods) / tf.add_n(counts)
        start = self.optimizer.start(theta)
        return LaplaceState(start, tf.constant(1), curvatures.RowFactors.joined(parts), log_likelihood)

    def step(self, problem: Problem, state: LaplaceState, batch: Batch, seed) -> tuple[LaplaceState, Info]:
        """Return the state after a step of the optimiser, or with the curvature of one more batch."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        N = tf.cast(problem.num_data, tf.float32)
        state = tf.cond(
            state.inner.step < self.start,
            lambda: state._replace(inner=self.optimizer.update(state.inner, -grad / N)),
            lambda: self._average(problem, state, batch, seed, (log_joint - problem.log_prior(state.theta)) / N),
        )
        return state, Info.unadjusted(log_joint, tf.norm(grad / N, axis=-1))

    def posterior(
        self, problem: Problem, state: LaplaceState
    ) -> Linearised | LowRank | MeanField | Kronecker | FunctionSpace | Point:
        """Return N(θ̂, (N H + λ)⁻¹), of the linearised network by default; the point θ while no curvature is known.

        Raises:
            Diverged: if an entry of the curvature is not finite.
        """
        if not int(state.seen):
            return Point(state.theta)
        self._check_curvature(problem, state)
        offset, curvature = self._offset(problem), self._on_host(problem, state)
        log_likelihood = float(problem.num_data) * float(state.log_likelihood)
        kind = SampledEvidence if isinstance(curvature, RowProducts) else Evidence
        evidence = kind(problem, state.theta, cast(Any, curvature), offset, log_likelihood)
        hyper, log_evidence = evidence.maximised()
        loc, precision, factor, unit = evidence.result(hyper)
        if not self.linearised:
            return curvature.normal(loc, precision, factor, unit, offset)
        # Apart from the fixed entries, whose number would multiply the size of the factor.
        own = curvature.normal(loc[offset:], precision, factor, unit, 0)
        point = tf.constant(loc, tf.float32)
        return Linearised(point, Product((Point(point[:offset]), own)) if offset else own, log_evidence)

    def _shape(self, problem: Problem) -> Any:
        """Return the shape of H for one member, as a tf.TensorShape or as Factors of them.

        Raises:
            ValueError: if H would have too many rows, or Kronecker factors do not cover the network or the prior.
        """
        network, P = problem.network, _num_entries(problem) - self._offset(problem)
        if self.structure in _OF_ALL_ROWS:
            raise ValueError(
                "Invalid `structure` of a fit: expected 'last_layer', 'diagonal', 'kronecker' or 'full'. Received: "
                f"{self.structure!r}, which holds all rows at once. Train the network, and use "
                f"bnnrl.laplace(keras_model, data, likelihood, structure={self.structure!r})."
            )
        if self.structure == "diagonal":
            return tf.TensorShape([P])
        if self.structure != "kronecker":
            self._check_size(P, "parameters", "diagonal" if self._offset(problem) else _IN_PLACE_OF_FULL)
            return tf.TensorShape([P, P])
        _check_separable(problem)
        kernels, own = [s for s in network.shapes if len(s) == 2], P - network.num_params
        layers = list(zip(kernels, network.dense_layers, strict=True))
        square = lambda n: tf.TensorShape([n, n])
        inputs, outputs = [s[0] + use_bias for s, (_, use_bias) in layers], [s[1] for s in kernels]
        self._check_size(max(*inputs, *outputs), "inputs or outputs of a layer", "last_layer or diagonal")
        return curvatures.Factors(tuple(map(square, inputs)), tuple(map(square, outputs)), square(own))

    def _check_size(self, rows: int, what: str, others: str) -> None:
        if rows > MAX_ENTRIES:
            raise ValueError(
                f"Invalid `structure`: expected one of at most {MAX_ENTRIES} {what}, whose matrix is factorised. "
                f"Received: {self.structure!r}, which has {rows} with this network, a matrix of "
                f"{8 * rows**2 / 2**30:.1f} GiB. Use {others}."
            )

    def _on_host(self, problem: Problem, state: LaplaceState) -> Curvature | RowProducts:
        if isinstance(state.curvature, curvatures.RowFactors):
            own = np.asarray(state.curvature.own, np.float64)
            return RowProducts(state.curvature._replace(own=own), self.samples)
        # In float64: eigenvalues range from λ to N times the largest curvature, and float32 loses the small ones.
        N, H = float(problem.num_data), _map(lambda a: np.asarray(a, np.float64), state.curvature)
        if isinstance(H, curvatures.Columns):
            return OuterProducts(H.rows, H.own)
        if isinstance(H, curvatures.Factors):
            return KroneckerFactored(H.inputs, H.outputs, N * H.own, N)
        if self.structure == "diagonal":
            return Diagonal(N * H)
        return Full(N * (positive_part(H) if self.curvature == "hessian" else (H + H.T) / 2))

    def _check_curvature(self, problem: Problem, state: LaplaceState) -> None:
        for place, part in self._parts(problem, state):
            bad = np.argwhere(~np.isfinite(part))
            if len(bad):
                raise Diverged(
                    f"Diverged in the curvature: expected finite entries. Received: {np.asarray(part)[tuple(bad[0])]} "
                    f"for {place(bad[0])}, the first of {len(bad)} entries that are not. Standardise inputs and "
                    "targets, and let the optimiser converge before `start`.",
                    state,
                    int(state.inner.step),
                )

    def _parts(self, problem: Problem, state: LaplaceState):
        """Yield the arrays of the curvature, each after the function from an entry's indices to its name."""
        if isinstance(state.curvature, curvatures.Columns):
            yield lambda entry: entry_name(problem, int(entry[-1])), state.curvature.rows
            return
        if isinstance(state.curvature, curvatures.RowFactors):
            for part in tf.nest.flatten(state.curvature):
                yield lambda _: "a layer's gradients", part
            return
        if not isinstance(state.curvature, curvatures.Factors):
            offset = self._offset(problem)
            names = lambda entry: dict.fromkeys(entry_name(problem, offset + int(i)) for i in entry)
            yield lambda entry: " and ".join(names(entry)), state.curvature
            return
        kernels = [p for p, s in zip(problem.network.paths, problem.network.shapes, strict=True) if len(s) == 2]
        for path, *parts in zip(kernels, state.curvature.inputs, state.curvature.outputs, strict=True):
            for part in parts:
                yield lambda _, path=path: path, part
        yield lambda entry: f"the likelihood's parameter {entry[0]}", state.curvature.own

    def _offset(self, problem: Problem) -> int:
        """Return the number of first entries of θ that are fixed at θ̂."""
        if self.structure != "last_layer":
            return 0
        return sum(problem.network.sizes[: last_kernel(problem.network)])

    def _average(self, problem: Problem, state: LaplaceState, batch: Batch, seed, log_likelihood) -> LaplaceState:
        """Return the state with the batch's curvature in the mean; of the optimiser's state only `step` changes."""
        found = self._curvature(problem, state.theta, batch, seed), log_likelihood
        mean = lambda old, new: old + (new - old) / tf.cast(state.seen + 1, tf.float32)
        curvature, log_likelihood = _map(mean, (state.curvature, state.log_likelihood), found)
        inner = state.inner._replace(step=state.inner.step + 1)
        return LaplaceState(inner, state.seen + 1, curvature, log_likelihood)

    def _curvature(self, problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> Any:
        if self._draws_targets:
            return _fisher(problem, theta, batch, seed)
        if self.curvature == "hessian":
            return _hessian(problem, theta, batch, self._offset(problem))
        if self.structure == "diagonal":
            return curvatures.gauss_newton_diagonal(problem, theta, batch)
        if self.structure == "kronecker":
            return curvatures.kronecker_factors(problem, theta, batch)
        return curvatures.gauss_newton(problem, theta, batch, self._offset(problem))


def _check_targets(problem: Problem) -> None:
    """Raise ValueError unless the matrix of all targets can be factorised, and the rows' Jacobians be held."""
    N, T, P = int(problem.num_data), problem.num_outputs, _num_entries(problem)
    needed, available = 3 * 8 * N * T * P, available_bytes()  # C and B in float64, and the posterior's B
    if N * T <= MAX_ENTRIES and (available is None or needed <= available):
        return
    of_chains = "'last_layer', 'diagonal' or, for chains of Dense layers, 'samples' or 'kronecker'"
    fits = "'full'" if P <= MAX_ENTRIES else of_chains
    raise ValueError(
        f"Invalid `structure`: expected one that fits the data. Received: 'function' for {N} rows of {T} outputs and "
        f"{P} weights, which takes a matrix of {N * T} rows, {8 * (N * T) ** 2 / 2**30:.1f} GiB, of which at most "
        f"{MAX_ENTRIES} are factorised, and {needed / 2**30:.1f} GiB of Jacobians. Use {fits}."
    )


def _num_entries(problem: Problem) -> int:
    """Return the number of weights and of the likelihood's parameters."""
    return problem.num_params - problem.prior.num_params


def _precision(problem: Problem, theta: tf.Tensor) -> np.ndarray:
    """Return the prior's precision of each weight and parameter of the likelihood, float64."""
    prior = require_normal_prior(problem, None)
    of_theta = np.broadcast_to(np.asarray(prior.precision, np.float64), [problem.num_params])
    return of_theta[: _num_entries(problem)] / np.square(np.asarray(curvatures.units(problem, theta), np.float64))


def _check_separable(problem: Problem) -> None:
    """Raise ValueError unless Kronecker factors cover the network and the prior."""
    network = problem.network
    if not network.is_dense_chain:
        raise ValueError(
            "Invalid `structure`: expected 'last_layer', 'diagonal' or 'full' for a network that is not a plain chain "
            "of Dense layers. Received: 'kronecker'."
        )
    precision = _precision(problem, tf.zeros([problem.num_params]))[: network.num_params]
    for part, shape in zip(np.split(precision, np.cumsum(network.sizes)[:-1]), network.shapes, strict=True):
        rows = part.reshape([-1, shape[-1]])
        if np.any(rows != rows[:, :1]):
            raise ValueError(
                "Invalid `prior` for Laplace with Kronecker factors: expected the same scale for all outputs of a "
                "layer. Received: several. Use another structure."
            )


def _hessian(problem: Problem, theta: tf.Tensor, batch: Batch, offset: int) -> tf.Tensor:
    """Return −∇² log p(batch | θ) / N for the weights from `offset` on and the likelihood's parameters, [..., P, P]."""
    P = _num_entries(problem) - offset
    head, tail, log_scales = tf.split(theta, [offset, P, -1], axis=-1)
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(tail)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(tail)
            whole = tf.concat([head, tail, log_scales], axis=-1)
            log_likelihood = problem.scaled_log_likelihood(whole, batch)
        g = -inner.gradient(log_likelihood, tail)  # [..., P]
        # A member's gradient depends on its own θ alone, so the Jacobian of the sum holds each member's Hessian.
        total = tf.reduce_sum(g, axis=0) if g.shape.rank == 2 else g
    # Rows are computed at once for Dense layers; convolutions and loops cannot be vectorised like this.
    rows = outer.jacobian(total, tail, experimental_use_pfor=problem.network.is_dense_chain)  # [P, ..., P]
    rows = tf.transpose(rows, [1, 0, 2]) if g.shape.rank == 2 else rows
    unit = curvatures.units(problem, theta)[..., offset:]
    return rows / unit[..., tf.newaxis] / unit[..., tf.newaxis, :] / tf.cast(problem.num_data, tf.float32)


def _fisher(problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> tf.Tensor:
    """Return the diagonal of the Fisher matrix, averaged over the rows of the batch, [..., P]."""
    rows = curvatures.Rows.of(theta, batch)
    *lead, D = theta.shape
    B = rows.weight.shape[-1]
    problem = problem.with_batch_statistics(theta, rows.x)  # batch normalisation by fixed statistics: independent rows
    drawn = problem.distribution(theta, rows.x).sample(seed=fold_in(seed, 0))
    # A copy of θ for each row, so that one backward pass gives each row's gradient.
    each = lambda a: tf.reshape(a, [-1, 1, *a.shape[len(lead) + 1 :]])
    own = tf.reshape(tf.repeat(theta[..., tf.newaxis, :], B, axis=-2), [-1, D])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(own)
        log_likelihood = problem.log_likelihood(own, (_map(each, rows.x), each(tf.stop_gradient(drawn))))
    P = _num_entries(problem)
    grad = tf.reshape(tape.gradient(log_likelihood, own)[:, :P], [*lead, B, P])
    grad /= curvatures.units(problem, theta)[..., tf.newaxis, :]
    weight = rows.weight[..., tf.newaxis]
    square = tf.where(weight > 0, weight * tf.square(grad), 0.0)
    return tf.reduce_sum(square, axis=-2) / num_rows(rows.weight, keepdims=True)


_map: Any = tf.nest.map_structure
