"""Randomised Nyström approximations of positive semi-definite matrices, as preconditioners of conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from bnnrl.seeds import fold_in, normal

_FIRST_RANK = 128
_LEAST = 1e-10  # of the largest eigenvalue: the shift that keeps the Cholesky factor, and what counts as 0


def nystrom(gram: Callable[[tf.Tensor], tf.Tensor], size: int, enough: float, most: int, seed: int) -> tf.Tensor:
    """Return W [P, r] with W Wᵀ close to a positive semi-definite matrix K, and K − W Wᵀ positive semi-definite.

    For orthonormal random directions Ω [P, r], W Wᵀ = K Ω (Ωᵀ K Ω)⁻¹ Ωᵀ K. The rank r is doubled until the least
    eigenvalue of W Wᵀ, which the norm of the error is near to, is at most `enough`.

    Source: Frangella, Tropp & Udell, "Randomized Nyström Preconditioning", SIAM Journal on Matrix Analysis and
    Applications 2023, Algorithm 2.1 for the approximation and its shift.

    Args:
        gram: K u, [S, P], for u [S, P] of float64.
        size: P.
        enough: the least eigenvalue at which the rank is large enough.
        most: the largest rank.
        seed: integer seed of Ω.
    """
    directions, rank = tf.zeros([0, size], tf.float64), min(_FIRST_RANK, most, size)
    while True:
        drawn = tf.cast(normal([rank - len(directions), size], fold_in(seed, rank)), tf.float64)
        directions = tf.transpose(tf.linalg.qr(tf.transpose(tf.concat([directions, drawn], axis=0)))[0])  # Ωᵀ
        images = gram(directions)
        shift = _LEAST * tf.norm(images)
        images += shift * directions
        inner = tf.matmul(images, directions, transpose_b=True)
        factor = tf.linalg.cholesky((inner + tf.transpose(inner)) / 2)
        root = tf.linalg.triangular_solve(factor, images)  # [r, P], whose product with its transpose is W Wᵀ + shift
        values, vectors = tf.linalg.eigh(tf.matmul(root, root, transpose_b=True))  # ascending
        kept = 1 - shift / tf.maximum(values, shift)
        if float(values[0] - shift) <= enough or rank >= min(most, size):
            return tf.matmul(root, vectors * tf.sqrt(kept), transpose_a=True)
        rank = min(2 * rank, most, size)


def inverse_of_sum(root: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the function u -> (I + V Vᵀ)⁻¹ u of u [S, P], for V [P, r], by Woodbury's identity."""
    inner = tf.matmul(root, root, transpose_a=True)
    factor = tf.linalg.cholesky(inner + tf.eye(len(inner), dtype=inner.dtype))

    def apply(u: tf.Tensor) -> tf.Tensor:
        solved = tf.linalg.cholesky_solve(factor, tf.matmul(root, u, transpose_a=True, transpose_b=True))  # [r, S]
        return u - tf.matmul(solved, root, transpose_a=True, transpose_b=True)

    return apply
