"""Policy search: what the policies share, and that it lowers the cost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.policies import RBF, Controller
from bnnrl.rl.search import InitialStates, PolicySearch, Searcher, SearchObjective
from bnnrl.rl.search.objective import Stage
from bnnrl.rl.search.searcher import Phase
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.regression import NetworkDraws
from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
from bnnrl.rl.tasks import Cost, SaturatingCost
from bnnrl.seeds import as_seed, split

S, Q, R, H = 3, 2, 4, 6
SEARCH = PolicySearch(restarts=R, updates=60, rounds=2, scout_updates=10, candidates=16, warmup=5)
CONTROLLER = Controller(RBF(5), Features(2), tf.constant([-1.0]), tf.constant([2.0]))
ONES = tf.ones(2)
REFINING = Stage(refining=True)
# NetworkDraws of θ [S, 1] are pushes that differ; a particle that changed its draw would show another one.
SIMULATOR = NetworkDraws(tf.constant([[0.1], [0.2], [0.3]]), tf.zeros(3), tf.ones(3), tf.zeros(2), ONES)
STARTS = InitialStates.kernel_density(np.random.default_rng(0).normal(size=(5, 2)) * 0.2)
PADDING = tf.range(len(STARTS.obs))[:, tf.newaxis] >= STARTS.count
STARTS = STARTS._replace(obs=tf.where(PADDING, np.nan, STARTS.obs))
COVER = tf.constant(np.random.default_rng(1).normal(size=(100, 2)), tf.float32)
COST = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] - 1.0))


def make_step(draws):
    def step(obs, action, noise):
        x, v = obs[..., :1], obs[..., 1:]
        push = draws.theta[:, tf.newaxis]  # [S, 1, 1]
        return tf.concat([x + 0.25 * v, v + 0.25 * (action + push)], -1) + 0.02 * noise

    return step


def in_env(make_step, cost):
    return lambda draws: SimulatedEnv(make_step(draws), cost, step_size=draws.target_std)


def make_searcher(search=SEARCH, cost: Cost = COST):
    return Searcher(SearchObjective(search, CONTROLLER, in_env(make_step, cost), H, S, Q))


@pytest.fixture(scope="module")
def searcher():
    return make_searcher()


@pytest.fixture(scope="module")
def found(searcher):
    return searcher.search(None, COVER, SIMULATOR, STARTS, as_seed(0))


def policies(n, seed=3):
    return CONTROLLER.init(as_seed(seed), n, COVER)


def phase(num_updates, curriculum):
    return Phase(tf.constant(num_updates), tf.constant(curriculum))


def test_policies_share_starts_and_noise(searcher):
    params = policies(R)
    together = searcher.objective(params, SIMULATOR, STARTS, as_seed(5))
    assert len(set(together.numpy())) == R
    for i in range(R):
        copies = searcher.objective(tf.repeat(params[i : i + 1], R, axis=0), SIMULATOR, STARTS, as_seed(5))
        np.testing.assert_allclose(copies, tf.repeat(together[i], R), rtol=1e-6)
    other = searcher.objective(params, SIMULATOR, STARTS, as_seed(6))
    assert np.all(other != together)


def test_starts_are_near_those_observed_and_particles_differ(searcher):
    start, noise = searcher.objective.sample_particles(R, STARTS, as_seed(0))
    assert start.shape == (S, R * Q, 2) and noise.shape == (H, S, R * Q, 2)
    assert np.isfinite(start).all()  # the buffer's padding is never drawn
    start, noise = np.reshape(start, [S, R, Q, 2]), np.reshape(noise, [H, S, R, Q, 2])
    np.testing.assert_array_equal(start, np.broadcast_to(start[:, :1], start.shape))
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[:, :, :1], noise.shape))
    assert len(np.unique(noise[:, :, 0])) == H * S * Q * 2


def test_starts_have_the_mean_and_variance_of_those_observed(searcher):
    seen = STARTS.obs.numpy()[:5]
    start = (
        replace(searcher.objective, per_draw=20_000).sample_particles(1, STARTS, as_seed(0))[0].numpy().reshape(-1, 2)
    )
    assert len(np.unique(start, axis=0)) > 50_000  # between them, too
    std = seen.std(axis=0, ddof=1)
    np.testing.assert_allclose(start.mean(axis=0), seen.mean(axis=0), atol=0.02 * std.max())
    # A bootstrap has the population's variance, n − 1 / n s², and the jitter h² s².
    h2 = (4 / (4 * 5)) ** (2 / 6)
    np.testing.assert_allclose(start.var(axis=0), std**2 * (4 / 5 + h2), rtol=0.03)


def test_the_only_start_observed_is_where_all_particles_start(searcher):
    start, _ = searcher.objective.sample_particles(R, InitialStates.kernel_density(STARTS.obs.numpy()[:1]), as_seed(0))
    np.testing.assert_allclose(start, np.broadcast_to(STARTS.obs[0], start.shape), rtol=1e-6)


def test_optimism_counts_far_from_the_goal_only():
    """The cost of a policy is its mean over draws, less κ standard deviations above 0.6 and nothing below 0.4."""

    def mean_cost(optimism, scale):
        search = PolicySearch(restarts=R, candidates=16, optimism=optimism)
        cost = SaturatingCost(lambda next_obs: scale * tf.square(next_obs[..., 0] - 1.0))
        searcher = Searcher(SearchObjective(search, CONTROLLER, in_env(make_step, cost), H, S, Q))
        start, noise = searcher.objective.sample_particles(R, STARTS, as_seed(5))
        act = searcher.objective.policy_function(policies(R))
        by_particle = rollout_cost(SimulatedEnv(make_step(SIMULATOR), cost), act, start, noise)
        by_draw = np.reshape(by_particle, [S, R, Q]).mean(axis=2)
        return searcher.objective(policies(R), SIMULATOR, STARTS, as_seed(5)).numpy(), by_draw

    near, by_draw = mean_cost(2.0, 0.05)
    assert by_draw.mean(axis=0).max() < 0.4
    np.testing.assert_allclose(near, by_draw.mean(axis=0), rtol=1e-6)
    far, by_draw = mean_cost(2.0, 3.0)
    mean, std = by_draw.mean(axis=0), by_draw.std(axis=0)
    assert mean.min() > 0.4 and mean.max() > 0.6
    np.testing.assert_allclose(far, mean - 2.0 * np.clip(5 * mean - 2, 0, 1) * std, atol=2e-3)
    np.testing.assert_allclose(mean_cost(0.0, 3.0)[0], mean, rtol=1e-6)


def test_no_particle_has_the_gradient_to_itself():
    """A particle whose rollout explodes is bounded; without a bound the others are as they would be by themselves."""

    def gradient(bound, growth):
        def make_step(draws):
            rate = tf.reshape(growth, [S, 1, 1])
            return lambda obs, action, noise: obs * tf.concat([rate, tf.ones_like(rate)], -1) + 0.1 * action + 0 * noise

        search = PolicySearch(restarts=R, candidates=16, adjoint_bound=bound)
        cost = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0]) / 1e4)
        searcher = Searcher(SearchObjective(search, CONTROLLER, in_env(make_step, cost), H, S, Q))
        params = policies(R)
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = searcher.objective(params, SIMULATOR, STARTS, as_seed(5))
        return tape.gradient(value, params).numpy(), value.numpy()

    calm, chaotic = tf.constant([1.0, 1.1, 0.9]), tf.constant([1.0, 1.1, 20.0])
    np.testing.assert_array_equal(gradient(1e3, calm)[0], gradient(1e6, calm)[0])
    (free, value), (bounded, same) = gradient(1e6, chaotic), gradient(1e-3, chaotic)
    np.testing.assert_array_equal(value, same)  # the cost itself is not touched
    assert np.linalg.norm(free) > 10 * np.linalg.norm(bounded) > 0


def test_each_policy_acts_on_its_own_particles(searcher):
    params, obs = policies(R), tf.constant(np.random.default_rng(2).normal(size=(S, R * Q, 2)), tf.float32)
    actions = np.reshape(searcher.objective.policy_function(params)(obs, tf.constant(0)), [S, R, Q, 1])
    for i in range(R):
        own = np.reshape(obs, [S, R, Q, 2])[:, i].reshape(1, S * Q, 2)
        np.testing.assert_allclose(actions[:, i].reshape(S * Q, 1), CONTROLLER(params[i : i + 1], own)[0], rtol=1e-5)


def test_a_particle_keeps_its_draw(searcher):
    obs, costs = searcher.predict(policies(1)[0], SIMULATOR, STARTS, as_seed(0))
    per_draw = obs.shape[1] // S
    assert obs.shape == (H + 1, S * per_draw, 2) and costs.shape == (H, S * per_draw) and S * per_draw >= 200
    obs = obs.numpy().reshape(H + 1, S, per_draw, 2)
    act = CONTROLLER(policies(1), obs[:-1].reshape(1, -1, 2)).numpy().reshape(H, S, per_draw)
    push = (obs[1:, ..., 1] - obs[:-1, ..., 1]) / 0.25 - act
    np.testing.assert_allclose(push.mean(axis=(0, 2)), [0.1, 0.2, 0.3], atol=0.02)
    np.testing.assert_allclose(costs, 1 - np.exp(-np.square(obs[1:, ..., 0] - 1)).reshape(H, -1), rtol=1e-4, atol=1e-6)


def test_search_lowers_the_cost_and_sorts(searcher, found):
    params, costs = found
    assert params.shape == (R, CONTROLLER.num_params) and np.all(np.diff(costs) >= 0)
    random = searcher.objective(policies(64, seed=9), SIMULATOR, STARTS, as_seed(5)).numpy()
    best = searcher.objective(params, SIMULATOR, STARTS, as_seed(5)).numpy()[0]
    assert best < random.min()


def test_a_population_is_gone_on_with_and_nothing_is_traced_again(searcher, found):
    traces = searcher.num_traces
    params, costs = searcher.search(found[0], COVER, SIMULATOR, STARTS, as_seed(1))
    assert searcher.num_traces == traces
    assert params.shape == found[0].shape
    # Half of the population goes on, and refinement is taken back where it did harm: on the noise it was scored with,
    # the best is no worse than the best before.
    before = searcher.score(tf.concat([found[0], found[0]], axis=0), SIMULATOR, STARTS, split(as_seed(1), 4)[3])
    assert costs[0] <= before[0]
    again = searcher.search(found[0], COVER, SIMULATOR, STARTS, as_seed(1))
    np.testing.assert_array_equal(params, again[0])


def test_policies_dealt_out_to_threads_are_found_all_the_same():
    few, found = replace(SEARCH, updates=3, scout_updates=2), []
    for threads, groups in ((1, 1), (6, 2)):
        searcher = Searcher(
            SearchObjective(few, CONTROLLER, in_env(make_step, COST), H, S, Q), jit_compile=False, threads=threads
        )
        assert searcher._groups == groups
        found.append(searcher.search(None, COVER, SIMULATOR, STARTS, as_seed(0)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4)


def test_screening_keeps_the_best_candidates(searcher):
    screened = searcher.screen(COVER, SIMULATOR, STARTS, as_seed(0))
    objective, stage = replace(searcher.objective, per_draw=20), Stage(SEARCH.screening_width)
    costs = objective(screened, SIMULATOR, STARTS, as_seed(7), stage).numpy()
    random = objective(policies(64), SIMULATOR, STARTS, as_seed(7), stage).numpy()
    assert costs.mean() < random.mean() and np.isfinite(screened).all()


def test_policies_that_leave_the_models_range_stay_where_they_are():
    endless = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0]) / 0.0)  # its gradient is NaN
    params, scales = policies(R), CONTROLLER.parameter_scales(COVER)
    lost = make_searcher(cost=endless)
    refined, costs = lost.refine(params, scales, SIMULATOR, STARTS, phase(3, 1.0), as_seed(0))
    np.testing.assert_allclose(refined, params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(costs, 1.0, rtol=1e-5)


def test_a_cost_of_the_users_own_is_not_given_a_width():
    plain = make_searcher(cost=lambda obs, action, next_obs: tf.square(next_obs[..., 0] - 1.0) + 5.0)
    costs = plain.objective(policies(R), SIMULATOR, STARTS, as_seed(5), Stage(2.5, 0.5))
    assert costs.shape == (R,) and (costs.numpy() > 5).all()


def test_effort_costs_what_it_says(searcher):
    params = tf.concat([policies(1), tf.zeros_like(policies(1))], axis=0)  # zeros act at the middle: no effort
    cost, with_effort = (
        searcher.objective(params, SIMULATOR, STARTS, as_seed(5), Stage(1.0, e)).numpy() for e in (0.0, 0.5)
    )
    assert with_effort[0] > cost[0]
    np.testing.assert_allclose(with_effort[1], cost[1], rtol=1e-6)


class Constant:
    """A policy that always does the same: its cost is known."""

    def num_params(self, num_features, num_actions):
        return num_actions

    def init(self, seed, n, reference_features, num_actions):
        return tf.random.stateless_normal([n, num_actions], seed)

    def parameter_scales(self, reference_features, num_actions):
        return tf.ones([num_actions])

    def apply_dropout(self, params, rate, seed, num_features, num_actions):
        return params

    def __call__(self, params, features, num_actions):
        return tf.tanh(tf.repeat(params[:, tf.newaxis], features.shape[1], axis=1))


def nan_above_zero(obs, action, next_obs):
    return tf.where(action[..., 0] > 0, np.nan, action[..., 0])


def off_target(obs, action, next_obs):
    return tf.square(action[..., 0] - 0.5)


def constant_searcher(cost, **settings: Any):
    controller = Controller(Constant(), Features(2), tf.constant([-1.0]), tf.constant([1.0]))
    search, make_env = replace(SEARCH, **settings), in_env(make_step, cost)
    return Searcher(SearchObjective(search, controller, make_env, H, S, Q), jit_compile=False, threads=1)


def test_screening_finds_the_best_and_passes_over_costs_that_are_not_finite():
    searcher = constant_searcher(nan_above_zero, candidates=300)
    screened = searcher.screen(COVER, SIMULATOR, STARTS, as_seed(0)).numpy()[:, 0]
    assert len(screened) == R and (np.diff(screened) >= 0).all()
    assert screened.max() < -1.5  # of 300 standard normal numbers, half of them forbidden


def test_refining_finds_the_optimum():
    searcher = constant_searcher(off_target, learning_rate=0.05)
    start = tf.constant([[-1.0], [2.0]])
    refined, costs = searcher.refine(start, tf.ones(1), SIMULATOR, STARTS, phase(200, 1.0), as_seed(0))
    np.testing.assert_allclose(tf.tanh(refined), [[0.5], [0.5]], atol=0.02)
    assert (costs.numpy() < 0.1).all()


def test_scouts_are_judged_by_the_first_steps_and_refined_policies_by_all():
    def make_clock(draws):
        return lambda obs, action, noise: obs + 1.0

    def cost(obs, action, next_obs):  # 0.5 is best for three steps, −0.5 and ten times as much for the three after
        early = next_obs[..., 0] < 3.5
        return tf.where(early, tf.square(action[..., 0] - 0.5), 10 * tf.square(action[..., 0] + 0.5))

    search = replace(SEARCH, scout_horizon=0.5, candidates=300, learning_rate=0.05)
    controller = Controller(Constant(), Features(2), tf.constant([-1.0]), tf.constant([1.0]))
    searcher = Searcher(SearchObjective(search, controller, in_env(make_clock, cost), H, S, Q), jit_compile=False)
    starts = InitialStates.kernel_density(np.zeros([1, 2]))
    scouts = searcher.screen(COVER, SIMULATOR, starts, as_seed(0))
    np.testing.assert_allclose(tf.tanh(scouts), 0.5, atol=0.1)
    for curriculum, best in ((0.0, 0.5), (1.0, (0.5 - 5) / 11)):
        refined, _ = searcher.refine(scouts, tf.ones(1), SIMULATOR, starts, phase(300, curriculum), as_seed(0))
        np.testing.assert_allclose(tf.tanh(refined), best, atol=0.02)
    np.testing.assert_allclose(  # all steps count in the end
        searcher.score(tf.zeros([1, 1]), SIMULATOR, starts, as_seed(0)), (0.25 + 2.5) / 2, rtol=1e-5
    )


def test_refining_moves_relative_to_the_parameter_scales():
    searcher, zero = constant_searcher(off_target, warmup=1), tf.zeros([1, 1])
    for scale in (1.0, 3.0):
        scales = tf.constant([scale])
        moved, _ = searcher.refine(zero, scales, SIMULATOR, STARTS, phase(1, 0.0), as_seed(0))
        np.testing.assert_allclose(moved, [[scale * SEARCH.learning_rate]], rtol=1e-3)  # Adam's first step


def test_what_refining_spoils_is_kept_as_it_was():
    bold = {"learning_rate": 50.0, "final_learning_rate": 50.0, "warmup": 1, "updates": 7}
    good = tf.atanh(tf.constant([[0.5], [0.48]]))
    for cost in (
        off_target,
        lambda obs, action, next_obs: off_target(obs, tf.where(action > 0.9, np.nan, action), None),
    ):
        policies, costs = constant_searcher(cost, **bold).search(
            tf.concat([good, good], axis=0), COVER, SIMULATOR, STARTS, as_seed(0)
        )
        np.testing.assert_allclose(policies[:2], good, rtol=1e-6)
        assert np.isfinite(costs[:2]).all() and costs[0] <= costs[1]


def test_what_refining_mends_is_taken():
    searcher, mended = constant_searcher(nan_above_zero), tf.constant([[-1.0], [-2.0], [-0.5], [1.0]])
    searcher.refine = lambda params, *_: (mended, tf.zeros(R))
    policies, costs = searcher.search(tf.ones([R, 1]), COVER, SIMULATOR, STARTS, as_seed(0))
    # Half of the population, of no finite cost, and the scouts −1 and −2: the refined −0.5 and 1 are no better.
    np.testing.assert_array_equal(policies, [[-2.0], [-2.0], [-1.0], [-1.0]])
    np.testing.assert_allclose(costs, np.tanh(policies[:, 0]), rtol=1e-5)


def test_many_searchers_raise_no_warning_of_retracing(caplog):
    for _ in range(6):
        constant_searcher(off_target).predict(tf.zeros([1]), SIMULATOR, STARTS, as_seed(0))
    assert not caplog.records


# Robust policies, discrete actions and other propagations.


def plain_searcher(controller=CONTROLLER, cost: Cost = COST, propagation="ts_inf", per_draw=Q, **settings: Any):
    """Return a searcher whose functions are called as they are: for a few updates that is the fastest."""
    search = replace(SEARCH, **settings)
    return Searcher(
        SearchObjective(search, controller, in_env(make_step, cost), H, S, per_draw, propagation), jit_compile=False
    )


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"action_noise": 0.3}], ids=["dropout", "action noise"])
def test_dropout_and_noise_are_for_refining_alone(settings):
    plain, robust, params = plain_searcher(), plain_searcher(**settings), policies(R)
    args = params, SIMULATOR, STARTS, as_seed(5)
    np.testing.assert_array_equal(robust._score(*args), plain._score(*args))
    np.testing.assert_array_equal(robust.objective(*args), plain.objective(*args))
    refining = robust.objective(*args, REFINING).numpy()
    assert np.all(np.abs(refining - plain.objective(*args, REFINING)) > 1e-5)
    np.testing.assert_array_equal(refining, robust.objective(*args, REFINING))
    other = robust.objective(params, SIMULATOR, STARTS, as_seed(6), REFINING)
    assert np.all(refining != other)


def test_refining_with_dropout_and_noise_is_deterministic_and_goes_another_way():
    few = phase(3, 0.0), as_seed(0)
    args = policies(2), CONTROLLER.parameter_scales(COVER), SIMULATOR, STARTS, *few
    plain = plain_searcher()._refine(*args)[0]
    robust = plain_searcher(dropout=0.3, action_noise=0.1)
    one, again = robust._refine(*args), robust._refine(*args)
    np.testing.assert_array_equal(one[0], again[0])
    assert np.isfinite(one[0]).all() and np.isfinite(one[1]).all() and np.any(one[0] != plain)


def test_noise_on_actions_has_the_size_it_says_and_is_the_same_for_all_policies():
    searcher = plain_searcher(action_noise=0.05, per_draw=2000)
    still = lambda obs, t: tf.fill([S, 2 * 2000, 1], 0.5)
    act = searcher.objective._add_action_noise(still, as_seed(1))
    first, second = (act(None, tf.constant(t)).numpy().reshape(S, 2, 2000) for t in (0, 1))
    np.testing.assert_array_equal(first[:, 0], first[:, 1])
    assert abs(first[:, 0].std() - 0.05 * 3.0) < 4 * 0.15 / np.sqrt(2 * S * 2000)  # bounds are −1 and 2
    assert abs(first[:, 0].mean() - 0.5) < 4 * 0.15 / np.sqrt(S * 2000)
    assert abs(np.corrcoef(first[:, 0].ravel(), second[:, 0].ravel())[0, 1]) < 4 / np.sqrt(S * 2000)
    loud = plain_searcher(action_noise=3.0, per_draw=2000).objective._add_action_noise(still, as_seed(1))
    shaken = loud(None, tf.constant(0)).numpy()
    assert shaken.min() == -1 and shaken.max() == 2  # cut off at the bounds


DISCRETE = Controller(Constant(), Features(2), tf.zeros(3), tf.ones(3), discrete=True)
PRICES = tf.constant([0.9, 0.2, 0.6])


def price(obs, action, next_obs):
    return tf.reduce_sum(action * PRICES, axis=-1)


def discrete_searcher(cost: Cost = price, **settings: Any):
    to_force = lambda action: tf.reduce_sum(action * tf.constant([-1.0, 0.0, 1.0]), axis=-1, keepdims=True)

    def make_env(draws):
        step = make_step(draws)
        return SimulatedEnv(lambda obs, action, noise: step(obs, to_force(action), noise), cost, step_size=ONES)

    return Searcher(
        SearchObjective(replace(SEARCH, **settings), DISCRETE, make_env, H, S, Q), jit_compile=False, threads=1
    )


def test_discrete_actions_are_refined_relaxed_and_scored_executed():
    searcher, start = discrete_searcher(learning_rate=0.1, warmup=1), tf.constant([[1.0, 0.5, 0.0], [0.3, 0.1, 0.2]])
    args = start, SIMULATOR, STARTS, as_seed(0)
    np.testing.assert_allclose(searcher._score(*args), 0.9, rtol=1e-5)  # both do the first
    weights = tf.nn.softmax(4.0 * tf.tanh(start))
    relaxed = tf.reduce_sum(weights * PRICES, axis=-1)
    np.testing.assert_allclose(searcher.objective(*args, REFINING), relaxed, rtol=1e-5)
    refined, _ = searcher._refine(start, tf.ones(3), SIMULATOR, STARTS, phase(25, 0.0), as_seed(0))
    np.testing.assert_array_equal(np.argmax(refined, axis=1), [1, 1])
    np.testing.assert_allclose(searcher._score(refined, *args[1:]), 0.2, rtol=1e-5)


def test_discrete_actions_are_no_effort():
    found = [discrete_searcher(COST, effort=effort) for effort in (0.0, 0.9)]
    args = tf.constant([[1.0, 0.5, 0.0]]), SIMULATOR, STARTS, as_seed(0)
    for refining in (False, True):
        np.testing.assert_array_equal(
            *(s.objective(*args, Stage(effort=s.objective.settings.effort, refining=refining)) for s in found)
        )


@pytest.mark.parametrize("propagation", ["ts1", "moment_matching", "mean"])
def test_policies_are_refined_by_any_propagation(propagation):
    searcher, params = plain_searcher(propagation=propagation), policies(R)
    start, noise = searcher.objective.sample_particles(R, STARTS, as_seed(0))
    assert start.shape == (S, R * Q, 2) and noise.shape[:3] == (H, S, R * Q)
    is_same = np.all(start == start[:1])
    assert is_same == (propagation == "mean")  # with which all draws must start from the same places
    with tf.GradientTape() as tape:
        tape.watch(params)
        together = searcher.objective(params, SIMULATOR, STARTS, as_seed(5))
    gradient = tape.gradient(together, params)
    assert np.isfinite(gradient).all() and (np.abs(gradient).max(axis=1) > 0).all()
    alone = [searcher.objective(params[i : i + 1], SIMULATOR, STARTS, as_seed(5))[0] for i in range(R)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    obs, costs = searcher._predict(params[0], SIMULATOR, STARTS, as_seed(0))
    assert obs.shape[0] == H + 1 and costs.shape == (H, obs.shape[1]) and np.isfinite(obs).all()


def test_exact_starts_are_those_given_each_as_often(searcher):
    seen = np.random.default_rng(3).normal(size=(4, 2)).astype(np.float32)
    start = (
        replace(searcher.objective, per_draw=1000)
        .sample_particles(1, InitialStates.empirical(seen), as_seed(0))[0]
        .numpy()
        .reshape(-1, 2)
    )
    rows, counts = np.unique(start, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, seen[np.argsort(seen[:, 0])])
    assert np.abs(counts - 750).max() < 4 * np.sqrt(3000 * 3 / 16)


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [
        *[({name: 0}, name) for name in ("restarts", "updates", "rounds", "scout_updates", "candidates", "warmup")],
        *[
            ({name: 0.0}, name)
            for name in (
                "scout_horizon",
                "screening_width",
                "settling_width",
                "learning_rate",
                "adjoint_bound",
                "clip_norm",
            )
        ],
        ({"candidates": 7}, "candidates"),
        ({"optimism": -0.1}, "optimism"),
        ({"effort": 1.0}, "effort"),
        ({"effort": -0.1}, "effort"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"action_noise": -0.1}, "action_noise"),
    ],
    ids=str,
)
def test_bad_settings(kwargs, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected.*Received"):
        PolicySearch(**kwargs)
