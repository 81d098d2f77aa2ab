"""Exported policies: the numbers of `PILCO.predict`, without bnnrl."""

import importlib.util
import subprocess
import sys
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from tests.rl.point_mass import control_of

pytestmark = pytest.mark.usefixtures("without_xla")
CASES = [  # an angle; a network; discrete actions; observations far from zero
    ("bnnrl/CartPoleSwingUp-v0", bnnrl.policies.RBF(20), 0.0),
    ("Pendulum-v1", bnnrl.policies.MLP((7, 5)), 0.0),
    ("CartPole-v1", bnnrl.policies.Linear(), 0.0),
    ("Pendulum-v1", bnnrl.policies.RBF(20), 1e4),
    ("Pendulum-v1", bnnrl.policies.MLP((7, 5)), 1e4),
]


def agent_and_observations(env_id, policy, offset):
    """Return an agent with a random policy, and observations in which the policy acts."""
    agent = bnnrl.PILCO(env_id, policy=policy)
    shape: Any = agent.env.observation_space.shape
    obs = np.random.default_rng(0).normal(offset, 1.0, (40, *shape)).astype(np.float32)
    control = control_of(agent)
    if offset and isinstance(policy, bnnrl.policies.MLP):
        agent.learned_env.centre = (offset,) * obs.shape[1]
    seen = control.controller.features(tf.constant(agent.learned_env.centred(obs)))
    control.population = control.controller.init((1, 2), 2, seen).numpy()
    return agent, obs


def check(found, expected, agent, offset):
    if agent.action_space.discrete:
        np.testing.assert_array_equal(found, expected)
        assert len(set(expected)) > 1
    else:
        assert np.ptp(expected, axis=0).min() > 0.1  # the policy does act
        np.testing.assert_allclose(found, expected, atol=2e-5 if offset == 0 else 0.1)


@pytest.mark.parametrize(("env_id", "policy", "offset"), CASES)
def test_the_python_file_acts_as_the_agent(env_id, policy, offset, tmp_path):
    agent, obs = agent_and_observations(env_id, policy, offset)
    path = agent.export(tmp_path / "policy.py")
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec and spec.loader
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    check(exported.predict(obs)[0], agent.predict(obs)[0], agent, offset)
    action, state = exported.predict(obs[0], state="s", episode_start=True, deterministic=False)
    assert np.shape(action) == np.shape(agent.predict(obs[0])[0]) and state == "s"
    with pytest.raises(ValueError, match="expected finite numbers of shape"):
        exported.predict(obs[:, :1])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, when it saves
@pytest.mark.parametrize(("env_id", "policy", "offset"), CASES[:3])
def test_the_keras_model_acts_as_the_agent(env_id, policy, offset, tmp_path):
    agent, obs = agent_and_observations(env_id, policy, offset)
    model: Any = keras.saving.load_model(agent.export(tmp_path / "policy.keras"), safe_mode=True)
    check(np.asarray(model(obs)), agent.predict(obs)[0], agent, offset)


@pytest.mark.parametrize(("env_id", "policy", "offset"), CASES[:3])
def test_the_lite_model_acts_as_the_agent(env_id, policy, offset, tmp_path):
    agent, obs = agent_and_observations(env_id, policy, offset)
    content = agent.export(tmp_path / "policy.tflite").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's advice to use another package for inference
        lite = tf.lite.Interpreter(model_content=content)
    given, returned = lite.get_input_details()[0]["index"], lite.get_output_details()[0]["index"]
    lite.resize_tensor_input(given, obs.shape)
    lite.allocate_tensors()
    lite.set_tensor(given, obs)
    lite.invoke()
    check(lite.get_tensor(returned), agent.predict(obs)[0], agent, offset)


def test_the_python_file_needs_numpy_only(tmp_path):
    agent, _ = agent_and_observations(*CASES[0])
    path = agent.export(tmp_path / "policy.py")
    code = "import sys, policy; print(policy.predict([0.1] * policy.OBSERVATION_SIZE)[0].shape); "
    code += "sys.exit(any(m in sys.modules for m in ('bnnrl', 'tensorflow', 'keras')))"
    found = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (0, "(1,)\n", "")


def test_what_cannot_be_exported_is_told(tmp_path):
    agent, _ = agent_and_observations(*CASES[1])
    with pytest.raises(ValueError, match=r"expected a file that ends in one of .*Did you mean '.keras'"):
        agent.export(tmp_path / "policy.kera")
    control_of(agent).population = None
    with pytest.raises(ValueError, match="expected one with a policy. Received: one without"):
        agent.export(tmp_path / "policy.py")
    with pytest.raises(ValueError, match="Received: a planner.* learn with policy='rbf'"):
        bnnrl.PILCO("Pendulum-v1", policy="cem").export(tmp_path / "policy.py")
    remembers = bnnrl.PILCO(bnnrl.Task("Pendulum-v1", history=2), policy=bnnrl.policies.Linear())
    control = control_of(remembers)
    control.population = np.zeros([1, control.controller.num_params], np.float32)
    with pytest.raises(ValueError, match="expected observations without history"):
        remembers.export(tmp_path / "policy.py")
    assert list(tmp_path.iterdir()) == []
