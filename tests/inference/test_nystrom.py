"""Nyström approximations: exact where the rank allows it, below the matrix otherwise, and a preconditioner of it."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import nystrom as module
from bnnrl.inference.nystrom import inverse_of_sum, nystrom


def matrix(eigenvalues: np.ndarray) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    vectors, _ = np.linalg.qr(np.random.default_rng(0).normal(size=[len(eigenvalues)] * 2))
    return vectors * eigenvalues @ vectors.T


@pytest.mark.parametrize("rank", [3, 20])
def test_a_matrix_of_small_rank_is_found_exactly(rank):
    K = matrix(np.r_[np.geomspace(1, 1e4, rank), np.zeros(40 - rank)])
    W = nystrom(lambda u: u @ K, 40, 1e-3, 100, 0).numpy()
    np.testing.assert_allclose(W @ W.T, K, atol=1e-4)


def test_the_rank_grows_until_the_least_eigenvalue_is_small_or_the_rank_is_the_largest(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_RANK", 4)
    K = matrix(0.5 ** np.arange(40))
    W = nystrom(lambda u: u @ K, 40, 1e-3, 100, 0).numpy()
    assert W.shape == (40, 16)
    left = np.linalg.eigvalsh(K - W @ W.T)
    assert left.min() > -1e-8 and left.max() < 1e-2
    assert nystrom(lambda u: u @ K, 40, 1e-30, 6, 0).shape == (40, 6)


def test_the_inverse_of_the_identity_plus_a_product():
    V, u = np.random.default_rng(1).normal(size=(30, 4)), np.random.default_rng(2).normal(size=(2, 30))
    found = inverse_of_sum(tf.constant(V))(tf.constant(u))
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(30) + V @ V.T, u.T).T, atol=1e-10)
