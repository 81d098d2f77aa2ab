"""A network with Gaussian noise, linearised in its weights: Gauss-Newton steps, evidence and posterior."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.problem import Batch, Problem, align_targets, without_padding


class LinearModel(NamedTuple):
    """y = f + J (u' − u) + noise for N rows of T targets, with weights u in units of their prior standard deviations.

    All matrices are float64: their eigenvalues range from the noise's variance to that of the outputs, and float32
    loses the small ones. A row of padding has the residual 0, the Jacobian 0 and the noise variance 1.
    """

    outputs: tf.Tensor  # [..., N, T] float32
    jacobian: tf.Tensor  # [..., N, T, W] float32, of the outputs in θ's weights times their prior standard deviations
    noise_std: tf.Tensor  # [..., T] float32
    u: tf.Tensor  # [..., W] float32
    std: tf.Tensor  # [W] float32, the prior standard deviations
    mean: tf.Tensor  # [W] float32, the prior means
    targets: tf.Tensor  # [..., N, T] float32
    real: tf.Tensor  # [..., N] bool, False for padding

    @classmethod
    def at(cls, problem: Problem, theta: tf.Tensor, hyper: tf.Tensor, batch: Batch, prior: tuple[tf.Tensor, tf.Tensor]):
        """Return the linear model of a problem at θ [..., D], whose last entries are `hyper`.

        Args:
            problem: the problem.
            theta: [..., D].
            hyper: the entries of θ after the weights, through which a tape may differentiate.
            batch: (x, y) or (x, y, weight).
            prior: the standard deviations and means of the weights' prior, [W] each.
        """
        (std, mean), W = prior, problem.network.num_params
        x, y = batch[:2]
        rows, lead = y.shape[theta.shape.rank - 1], theta.shape[:-1]
        real = batch[2] > 0 if len(batch) == 3 else tf.fill([*lead, rows], True)
        x, y = tf.nest.map_structure(lambda a: without_padding(a, real), (x, y))
        outputs, jacobian = _outputs_and_jacobian(problem, theta[..., :W], hyper, x)
        likelihood_params = hyper[..., : hyper.shape[-1] - problem.prior.num_params]
        noise = problem.likelihood(outputs, likelihood_params)
        noise_std = noise.stddev()[..., 0, :]
        u = (theta[..., :W] - mean) / std
        return cls(outputs, jacobian * std, noise_std, u, std, mean, align_targets(noise, y), real)

    # The system in float64

    @property
    def _variances(self) -> tf.Tensor:
        """S, [..., N·T]."""
        noise = tf.square(tf.cast(self.noise_std, tf.float64))[..., tf.newaxis, :]
        return self._flat(tf.where(self.real[..., tf.newaxis], noise, 1.0))

    @property
    def _residuals(self) -> tf.Tensor:
        """R = y − f, [..., N·T]."""
        residuals = tf.cast(self.targets, tf.float64) - tf.cast(self.outputs, tf.float64)
        return self._flat(tf.where(self.real[..., tf.newaxis], residuals, 0.0))

    @property
    def _matrix(self) -> tf.Tensor:
        """J, [..., N·T, W]."""
        jacobian = tf.where(self.real[..., tf.newaxis, tf.newaxis], tf.cast(self.jacobian, tf.float64), 0.0)
        *lead, N, T, W = jacobian.shape
        return tf.reshape(jacobian, [*lead, N * T, W])

    def _flat(self, a: tf.Tensor) -> tf.Tensor:
        *lead, N, T = a.shape
        return tf.reshape(a, [*lead, N * T])

    def newton_step(self, anchor: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the damped Gauss-Newton step and the loss's gradient, [..., W] each, in units of `std`."""
        J, S, r = self._matrix, self._variances, self._residuals
        pull = tf.cast(anchor - self.u, tf.float64)
        grad = tf.linalg.matvec(J, r / S, transpose_a=True) + pull
        ridge = 1.0 + tf.cast(damping, tf.float64)
        change = _Solver(J, S, ridge).inverse_precision(grad)
        return tf.cast(change, tf.float32), tf.cast(-grad, tf.float32)

    def loss(self, problem: Problem, theta: tf.Tensor, anchor: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Return ½ Σ r² / S + ½ |u − a|² at θ, [...], float64."""
        outputs = problem.apply(theta, batch[0])
        moved = self._replace(outputs=tf.reshape(outputs, self.outputs.shape))
        u = (theta[..., : problem.network.num_params] - self.mean) / self.std
        square = tf.square(moved._residuals) / self._variances
        pull = tf.square(tf.cast(u - anchor, tf.float64))
        return 0.5 * tf.reduce_sum(square, axis=-1) + 0.5 * tf.reduce_sum(pull, axis=-1)

    def evidence_grads(self, anchor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of log N(r + J (u − a); 0, J Jᵀ + S) in f, in J and in the noise's standard deviation."""
        J, S, r = self._matrix, self._variances, self._residuals
        solver = _Solver(J, S, tf.ones(S.shape[:-1], tf.float64))
        w = tf.cast(self.u - anchor, tf.float64)
        alpha = solver.inverse_covariance(r + tf.linalg.matvec(J, w))  # A⁻¹ (r + J w), with A = J Jᵀ + S
        along = tf.linalg.matvec(J, alpha, transpose_a=True) - w
        by_jacobian = alpha[..., tf.newaxis] * along[..., tf.newaxis, :] - solver.inverse_covariance_times_jacobian
        by_variance = 0.5 * (tf.square(alpha) - solver.inverse_covariance_diagonal)
        shape, single = self.outputs.shape, lambda a: tf.cast(a, tf.float32)
        by_std = (
            2.0
            * tf.cast(self.noise_std, tf.float64)
            * tf.reduce_sum(tf.where(self.real[..., tf.newaxis], tf.reshape(by_variance, shape), 0.0), axis=-2)
        )
        mask = lambda a, extra: tf.where(self.real[(..., *[tf.newaxis] * extra)], a, 0.0)
        by_outputs = mask(tf.reshape(alpha, shape), 1)
        return single(by_outputs), single(mask(tf.reshape(by_jacobian, self.jacobian.shape), 2)), single(by_std)

    def posterior(self, anchor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the mean [..., W] of θ's weights and F [..., W, W], with Fᵀ F their covariance."""
        J, S, r = self._matrix, self._variances, self._residuals
        W = J.shape[-1]
        precision = tf.eye(W, dtype=tf.float64) + tf.matmul(J, J / S[..., tf.newaxis], transpose_a=True)
        root = tf.linalg.cholesky(precision)
        inverse = tf.linalg.triangular_solve(root, tf.eye(W, batch_shape=root.shape[:-2], dtype=tf.float64))
        grad = tf.linalg.matvec(J, r / S, transpose_a=True) + tf.cast(anchor - self.u, tf.float64)
        change = tf.linalg.matvec(inverse, tf.linalg.matvec(inverse, grad), transpose_a=True)
        loc = self.mean + (self.u + tf.cast(change, tf.float32)) * self.std
        return loc, tf.cast(inverse, tf.float32) * self.std


class _Solver:
    """Solves with J Jᵀ / c + S or Jᵀ S⁻¹ J + c I, whichever is smaller; c [...] is 1 for the evidence.

    Args:
        J: [..., n, W].
        S: [..., n].
        ridge: c, [...].
    """

    def __init__(self, J: tf.Tensor, S: tf.Tensor, ridge: tf.Tensor):
        self._J, self._S, self._c = J, S, ridge[..., tf.newaxis]
        n, W = J.shape[-2:]
        self._in_weights = n > W
        scaled = J / S[..., tf.newaxis]
        if self._in_weights:
            matrix = tf.matmul(J, scaled, transpose_a=True) + self._c[..., tf.newaxis] * tf.eye(W, dtype=J.dtype)
        else:
            matrix = tf.matmul(J, J, transpose_b=True) / self._c[..., tf.newaxis] + tf.linalg.diag(S)
        self._root = tf.linalg.cholesky(matrix)
        self._scaled = scaled

    def _solve(self, a: tf.Tensor) -> tf.Tensor:
        return tf.linalg.cholesky_solve(self._root, a)

    def _solve_vector(self, a: tf.Tensor) -> tf.Tensor:
        return self._solve(a[..., tf.newaxis])[..., 0]

    def inverse_precision(self, b: tf.Tensor) -> tf.Tensor:
        """Return (Jᵀ S⁻¹ J + c I)⁻¹ b, [..., W]."""
        if self._in_weights:
            return self._solve_vector(b)
        b = b / self._c
        inner = self._solve_vector(tf.linalg.matvec(self._J, b))
        return b - tf.linalg.matvec(self._J, inner, transpose_a=True) / self._c

    def inverse_covariance(self, b: tf.Tensor) -> tf.Tensor:
        """Return (J Jᵀ / c + S)⁻¹ b, [..., n]."""
        if not self._in_weights:
            return self._solve_vector(b)
        inner = self._solve_vector(tf.linalg.matvec(self._scaled, b, transpose_a=True))
        return b / self._S - tf.linalg.matvec(self._scaled, inner)

    @property
    def inverse_covariance_times_jacobian(self) -> tf.Tensor:
        """(J Jᵀ / c + S)⁻¹ J for c = 1, [..., n, W]."""
        if not self._in_weights:
            return self._solve(self._J)
        return tf.linalg.matrix_transpose(self._solve(tf.linalg.matrix_transpose(self._scaled)))

    @property
    def inverse_covariance_diagonal(self) -> tf.Tensor:
        """The diagonal of (J Jᵀ / c + S)⁻¹ for c = 1, [..., n]."""
        if self._in_weights:
            return 1.0 / self._S - tf.reduce_sum(self.inverse_covariance_times_jacobian * self._scaled, axis=-1)
        n = self._J.shape[-2]
        inverse = self._solve(tf.eye(n, batch_shape=self._root.shape[:-2], dtype=self._J.dtype))
        return tf.linalg.diag_part(inverse)


def _outputs_and_jacobian(problem: Problem, weights: tf.Tensor, hyper: tf.Tensor, x) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the network's outputs [..., N, T] and their Jacobian in the weights [..., N, T, W].

    Every row gets a copy of θ of its own, so that one backward pass gives the gradients of all rows for one output.
    """
    *lead, W = weights.shape
    rows = tf.nest.flatten(x)[0].shape[len(lead)]
    copies = lambda a: tf.reshape(tf.repeat(a[..., tf.newaxis, :], rows, axis=-2), [-1, a.shape[-1]])
    each = lambda a: tf.reshape(a, [-1, 1, *a.shape[len(lead) + 1 :]])
    own, hyper = copies(weights), copies(hyper)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(own)
        outputs = problem.apply(tf.concat([own, hyper], axis=-1), _map(each, x))[:, 0]
        by_target = tf.unstack(outputs, axis=-1)
    columns = [tape.gradient(output, own) for output in by_target]
    T = len(columns)
    return tf.reshape(outputs, [*lead, rows, T]), tf.reshape(tf.stack(columns, axis=1), [*lead, rows, T, W])


_map: Any = tf.nest.map_structure
