"""Policy search: scouting, refinement, and that both lower the cost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.policies import Controller
from bnnrl.rl.search import InitialStates, Searcher, SearchObjective
from bnnrl.rl.search.objective import Stage
from bnnrl.rl.search.searcher import Phase
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import as_seed, split
from tests.rl.search.pushed_mass import (
    CONTROLLER,
    OBJECTIVE,
    PRICES,
    REFERENCE,
    REFINING,
    SEARCH,
    SIMULATOR,
    STARTS,
    Constant,
    H,
    Q,
    R,
    S,
    discrete_objective,
    in_env,
    make_objective,
    make_step,
    policies,
)


@pytest.fixture(scope="module")
def searcher():
    searcher = Searcher(OBJECTIVE)
    searcher.compile(REFERENCE, SIMULATOR, STARTS, STARTS)
    return searcher


@pytest.fixture(scope="module")
def found(searcher):
    return searcher.search(None, REFERENCE, SIMULATOR, STARTS, as_seed(0))


def phase(num_updates, curriculum):
    return Phase(tf.constant(num_updates), tf.constant(curriculum))


def test_a_particle_keeps_its_draw(searcher):
    obs, costs, violated = searcher.predict(policies(1)[0], SIMULATOR, STARTS, as_seed(0))
    per_draw = obs.shape[1] // S
    assert obs.shape == (H + 1, S * per_draw, 2) and costs.shape == (H, S * per_draw) and S * per_draw >= 200
    assert violated.shape == (S * per_draw, 0)  # there are no constraints
    obs = obs.numpy().reshape(H + 1, S, per_draw, 2)
    act = CONTROLLER(policies(1), obs[:-1].reshape(1, -1, 2)).numpy().reshape(H, S, per_draw)
    push = (obs[1:, ..., 1] - obs[:-1, ..., 1]) / 0.25 - act
    np.testing.assert_allclose(push.mean(axis=(0, 2)), [0.1, 0.2, 0.3], atol=0.02)
    np.testing.assert_allclose(costs, 1 - np.exp(-np.square(obs[1:, ..., 0] - 1)).reshape(H, -1), rtol=1e-4, atol=1e-6)


def test_search_lowers_the_cost_and_sorts(searcher, found):
    params, costs, _ = found
    assert params.shape == (R, CONTROLLER.num_params) and np.all(np.diff(costs) >= 0)
    random = searcher.objective(policies(64, seed=9), SIMULATOR, STARTS, as_seed(5)).numpy()
    best = searcher.objective(params, SIMULATOR, STARTS, as_seed(5)).numpy()[0]
    assert best < random.min()


def test_a_search_continues_from_a_population_and_traces_nothing_again(searcher, found):
    traces = searcher.num_traces
    params, costs, _ = searcher.search(found[0], REFERENCE, SIMULATOR, STARTS, as_seed(1))
    assert searcher.num_traces == traces
    assert params.shape == found[0].shape
    # Half of the population is refined again, and a refined policy of higher cost is discarded: under the noise of the
    # score, the best policy is no worse than the best one before.
    before, _ = searcher.score(tf.concat([found[0], found[0]], axis=0), SIMULATOR, STARTS, split(as_seed(1), 4)[3])
    assert costs[0] <= before[0]
    again = searcher.search(found[0], REFERENCE, SIMULATOR, STARTS, as_seed(1))
    np.testing.assert_array_equal(params, again[0])


def test_the_number_of_threads_does_not_change_the_policies():
    few, found = replace(SEARCH, updates=3, scout_updates=2), []
    for threads, groups in ((1, 1), (6, 2)):
        searcher = Searcher(replace(OBJECTIVE, settings=few), jit_compile=False, threads=threads)
        assert searcher._groups == groups
        found.append(searcher.search(None, REFERENCE, SIMULATOR, STARTS, as_seed(0)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4)


def test_functions_compiled_side_by_side_are_those_of_a_search(searcher, found):
    searcher.predict(found[0][0], SIMULATOR, STARTS, as_seed(0))
    assert searcher.num_traces == 4


def test_an_error_of_a_function_is_raised_by_compiling():
    def broken(obs, action, next_obs):
        raise ZeroDivisionError("no such cost")

    with pytest.raises(ZeroDivisionError, match="no such cost"):
        Searcher(make_objective(broken), jit_compile=False).compile(REFERENCE, SIMULATOR, STARTS, STARTS)


def test_screening_keeps_the_best_candidates(searcher):
    screened = searcher.screen(REFERENCE, SIMULATOR, STARTS, as_seed(0), tf.constant(1))
    objective, stage = replace(searcher.objective, per_draw=20), Stage(SEARCH.screening_width)
    of_all = tf.concat([screened, policies(64)], axis=0)
    costs, random = np.split(objective(of_all, SIMULATOR, STARTS, as_seed(7), stage).numpy(), [len(screened)])
    assert costs.mean() < random.mean() and np.isfinite(screened).all()


def test_policies_that_leave_the_models_range_stay_where_they_are():
    endless = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0]) / 0.0)  # its gradient is NaN
    params, scales = policies(R), CONTROLLER.parameter_scales(REFERENCE)
    lost = Searcher(make_objective(endless), jit_compile=False)
    refined, costs = lost.refine(params, scales, SIMULATOR, STARTS, phase(3, 1.0), as_seed(0))
    np.testing.assert_allclose(refined, params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(costs, 1.0, rtol=1e-5)


def nan_above_zero(obs, action, next_obs):
    return tf.where(action[..., 0] > 0, np.nan, action[..., 0])


def off_target(obs, action, next_obs):
    return tf.square(action[..., 0] - 0.5)


def constant_searcher(cost, **settings: Any):
    controller = Controller(Constant(), Features(2), tf.constant([-1.0]), tf.constant([1.0]))
    search, make_env = replace(SEARCH, **settings), in_env(make_step, cost)
    return Searcher(SearchObjective(search, controller, make_env, H, S, Q), jit_compile=False, threads=1)


def test_screening_finds_the_best_and_ignores_costs_that_are_not_finite():
    searcher = constant_searcher(nan_above_zero, candidates=300)
    screened = searcher.screen(REFERENCE, SIMULATOR, STARTS, as_seed(0), tf.constant(3)).numpy()[:, 0]
    assert len(screened) == R and (np.diff(screened) >= 0).all()
    assert screened.max() < -1.5  # of 300 standard normal numbers, half of them forbidden


def test_refining_finds_the_optimum():
    searcher = constant_searcher(off_target, learning_rate=0.05)
    start = tf.constant([[-1.0], [2.0]])
    refined, costs = searcher.refine(start, tf.ones(1), SIMULATOR, STARTS, phase(200, 1.0), as_seed(0))
    np.testing.assert_allclose(tf.tanh(refined), [[0.5], [0.5]], atol=0.02)
    assert (costs.numpy() < 0.1).all()


def test_refining_goes_on_after_a_cost_that_is_not_finite():
    def make_step(draws):
        return lambda obs, action, noise: tf.concat([action, noise[..., 1:]], axis=-1)

    # Some particle is lost in about one of eight updates.
    lost = lambda next_obs: tf.where(next_obs[..., 1] > 2.7, np.nan, tf.square(next_obs[..., 0] - 0.5))
    controller = Controller(Constant(), Features(2), tf.constant([-1.0]), tf.constant([1.0]))
    search, make_env = replace(SEARCH, learning_rate=0.05), in_env(make_step, SaturatingCost(lost))
    searcher = Searcher(SearchObjective(search, controller, make_env, H, S, Q), jit_compile=False)
    for curriculum in (0.0, 1.0):
        start = tf.constant([[-1.0], [2.0]]), tf.ones(1)
        refined, costs = searcher.refine(*start, SIMULATOR, STARTS, phase(200, curriculum), as_seed(0))
        np.testing.assert_allclose(tf.tanh(refined), [[0.5], [0.5]], atol=0.05)
        assert (costs.numpy() < 0.1).all()


def test_scouts_are_judged_by_the_first_steps_and_refined_policies_by_all():
    def make_clock(draws):
        return lambda obs, action, noise: obs + 1.0

    def cost(obs, action, next_obs):  # 0.5 is best for three steps; then −0.5 is, for ten times the cost
        early = next_obs[..., 0] < 3.5
        return tf.where(early, tf.square(action[..., 0] - 0.5), 10 * tf.square(action[..., 0] + 0.5))

    search = replace(SEARCH, scout_horizon=0.5, candidates=300, learning_rate=0.05)
    controller = Controller(Constant(), Features(2), tf.constant([-1.0]), tf.constant([1.0]))
    searcher = Searcher(SearchObjective(search, controller, in_env(make_clock, cost), H, S, Q), jit_compile=False)
    starts = InitialStates.kernel_density(np.zeros([1, 2]))
    scouts = searcher.screen(REFERENCE, SIMULATOR, starts, as_seed(0), tf.constant(3))
    np.testing.assert_allclose(tf.tanh(scouts), 0.5, atol=0.1)
    for curriculum, best in ((0.0, 0.5), (1.0, (0.5 - 5) / 11)):
        refined, _ = searcher.refine(scouts, tf.ones(1), SIMULATOR, starts, phase(300, curriculum), as_seed(0))
        np.testing.assert_allclose(tf.tanh(refined), best, atol=0.02)
    np.testing.assert_allclose(  # all steps count in the end
        searcher.score(tf.zeros([1, 1]), SIMULATOR, starts, as_seed(0))[0], (0.25 + 2.5) / 2, rtol=1e-5
    )


def test_refining_moves_relative_to_the_parameter_scales():
    searcher, zero = constant_searcher(off_target, warmup=1), tf.zeros([1, 1])
    for scale in (1.0, 3.0):
        scales = tf.constant([scale])
        moved, _ = searcher.refine(zero, scales, SIMULATOR, STARTS, phase(1, 0.0), as_seed(0))
        np.testing.assert_allclose(moved, [[scale * SEARCH.learning_rate]], rtol=1e-3)  # Adam's first step


def test_a_refined_policy_of_higher_cost_is_discarded():
    bold = {"learning_rate": 50.0, "final_learning_rate": 50.0, "warmup": 1, "updates": 7}
    good = tf.atanh(tf.constant([[0.5], [0.48]]))
    for cost in (
        off_target,
        lambda obs, action, next_obs: off_target(obs, tf.where(action > 0.9, np.nan, action), None),
    ):
        policies, costs, _ = constant_searcher(cost, **bold).search(
            tf.concat([good, good], axis=0), REFERENCE, SIMULATOR, STARTS, as_seed(0)
        )
        np.testing.assert_allclose(policies[:2], good, rtol=1e-6)
        assert np.isfinite(costs[:2]).all() and costs[0] <= costs[1]


def test_a_refined_policy_of_finite_cost_replaces_one_without(monkeypatch):
    searcher, mended = constant_searcher(nan_above_zero), tf.constant([[-1.0], [-2.0], [-0.5], [1.0]])
    monkeypatch.setattr(searcher, "refine", lambda params, *_: (mended, tf.zeros(R)))
    policies, costs, _ = searcher.search(tf.ones([R, 1]), REFERENCE, SIMULATOR, STARTS, as_seed(0))
    # The start is half of the population, without a finite cost, and the scouts −1 and −2. The refined policies −1 and
    # −2 replace the former; −0.5 and 1 are no better than the scouts.
    np.testing.assert_array_equal(policies, [[-2.0], [-2.0], [-1.0], [-1.0]])
    np.testing.assert_allclose(costs, np.tanh(policies[:, 0]), rtol=1e-5)


def test_many_searchers_raise_no_warning_of_retracing(caplog):
    for _ in range(6):
        constant_searcher(off_target).predict(tf.zeros([1]), SIMULATOR, STARTS, as_seed(0))
    assert not caplog.records


def test_refining_with_dropout_and_noise_is_deterministic_and_goes_another_way():
    few = phase(3, 0.0), as_seed(0)
    args = policies(2), CONTROLLER.parameter_scales(REFERENCE), SIMULATOR, STARTS, *few
    plain = Searcher(OBJECTIVE, jit_compile=False)._refine(*args)[0]
    robust = Searcher(make_objective(dropout=0.3, action_noise=0.1), jit_compile=False)
    one, again = robust._refine(*args), robust._refine(*args)
    np.testing.assert_array_equal(one[0], again[0])
    assert np.isfinite(one[0]).all() and np.isfinite(one[1]).all() and np.any(one[0] != plain)


def test_discrete_actions_are_refined_relaxed_and_scored_executed():
    objective, start = discrete_objective(learning_rate=0.1, warmup=1), tf.constant([[1.0, 0.5, 0.0], [0.3, 0.1, 0.2]])
    args = start, SIMULATOR, STARTS, as_seed(0)
    searcher = Searcher(objective, jit_compile=False, threads=1)
    np.testing.assert_allclose(searcher._score(*args)[0], 0.9, rtol=1e-5)  # both do the first
    weights = tf.nn.softmax(4.0 * tf.tanh(start))
    relaxed = tf.reduce_sum(weights * PRICES, axis=-1)
    np.testing.assert_allclose(objective(*args, REFINING), relaxed, rtol=1e-5)
    refined, _ = searcher._refine(start, tf.ones(3), SIMULATOR, STARTS, phase(25, 0.0), as_seed(0))
    np.testing.assert_array_equal(np.argmax(refined, axis=1), [1, 1])
    np.testing.assert_allclose(searcher._score(refined, *args[1:])[0], 0.2, rtol=1e-5)
