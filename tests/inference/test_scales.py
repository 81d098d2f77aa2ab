"""The scales of Markov chains, estimated over windows of the burn-in."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import HMC, MCLMC, NUTS, Driver
from bnnrl.inference.scales import Scales
from tests.scenarios import linear_regression

LINE = linear_regression()


def test_windows_follow_the_draws_within_the_chains():
    """Of 200 steps, the windows begin at 30 and end at 50, 90 and 170; the chains are far from each other."""
    std, rng = np.array([0.01, 1.0, 30.0]), np.random.default_rng(0)
    chains = 100 * rng.normal(size=(4, 1, 3)) + std * rng.normal(size=(4, 200, 3))
    scales = Scales.start(tf.ones([3]), tf.zeros([4, 3]))
    ends = []
    for step in range(1, 201):
        scales, ended = scales.updated(tf.constant(chains[:, step - 1], tf.float32), tf.constant(step), 200)
        if not ended:
            continue
        ends.append(step)
        begin = {50: 30, 90: 50, 170: 90}[step]
        variance = chains[:, begin:step].var(axis=1, ddof=1).mean(axis=0)
        draws = 4 * (step - begin - 1)
        shrunk = (draws * np.log(variance) + 5 * np.log(variance).mean()) / (draws + 5)
        np.testing.assert_allclose(scales.scale, np.exp(shrunk / 2), rtol=1e-3)
        assert scales.count == 0 and not scales.mean.numpy().any() and not scales.squares.numpy().any()
    assert ends == [50, 90, 170]
    np.testing.assert_allclose(scales.scale, std, rtol=0.1)


def test_an_entry_that_does_not_move_and_a_short_burn_in_keep_their_scales():
    moving = np.random.default_rng(0).normal(size=(40, 2, 3)) * [1.0, 0.0, 2.0]
    for burn_in, kept in ((40, [False, True, False]), (8, [True, True, True])):
        scales = Scales.start(tf.fill([3], 7.0), tf.zeros([2, 3]))
        for step in range(1, burn_in + 1):
            scales, _ = scales.updated(tf.constant(moving[step - 1], tf.float32), tf.constant(step), burn_in)
        np.testing.assert_array_equal(scales.scale.numpy() == 7.0, kept)


@pytest.mark.parametrize("method", [HMC, NUTS, MCLMC])
def test_the_prior_gives_the_scales_without_adaptation(method):
    settings = {"chains": 2, "burn_in": 40, "max_draws": 2}
    fixed = method(0.05, mass="identity", **settings)
    driver = Driver(LINE.problem, fixed, None, jit_compile=False)
    state, _ = driver.run(fixed.init(LINE.problem, 0), LINE.data, 40, 1)
    np.testing.assert_array_equal(state.scales.scale, np.full(3, 1.5, np.float32))


def test_hmc_takes_the_scales_of_the_posterior_and_few_gradients():
    method = HMC(0.01, chains=20, burn_in=100, max_draws=10, mass="diagonal")
    driver = Driver(LINE.problem, method, None, jit_compile=False)
    state, _ = driver.run(method.init(LINE.problem, 0), LINE.data, 100, 1)
    np.testing.assert_allclose(state.scales.scale, np.sqrt(np.diag(LINE.cov)), rtol=0.2)
    assert method._leapfrogs(state.adaptation.step_size) <= 4
