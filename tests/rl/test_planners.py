"""Planners: known optima, bounds, coloured noise, and agents that plan."""

from functools import cache, partial

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.planners import CEM, ICEM, Planning
from bnnrl.rl.reporting import html
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.simulator.propagation import PROPAGATIONS
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.seeds import as_seed
from tests.rl.point_mass import HIGH as MOST
from tests.rl.point_mass import LOW as LEAST
from tests.rl.point_mass import STEPS, TASK, make_agent
from tests.test_report import Page

H, DT, EFFORT = 6, 0.5, 0.1
A, B = np.array([[1, DT], [0, 1]]), np.array([0.5 * DT**2, DT])
LOW, HIGH = tf.constant([-3.0]), tf.constant([1.0])  # the middle is −1
START = tf.constant([0.4, -0.2])
PUSHES = tf.constant([[0.2], [-0.2]])  # of the two draws of the model: their mean is 0
GOAL = 0.1
DRAWS = PUSHES, tf.constant(GOAL)
both = pytest.mark.parametrize("kind", [CEM, ICEM])


def make_env(draws):
    pushes, goal = draws

    def step(obs, action, noise):
        push = pushes[:, tf.newaxis]
        moved = tf.matmul(obs, tf.constant(A.T[np.newaxis], tf.float32)) + action * tf.constant(B, tf.float32)
        return moved + tf.constant([0.0, 0.1]) * push + 0.0 * noise

    def cost(obs, action, next_obs):
        return tf.square(next_obs[..., 0] - goal) + tf.square(next_obs[..., 1]) + EFFORT * tf.square(action[..., 0])

    return SimulatedEnv(step, cost)


def planning(planner, make_env=make_env, discrete=False, low=LOW, high=HIGH, propagation="ts_inf", per_draw=1):
    space = ActionSpace(np.array(low), np.array(high), discrete)
    made = Planning(planner, make_env, space, len(PUSHES), per_draw, propagation)
    made.advance = tf.function(partial(made._advance), autograph=False)  # XLA would take longer than it saves
    return made


thorough = cache(lambda kind, **kw: planning(kind(horizon=H, population=150, elites=15, iterations=15, **kw)))
quick = cache(lambda kind: planning(kind(horizon=H, population=60, elites=8, iterations=3)))


def least_squares(start):
    """Return the action sequence [H] of least cost; the draws' pushes cost the same, whatever it is."""
    rows, targets = [], []
    powers = [np.linalg.matrix_power(A, t) for t in range(H + 1)]
    for t in range(1, H + 1):
        effect = np.stack([powers[t - 1 - k] @ B if k < t else np.zeros(2) for k in range(H)], axis=1)  # [2, H]
        rows += list(effect)
        targets += list(np.array([GOAL, 0.0]) - powers[t] @ start)
    rows += list(np.sqrt(EFFORT) * np.eye(H))
    return np.linalg.lstsq(np.array(rows), np.array(targets + [0.0] * H), rcond=None)[0]


def to_actions(squashed):
    return -1.0 + 2.0 * np.asarray(squashed)


def cost_of(actions):
    """Return the mean cost of a step, and over the draws of the model, for a sequence [H]."""
    total = 0.0
    for push in PUSHES.numpy():
        x = START.numpy().astype(float)
        for u in actions:
            x = A @ x + B * u + np.array([0.0, 0.1]) * push
            total += (x[0] - GOAL) ** 2 + x[1] ** 2 + EFFORT * u**2
    return total / (H * len(PUSHES))


@pytest.mark.parametrize(
    ("kind", "kwargs", "share"),
    # Red noise has little power at high frequencies, which leaves a larger error in a short sequence.
    [(CEM, {}, 0.01), (ICEM, {"beta": 0.0}, 0.01), (ICEM, {}, 0.1)],
    ids=["cem", "icem, white", "icem, red"],
)
def test_the_optimum_of_a_quadratic_cost_is_found(kind, kwargs, share):
    made, optimum = thorough(kind, **kwargs), least_squares(START.numpy())
    assert np.abs(optimum + 1).max() < 1.9  # inside the bounds
    action, plan = made.advance(START, made.begin(), DRAWS, as_seed(0))
    found = np.append(action, to_actions(plan.mean[:-1]))
    assert cost_of(found) < (1 + share) * cost_of(optimum) < 0.7 * cost_of(np.zeros(H))
    np.testing.assert_allclose(found, optimum, atol=0.1 if share < 0.1 else 0.2)


@both
def test_at_each_step_the_plan_goes_on(kind):
    """With few iterations, each plan starts from the previous one, and the goal is reached and held."""
    made = quick(kind)
    plan, x = made.begin(), START.numpy().astype(float)
    for t in range(12):
        action, plan = made.advance(tf.constant(x, tf.float32), plan, DRAWS, as_seed(t))
        x = A @ x + B * action.numpy()[0]
    assert np.abs(x - [GOAL, 0]).max() < 0.2


@both
def test_a_plan_moves_on_by_one(kind):
    """With a distribution that hardly changes, the next plan is the given one without its first step."""
    planner = kind(horizon=H, population=4, elites=4, iterations=1, std=1e-6)
    made = planning(planner)
    start = made.begin()
    assert start.mean.shape == (H, 1) and start.elites.shape == (planner.num_kept, H, 1)
    assert not np.any(start.mean) and not np.any(start.elites)
    mean = tf.constant(np.linspace(-0.5, 0.5, H)[:, np.newaxis], tf.float32)
    elites = tf.tile(mean[tf.newaxis], [planner.num_kept, 1, 1])
    action, plan = made._advance(START, start._replace(mean=mean, elites=elites), DRAWS, as_seed(0))
    np.testing.assert_allclose(action, to_actions(mean[0]), atol=1e-4)
    np.testing.assert_allclose(plan.mean, np.append(mean[1:], [[0.0]], axis=0), atol=1e-4)
    np.testing.assert_allclose(plan.elites, np.tile(plan.mean, (planner.num_kept, 1, 1)), atol=1e-4)


def test_elites_that_stay_never_let_the_best_get_worse():
    found = []
    for iterations in (1, 2, 6):
        made = planning(ICEM(horizon=H, population=12, elites=4, iterations=iterations))
        action, plan = made.advance(START, made.begin(), DRAWS, as_seed(3))
        found.append(cost_of(np.append(action, to_actions(plan.elites[0, :-1]))))  # elites are best first
    assert (np.diff(found) <= 1e-6).all() and found[-1] < 0.9 * found[0]


@both
def test_actions_stay_within_the_bounds(kind):
    """A goal out of reach drives the action to its bound, and never one bit beyond."""
    made = thorough(kind)
    for goal, bound in ((50.0, HIGH), (-50.0, LOW)):
        action, plan = made.advance(START, made.begin(), (PUSHES, tf.constant(goal)), as_seed(0))
        np.testing.assert_allclose(action, bound, atol=0.02)
        assert LOW <= action[0] <= HIGH and np.abs(plan.mean).max() <= 1
    ends = np.sort(np.random.default_rng(0).uniform(-3, 3, size=(2, 40)).astype(np.float32), axis=0)
    made = planning(CEM(), low=tf.constant(ends[0]), high=tf.constant(ends[1]))
    for squashed in (-1.0, 1.0):
        executed = made._executed(tf.fill([40], squashed)).numpy()
        assert (executed >= ends[0]).all() and (executed <= ends[1]).all()


@both
def test_the_seed_makes_the_plan(kind):
    made = quick(kind)
    one, again, other = (made.advance(START, made.begin(), DRAWS, as_seed(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1].mean, again[1].mean)
    assert one[0] != other[0]


@both
def test_of_discrete_actions_the_best_is_done(kind):
    """At each step another action costs nothing: the plans find the whole sequence."""
    best = [2, 0, 1, 1]

    def make_clock(draws):
        wanted = tf.one_hot(best * 2, 3)
        step = lambda obs, action, noise: obs + 1.0
        cost = lambda obs, action, next_obs: (
            1.0 - tf.reduce_sum(action * tf.gather(wanted, tf.cast(obs[..., 0], tf.int32)), axis=-1)
        )
        return SimulatedEnv(step, cost)

    made = planning(kind(horizon=4, population=80, elites=8, iterations=6), make_clock, True, tf.zeros(3), tf.ones(3))
    plan, done = made.begin(), []
    for t in range(4):
        action, plan = made.advance(tf.constant([float(t), 0.0]), plan, PUSHES, as_seed(t))
        assert sorted(action.numpy()) == [0, 0, 1]
        done.append(int(np.argmax(action)))
    assert done == best


def test_sequences_that_leave_what_a_float_can_hold_are_passed_over():
    def make_trap(draws):
        env = make_env(draws)
        cost = lambda *step: tf.where(step[1][..., 0] > -1.0, np.nan, env.cost(*step))
        return env._replace(cost=cost)

    made = planning(ICEM(horizon=H, population=60, elites=8, iterations=3), make_trap)
    action, plan = made.advance(START, made.begin(), DRAWS, as_seed(0))
    assert action[0] <= -1.0 and np.isfinite(plan.mean).all()


def test_an_end_counts():
    """A step that terminates costs 2, another one 1: it pays if later steps are then free, not if they cost 3."""

    def make_cliff(after):
        step = lambda obs, action, noise: action
        ends = lambda obs, action, next_obs: tf.cast(next_obs[..., 0] > 0, tf.float32)
        cost = lambda obs, action, next_obs: 1.0 + ends(obs, action, next_obs)
        return SimulatedEnv(step, cost, ends, after)

    planner = ICEM(horizon=H, population=60, elites=8, iterations=3)
    made = planning(planner, make_cliff, low=tf.constant([-1.0]))
    for after, jumps in ((0.0, True), (3.0, False)):
        action, _ = made.advance(tf.constant([-1.0]), made.begin(), tf.constant(after), as_seed(0))
        assert (action.numpy()[0] > 0) == jumps


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_a_sequences_cost_is_its_own(propagation):
    """Sequences are evaluated together, and the cost of one does not depend on the others."""
    made = planning(CEM(horizon=H), propagation=propagation, per_draw=3)
    candidates = tf.constant(np.random.default_rng(0).uniform(-1, 1, size=(4, H, 1)), tf.float32)
    noise = tf.random.stateless_normal(made._noise_shape(2), as_seed(0))
    together = made._costs(make_env(DRAWS), candidates, START, noise).numpy()
    alone = [made._costs(make_env(DRAWS), candidates[i : i + 1], START, noise)[0] for i in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert len({*together}) == 4
    if propagation == "ts_inf":
        np.testing.assert_allclose(together, [cost_of(to_actions(c[:, 0])) for c in candidates], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_xla_compiles_every_propagation(propagation):
    planner = CEM(horizon=H, population=150, elites=15, iterations=15)
    made = Planning(planner, make_env, ActionSpace(LOW.numpy(), HIGH.numpy()), len(PUSHES), 50, propagation)
    action, plan = made.advance(START, made.begin(), DRAWS, as_seed(0))
    assert cost_of(np.append(action, to_actions(plan.mean[:-1]))) < 1.05 * cost_of(least_squares(START.numpy()))


# Noise.


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("horizon", [1, 2, 25, 32])
def test_coloured_noise_has_variance_one(beta, horizon):
    noise = ICEM(horizon=horizon, beta=beta).noise([20_000, horizon, 2], as_seed(0)).numpy()
    assert noise.shape == (20_000, horizon, 2)
    error = np.sqrt(2 / 20_000)
    assert np.abs(noise.mean(0)).max() < 4.5 / np.sqrt(20_000) and np.abs(noise.var(0) - 1).max() < 4.5 * error
    across = np.mean(noise[..., 0] * noise[..., 1], axis=0)
    assert np.abs(across).max() < 4.5 / np.sqrt(20_000)  # actions are independent


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 3.0])
def test_the_power_of_coloured_noise_falls_as_it_should(beta):
    horizon = 64
    noise = ICEM(horizon=horizon, beta=beta).noise([4000, horizon, 1], as_seed(0)).numpy()[..., 0]
    power = np.mean(np.abs(np.fft.rfft(noise, axis=1)) ** 2, axis=0)[1:-1]
    frequency = np.arange(1, horizon // 2)
    slope = np.polyfit(np.log(frequency), np.log(power), 1)[0]
    assert abs(slope + beta) < 0.05
    np.testing.assert_allclose(power * frequency**beta, power[0], rtol=0.15)  # at each frequency


def test_white_noise_of_cem():
    noise = CEM(horizon=5).noise([4000, 5, 1], as_seed(0)).numpy()[..., 0]
    np.testing.assert_allclose(np.cov(noise.T), np.eye(5), atol=4.5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [
        *[({name: 0}, name) for name in ("horizon", "population", "elites", "iterations")],
        ({"horizon": 2.5}, "horizon"),
        ({"population": 10, "elites": 11}, "elites"),
        ({"std": 0.0}, "std"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
    ],
    ids=str,
)
@both
def test_bad_settings(kind, kwargs, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected.*Received"):
        kind(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "name"), [({"beta": -1.0}, "beta"), ({"beta": np.nan}, "beta"), ({"kept": 1.0}, "kept")]
)
def test_bad_settings_of_icem(kwargs, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected.*Received"):
        ICEM(**kwargs)


def test_at_least_one_elite_stays():
    assert CEM().num_kept == 0 and ICEM(kept=0.0).num_kept == 1 and ICEM(elites=20, kept=0.3).num_kept == 6


# An agent that plans.


@pytest.fixture(scope="module")
def agent(without_xla):
    """An agent that plans, after three trials."""
    planner = ICEM(horizon=5, population=24, elites=6, iterations=3)
    return make_agent(policy=planner, particles=15).learn(3, evaluation_episodes=2)


def test_an_agent_that_plans_learns(agent):
    random, *_, last = agent.history
    assert last.evaluation_cost < 0.6 * random.evaluation_cost and last.real_cost < random.real_cost
    assert last.success_rate == 1.0 and agent.is_planner
    assert agent.prediction is None and last.predicted_cost is None  # a planner has no policy to predict with


def test_it_predicts_for_one_or_many_and_always_the_same(agent):
    obs = np.array([[0.7, 0.0], [1.4, 0.0], [0.7, -1.0]], np.float32)
    actions, state = agent.predict(obs)
    assert state is None and actions.shape == (3, 1) and (actions >= LEAST).all() and (actions <= MOST).all()
    assert actions[1] < actions[0] < actions[2]  # it pulls back beyond the goal, and harder when moving away
    for row, action in zip(obs, actions, strict=True):
        np.testing.assert_array_equal(agent.predict(row)[0], action)


def test_evaluating_it_is_repeatable_and_leaves_it_as_it_is(agent):
    before = agent.to_saved()[0]
    assert agent.evaluate(2, seed=1) == agent.evaluate(2, seed=1)
    assert agent.to_saved()[0] == before


def test_saved_and_loaded_it_plans_the_same(agent, tmp_path):
    agent.save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", task=TASK)
    assert again.policy == agent.policy and again.is_planner
    obs = np.random.default_rng(0).normal(size=(3, 2))
    np.testing.assert_array_equal(again.predict(obs)[0], agent.predict(obs)[0])
    assert again.evaluate(1) == agent.evaluate(1)


def test_its_film_and_report_can_be_made(agent, tmp_path):
    """The film shows an episode of the evaluation, and the report has no picture of a policy."""
    act, env, seen = agent.evaluation_actor(3), agent.env, []
    obs, _ = env.reset(seed=agent.evaluation_seed(3))
    for _ in range(STEPS):
        obs, *_ = env.step(act(obs))
        seen.append(obs)
    cost = np.mean(1 - np.exp(-np.square(np.array(seen)[:, 0] - 1)))
    np.testing.assert_allclose(cost, agent.evaluate(1, seed=3)["mean_cost"], rtol=1e-4)
    run = Run.create(tmp_path / "run", {"trials": 3})
    page = Page(html.write(run.folder, agent).read_text())
    assert page.of("h2") == ["Learning", "Settings and versions"]


def test_it_cannot_act_before_it_has_a_model():
    with pytest.raises(ValueError, match="Call learn first"):
        make_agent(policy=CEM()).learn(1, evaluation_episodes=1).predict(np.zeros(2))
