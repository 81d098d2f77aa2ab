"""A warm start takes the same steps as the first method alone, and then the second method alone from its θ."""

import numpy as np
import pytest

from bnnrl.inference import HMC, SGLD, Adam, Diverged, Driver, Ensemble, Schedule, WarmStart
from tests.scenarios import chains_of, linear_regression

LINE = linear_regression()


@pytest.mark.parametrize(
    ("method", "start", "batch_size"),
    [
        (SGLD(1e-3, burn_in=3, thin=1, max_draws=6), Adam(0.1), 4),
        (HMC(0.1, num_leapfrog=3, chains=3, burn_in=4, max_draws=5), Adam(0.1), None),
        (Ensemble(SGLD(1e-3, burn_in=3, thin=1, max_draws=6), 3), Adam(0.1), 4),
    ],
    ids=["sgld", "hmc", "ensemble inside"],
)
def test_equals_the_two_run_one_after_the_other(method, start, batch_size):
    both, problem = WarmStart(method, start, steps=7), LINE.problem
    driver = Driver(problem, both, batch_size, jit_compile=False)
    state = both.init(problem, 2)
    first = method.init(problem, 2).theta
    np.testing.assert_array_equal(state.theta, first)
    state, _ = driver.run(state, LINE.data, 5, seed=1)
    state, _ = driver.run(state, LINE.data, 11, seed=1, start=5)
    assert driver.num_traces == 1 and state.step == 16
    alone = Driver(problem, start, batch_size, jit_compile=False)
    warm, _ = alone.run(start.init(problem, 2, first), LINE.data, 7, seed=1)
    np.testing.assert_allclose(state.start.theta, warm.theta, rtol=1e-6)
    alone = Driver(problem, method, batch_size, jit_compile=False)
    alone, _ = alone.run(method.init(problem, 2, warm.theta), LINE.data, 9, seed=1, start=7)
    np.testing.assert_allclose(state.theta, alone.theta, rtol=1e-3)
    found, expected = both.posterior(problem, state), method.posterior(problem, alone)
    np.testing.assert_allclose(found.sample(6, 0), expected.sample(6, 0), rtol=1e-3)


def test_members_start_from_estimates_of_their_own():
    method = Ensemble(WarmStart(SGLD(1e-12, burn_in=0, thin=1, max_draws=2), Adam(Schedule(0.1, 0.0, 300)), 300), 3)
    driver = Driver(LINE.problem, method, None, jit_compile=False)
    state, _ = driver.run(method.init(LINE.problem, 0), LINE.data, 302, seed=0)
    np.testing.assert_allclose(
        chains_of(method.posterior(LINE.problem, state)), np.tile(LINE.mean, [3, 2, 1]), atol=1e-3
    )


def test_what_it_hands_on():
    assert WarmStart(HMC(burn_in=10), steps=5).min_steps == 16 and WarmStart(SGLD(burn_in=3), steps=5).min_steps == 9
    assert WarmStart().full_batch_only and not WarmStart(SGLD()).full_batch_only
    with pytest.raises(ValueError, match="`method`: expected an instance of a method for one member"):
        Ensemble(WarmStart(HMC()))


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (WarmStart(SGLD(1e-9), Adam(1e38), 50), r"with learning_rate=1e\+38"),
        (WarmStart(SGLD(1e30), Adam(0.1), 5), r"step [56] with step_size=1e\+30"),
    ],
)
def test_a_diverging_step_names_the_rate_of_the_method_at_work(method, text):
    driver = Driver(LINE.problem, method, 4, jit_compile=False)
    with pytest.raises(Diverged, match=text):
        driver.run(method.init(LINE.problem, 0), LINE.data, 40, seed=0)


@pytest.mark.parametrize("bad", [{"method": SGLD}, {"start": "adam"}, {"steps": 0}], ids=str)
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        WarmStart(**bad)
