"""Environments as people have them: ids, specifications, made and wrapped environments, and functions."""

import copy
import pickle
from dataclasses import replace
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, RescaleObservation, TimeLimit

import bnnrl
from bnnrl.rl.episodes import episode_length, make_env, run_episode
from bnnrl.rl.tasks import resolve
from tests.rl.point_mass import ENV_ID, STEPS, TASK, Drawn, PointMass, act_by_zeros, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")


class Shifted(gymnasium.ObservationWrapper):
    """Adds a number to the position."""

    def __init__(self, env, by=0.0):
        super().__init__(env)
        self.by = by

    def observation(self, observation):
        return observation + np.array([self.by, 0], np.float32)


class Massive(PointMass):
    """A point mass that begins at given places."""

    def __init__(self, starts):
        super().__init__()
        self.starts = starts

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state = np.array(self.starts[0]) + (options or {}).get("offset", 0.0)
        return self._observe(), {}


STARTS = np.array([[1.0, 0.0]])
STARTS = np.array([[1.0, 0.0]])
gymnasium.register("test/Massive-v0", cast(Any, Massive), max_episode_steps=4, disable_env_checker=True)


def first_observation(agent):
    return agent.env.reset(seed=0)[0]


SOURCES = {
    "spec": lambda: gymnasium.spec(ENV_ID),
    "made": lambda: gymnasium.make(ENV_ID),
    "statistics": lambda: RecordEpisodeStatistics(gymnasium.make(ENV_ID)),
    "class": lambda: partial(TimeLimit, PointMass(), max_episode_steps=STEPS),
    "function": lambda: lambda: TimeLimit(PointMass(), STEPS),
    "instance": lambda: TimeLimit(PointMass(), STEPS),
}


@pytest.mark.parametrize("source", SOURCES)
def test_an_agent_takes_every_form_of_environment(source):
    of_id, agent = make_agent(task=ENV_ID), make_agent(task=SOURCES[source]())
    assert agent.episode_length == of_id.episode_length == STEPS
    np.testing.assert_array_equal(first_observation(agent), first_observation(of_id))
    assert bnnrl.check(SOURCES[source]()).ok


@pytest.mark.parametrize("source", SOURCES)
def test_a_task_takes_every_form_of_environment(source):
    task = replace(TASK, env_id=SOURCES[source]())
    assert isinstance(task.env_id, str) and task.source is not None
    agent = make_agent(task=task)
    assert agent.task.cost is not None and agent.episode_length == STEPS
    assert agent.learn(1).history[0].steps == STEPS


def test_a_made_environment_is_not_closed_by_a_check():
    class Closing(Drawn):
        closed = False

        def close(self):
            self.closed = True

    env = TimeLimit(Closing(), STEPS)
    bnnrl.check(env)
    assert not cast(Any, env.unwrapped).closed


def test_the_registered_task_holds_unless_wrappers_change_what_it_refers_to():
    made = gymnasium.make("Pendulum-v1", g=9.0)
    assert resolve(made).cost is not None and resolve(made).dt == 0.05
    assert resolve(RecordEpisodeStatistics(made)).cost is not None
    assert resolve(gymnasium.spec("Pendulum-v1")).cost is not None
    low, high = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert resolve(RescaleObservation(made, low, high)).cost is None
    assert resolve("Pendulum-v1", wrappers=["gymnasium.wrappers:NormalizeObservation"]).cost is None
    assert resolve("Pendulum-v1", wrappers=[lambda env: env]).cost is None
    found = bnnrl.check("Pendulum-v1", wrappers=["gymnasium.wrappers:FlattenObservation"])
    assert "the registered task does not hold for the wrapped environment" in str(found)


@pytest.mark.parametrize("wrong", [3, None, [1], "no", {"a": 1}])
def test_other_objects_are_refused(wrong):
    for call in (bnnrl.PILCO, bnnrl.check, bnnrl.Task):
        if isinstance(wrong, str):
            continue
        with pytest.raises(ValueError, match="expected the id of an environment, an EnvSpec, an environment, a func"):
            call(wrong)


def test_mistakes_are_named():
    made = gymnasium.make(ENV_ID)
    with pytest.raises(ValueError, match=r"Invalid `env_kwargs`: .* Pass them to gymnasium.make"):
        bnnrl.PILCO(made, env_kwargs={"g": 1})
    with pytest.raises(ValueError, match="Invalid `env`: .* Received: SyncVectorEnv. Pass the environment of one"):
        make_agent(task=gymnasium.make_vec("Pendulum-v1"))
    with pytest.raises(ValueError, match="functions that return a gymnasium.Env. Received: one that returned int"):
        make_agent(task=lambda: 3)
    with pytest.raises(ValueError, match=r"Invalid `wrappers`: .*Did you mean 'FlattenObservation'"):
        bnnrl.PILCO(ENV_ID, wrappers=["gymnasium.wrappers:FlatenObservation"])
    with pytest.raises(ValueError, match="Invalid `wrappers`: expected a list"):
        bnnrl.PILCO(ENV_ID, wrappers="gymnasium.wrappers:FlattenObservation")
    with pytest.raises(ValueError, match="Invalid `wrappers`: expected 'module:Class'"):
        bnnrl.PILCO(ENV_ID, wrappers=["os:system"])
    with pytest.raises(ValueError, match="Invalid `wrappers`: expected none beside a Task"):
        bnnrl.PILCO(TASK, wrappers=[Shifted])


def test_wrappers_and_reset_options_reach_every_episode():
    env_kwargs = {"starts": STARTS}
    agent = make_agent(
        task="tests.rl.tasks.test_env_source:test/Massive-v0",
        env_kwargs=env_kwargs,
        wrappers=[partial(Shifted, by=10.0)],
        reset_options={"offset": 5.0},
        horizon=4,
    )
    np.testing.assert_allclose(first_observation(agent), [16, 5])
    agent.learn(1)
    np.testing.assert_allclose(agent.episodes[0].obs[0], [16, 5])


# Saving


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"task": ENV_ID, "wrappers": [partial(Shifted, by=2.0), f"{__name__}:Shifted"]},
        lambda: {"task": Shifted(gymnasium.make(ENV_ID), 2.0)},
        lambda: {"task": gymnasium.make("test/Massive-v0", starts=STARTS, max_episode_steps=3)},
        lambda: {"task": "test/Massive-v0", "env_kwargs": {"starts": STARTS}, "reset_options": {"offset": 2}},
    ],
    ids=["wrapped id", "wrapped", "made with arrays", "id with arrays"],
)
def test_saved_agents_find_their_environment_again_or_ask_for_it(make, tmp_path):
    arguments = make()
    agent = make_agent(**arguments)
    act_by_zeros(agent.learn(1))
    agent.save(tmp_path / "agent")
    is_rebuilt = arguments["task"] == ENV_ID or "Massive" in str(arguments["task"])
    if not is_rebuilt:  # Shifted keeps no record of its arguments
        with pytest.raises(ValueError, match=r"Invalid `env`: .* bnnrl.load\(folder, env=...\)"):
            bnnrl.load(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", env=None if is_rebuilt else make()["task"])
    assert again.episode_length == agent.episode_length
    np.testing.assert_array_equal(first_observation(again), first_observation(agent))
    assert again.evaluate(2) == agent.evaluate(2)


def test_an_environment_that_cannot_be_rebuilt_is_asked_for(tmp_path):
    make_agent(task=lambda: TimeLimit(PointMass(), STEPS)).learn(1).save(tmp_path / "agent")
    with pytest.raises(ValueError, match="Invalid `env`: expected the environment 'lambda', which cannot be made"):
        bnnrl.load(tmp_path / "agent")
    assert len(bnnrl.load(tmp_path / "agent", env=PointMass, task=None).episodes) == 1
    with pytest.raises(ValueError, match="Invalid `env`: expected none beside `task`"):
        bnnrl.load(tmp_path / "agent", env=PointMass, task=TASK)


def test_agents_can_be_pickled_and_copied():
    agent = make_agent(task=ENV_ID)
    act_by_zeros(agent.learn(1))
    for again in (pickle.loads(pickle.dumps(agent)), copy.deepcopy(agent)):
        assert again.evaluate(2) == agent.evaluate(2) and again.task_is_registered
        assert again.env is not agent.env
    act_by_zeros(copied := copy.deepcopy(make_agent(task=TimeLimit(PointMass(), STEPS))))
    assert copied.evaluate(1)["episodes"] == 1


def test_agents_whose_task_cannot_be_pickled_say_so():
    agent = make_agent()
    with pytest.raises(TypeError, match=r"Invalid agent: .*agent.save\(folder\) and bnnrl.load\(folder, task=...\)"):
        pickle.dumps(agent)
    assert copy.deepcopy(agent).task is agent.task


# Composite spaces


class Composite(gymnasium.Env):
    """An environment of given spaces, whose observation and reward are random."""

    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.last = action
        return self.observation_space.sample(), 0.0, False, False, {}


OBSERVATIONS = {
    "Dict": (Dict(a=Box(-1, 1, (2,)), b=Dict(c=Discrete(3))), 5),
    "Tuple": (Tuple([Box(-1, 1, (2, 2)), Box(0, 1, ())]), 5),
    "Discrete": (Discrete(4), 4),
    "MultiBinary": (MultiBinary(3), 3),
    "MultiDiscrete": (MultiDiscrete([2, 3]), 5),
    "Box": (Box(-1, 1, (2, 3)), 6),
}
ACTIONS = {
    "MultiDiscrete": (MultiDiscrete([2, 3], start=[1, 0]), 6),
    "MultiBinary": (MultiBinary(3), 8),
    "Dict": (Dict(a=Box(-1, 1, (2,)), b=Box(0, 5, ())), 3),
    "Tuple": (Tuple([Box(-1, 1, (1,)), Box(0, 5, (2, 2))]), 5),
    "integers": (Box(-3, 7, (2,), np.int32), 2),
}


@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_composite_observations_are_flattened(observations):
    space, size = OBSERVATIONS[observations]
    env = make_env(bnnrl.Task(lambda: TimeLimit(Composite(space, Box(-1, 1, (1,))), 3)))
    episode = run_episode(env, lambda obs: np.zeros(1, np.float32), seed=0)
    assert episode.obs.shape == (4, size)
    space.seed(0)
    flat: Any = gymnasium.spaces.flatten(space, space.sample())
    np.testing.assert_allclose(episode.obs[0], flat, rtol=1e-6)


@pytest.mark.parametrize("actions", ACTIONS)
def test_composite_actions_are_vectors_or_values(actions):
    space, size = ACTIONS[actions]
    agent = make_agent(task=lambda: TimeLimit(Composite(Box(-1, 1, (2,)), space), 3))
    assert agent.action_space.size == size
    rng, seen = np.random.default_rng(0), set()
    agent.env.reset(seed=0)
    for _ in range(200):
        vector = agent.action_space.executed(agent.action_space.sample(rng))
        agent.env.reset()
        agent.env.step(agent.action_space.for_env(vector))
        unwrapped: Any = agent.env.unwrapped
        seen.add(str(unwrapped.last))
    expected = {"MultiDiscrete": 6, "MultiBinary": 8, "integers": 11 * 11}.get(actions, 200)
    assert 0.6 * expected < len(seen) <= expected


def test_spaces_that_are_too_large_are_refused():
    for observations, actions in (
        (Box(0, 255, (64, 64, 3), np.uint8), Box(-1, 1, (1,))),
        (Box(-1, 1, (1,)), MultiDiscrete([30, 30])),
        (Box(-1, 1, (1,)), Dict(a=Discrete(3))),
    ):
        with pytest.raises(
            ValueError, match=r"Invalid (observation|action) space of 'lambda': expected a Box with one"
        ):
            bnnrl.PILCO(lambda o=observations, a=actions: Composite(o, a))


def test_the_remedy_for_infinite_bounds_works():
    infinite = Box(-np.inf, np.inf, (2,))
    with pytest.raises(ValueError, match="expected finite bounds. Received: .*Bound it, for example by ") as refused:
        bnnrl.PILCO(lambda: Composite(Box(-1, 1, (2,)), infinite))
    call = str(refused.value).partition("by ")[2].removesuffix(".")
    env = eval(call, {"gymnasium": gymnasium, "env": TimeLimit(Composite(Box(-1, 1, (2,)), infinite), 3)})
    assert bnnrl.check(env).ok


def test_the_flattening_of_a_user_is_kept():
    env = FlattenObservation(TimeLimit(Composite(Box(-1, 1, (2, 2)), Discrete(2)), 3))
    assert make_env(bnnrl.Task(env)) is env and episode_length(env) == 3
