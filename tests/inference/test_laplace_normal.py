"""The normal distribution of Laplace's approximation: its factors are computed once for what needs the same ones."""

import numpy as np
import pytest

from bnnrl.inference import laplace_normal
from bnnrl.inference.laplace_normal import Full, KroneckerFactored

INPUTS, OUTPUTS = 3, 2
P = INPUTS * OUTPUTS


def positive(size, seed):
    """Return a random positive definite matrix."""
    root = np.random.default_rng(seed).normal(size=[size, size])
    return root @ root.T + np.eye(size)


def kronecker():
    """Return the curvature of one layer as Kronecker factors."""
    return KroneckerFactored((positive(INPUTS, 0),), (positive(OUTPUTS, 1),), np.zeros([0, 0]), 10.0)


def matrix(found):
    """Return N H of a curvature."""
    return found.matrix if isinstance(found, Full) else 10.0 * np.kron(found.inputs[0], found.outputs[0])


@pytest.mark.parametrize(
    ("make", "function", "first", "other_precision"),
    [(lambda: Full(positive(P, 0)), "cholesky", 1, 1), (kronecker, "eigh", 2, 1)],
    ids=["full", "kronecker"],
)
def test_equal_arguments_are_not_factorised_again(make, function, first, other_precision, monkeypatch):
    calls, compute = [], getattr(np.linalg, function)
    monkeypatch.setattr(laplace_normal.np.linalg, function, lambda a: calls.append(a) or compute(a))
    found, ones, zeros = make(), np.ones(P), np.zeros(P)
    found.log_det(2 * ones, ones)
    found.normal(zeros, 2 * ones, ones, ones, 0)
    assert len(calls) == first
    for precision, factor in ((3.0, 1.0), (2.0, 1.0)):  # the ones before are no longer kept
        value, share = found.log_det(precision * ones, factor * ones)
        whole = matrix(found) + precision * np.eye(P)
        np.testing.assert_allclose(value, np.linalg.slogdet(whole)[1], rtol=1e-10)
        np.testing.assert_allclose(share, precision * np.diag(np.linalg.inv(whole)), rtol=1e-10)
    assert len(calls) == first + 2 * other_precision
