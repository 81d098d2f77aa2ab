"""The buffer of draws: which steps are kept, in which order, and the error of an empty buffer."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import SGLD
from bnnrl.inference.draw_buffer import DrawBuffer


def run(steps, thin, size, burn_in=0, lead=(), skip=()):
    """Return the ordered draws of a chain whose θ is [t, −t] after t steps."""
    theta = lambda t: tf.fill([*lead, 2], float(t)) * [1.0, -1.0]
    draws = DrawBuffer.empty(theta(0), size)
    for t in range(steps):
        draws = draws.append(theta(t + 1), tf.constant(t >= burn_in and t not in skip), thin)
    return draws.in_order(thin).numpy()


@pytest.mark.parametrize("lead", [(), (3,)], ids=["one", "members"])
def test_the_newest_draws_in_their_order(lead):
    times = lambda *args, **kwargs: run(*args, **kwargs, lead=lead)[..., 0].reshape(-1, lead[0] if lead else 1)
    for found, expected in [
        (run(4, 1, 6, lead=lead), [1, 2, 3, 4]),
        (run(6, 1, 6, lead=lead), [1, 2, 3, 4, 5, 6]),
        (run(8, 1, 6, lead=lead), [3, 4, 5, 6, 7, 8]),
        (run(9, 3, 6, lead=lead), [3, 6, 9]),
        (run(10, 3, 6, lead=lead), [3, 6, 9, 10]),  # the last period is not over: its draw is the newest θ
        (run(22, 3, 4, lead=lead), [15, 18, 21, 22]),
        (run(9, 2, 6, burn_in=4, lead=lead), [6, 8, 9]),
        (run(9, 2, 6, skip=(2, 3, 4, 5), lead=lead), [2, 8, 9]),
    ]:
        expected = np.array(expected)[:, None] * [1.0, -1.0]
        np.testing.assert_array_equal(found, np.broadcast_to(expected, [*lead, *expected.shape]))
    assert times(3, 1, 5).size == 3 * (lead[0] if lead else 1)


def test_no_draw_at_all():
    with pytest.raises(ValueError, match=r"`burn_in`: expected fewer steps than the run.*Received.*lower `burn_in`"):
        run(5, 1, 3, burn_in=5)
    assert len(run(6, 1, 3, burn_in=5)) == 1


@pytest.mark.parametrize("bad", [{"burn_in": -1}, {"burn_in": 2.5}, {"thin": 0}, {"max_draws": 0}], ids=str)
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        SGLD(**bad)
