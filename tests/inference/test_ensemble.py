"""Ensembles: each member is the same as the method run alone."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import HMC, SVGD, Adam, Driver, Ensemble, Schedule, WarmStart
from bnnrl.posterior import Mixture, Point
from tests.inference.test_adam import adam_in_numpy
from tests.scenarios import draws, linear_regression


def test_golden_steps_of_every_member():
    line, method = linear_regression(), Ensemble(Adam(0.1), size=3)
    theta = draws(3, 3)
    rows = np.array([np.random.default_rng(i).permutation(24).reshape(4, 6) for i in range(3)])  # [M, T, B]
    golden = [list(adam_in_numpy(theta[i], line.grad, rows[i], lambda t: 0.1)) for i in range(3)]
    state = method.init(line.problem, seed=0, theta=tf.constant(theta))
    for t in range(4):
        batch = (tf.constant(line.x[rows[:, t]]), tf.constant(line.y[rows[:, t]]))
        state, info = method.step(line.problem, state, batch, seed=0)
        for k, found in enumerate((state.theta, state.m, state.v)):
            np.testing.assert_allclose(found, [steps[t][k] for steps in golden], rtol=1e-5)
        assert info.log_joint.shape == info.grad_norm.shape == (3,)


def test_members_reach_the_map_and_are_the_mixtures_components():
    line, method = linear_regression(), Ensemble(Adam(Schedule(0.1, 0.0, steps=500)), size=2)
    start = method.init(line.problem, seed=0)
    assert np.any(start.theta[0].numpy() != start.theta[1].numpy())
    driver = Driver(line.problem, method, batch_size=None, jit_compile=False)
    state, _ = driver.run(start, line.data, 500, seed=0)
    posterior = method.posterior(line.problem, state)
    assert isinstance(posterior, Mixture) and all(isinstance(c, Point) for c in posterior.components)
    np.testing.assert_allclose(posterior.sample(2, 0), [line.mean, line.mean], atol=1e-3)
    np.testing.assert_array_equal(posterior.sample(2, 0), state.theta)


def test_an_ensemble_of_one_is_its_member():
    problem, method = linear_regression().problem, Ensemble(Adam(), size=1)
    state = method.init(problem, seed=0)
    assert state.theta.shape == (1, 3)
    found = method.posterior(problem, state)
    assert isinstance(found, Point) and found.theta.shape == (3,)


@pytest.mark.parametrize("theta", [tf.zeros(3), tf.zeros([2, 3]), tf.zeros([5, 4])], ids=["one", "two", "wide"])
def test_a_start_for_each_member(theta):
    with pytest.raises(ValueError, match=r"`theta`: expected.*Received"):
        Ensemble().init(linear_regression().problem, 0, theta)


def test_hyper_parameters_are_checked():
    for bad in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=r"`size`: expected.*Received"):
            Ensemble(size=bad)  # pyright: ignore[reportArgumentType]
    for method in (Ensemble(), Adam, "adam", HMC(), SVGD(), WarmStart(Ensemble())):
        with pytest.raises(ValueError, match=r"`method`: expected.*Received"):
            Ensemble(method)  # pyright: ignore[reportArgumentType]
