"""Labels, probabilities and random numbers that the tests of metrics share."""

import numpy as np
from scipy.special import softmax

LABELS = np.array([0, 1, 2, 2])
# The predictions are right, wrong, right and wrong.
PROBS = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])


def rng(seed=0):
    """Return a random generator."""
    return np.random.default_rng(seed)


def random_classes(n=200, classes=4, seed=0):
    """Return labels [N] and probabilities [N, C] that are correlated."""
    labels = rng(seed).integers(0, classes, n)
    return labels, softmax(rng(seed + 1).normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], axis=1)
