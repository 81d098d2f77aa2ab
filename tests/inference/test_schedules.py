"""Schedules at steps at which their value is known."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import Polynomial, Schedule
from bnnrl.inference.schedules import rate


def values(schedule, steps):
    return [float(schedule(tf.constant(t))) for t in steps]


def test_cosine_with_warm_up():
    schedule = Schedule(0.8, 0.2, steps=14, warmup=4)
    np.testing.assert_allclose(values(schedule, range(4)), [0.2, 0.4, 0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(values(schedule, [4, 9, 14, 99]), [0.8, 0.5, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(values(schedule, [6]), 0.2 + 0.3 * (1 + np.cos(0.2 * np.pi)), rtol=1e-6)


def test_linear_and_constant():
    np.testing.assert_allclose(values(Schedule(1.0, 0.0, 10, kind="linear"), [0, 3, 10, 11]), [1, 0.7, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(
        values(Schedule(1.0, 0.5, 10, 2, kind="constant"), [0, 1, 5, 50]), [0.5, 1, 1, 1], rtol=1e-6
    )


def test_polynomial():
    polynomial = Polynomial(0.3, b=2.0, gamma=0.75)
    t = np.array([0, 1, 50, 10**6])
    np.testing.assert_allclose(values(polynomial, t), 0.3 * (2.0 + t) ** -0.75, rtol=1e-5)
    assert rate(polynomial, tf.constant(0)) == polynomial(tf.constant(0))


@pytest.mark.parametrize(
    "bad", [{"a": 0.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "gamma": 0.5}, {"a": 1.0, "gamma": 1.01}], ids=str
)
def test_arguments_of_a_polynomial_are_checked(bad):
    with pytest.raises(ValueError, match=r"expected.*Received"):
        Polynomial(**bad)


def test_a_number_is_its_own_rate():
    assert rate(0.25, tf.constant(7)) == 0.25
    assert rate(Schedule(0.5, kind="constant"), tf.constant(7)) == 0.5


@pytest.mark.parametrize(
    "bad",
    [
        {"initial": 0.0},
        {"initial": float("nan")},
        {"initial": 0.1, "final": -1.0},
        {"initial": 0.1, "kind": "step"},
        {"initial": 0.1, "steps": 0},
        {"initial": 0.1, "steps": 5, "warmup": 6},
        {"initial": 0.1, "warmup": -1},
    ],
)
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=r"expected.*Received"):
        Schedule(**bad)
