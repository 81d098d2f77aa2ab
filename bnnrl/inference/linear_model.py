"""A network with Gaussian noise, linearised in its weights: Gauss-Newton steps, evidence and posterior."""

from __future__ import annotations

from typing import NamedTuple, cast

import tensorflow as tf

from bnnrl.inference.curvature import Rows
from bnnrl.jacobian import Factor, outputs_and_factors, outputs_and_jacobian
from bnnrl.learned_prior import LearnedPrior
from bnnrl.problem import Batch, Problem, align_targets


class LinearModel(NamedTuple):
    """y = f + J (u' − u) + noise for N rows of T targets, with weights u in units of their prior standard deviations.

    All matrices are float64: their eigenvalues range from the noise's variance to that of the outputs, and float32
    loses the small ones. A row of padding has the residual 0, the Jacobian 0 and the noise variance 1.

    With more targets than weights, n = N·T > W, systems of equations are those of Jᵀ S⁻¹ J + I, and J is computed.
    Otherwise they are those of J Jᵀ + S, for which the factors of J are enough where there are any.
    """

    outputs: tf.Tensor  # [..., N, T] float32
    factors: list[
        Factor
    ]  # of J for a chain of Dense layers; empty for another network, or another than a learned prior
    explicit: tf.Tensor | None  # [..., n, W] J; None if only the factors are known
    noise_std: tf.Tensor  # [..., T] float32
    u: tf.Tensor  # [..., W] float32
    anchor: tf.Tensor  # [..., W] float32, the prior mean of u
    targets: tf.Tensor  # [..., N, T] float32
    real: tf.Tensor  # [..., N] bool, False for padding

    @classmethod
    def at(cls, problem: Problem, theta: tf.Tensor, hyper: tf.Tensor, batch: Batch, prior: WeightPrior) -> LinearModel:
        """Return the linear model of a problem at θ [..., D], whose last entries are `hyper`.

        Args:
            problem: the problem.
            theta: [..., D].
            hyper: the entries of θ after the weights, through which a tape may differentiate.
            batch: (x, y) or (x, y, weight).
            prior: the normal prior of the weights.
        """
        x, y, weight = Rows.of(theta, batch)
        real = weight > 0
        theta = tf.concat([theta[..., : problem.network.num_params], hyper], axis=-1)
        weights, scales = problem.split(theta)[0], problem.weight_scales(theta) * prior.std
        factors, explicit = [], None
        if problem.network.is_dense_chain and isinstance(problem.prior, LearnedPrior):
            outputs, found = outputs_and_factors(problem.network, weights, x)
            # A learned prior has one scale for each row of a kernel, or for all.
            by_row = [s[..., 0] if len(shape) == 2 else s for s, shape in _each(problem, scales)]
            factors = [factor.scaled(s, real) for factor, s in zip(found, by_row, strict=True)]
        else:
            outputs, jacobian = outputs_and_jacobian(problem.network, weights, x)
            explicit = _flat_matrix(jacobian * scales[..., tf.newaxis, tf.newaxis, :], real)
        if factors and _num_targets(outputs) > weights.shape[-1]:
            explicit = _explicit(factors)
        noise = problem.likelihood(outputs, problem.parts(theta)[1])
        u = prior.whitened(theta)
        return cls(
            outputs, factors, explicit, noise.stddev()[..., 0, :], u, prior.anchor, align_targets(noise, y), real
        )

    @property
    def is_tall(self) -> bool:
        """Whether there are more targets than weights."""
        return _num_targets(self.outputs) > self.u.shape[-1]

    # The system in float64

    def variances(self) -> tf.Tensor:
        """Return S, [..., n]."""
        noise = tf.square(tf.cast(self.noise_std, tf.float64))[..., tf.newaxis, :]
        return _flat(tf.where(self.real[..., tf.newaxis], tf.broadcast_to(noise, self.outputs.shape), 1.0))

    def residuals(self) -> tf.Tensor:
        """Return r = y − f, [..., n]."""
        residuals = tf.cast(self.targets, tf.float64) - tf.cast(self.outputs, tf.float64)
        return _flat(tf.where(self.real[..., tf.newaxis], residuals, 0.0))

    def deviation(self) -> tf.Tensor:
        """Return u − a, [..., W]."""
        return tf.cast(self.u - self.anchor, tf.float64)

    def products(self) -> tf.Tensor:
        """Return J Jᵀ [..., n, n], or Jᵀ S⁻¹ J [..., W, W] if the model is tall."""
        if self.explicit is None:
            return tf.add_n([factor.gram() for factor in self.factors])
        if self.is_tall:
            return tf.matmul(self.explicit, self.explicit / self.variances()[..., tf.newaxis], transpose_a=True)
        return tf.matmul(self.explicit, self.explicit, transpose_b=True)

    def times(self, u: tf.Tensor) -> tf.Tensor:
        """Return J u, [..., n]."""
        if self.explicit is not None:
            return tf.linalg.matvec(self.explicit, u)
        parts = tf.split(u, [factor.size for factor in self.factors], axis=-1)
        return _flat(tf.add_n([factor.times(part) for factor, part in zip(self.factors, parts, strict=True)]))

    def transposed_times(self, v: tf.Tensor) -> tf.Tensor:
        """Return Jᵀ v, [..., W], for v [..., n]."""
        if self.explicit is not None:
            return tf.linalg.matvec(self.explicit, v, transpose_a=True)
        rows = tf.reshape(v, self.outputs.shape)
        return tf.concat([factor.transposed_times(rows) for factor in self.factors], axis=-1)

    # What Gauss-Newton learning needs

    def newton_step(self, products: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the damped Gauss-Newton step of u and the loss's gradient, [..., W] each.

        The step is (Jᵀ S⁻¹ J + c I)⁻¹ b with c = 1 + μ and b minus the gradient.
        """
        S = self.variances()
        b = self.transposed_times(self.residuals() / S) - self.deviation()
        c = (1.0 + tf.cast(damping, tf.float64))[..., tf.newaxis]
        if self.is_tall:
            change = _solve(tf.linalg.cholesky(_plus_diagonal(products, c)), b)
        else:
            root = tf.linalg.cholesky(_plus_diagonal(products / c[..., tf.newaxis], S))
            change = (b - self.transposed_times(_solve(root, self.times(b / c)))) / c
        return tf.cast(change, tf.float32), tf.cast(-b, tf.float32)

    def loss(self, outputs: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Return ½ Σ r² / S + ½ |u − a|², [...] float64, for other outputs and u than the model's own."""
        other = self._replace(outputs=tf.reshape(outputs, self.outputs.shape), u=u)
        square = tf.square(other.residuals()) / self.variances()
        return 0.5 * tf.reduce_sum(square, axis=-1) + 0.5 * tf.reduce_sum(tf.square(other.deviation()), axis=-1)

    def evidence_grad(self, products: tf.Tensor, tape: tf.GradientTape, hyper: tf.Tensor) -> tf.Tensor:
        """Return the gradient in `hyper` of log N(r + J (u − a); 0, A) with A = J Jᵀ + S, [..., K] float32.

        Args:
            products: from `products`, computed under the tape.
            tape: a tape that has recorded this model as a function of `hyper`.
            hyper: the hyper-parameters.
        """
        by_tensor = self._tall_grads(products) if self.is_tall else self._wide_grads(products, tape)
        targets, grads = zip(*by_tensor, strict=True)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(targets, hyper, list(grads), unconnected_gradients=zero)

    def _wide_grads(self, products: tf.Tensor, tape: tf.GradientTape):
        """Yield (tensor, gradient) by way of J Jᵀ and J (u − a)."""
        with tape:
            shift = self.times(self.deviation())
        inverse = _inverse(_plus_diagonal(products, self.variances()))
        alpha = tf.linalg.matvec(inverse, self.residuals() + shift)  # A⁻¹ (r + J (u − a))
        yield self.outputs, self._by_outputs(alpha)
        yield shift, -alpha
        yield products, 0.5 * (alpha[..., tf.newaxis] * alpha[..., tf.newaxis, :] - inverse)
        yield self.noise_std, self._by_noise(alpha, tf.linalg.diag_part(inverse))

    def _tall_grads(self, products: tf.Tensor):
        """Yield (tensor, gradient) by way of J, with A⁻¹ = S⁻¹ − S⁻¹ J (Jᵀ S⁻¹ J + I)⁻¹ Jᵀ S⁻¹."""
        J, S = cast(tf.Tensor, self.explicit), self.variances()
        scaled, w = J / S[..., tf.newaxis], self.deviation()
        covered = tf.matmul(scaled, _inverse(_plus_diagonal(products, tf.ones_like(w))))  # A⁻¹ J
        shifted = self.residuals() + self.times(w)
        alpha = shifted / S - tf.linalg.matvec(covered, tf.linalg.matvec(scaled, shifted, transpose_a=True))
        along = self.transposed_times(alpha) - w
        yield self.outputs, self._by_outputs(alpha)
        yield J, alpha[..., tf.newaxis] * along[..., tf.newaxis, :] - covered
        yield self.noise_std, self._by_noise(alpha, 1.0 / S - tf.reduce_sum(covered * scaled, axis=-1))

    def _by_outputs(self, alpha: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(alpha, self.outputs.shape)
        return tf.cast(tf.where(self.real[..., tf.newaxis], rows, 0.0), tf.float32)

    def _by_noise(self, alpha: tf.Tensor, inverse_diagonal: tf.Tensor) -> tf.Tensor:
        by_variance = tf.reshape(0.5 * (tf.square(alpha) - inverse_diagonal), self.outputs.shape)
        by_variance = tf.reduce_sum(tf.where(self.real[..., tf.newaxis], by_variance, 0.0), axis=-2)
        return 2.0 * self.noise_std * tf.cast(by_variance, tf.float32)

    def posterior(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the posterior mean of u [..., W], and F [..., W, W] with Fᵀ F its covariance."""
        J, S = _explicit(self.factors) if self.explicit is None else self.explicit, self.variances()
        W = J.shape[-1]
        precision = _plus_diagonal(tf.matmul(J, J / S[..., tf.newaxis], transpose_a=True), tf.ones([W], tf.float64))
        root = tf.linalg.cholesky(precision)
        factor = tf.linalg.triangular_solve(root, tf.eye(W, batch_shape=root.shape[:-2], dtype=tf.float64))
        grad = self.transposed_times(self.residuals() / S) - self.deviation()
        change = tf.linalg.matvec(factor, tf.linalg.matvec(factor, grad), transpose_a=True)
        return self.u + tf.cast(change, tf.float32), tf.cast(factor, tf.float32)


class WeightPrior(NamedTuple):
    """The normal prior of θ's weights: mean + std (a + ε), with ε standard normal."""

    mean: tf.Tensor  # [W]
    std: tf.Tensor  # [W]
    anchor: tf.Tensor  # [..., W] a

    def whitened(self, theta: tf.Tensor) -> tf.Tensor:
        """Return u of the weights in θ [..., D]: their distances from the mean in standard deviations."""
        return (theta[..., : self.std.shape[-1]] - self.mean) / self.std

    def weights(self, u: tf.Tensor) -> tf.Tensor:
        """Return the weights of u, the inverse of `whitened`."""
        return self.mean + self.std * u


def _each(problem: Problem, scales: tf.Tensor) -> list[tuple[tf.Tensor, tuple[int, ...]]]:
    """Return the scales of each weight, of its shape, and this shape."""
    return list(zip(problem.network.unflatten(scales), problem.network.shapes, strict=True))


def _num_targets(outputs: tf.Tensor) -> int:
    return outputs.shape[-2] * outputs.shape[-1]


def _flat(a: tf.Tensor) -> tf.Tensor:
    *lead, N, T = a.shape
    return tf.reshape(a, [*lead, N * T])


def _explicit(factors: list[Factor]) -> tf.Tensor:
    """Return J, [..., n, W]."""
    return _by_target(tf.concat([factor.matrix() for factor in factors], axis=-1))


def _flat_matrix(jacobian: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Return J in float64, [..., n, W], with zeros for padding."""
    return _by_target(tf.where(real[..., tf.newaxis, tf.newaxis], tf.cast(jacobian, tf.float64), 0.0))


def _by_target(jacobian: tf.Tensor) -> tf.Tensor:
    """Return a Jacobian [..., N, T, W] with one row for each target, [..., N·T, W]."""
    *lead, N, T, W = jacobian.shape
    return tf.reshape(jacobian, [*lead, N * T, W])


def _plus_diagonal(matrix: tf.Tensor, diagonal: tf.Tensor) -> tf.Tensor:
    return tf.linalg.set_diag(matrix, tf.linalg.diag_part(matrix) + diagonal)


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
