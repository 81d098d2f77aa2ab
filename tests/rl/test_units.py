"""Agents learn the same of an environment whatever the unit and the zero of its observations."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl.actors import RandomActor
from bnnrl.rl.centre import centre_of
from bnnrl.rl.checks.precision import PrecisionWarning
from bnnrl.rl.episodes import Episode
from bnnrl.rl.reporting import slices
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import as_seed
from tests.rl.point_mass import DT, in_units, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")
POLICIES = {"rbf": bnnrl.policies.RBF(6), "mlp": bnnrl.policies.MLP((8,))}


def task_in_units(scale: float, offset: float, learned: bool) -> bnnrl.Task:
    goal = SaturatingCost(lambda next_obs: tf.square((next_obs[..., 0] - offset) / scale - 1.0))
    return bnnrl.Task(in_units(scale, offset), None if learned else goal, dt=DT)


def learned_in_units(policy: str, learned: bool, scale: float, offset: float) -> bnnrl.PILCO:
    task = task_in_units(scale, offset, learned)
    return make_agent(0, task, policy=POLICIES[policy]).learn(2, evaluation_episodes=1)


@pytest.mark.parametrize(
    ("policy", "learned", "scale", "offset"),
    [
        ("rbf", False, 1.0, 1e4),
        pytest.param("rbf", False, 1e-6, 0.0, marks=pytest.mark.slow),
        pytest.param("mlp", True, 1.0, 1e4, marks=pytest.mark.slow),
        ("rbf", True, 1.0, 1e6),
        pytest.param("mlp", True, 1.0, 1e8, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::bnnrl.rl.ExtrapolationWarning")
def test_a_unit_and_a_zero_of_observations_do_not_matter(policy, learned, scale, offset, tmp_path):
    plain = learned_in_units(policy, learned, 1.0, 0.0)
    agent = learned_in_units(policy, learned, scale, offset)
    one, other = plain.history[-1], agent.history[-1]
    # At 10⁴, neighbouring numbers of float32, which the cost is given, are 0.001 apart.
    assert other.predicted_cost == pytest.approx(one.predicted_cost, rel=0.02)
    assert other.real_cost == pytest.approx(one.real_cost, rel=0.05)
    obs, actions = agent.episodes[-1].obs, agent.episodes[-1].actions
    np.testing.assert_allclose(actions, plain.episodes[-1].actions, atol=0.1)
    assert np.ptp(actions) > 0.1
    agent.save(tmp_path / "agent")
    again = bnnrl.load(tmp_path / "agent", task=agent.task)
    np.testing.assert_array_equal(again.episodes[-1].obs, obs)
    np.testing.assert_array_equal(again.predict(obs)[0], agent.predict(obs)[0])


@pytest.mark.parametrize(("learned", "offset"), [(True, 1e6), (False, 1e4)])
@pytest.mark.filterwarnings("ignore::bnnrl.rl.ExtrapolationWarning")
def test_predictions_and_values_have_the_units_of_observations(learned, offset):
    agent = learned_in_units("rbf", learned, 1.0, offset)
    assert agent.episodes[0].obs.dtype == np.float64 and agent.prediction is not None
    start = [e.obs[0] for e in agent.episodes]
    np.testing.assert_allclose(agent.prediction.obs[0].mean(axis=0), np.mean(start, axis=0), rtol=0, atol=0.1)
    np.testing.assert_allclose(agent.learned_env.centre, offset, rtol=0, atol=2)
    over = slices.plane(agent, 3)
    np.testing.assert_allclose(over.obs, offset, rtol=0, atol=3)
    near = np.abs(over.obs - offset).max(axis=-1)
    assert np.isfinite(slices.values(agent, over, 4)).all() and np.ptp(near) > 0.1


def test_only_entries_far_from_zero_whose_zero_has_no_meaning_are_centred():
    rng = np.random.default_rng(0)
    obs = rng.normal([0.0, 1e6, 1e6, 5.0, 0.9999, -3e7], [1.0, 0.2, 0.2, 1.0, 1e-5, 4.0], (50, 6))
    obs = np.column_stack([obs, np.full(50, 1e8)])
    task = bnnrl.Task("test/PointMass-v0", velocities={0: 2}, dt=0.1)
    centre = centre_of(obs, task)
    np.testing.assert_allclose(centre[1], obs[:, 1].mean(), rtol=0, atol=0.06)
    np.testing.assert_allclose(centre[5], obs[:, 5].mean(), rtol=0, atol=0.6)
    assert [i for i, value in enumerate(centre) if value] == [1, 5] and centre[5] % 1 == 0
    assert centre_of(obs[:, [0, 3]], bnnrl.Task("test/PointMass-v0")) == ()


def cart_pole_model(offset: float) -> tuple[bnnrl.PILCO, list[Episode]]:
    """Return an agent with a model of the cart-pole, whose cart is shifted, and episodes not seen by the model."""
    shift = np.array([offset, 0, 0, 0])
    env = gymnasium.make("bnnrl/CartPoleSwingUp-v0")
    space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    shifted = gymnasium.wrappers.TransformObservation(env, lambda obs: np.float64(obs) + shift, space)
    agent = make_agent(0, bnnrl.Task(shifted, angles=(2,)), dynamics=bnnrl.Dynamics(hidden=(32,), size=2, steps=1500))
    episodes = [agent.evaluator.run(RandomActor(agent.action_space, seed), seed) for seed in range(8)]
    agent.learned_env.fit(episodes[:5], 0)
    return agent, episodes[5:]


def test_a_model_of_a_cart_far_away_is_as_good():
    errors = []
    for offset in (0.0, 1e6):
        agent, unseen = cart_pole_model(offset)
        unseen = agent.learned_env.seen(unseen)
        before, after = (np.concatenate([e.obs[part] for e in unseen]) for part in (slice(-1), slice(1, None)))
        actions = np.concatenate([e.actions for e in unseen])
        particles = [tf.tile(tf.constant(a)[tf.newaxis], [2, 1, 1]) for a in (before, actions)]
        predicted = agent.simulated(2, as_seed(0)).step(particles[0], particles[1], tf.zeros([2, *before.shape]))
        errors.append(np.std(predicted.numpy().mean(axis=0) - after, axis=0) / np.std(after - before, axis=0))
    assert errors[0].max() < 0.3
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.25)


def test_observations_that_float32_does_not_resolve_are_told():
    for task in (task_in_units(1.0, 1e8, learned=False), in_units(1.0, 3e6, np.float32)):
        with pytest.warns(PrecisionWarning, match=r"entries \[.*\] vary by .* steps of a float32 there. Subtract"):
            make_agent(0, task).learn(1, evaluation_episodes=1)
    make_agent(0, in_units(1.0, 1e8)).learn(1, evaluation_episodes=1)  # without a warning, which would be an error
