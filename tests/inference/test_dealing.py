"""Members computed apart: in lanes, with the numbers that they have in one call."""

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.inference import (
    BBB,
    HMC,
    SGHMC,
    SGLD,
    SVGD,
    SWAG,
    VBLL,
    Adam,
    Diverged,
    Driver,
    Ensemble,
    Laplace,
    MCDropout,
    Method,
    WarmStart,
)
from bnnrl.inference import dealing as dealing_module
from bnnrl.inference.base import may_be_computed_apart
from bnnrl.inference.dealing import Dealing, lanes
from bnnrl.problem import Problem
from tests.inference.test_driver import ROWS, Grows
from tests.scenarios import draws, linear_regression

N = 12


@pytest.fixture(scope="module")
def problem():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])
    return Problem(model, "gaussian", tfd.Normal(0.0, 1.0), N)


DATA = (tf.constant(draws(N, 2, seed=1)), tf.constant(draws(N, 1, seed=2)))


@pytest.mark.parametrize(("members", "number"), [(5, 2), (4, 2), (5, 3), (7, 4), (3, 3), (10, 7), (6, 1)])
def test_lanes_are_equally_long_and_hold_each_step_once_in_its_order(members, number):
    steps: dict[int, list] = {i: [] for i in range(members)}
    for lane in lanes(members, number):
        now = Fraction(0)
        for member, begin, end in lane:
            steps[member].append((begin, end, now, now + end - begin))
            now += end - begin
        assert now == Fraction(members, number)
    for pieces in steps.values():
        begins, ends, starts, stops = zip(*sorted(pieces), strict=True)
        assert begins == (0, *ends[:-1]) and ends[-1] == 1
        assert all(stop <= start for stop, start in zip(stops, starts[1:], strict=False))
    assert sum(map(len, steps.values())) < members + number


APART = {
    "adam": (Ensemble(Adam(0.01), 3), 4),
    "all rows": (Ensemble(Adam(0.01), 3), None),
    "bbb": (Ensemble(BBB(0.01, draws=2), 2), 4),
    "vbll": (Ensemble(VBLL(0.01, draws=2), 2), 4),
    "dropout": (Ensemble(MCDropout(0.01, rate=0.5, masks=2), 2), 4),
    "sgld": (Ensemble(SGLD(1e-4, burn_in=3, thin=2, max_draws=4), 2), None),
    "swag": (Ensemble(SWAG(start=4, every=2, rank=3), 2), 5),
    "laplace": (Ensemble(Laplace(start=8), 2), 4),
    "warm start": (WarmStart(Ensemble(SGHMC(1e-4, burn_in=3, thin=2, max_draws=4), 2), Adam(0.01), 5), 4),
}


def run(problem, case, threads, jit_compile=False, cuts=(13,)):
    method, batch_size = case
    driver = Driver(problem, method, batch_size, jit_compile, threads)
    state, infos, start = method.init(problem, 3), [], 0
    for steps in cuts:
        state, info = driver.run(state, DATA, steps, seed=5, start=start)
        infos.append(info)
        start += steps
    assert driver.num_traces <= 1  # 0 if another driver has traced the same loop
    return tf.nest.flatten((state, infos))


def flat(problem, name, threads, **settings):
    return run(problem, APART[name], threads, **settings)


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name", ["adam", "sgld", *slow("all rows", "bbb", "vbll", "dropout", "swag", "laplace", "warm start")]
)
def test_members_apart_have_the_numbers_that_they_have_together(problem, name):
    for one, two in zip(*(flat(problem, name, threads) for threads in (1, 2)), strict=True):
        assert one.shape == two.shape and one.dtype == two.dtype
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


def test_results_depend_neither_on_the_number_of_lanes_nor_on_cuts(problem):
    whole, pieces = flat(problem, "adam", 2), flat(problem, "adam", 2, cuts=(1, 0, 5, 7))
    for two, three, cut in zip(whole, flat(problem, "adam", 3), pieces, strict=False):
        np.testing.assert_array_equal(three, two)
        if cut.shape[-1:] == (problem.num_params,):
            np.testing.assert_array_equal(cut, two)


@pytest.mark.parametrize("name", ["all rows", *slow("adam", "dropout", "warm start")])
def test_members_apart_have_the_same_numbers_with_xla(problem, name):
    together, apart = (flat(problem, name, threads, jit_compile=True) for threads in (1, 2))
    for one, two in zip(together, apart, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class GrowsApart(Grows):
    """`Grows` in an ensemble whose members may be computed apart."""

    grad_norm: float = 1.0

    members_are_independent: ClassVar[bool] = True

    def init(self, problem, seed, theta=None):
        return Adam().start(theta)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_diverging_member_ends_the_run_of_all(threads):
    # 10^38 is the last power of ten that float32 holds: member 1 overflows in the ninth step, member 2 in the tenth.
    method = Ensemble(GrowsApart(), 3)
    driver = Driver(linear_regression(N).problem, method, 4, jit_compile=False, threads=threads)
    start = method.init(linear_regression(N).problem, 0, tf.constant([[1.0, 0, 0], [1e30, 0, 0], [1e29, 0, 0]]))
    for steps in (9, 10, 39):
        with pytest.raises(Diverged, match=r"step 28 with learning_rate=0.688.*members \[1\] is not finite") as e:
            driver.run(start, ROWS, steps, seed=0, start=20)
        assert e.value.step == 28 and e.value.state.step == 8
        np.testing.assert_allclose(e.value.state.theta[:, 0], [1e8, 1e38, 1e37], rtol=1e-5)


def test_methods_say_whether_their_members_may_be_computed_apart():
    class OwnStep(SGLD):
        def step(self, problem, state, batch, seed):
            raise NotImplementedError

    class OwnRate(Adam):
        pass

    assert may_be_computed_apart(OwnRate()) and may_be_computed_apart(Laplace())
    assert not any(map(may_be_computed_apart, (OwnStep(), Laplace(structure="diagonal", curvature="hessian"), Grows())))
    assert Ensemble(Adam(0.1)).member == Adam(0.1)
    assert WarmStart(Ensemble(SGLD()), Adam(), 7).member == WarmStart(SGLD(), Adam(), 7)
    alone: list[Method] = [Ensemble(OwnStep()), SVGD(), HMC(), WarmStart(HMC()), Adam()]
    alone.append(WarmStart(Ensemble(SGLD()), OwnStep()))
    assert all(method.member is None for method in alone)


def test_a_method_with_random_numbers_of_its_own_runs_in_one_call(problem):
    class OwnNoise(Adam):
        def step(self, problem, state, batch, seed):
            noise = tf.random.stateless_normal(state.theta.shape, seed)
            return super().step(problem, state._replace(theta=state.theta + 1e-3 * noise), batch, seed)

    found = [run(problem, (Ensemble(OwnNoise(), 2), 4), threads) for threads in (1, 2)]
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(two, one)


def test_small_steps_and_networks_of_other_layers_are_computed_together(problem, monkeypatch):
    method, theta = Ensemble(Adam(), 2), lambda D: Adam().start(tf.zeros([2, D]))
    monkeypatch.setattr(dealing_module, "num_threads", lambda: 2)
    of = lambda problem, rows, threads=None: Dealing(threads).is_worthwhile(
        method, problem, theta(problem.num_params), rows
    )
    D = problem.num_params
    assert not of(problem, 10) and of(problem, 10, threads=2) and of(problem, dealing_module._MIN_WORK // D + 1)
    layers = [keras.layers.Conv1D(1, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
    convolution = Problem(keras.Sequential([keras.Input((3, 1)), *layers]), "gaussian", tfd.Normal(0.0, 1.0), N)
    assert not of(convolution, 10**6) and not of(convolution, 10, threads=2)
    monkeypatch.setattr(dealing_module, "num_threads", lambda: 1)
    assert not of(problem, 10**6)


def test_the_number_of_threads_is_checked(problem):
    for bad in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=r"`threads`: expected.*Received"):
            Driver(problem, Ensemble(Adam()), threads=bad)  # pyright: ignore[reportArgumentType]


ON_DEVICES = """
import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
tf.config.threading.set_inter_op_parallelism_threads(1)

from bnnrl.inference import Adam, Driver, Ensemble
from bnnrl.problem import Problem
from bnnrl.seeds import normal

model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(100, "tanh"), keras.layers.Dense(1)])
problem, method = Problem(model, "gaussian", tfd.Normal(0.0, 1.0), 999), Ensemble(Adam(0.01), 4)
data, start, found = (normal([999, 2], 0), normal([999, 1], 1)), method.init(problem, 3), {}
for threads in (1, 2, None):
    driver = Driver(problem, method, None, threads=threads)
    found[threads] = driver.run(start, data, 13, seed=5)
    found[threads] = [a.numpy() for a in tf.nest.flatten(found[threads])]
graphs = driver._loop._compiled["apart"]._function._list_all_concrete_functions()
calls = [op for graph in graphs for op in graph.graph.get_operations() if "PartitionedCall" in op.type]
print(sorted({op.device[-5:] for op in calls}), len(calls))
for one, two, three in zip(*found.values()):
    np.testing.assert_allclose(three, one, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(three, two)
"""


@pytest.mark.slow
def test_members_are_dealt_to_all_devices(fresh_python):
    done = subprocess.run([*fresh_python, "-c", ON_DEVICES], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # Four members in three lanes: two of them are divided between two devices.
    assert done.stdout.split("\n")[0] == "['CPU:0', 'CPU:1', 'CPU:2'] 6"
