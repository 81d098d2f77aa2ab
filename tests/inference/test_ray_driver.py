"""Members as Ray tasks on this machine: the numbers of one process, also after a worker is lost."""

import os
import signal
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import BayesianModel
from bnnrl.inference import HMC, SGLD, SVGD, SWAG, Adam, Diverged, Driver, Ensemble, RayDriver
from bnnrl.inference import ray_driver as module
from bnnrl.problem import Problem
from tests.scenarios import draws

N = 64


def network(*layers):
    return keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(20, "tanh"), keras.layers.Dense(1)])


def problem_of(model):
    return Problem(model, "gaussian", tfd.Normal(0.0, 1.0), N)


DATA = (tf.constant(draws(N, 2, seed=1)), tf.constant(draws(N, 1, seed=2)))
SWAGS = Ensemble(SWAG(start=20, every=5, rank=3), 2)


def flat(found):
    return [a.numpy() for a in tf.nest.flatten(found)]


def assert_equal(found, expected):
    for one, other in zip(flat(found), flat(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", [HMC(), SVGD(), Adam()], ids=["hmc", "svgd", "adam"])
def test_members_that_depend_on_each_other_are_refused(method):
    with pytest.raises(ValueError, match=r"`method` for engine='ray': expected an Ensemble.*Received.*engine='local'"):
        RayDriver(problem_of(network()), method, None)


def test_invalid_arguments_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"network for engine='ray': expected.*Dropout.*Received"):
        RayDriver(problem_of(network(keras.layers.Dropout(0.5))), SWAGS, None)
    with pytest.raises(ValueError, match=r"`checkpoint_steps`: expected.*Received: .*0"):
        RayDriver(problem_of(network()), SWAGS, 8, checkpoint_steps=0)
    model = BayesianModel(network(), "gaussian", method=SWAGS)
    with pytest.raises(ValueError, match=r"`engine`: expected .*local.*ray.* Received: .*'spark'"):
        model.fit(*DATA, engine="spark", verbose=0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"engine='ray', and Ray cannot.*pip install \"bnnrl\[ray\]\".*engine='local'"):
        model.fit(*DATA, engine="ray", epochs=15, verbose=0)


@pytest.fixture(scope="module")
def cluster():
    """Keep a Ray of this machine for the tests of this module."""
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own warnings are many
        yield module._ray.connect("")
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestOnRay:
    def test_numbers_are_those_of_one_process_even_if_a_worker_dies(self, cluster, tmp_path, monkeypatch):
        def dies_once(work, data, progress, where, more):
            from bnnrl.inference.ray_driver import advance_member

            task = f"{where[0]} {more[1]} {where[2]}"
            begun = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""
            with open(tmp_path / "log", "a") as log:
                log.write(f"{task}\n")
            if task == "1 25 25" and task not in begun:
                os.kill(os.getpid(), signal.SIGKILL)
            return advance_member(work, data, progress, where, more)

        monkeypatch.setattr(module, "advance_member", dies_once)
        problem = problem_of(network())
        start = SWAGS.init(problem, 3)
        found = RayDriver(problem, SWAGS, 8, checkpoint_steps=25).run(start, DATA, 60, seed=5)
        tasks = sorted((tmp_path / "log").read_text().split("\n")[:-1])
        assert tasks == ["0 0 25", "0 25 25", "0 50 10", "1 0 25", "1 25 25", "1 25 25", "1 50 10"]
        assert_equal(found, Driver(problem, SWAGS, 8, threads=2).run(start, DATA, 60, seed=5))

    def test_a_member_whose_workers_always_die_ends_the_run(self, cluster, monkeypatch):
        monkeypatch.setattr(module, "advance_member", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        problem, method = problem_of(network()), Ensemble(Adam(), 2)
        with pytest.raises(cluster.exceptions.WorkerCrashedError):
            RayDriver(problem, method, 8).run(method.init(problem, 3), DATA, 10, seed=5)

    def test_a_diverging_member_is_named(self, cluster):
        problem, method, errors = problem_of(network()), Ensemble(Adam(1e38), 2), []
        for driver in (RayDriver(problem, method, 8, checkpoint_steps=3), Driver(problem, method, 8, threads=2)):
            with pytest.raises(Diverged) as error:
                driver.run(method.init(problem, 3), DATA, 10, seed=5)
            errors.append(error.value)
        assert str(errors[0]) == str(errors[1])
        assert_equal(errors[0].state, errors[1].state)

    @pytest.mark.parametrize("method", [Adam(0.01), SGLD(1e-4, burn_in=4)], ids=["members", "chains"])
    def test_a_model_is_fitted_by_ray(self, cluster, method):
        found = {}
        for engine in ("local", "ray"):
            likelihood = lambda outputs: tfd.Normal(outputs[..., 0], 0.5)  # one that has no name
            model = BayesianModel(network(), likelihood, method=Ensemble(method, 2))
            history = model.fit(DATA[0], DATA[1][:, 0], batch_size=16, epochs=3, engine=engine, verbose=0, seed=1)
            found[engine] = [np.array(history.history["loss"]), model.predict(DATA[0])]
        for one, other in zip(*found.values(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_worker_keeps_what_it_has_made_for_the_tasks_of_a_run(monkeypatch):
    class Reference(str):
        hex = str.__str__

    monkeypatch.setattr(module, "_cached", {})
    monkeypatch.setitem(sys.modules, "ray", type("Ray", (), {"get": staticmethod(lambda a: a)}))
    made: list = []
    for key in map(Reference, "aab"):
        assert module._on_worker("data", [key], lambda value: made.append(value) or value) == key
    assert made == ["a", "b"]
