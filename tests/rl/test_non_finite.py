"""Agents whose rollouts or costs are not finite: a warning says where, and no trial is lost."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import cli
from bnnrl.compiled import SharedPrograms
from bnnrl.inference import Diverged
from bnnrl.rl.reporting import html
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.simulator.non_finite import NonFiniteWarning
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import as_seed
from tests.rl.point_mass import TASK, control_of, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")

LABELLED = replace(TASK, labels=("x, m", "v, m/s"))


@pytest.fixture
def unshared(without_xla, monkeypatch):
    """Share no compiled functions: agents are not compared by a step that `with_step` has changed."""
    monkeypatch.setattr("bnnrl.compiled.SHARED", SharedPrograms())


def with_step(agent: bnnrl.PILCO, change) -> bnnrl.PILCO:
    """Change the step (obs, next_obs) -> next_obs of an agent's simulated environments."""
    simulated_env = agent.learned_env.simulated_env

    def changed(draws):
        env = simulated_env(draws)
        return env._replace(step=lambda obs, action, noise: change(obs, env.step(obs, action, noise)))

    agent.learned_env.simulated_env = changed
    return agent


def explode(obs: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
    """Let the velocity become infinite at the last step, without any effect on the cost."""
    x, v = tf.unstack(obs, axis=-1)
    return tf.stack([x + 1, tf.where(x > 8.5, np.inf, v)], axis=-1)


def lose(obs: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
    return next_obs * tf.constant([np.nan, 1.0])


@pytest.mark.usefixtures("unshared")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (explode, r"^Trial 2: expected a finite prediction. Received: .*from step 10 of 10 on: 'v, m/s' .* to inf"),
        (lose, r"^Trial 2: the search found no policy of finite expected cost.*'x, m' of .* from -?0.* to nan"),
    ],
)
def test_a_trial_is_saved_and_drawn_although_its_prediction_is_not_finite(tmp_path, change, message):
    agent, run = with_step(make_agent(task=LABELLED), change), Run.create(tmp_path / "run", {"trials": 2})
    with pytest.warns(NonFiniteWarning, match=message):
        agent.learn(2, [run], evaluation_episodes=1)
    population = control_of(agent).population
    assert population is not None and np.isfinite(population).all()
    assert agent.prediction is not None and not np.isfinite(agent.prediction.obs).all()
    run.draw(agent)
    assert html.write(run.folder, agent).is_file()
    agent.save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", task=LABELLED)
    np.testing.assert_equal(vars(again.history[-1]), vars(agent.history[-1]))


@pytest.mark.usefixtures("unshared")
def test_a_cost_that_is_infinite_where_searches_begin_is_found_there():
    agent = make_agent(task=replace(LABELLED, starts="visited"), horizon=4)
    agent.learn(1, evaluation_episodes=1)
    # Only the last states of the episode, in which no real episode begins, lead beyond the limit.
    limit = float(np.abs(agent.episodes[0].obs[:, 0]).max())
    with_step(agent, lambda obs, next_obs: tf.where(tf.abs(obs) > 0.9 * limit, np.nan, next_obs))
    agent.episodes[0] = replace(agent.episodes[0], obs=agent.episodes[0].obs * np.array([1.0, 0.0], np.float32))
    with pytest.warns(NonFiniteWarning, match="no policy of finite expected cost.* particles .*to nan"):
        agent.learn(1, evaluation_episodes=1)


def test_a_real_cost_that_is_not_finite_is_named_and_its_trial_saved(tmp_path):
    agent, run = make_agent(), Run.create(tmp_path / "run", {"trials": 2})
    lost = replace(TASK, cost=SaturatingCost(lambda next_obs: next_obs[..., 0] / 0.0))
    agent.task = agent.learned_env._task = lost
    with pytest.warns(NonFiniteWarning) as warned:
        agent.learn(2, [run], evaluation_episodes=1)
    texts = [str(warning.message) for warning in warned]
    assert any("cost of a real episode: expected finite numbers. Received: -inf at step " in text for text in texts)
    assert not np.isfinite(agent.history[-1].real_cost)
    html.write(run.folder, agent)


def test_a_cost_range_is_that_of_the_finite_costs():
    agent = make_agent(task=replace(TASK, cost=lambda obs, action, next_obs: tf.square(next_obs[..., 0] - 1)))
    agent.learn(1, evaluation_episodes=1)
    costs = agent.costs(agent.episodes[0])
    all_but_one = np.delete(costs, 3)
    without_one = lambda obs, *_: tf.where(obs[..., 0] == agent.episodes[0].obs[3, 0], np.nan, costs)
    for cost, expected in (
        (without_one, (all_but_one.min(), all_but_one.max())),
        (lambda *_: costs * np.nan, (0, 1)),
    ):
        agent.learned_env._task = replace(TASK, cost=cost)
        agent.learned_env.fit(agent.episodes, 0)
        cost_range = agent.learned_env.sample(3, as_seed(0)).cost_range
        assert cost_range is not None
        np.testing.assert_allclose(cost_range, expected, rtol=1e-6)


@pytest.mark.usefixtures("unshared")
def test_a_planner_says_where_its_rollouts_are_lost():
    planner = bnnrl.planners.CEM(horizon=4, population=8, elites=3, iterations=2)
    agent = with_step(make_agent(task=LABELLED, policy=planner), lose)
    agent.learn(1, evaluation_episodes=1)
    message = r"^Step 1 of an episode: the planner found no .*step 1 of 4 on: 'x, m'"
    with pytest.warns(NonFiniteWarning, match=message) as warned:
        agent.learn(1, evaluation_episodes=1)
    assert len(warned) == 2  # one for each episode: that of the trial, and that of the evaluation


def test_a_fit_that_diverges_names_the_model():
    agent = make_agent(dynamics=bnnrl.Dynamics(hidden=(8,), size=3, steps=150, learning_rate=1e38))
    agent.learn(1, evaluation_episodes=1)
    with pytest.raises(Diverged, match="^Fit of the model of dynamics: Diverged at step") as caught:
        agent.learn(1, evaluation_episodes=1)
    assert np.isfinite(caught.value.state.theta).all()
    assert len(agent.history) == len(agent.episodes) == 1


def test_the_command_line_tells_of_a_fit_that_diverges(tmp_path, capsys, monkeypatch):
    def diverge(*_):
        raise Diverged("Diverged at step 7.", None, 7)

    monkeypatch.setattr(bnnrl.PILCO, "learn", diverge)
    assert cli.main(["train", "bnnrl/CartPoleSwingUp-v0", "--folder", str(tmp_path / "run")]) == 2
    assert f"bnnrl: error: Diverged at step 7.\nRun folder: {tmp_path / 'run'}" in capsys.readouterr().err


def test_labels_that_do_not_fit_the_observation_are_refused():
    with pytest.raises(ValueError, match=r"`labels` of the task: expected 2 names.*Received: \('x, m',\)"):
        make_agent(task=replace(TASK, labels=("x, m",)))


def test_a_spread_of_initial_states_that_does_not_fit_the_observation_is_refused():
    with pytest.raises(ValueError, match=r"`initial_std` of the task: expected 2 numbers.*Received: \(0.1,\)"):
        make_agent(task=replace(TASK, initial_std=(0.1,)))
    for wrong in (0.1, "0.1", ((0.1, 0.1),)):
        with pytest.raises(ValueError, match="`initial_std`: expected one number of at least 0 for each entry"):
            replace(TASK, initial_std=wrong)
    with pytest.raises(ValueError, match="initial_std"):
        replace(TASK, initial_std=(0.1, -0.1))
