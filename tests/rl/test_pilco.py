"""PILCO: learning is reproducible, can be resumed, and never sees evaluation episodes."""

import subprocess
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest

import bnnrl
from bnnrl.compiled import SharedPrograms
from bnnrl.rl.callbacks import Callback
from bnnrl.rl.episodes import EnvironmentFault
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import predictions
from bnnrl.storage import checkpoint
from tests.rl.point_mass import COUNTING, HIGH, LOW, STEPS, TASK, act_by_zeros, control_of, faulty_task, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")

CARTPOLE = "bnnrl/CartPoleSwingUp-v0"
PHASES = ["model", "policy", "episode", "evaluation"]
LOAD_AND_LEARN = """
import sys
import numpy as np
import bnnrl
from bnnrl import posterior
from tests.plain_graphs import use_plain_graphs
from tests.rl.point_mass import TASK
use_plain_graphs()
agent = bnnrl.load(sys.argv[1], task=TASK)
np.save(sys.argv[2] + ".npy", agent.predict(np.load(sys.argv[1] + ".npy"))[0])
agent.learn(2, evaluation_episodes=2).save(sys.argv[2])
"""


class Recorder(Callback):
    """Records the calls of a callback, and how often compiled functions were traced by the end of each trial."""

    def __init__(self):
        self.calls: list[tuple] = []
        self.traces: list[tuple[int, int]] = []
        self.error: BaseException | None = None

    def on_phase(self, agent, trial, phase):
        self.calls.append((trial, phase))

    def on_trial_end(self, agent: PILCO, trial):
        assert agent.history[-1] is trial
        self.calls.append((trial.trial, "end"))
        searcher = control_of(agent).searcher
        self.traces.append((agent.model.driver.num_traces, searcher.num_traces if searcher else 0))

    def on_error(self, agent, error):
        self.error = error


class Learned(NamedTuple):
    agent: PILCO
    recorder: Recorder
    rows: list[int]  # transitions that the dynamics model was fitted to, one number for each fit


def learned_state(agent: PILCO) -> dict[str, Any]:
    """Return everything that `agent` learned, without the seconds that learning took."""
    described, arrays = agent.to_saved()
    history = [{k: v for k, v in t.items() if not k.endswith("_seconds")} for t in described.pop("history")]
    return {"history": history, **described, **arrays}


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@pytest.fixture(scope="module")
def four(without_xla) -> Learned:
    """An agent after four trials in one go."""
    learned = Learned(make_agent(), Recorder(), [])
    fit = learned.agent.model.fit

    def recording_fit(obs, actions, next_obs, seed):
        learned.rows.append(len(obs))
        fit(obs, actions, next_obs, seed)

    learned.agent.model.fit = recording_fit
    learned.agent.learn(4, [learned.recorder], evaluation_episodes=2)
    return learned


@pytest.fixture(scope="module")
def two(tmp_path_factory, without_xla):
    """Another agent of the same seed: its folder and its actions after two trials, and the agent after two more."""
    folder = tmp_path_factory.mktemp("two") / "agent"
    agent = make_agent().learn(2, evaluation_episodes=2)
    agent.save(folder)
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    actions = agent.predict(obs)[0]
    return folder, obs, actions, agent.learn(2, evaluation_episodes=2)


# Learning.


def test_a_second_agent_traces_nothing_and_learns_what_it_would_alone(four, monkeypatch):
    searcher = control_of(four.agent).searcher
    assert searcher is not None
    traces = searcher.num_traces
    second = make_agent(seed=1).learn(2, evaluation_episodes=1)
    assert control_of(second).searcher is searcher and searcher.num_traces == traces
    monkeypatch.setattr("bnnrl.compiled.SHARED", SharedPrograms())
    alone = make_agent(seed=1).learn(2, evaluation_episodes=1)
    assert control_of(alone).searcher is not searcher
    assert_same(learned_state(second), learned_state(alone))


def test_one_seed_makes_one_run_however_it_is_cut(four, two):
    assert_same(learned_state(four.agent), learned_state(two[-1]))


def test_seeds_differ():
    one, other = (make_agent(seed).learn(1, evaluation_episodes=1).episodes[0] for seed in (0, 1))
    assert np.all(one.actions != other.actions) and np.all(one.obs[0] != other.obs[0])


def test_nothing_is_traced_again_from_trial_to_trial(four):
    first, second, *later = four.recorder.traces
    assert first == (0, 0) and second[0] == 1 and second[1] >= 3
    assert later == [second, second]


def test_callbacks_are_told_in_order(four):
    expected = [(1, phase) for phase in [*PHASES[2:], "end"]]
    expected += [(trial, phase) for trial in (2, 3, 4) for phase in [*PHASES, "end"]]
    assert four.recorder.calls == expected and four.recorder.error is None


def test_the_model_is_given_the_trials_alone(four):
    assert four.rows == [STEPS, 2 * STEPS, 3 * STEPS]
    assert len(four.agent.episodes) == 4


def test_the_history_says_what_happened(four):
    history = four.agent.history
    assert [t.trial for t in history] == [1, 2, 3, 4]
    assert [t.steps for t in history] == [8, 16, 24, 32] and [t.experience for t in history] == [2, 4, 6, 8]
    assert [t.predicted_cost is None for t in history] == [True, False, False, False]
    assert all(t.fit_seconds > 0 and t.search_seconds > 0 for t in history[1:])
    for trial, episode in zip(history, four.agent.episodes, strict=True):
        cost = 1 - np.exp(-((episode.states[1:, 0] - 1) ** 2))
        np.testing.assert_allclose(trial.real_cost, cost.mean(), rtol=1e-5)
        np.testing.assert_allclose(four.agent.costs(episode), cost, rtol=1e-4, atol=1e-6)
    assert history[-1].real_cost < history[0].real_cost  # it learned


def test_the_last_prediction_starts_about_where_episodes_do(four):
    prediction, agent = four.agent.prediction, four.agent
    assert agent.horizon == 10 and prediction is not None  # eight steps and a quarter more
    assert prediction.obs.shape[0] == 11 and prediction.costs.shape == (10, prediction.obs.shape[1])
    starts = np.stack([e.obs[0] for e in agent.episodes[:-1]])  # of the trials before
    away = np.abs(prediction.obs[0] - starts.mean(axis=0)) / starts.std(axis=0, ddof=1)
    assert 0.5 < away.mean() < 2 and away.max() < 6
    np.testing.assert_allclose(agent.history[-1].predicted_cost, prediction.costs[:STEPS].mean(), rtol=1e-6)


def test_learning_stops_when_the_task_is_solved():
    agent = make_agent(task=replace(TASK, success=lambda states: True))
    agent.learn(3, stop_when_solved=True, evaluation_episodes=1)
    assert len(agent.history) == 1 and agent.solved == 1 and agent.history[0].success_rate == 1.0


def test_a_task_without_success_is_never_solved():
    agent = make_agent(task=replace(TASK, success=None, dt=None)).learn(1, evaluation_episodes=1)
    trial = agent.history[0]
    assert trial.success_rate is None and trial.experience is None and agent.solved is None and not trial.solved


# Acting.


def test_predict(four):
    obs = np.random.default_rng(1).normal(size=(50, 2)) * 5
    actions, state = four.agent.predict(obs)
    assert state is None and actions.shape == (50, 1) and actions.dtype == np.float32
    assert (actions >= LOW).all() and (actions <= HIGH).all() and actions.std() > 0
    one, _ = four.agent.predict(obs[3])
    assert one.shape == (1,)
    np.testing.assert_allclose(one, actions[3], rtol=1e-5, atol=1e-6)


def test_many_agents_raise_no_warning_of_retracing(four, caplog):
    for seed in range(6):
        agent = make_agent(seed)
        control_of(agent).population = control_of(four.agent).population
        agent.predict(np.zeros(2))
    assert not caplog.records


def test_evaluate_leaves_the_agent_as_it_is(four):
    before = learned_state(four.agent)
    found = four.agent.evaluate(3, seed=1)
    assert found == four.agent.evaluate(3, seed=1) != four.agent.evaluate(3, seed=2)
    assert found.keys() == {"episodes", "mean_cost", "mean_return", "success_rate", "violations"}
    assert found["episodes"] == 3 and 0 < found["mean_cost"] < 1 and found["mean_return"] < 0
    assert_same(before, learned_state(four.agent))


# Saving.


def test_a_new_process_predicts_and_learns_the_same(four, two, tmp_path, fresh_python):
    folder, obs, actions, _ = two
    np.save(f"{folder}.npy", obs)
    command = [*fresh_python, "-c", LOAD_AND_LEARN, str(folder), str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), actions)
    again = bnnrl.load(tmp_path / "again", task=TASK)
    assert_same(learned_state(again), learned_state(four.agent))
    assert [asdict(t)["trial"] for t in again.history] == [1, 2, 3, 4]


def test_a_task_of_the_users_is_needed_again(two):
    with pytest.raises(ValueError, match=r"`task`: expected the bnnrl.Task of 'test/PointMass-v0'.*task=\.\.\."):
        bnnrl.load(two[0])


def test_a_registered_task_is_not(tmp_path):
    agent = PILCO(CARTPOLE, horizon=5, seed=2, env_kwargs={"preset": "deep-pilco", "horizon": 5})
    agent.learn(1, evaluation_episodes=1).save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent")
    assert_same(learned_state(again), learned_state(agent))
    assert again.task.env_kwargs == {"preset": "deep-pilco", "horizon": 5}
    assert (again.dynamics, again.policy, again.search) == (agent.dynamics, agent.policy, agent.search)


def test_a_foreign_folder_is_left_alone(tmp_path, four):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="left alone"):
        four.agent.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


# What goes wrong.


@pytest.mark.parametrize("fault", [{"entry": 1, "value": np.nan}, {"reward": np.inf}], ids=["observation", "reward"])
def test_a_fault_of_the_environment_keeps_what_came_before(fault, tmp_path):
    agent, recorder = make_agent(task=faulty_task(step=3, **fault)), Recorder()
    with pytest.raises(EnvironmentFault, match="at step 3.*The 2 steps before it are kept") as caught:
        agent.learn(2, [recorder], evaluation_episodes=1)
    assert recorder.error is caught.value
    assert [len(e) for e in agent.episodes] == [2] and agent.history == []
    assert np.isfinite(agent.episodes[0].obs).all()


def test_a_fault_in_an_evaluation_is_told_and_gives_no_data():
    agent = make_agent(task=faulty_task(episode=1, step=3, entry=0, value=np.nan))
    with pytest.raises(EnvironmentFault, match="at step 3"):
        agent.learn(1, evaluation_episodes=1)
    assert [len(e) for e in agent.episodes] == [STEPS]


def test_an_interruption_reaches_the_callbacks():
    class Interrupting(Recorder):
        def on_trial_end(self, agent, trial):
            raise KeyboardInterrupt

    recorder = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        make_agent().learn(2, [recorder], evaluation_episodes=1)
    assert isinstance(recorder.error, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"env": "bnnrl/CartPoleSwingup-v0"}, "Did you mean 'bnnrl/CartPoleSwingUp-v0'"),
        ({"env": 3}, "`env`: expected the id of an environment, an EnvSpec, .* Received: int"),
        ({"propagation": "ts2"}, "`propagation`: expected one of .*Received: 'ts2'"),
        ({"particles": 0}, "`particles`: expected an integer of at least 1. Received: particles=0"),
        ({"particles": 2.5}, "`particles`"),
        ({"horizon": 0}, "`horizon`: expected an integer of at least 1. Received: horizon=0"),
        ({"seed": -1}, "`seed`: expected an integer of at least 0. Received: seed=-1"),
        ({"seed": True}, "`seed`"),
        ({"env_kwargs": {"preset": "pilko"}}, "`preset`: expected one of 'pilco'"),
        ({"env_kwargs": {"presett": "pilco"}}, "`env_kwargs` for 'bnnrl/CartPoleSwingUp-v0'.*presett"),
        ({"env_kwargs": {"horizon": 0}}, "`horizon`"),
        ({"env": TASK, "env_kwargs": {"x": 1}}, "`env_kwargs`: expected none beside a Task"),
        ({"policy": "mpl"}, "`policy`: expected one of .*Received: 'mpl'. Did you mean 'mlp'"),
        ({"dynamics": "swagg"}, "Did you mean 'swag'"),
        ({"search": "fast"}, "`search`: expected a PolicySearch"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0],  # no address, which is another in each process
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PILCO(**({"env": CARTPOLE} | kwargs))


def test_words_stand_for_policies_planners_and_methods():
    agent = PILCO(CARTPOLE, dynamics="swag", policy="linear", reward_model="bbb")
    assert agent.dynamics == bnnrl.Dynamics(method="swag") and agent.policy == bnnrl.policies.Linear()
    assert agent.reward_model == bnnrl.Dynamics(method="bbb", size=5)
    assert PILCO(CARTPOLE, policy="icem").policy == bnnrl.planners.ICEM()


@pytest.mark.parametrize("method", ["gauss_newton", "gp"])
def test_a_model_by_name_has_the_preset_of_its_method(method):
    assert PILCO(CARTPOLE, dynamics=method).dynamics == bnnrl.Dynamics(method=method)
    by_name = PILCO(CARTPOLE, reward_model="gauss_newton").reward_model
    assert by_name == bnnrl.Dynamics(method="gauss_newton", size=5)
    with pytest.raises(ValueError, match="Invalid `reward_model`: expected settings of a network"):
        PILCO(CARTPOLE, reward_model="gp")


def test_an_environment_without_an_end_needs_a_horizon():
    gymnasium.register("test/EndlessPointMass-v0", "tests.rl.point_mass:PointMass", disable_env_checker=True)
    with pytest.raises(ValueError, match="`horizon`: expected an integer, since 'test/EndlessPointMass-v0'"):
        make_agent(task=replace(TASK, env_id="test/EndlessPointMass-v0"))
    agent = make_agent(task=replace(TASK, env_id="test/EndlessPointMass-v0"), horizon=6)
    agent.learn(1, evaluation_episodes=1)
    assert [len(e) for e in agent.episodes] == [6] == [t.steps for t in agent.history]


@pytest.mark.parametrize("name", ["trials", "evaluation_episodes"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_bad_numbers_of_trials(name, value):
    agent = make_agent()
    with pytest.raises(ValueError, match=f"`{name}`: expected an integer of at least 1"):
        agent.learn(**{name: value})
    assert agent.history == [] and agent.episodes == []


@pytest.mark.parametrize(
    "obs",
    [np.zeros(3), np.zeros([2, 3]), np.zeros([1, 2, 2]), 0.0, [np.nan, 0.0]],
    ids=["3", "2x3", "1x2x2", "0", "nan"],
)
def test_observations_of_another_shape(four, obs):
    with pytest.raises(ValueError, match=r"`observation`: expected finite numbers of shape \(2,\) or \(B, 2\)"):
        four.agent.predict(obs)


def test_no_policy_before_the_second_trial(two):
    for agent in (make_agent(), make_agent().learn(1, evaluation_episodes=1)):
        for call in (lambda a: a.predict(np.zeros(2)), lambda a: a.evaluate(1)):
            with pytest.raises(ValueError, match="expected one with a policy.*Call learn first"):
                call(agent)
    for episodes in (0, -1):
        with pytest.raises(ValueError, match="`episodes`: expected an integer of at least 1"):
            two[-1].evaluate(episodes)


def test_a_checkpoint_of_a_newer_kind(tmp_path):
    checkpoint.write(tmp_path / "agent", {"kind": "pilco2"}, {})
    with pytest.raises(ValueError, match="expected a saved bayesian_model or pilco.*'pilco2'"):
        bnnrl.load(tmp_path / "agent")


# Trials of several episodes, faults between them, and where the rollouts of a search begin.


def test_a_trial_may_have_several_episodes(monkeypatch):
    agent = make_agent(episodes_per_trial=2).learn(1, evaluation_episodes=1)
    (trial,), (one, other) = agent.history, agent.episodes
    assert np.all(one.actions != other.actions) and np.all(one.obs[0] != other.obs[0])
    assert trial.steps == 2 * STEPS and trial.experience == 4
    np.testing.assert_allclose(trial.real_cost, np.mean([agent.mean_cost(e) for e in (one, other)]))
    returns = [e.rewards.sum() for e in (one, other)]
    assert trial.real_return == pytest.approx(np.mean(returns))
    act_by_zeros(agent)
    monkeypatch.setattr(agent, "_improve", lambda trial: 0.5)
    monkeypatch.setattr(agent.learned_env, "fit", lambda episodes, seed: None)
    agent.learn(1, evaluation_episodes=1)
    assert [t.steps for t in agent.history] == [2 * STEPS, 4 * STEPS] and len(agent.episodes) == 4
    last_of_each = [(agent.history[0], agent.episodes[1]), (agent.history[1], agent.episodes[3])]
    found = predictions.trial_episodes(agent)
    assert all(a is b and x is y for (a, x), (b, y) in zip(found, last_of_each, strict=True))


def test_the_first_episode_is_the_same_however_many_there_are():
    one, two = (make_agent(episodes_per_trial=n).learn(1, evaluation_episodes=1) for n in (1, 2))
    np.testing.assert_array_equal(one.episodes[0].obs, two.episodes[0].obs)


def test_a_fault_in_a_later_episode_keeps_those_before_and_learning_goes_on():
    agent = make_agent(task=faulty_task(episode=1, step=3, reward=np.nan), episodes_per_trial=2)
    with pytest.raises(EnvironmentFault, match="at step 3"):
        agent.learn(1, evaluation_episodes=1)
    assert [len(e) for e in agent.episodes] == [STEPS, 2] and agent.history == []
    agent.learn(1, evaluation_episodes=1)  # the environment has mended itself
    assert [len(e) for e in agent.episodes] == [STEPS, 2, STEPS, STEPS] and agent.history[0].steps == 3 * STEPS + 2
    ((_, episode),) = predictions.trial_episodes(agent)
    assert episode is agent.episodes[-1]


@pytest.mark.parametrize(("trouble", "kept"), [({"broken": 3}, [10, 10]), ({"error": 4}, [3])], ids=["reset", "step"])
def test_an_environment_that_raises_an_error_keeps_what_came_before(trouble, kept):
    task = replace(COUNTING, env_kwargs=trouble)
    agent, recorder = make_agent(task=task, episodes_per_trial=3), Recorder()
    with pytest.raises(EnvironmentFault, match="raised RuntimeError") as caught:
        agent.learn(1, [recorder], evaluation_episodes=1)
    assert recorder.error is caught.value and [len(e) for e in agent.episodes] == kept


def test_rollouts_begin_where_the_task_or_the_lengths_say():
    assert make_agent().starts == "initial" and make_agent(horizon=3).starts == "visited"
    for starts in ("initial", "visited"):
        assert make_agent(task=replace(TASK, starts=starts), horizon=3).starts == starts
        assert make_agent(task=replace(TASK, starts=starts)).starts == starts


def test_a_task_may_be_solved_by_its_return():
    for solved_return, is_solved in ((-1e3, True), (1.0, False), (None, False)):
        task = replace(TASK, success=None, solved_return=solved_return)
        agent = make_agent(task=task).learn(1, evaluation_episodes=2)
        assert agent.history[0].solved == is_solved and agent.solved == (1 if is_solved else None)
    agent = make_agent(task=replace(TASK, success=lambda states: False, solved_return=-1e3))
    agent.learn(1, evaluation_episodes=1)
    assert agent.solved is None  # success goes before


def test_seconds_are_counted_of_held_actions():
    agent = make_agent(task=replace(TASK, dt=0.5, action_repeat=2)).learn(1, evaluation_episodes=1)
    assert agent.history[0].steps == STEPS // 2 and agent.history[0].experience == 0.5 * STEPS


@pytest.mark.parametrize(
    ("task", "horizon"),
    [(TASK, 10), (replace(TASK, horizon=4), 4), (replace(TASK, action_repeat=2), 5), (replace(TASK, horizon=20), 20)],
    ids=["a quarter more", "the task's", "in held actions", "longer than the episode"],
)
def test_the_horizon_is_the_tasks_or_the_episodes(task, horizon):
    assert make_agent(task=task).horizon == horizon and make_agent(task=task, horizon=7).horizon == 7


def test_the_reward_models_old_name_works_with_a_warning():
    reward_model = bnnrl.Dynamics(hidden=(4,), size=2)
    with pytest.warns(DeprecationWarning, match="argument `heads` is deprecated.*Use `reward_model`"):
        agent = make_agent(heads=reward_model)
    assert agent.reward_model is reward_model
    with pytest.warns(DeprecationWarning, match="Use reward_model"):
        assert agent.heads is reward_model
    with pytest.raises(ValueError, match="`heads`: expected none beside `reward_model`"):
        make_agent(heads=reward_model, reward_model=reward_model)
    assert agent.to_saved()[0]["heads"]["hidden"] == [4]


def test_agents_saved_before_linked_rods_had_features_keep_their_models_without():
    agent = PILCO("bnnrl/DoublePendulum-v0", dynamics=bnnrl.Dynamics(hidden=(4,), size=2))
    described, arrays = agent.to_saved()
    assert PILCO.from_saved(described, arrays).dynamics.linkage
    del described["dynamics"]["linkage"]
    before = PILCO.from_saved(described, arrays)
    assert not before.dynamics.linkage
    inputs = [a.model.problem.network.shapes[0][0] for a in (before, agent)]
    assert inputs[1] - inputs[0] == 7  # four of sums and differences of two angles, three products of rates
