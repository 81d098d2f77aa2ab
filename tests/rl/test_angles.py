"""Angles: wrapping into (−π, π]."""

import numpy as np

from bnnrl.rl.angles import wrap_angle


def test_wrapped_angles_are_the_same_on_the_circle():
    angles = np.random.default_rng(0).uniform(-50, 50, size=(100, 3))
    wrapped = wrap_angle(angles)
    assert wrapped.shape == angles.shape and (wrapped > -np.pi).all() and (wrapped <= np.pi).all()
    np.testing.assert_allclose([np.sin(wrapped), np.cos(wrapped)], [np.sin(angles), np.cos(angles)], atol=1e-12)


def test_a_half_turn_is_positive():
    np.testing.assert_array_equal(wrap_angle(np.array([-np.pi, 0.0, np.pi])), [np.pi, 0.0, np.pi])
