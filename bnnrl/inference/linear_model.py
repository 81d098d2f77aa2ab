"""A network with Gaussian noise, linearised in its weights: Gauss-Newton steps, evidence and posterior."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from bnnrl.jacobian import outputs_and_jacobian
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
        theta = tf.concat([theta[..., :W], hyper], axis=-1)
        outputs, jacobian = outputs_and_jacobian(problem.network, problem.split(theta)[0], x)
        likelihood_params = hyper[..., : hyper.shape[-1] - problem.prior.num_params]
        noise = problem.likelihood(outputs, likelihood_params)
        noise_std = noise.stddev()[..., 0, :]
        u = (theta[..., :W] - mean) / std
        scales = (problem.weight_scales(theta) * std)[..., tf.newaxis, tf.newaxis, :]
        return cls(outputs, jacobian * scales, noise_std, u, std, mean, align_targets(noise, y), real)

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

    def products(self) -> tf.Tensor:
        """Return J Jᵀ [..., N·T, N·T] or Jᵀ S⁻¹ J [..., W, W], whichever is smaller."""
        J = self._matrix
        if _is_tall(J):
            return tf.matmul(J, J / self._variances[..., tf.newaxis], transpose_a=True)
        return tf.matmul(J, J, transpose_b=True)

    def newton_step(self, products: tf.Tensor, anchor: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the damped Gauss-Newton step and the loss's gradient, [..., W] each, in units of `std`.

        The step is (Jᵀ S⁻¹ J + c I)⁻¹ b with c = 1 + μ and b minus the gradient.
        """
        J, S, r = self._matrix, self._variances, self._residuals
        b = tf.linalg.matvec(J, r / S, transpose_a=True) + tf.cast(anchor - self.u, tf.float64)
        c = (1.0 + tf.cast(damping, tf.float64))[..., tf.newaxis]
        if _is_tall(J):
            root = tf.linalg.cholesky(tf.linalg.set_diag(products, tf.linalg.diag_part(products) + c))
            change = _solve(root, b)
        else:
            root = tf.linalg.cholesky(products / c[..., tf.newaxis] + tf.linalg.diag(S))
            change = b / c
            change -= tf.linalg.matvec(J, _solve(root, tf.linalg.matvec(J, change)), transpose_a=True) / c
        return tf.cast(change, tf.float32), tf.cast(-b, tf.float32)

    def loss(self, problem: Problem, theta: tf.Tensor, anchor: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Return ½ Σ r² / S + ½ |u − a|² at θ, [...], float64."""
        outputs = problem.apply(theta, batch[0])
        moved = self._replace(outputs=tf.reshape(outputs, self.outputs.shape))
        u = (theta[..., : problem.network.num_params] - self.mean) / self.std
        square = tf.square(moved._residuals) / self._variances
        pull = tf.square(tf.cast(u - anchor, tf.float64))
        return 0.5 * tf.reduce_sum(square, axis=-1) + 0.5 * tf.reduce_sum(pull, axis=-1)

    def evidence_grads(self, products: tf.Tensor, anchor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of log N(r + J (u − a); 0, J Jᵀ + S) in f, in J and in the noise's scale."""
        J, S, r = self._matrix, self._variances, self._residuals
        w = tf.cast(self.u - anchor, tf.float64)
        shifted = r + tf.linalg.matvec(J, w)
        if _is_tall(J):
            scaled = J / S[..., tf.newaxis]
            inverse = _inverse(tf.linalg.set_diag(products, tf.linalg.diag_part(products) + 1.0))
            covered = tf.matmul(scaled, inverse)  # A⁻¹ J, with A = J Jᵀ + S
            alpha = shifted / S - tf.linalg.matvec(covered, tf.linalg.matvec(scaled, shifted, transpose_a=True))
            diagonal = 1.0 / S - tf.reduce_sum(covered * scaled, axis=-1)
        else:
            inverse = _inverse(products + tf.linalg.diag(S))
            covered = tf.matmul(inverse, J)
            alpha, diagonal = tf.linalg.matvec(inverse, shifted), tf.linalg.diag_part(inverse)
        along = tf.linalg.matvec(J, alpha, transpose_a=True) - w
        by_jacobian = alpha[..., tf.newaxis] * along[..., tf.newaxis, :] - covered
        by_variance = 0.5 * (tf.square(alpha) - diagonal)
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


def _is_tall(J: tf.Tensor) -> bool:
    """Return whether a matrix has more rows than columns."""
    return J.shape[-2] > J.shape[-1]


def _solve(root: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return (root rootᵀ)⁻¹ b, [..., n]."""
    return tf.linalg.cholesky_solve(root, b[..., tf.newaxis])[..., 0]


def _inverse(matrix: tf.Tensor) -> tf.Tensor:
    """Return the inverse of positive definite matrices, [..., n, n].

    TensorFlow multiplies matrices several times as fast as it solves triangular systems of as many right-hand sides.
    """
    root = tf.linalg.cholesky(matrix)
    eye = tf.eye(matrix.shape[-1], batch_shape=matrix.shape[:-2], dtype=matrix.dtype)
    half = tf.linalg.triangular_solve(root, eye)
    return tf.matmul(half, half, transpose_a=True)
