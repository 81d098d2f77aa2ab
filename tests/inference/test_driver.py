"""The compiled driver: rows of the batches, repeatability, padding, tracing, divergence."""

from typing import ClassVar, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import compiled
from bnnrl.inference import (
    BBB,
    BSAM,
    HMC,
    IVON,
    NUTS,
    PSGLD,
    SGD,
    SGHMC,
    SGLD,
    SVGD,
    SWAG,
    VADAM,
    VBLL,
    Adam,
    CyclicalSGLD,
    Diverged,
    Driver,
    Ensemble,
    Info,
    Laplace,
    MCDropout,
    Method,
    OptimizationMethod,
    Polynomial,
    Schedule,
    WarmStart,
)
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from tests.scenarios import draws, linear_regression

N = 12


class VisitsState(NamedTuple):
    step: tf.Tensor  # []
    theta: tf.Tensor  # [..., D]
    counts: tf.Tensor  # [..., N] how often each row was seen
    last: tf.Tensor  # [..., N] the last step it was seen in, from 1
    noise: tf.Tensor  # [2] the sum of the seeds


class Visits(Method):
    """A method that counts how often each row is in a batch; row n is known by x[n] = n."""

    def start(self, *lead):
        zeros = tf.zeros([*lead, N])
        return VisitsState(tf.constant(0), tf.zeros([*lead, 3]), zeros, zeros, tf.zeros([2], tf.int32))

    def init(self, problem, seed, theta=None):
        return self.start()

    def step(self, problem, state, batch, seed):
        weight = batch[2] if len(batch) == 3 else tf.ones(batch[0].shape[:-1])
        seen = tf.reduce_sum(weight[..., tf.newaxis] * tf.one_hot(tf.cast(batch[0][..., 0], tf.int32), N), axis=-2)
        last = tf.where(seen > 0, tf.cast(state.step + 1, tf.float32), state.last)
        state = VisitsState(state.step + 1, state.theta, state.counts + seen, last, state.noise + seed)
        zeros = tf.zeros(state.theta.shape[:-1])
        info = zeros + tf.cast(state.step, tf.float32), zeros + tf.cast(problem.num_data, tf.float32)
        return state, Info.unadjusted(*info)

    def posterior(self, problem, state):
        raise NotImplementedError


@pytest.fixture(scope="module")
def problem():
    return linear_regression(N).problem


DATA = (draws(12, 2, seed=1), draws(12, 1, seed=2))
ROWS = (tf.range(N, dtype=tf.float32)[:, tf.newaxis] * [1.0, 0.0], tf.zeros([N, 1]))


@pytest.mark.parametrize("lead", [(), (4,)], ids=["one", "members"])
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_each_epoch_visits_each_row_once(problem, lead, batch_size):
    driver, steps = Driver(problem, Visits(), batch_size, jit_compile=False), N // batch_size if batch_size else 1
    state = Visits().start(*lead)
    for epoch in range(3):
        state, info = driver.run(state, ROWS, steps, seed=0, start=epoch * steps)
        np.testing.assert_array_equal(state.counts, np.full([*lead, N], epoch + 1))
    assert info.log_joint.shape == lead
    np.testing.assert_allclose(info.log_joint, np.mean(np.arange(2 * steps, 3 * steps) + 1))


def test_epochs_members_and_seeds_have_different_orders(problem):
    driver = Driver(problem, Visits(), batch_size=1, jit_compile=False)
    first, _ = driver.run(Visits().start(4), ROWS, N, seed=0)
    second, _ = driver.run(first, ROWS, N, seed=0, start=N)
    other, _ = driver.run(Visits().start(4), ROWS, N, seed=1)
    orders = [tuple(row) for s in (first.last, second.last - N, other.last) for row in s.numpy()]
    assert all(sorted(order) == list(range(1, N + 1)) for order in orders)
    assert len(set(orders)) == 12


def test_rows_left_over_sit_out_one_epoch_only(problem):
    driver = Driver(problem, Visits(), batch_size=5, jit_compile=False)
    state = Visits().start()
    for epoch in range(40):
        before = state.counts.numpy()
        state, _ = driver.run(state, ROWS, 2, seed=0, start=2 * epoch)
        assert sorted(state.counts.numpy() - before) == [0, 0] + [1] * 10
    assert (state.counts.numpy() > 25).all()  # 33 on average


def test_only_real_rows_are_visited_and_data_may_grow(problem):
    driver = Driver(problem, Visits(), batch_size=4, jit_compile=False)
    for count in (4, 7, 12):
        state, info = driver.run(Visits().start(), ROWS, 50, seed=0, num_data=count)
        assert (state.counts.numpy()[count:] == 0).all() and (state.counts.numpy()[:count] > 0).all()
        assert info.grad_norm == count  # the problem's N
    full = Driver(problem, Visits(), batch_size=None, jit_compile=False)
    state, _ = full.run(Visits().start(2), ROWS, 3, seed=0, num_data=7)
    np.testing.assert_array_equal(state.counts, [[3.0] * 7 + [0.0] * 5] * 2)


def test_a_batch_larger_than_the_data_uses_all_rows_equally_often(problem):
    driver = Driver(problem, Visits(), batch_size=8, jit_compile=False)
    state, _ = driver.run(Visits().start(), ROWS, 1, seed=0, num_data=5)
    assert sorted(state.counts.numpy()[:5]) == [1, 1, 2, 2, 2]
    state, _ = driver.run(Visits().start(), ROWS, 500, seed=0, num_data=5)
    np.testing.assert_allclose(state.counts[:5], 800, rtol=0.05)  # 8/5 a step, standard deviation 11


@pytest.mark.parametrize(
    ("method", "batch_size", "jit_compile"),
    [
        (Adam(0.05), 4, False),
        (Ensemble(Adam(0.05), size=3), 5, True),
        (Ensemble(Adam(0.05), size=3), 5, False),
        (Ensemble(Adam(0.05), size=3), None, True),
    ],
)
def test_a_run_cut_in_pieces_equals_the_whole(method, batch_size, jit_compile):
    line = linear_regression(N)
    driver = Driver(line.problem, method, batch_size, jit_compile)
    start = method.init(line.problem, seed=3)
    whole, _ = driver.run(start, line.data, 23, seed=5)
    again, _ = driver.run(start, line.data, 23, seed=5)
    pieces, step = start, 0
    for length in (1, 4, 0, 11, 7):
        pieces, _ = driver.run(pieces, line.data, length, seed=5, start=step)
        step += length
    for a, b, c in zip(whole, again, pieces, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    if batch_size:
        other, _ = driver.run(start, line.data, 23, seed=6)
        assert np.any(other.theta != whole.theta)


def test_each_step_has_its_own_noise(problem):
    driver = Driver(problem, Visits(), batch_size=4, jit_compile=False)
    noise = [driver.run(Visits().start(), ROWS, 1, seed=0, start=i)[0].noise.numpy() for i in range(6)]
    assert len({tuple(pair) for pair in noise}) == 6
    total, _ = driver.run(Visits().start(), ROWS, 6, seed=0)
    np.testing.assert_array_equal(total.noise, np.sum(noise, axis=0, dtype=np.int32))


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize(("method", "batch_size"), [(Adam(0.05), None), (Ensemble(Adam(0.05), size=2), 4)])
def test_padding_does_not_matter_even_when_it_is_nan(method, batch_size, jit_compile):
    line = linear_regression(N)
    driver = Driver(line.problem, method, batch_size, jit_compile)
    start = method.init(line.problem, seed=3)
    outcomes = []
    for padding in (0.0, np.nan):
        x, y = np.full([N, 2], padding, np.float32), np.full([N, 1], padding, np.float32)
        x[:9], y[:9] = line.x[:9], line.y[:9]
        state, info = driver.run(start, (tf.constant(x), tf.constant(y)), 7, seed=0, num_data=9)
        assert np.isfinite(info.log_joint).all()
        outcomes.append(state.theta.numpy())
    assert np.isfinite(outcomes).all()
    np.testing.assert_array_equal(*outcomes)
    if batch_size is None:  # the same rows without padding
        alone, _ = driver.run(start, (line.data[0][:9], line.data[1][:9]), 7, seed=0)
        np.testing.assert_allclose(alone.theta, outcomes[0], rtol=1e-5)


def test_one_trace_for_all_counts(problem, monkeypatch):
    monkeypatch.setattr(compiled, "SHARED", compiled.SharedPrograms())
    line = linear_regression(N)
    for batch_size, jit_compile in ((5, True), (None, False)):
        driver = Driver(line.problem, Adam(), batch_size, jit_compile)
        state = Adam().init(line.problem, 0)
        for steps, start, seed, count in [(1, 0, 0, 12), (9, 1, 1, 7), (0, 5, 2, 6), (3, 50, (4, 4), None)]:
            state, _ = driver.run(state, line.data, steps, seed, start, count)
        assert driver.num_traces == 1


def test_a_network_of_two_inputs():
    a, b = keras.Input((2,)), keras.Input((1,))
    model = keras.Model([a, b], keras.layers.Dense(1)(keras.layers.Concatenate()([a, b])))
    problem = Problem(model, "gaussian", tfd.Normal(0.0, 1.0), N)
    data = ([tf.constant(draws(N, 2)), tf.constant(draws(N, 1))], tf.constant(draws(N, 1)))
    for batch_size in (4, None):
        method = Ensemble(Adam(0.1), 2)
        state, info = Driver(problem, method, batch_size, jit_compile=False).run(
            method.init(problem, 0), data, 3, seed=0
        )
        assert state.theta.shape == (2, problem.num_params) and np.isfinite(info.log_joint).all()


def test_arguments_are_checked(problem):
    for bad in (0, -1):
        with pytest.raises(ValueError, match=r"`batch_size`: expected.*Received"):
            Driver(problem, Adam(), bad)
    driver, state = Driver(problem, Adam(), 4), Adam().init(problem, 0)
    for bad in (0, N + 1):
        with pytest.raises(ValueError, match=r"`num_data`: expected.*Received"):
            driver.run(state, ROWS, 1, seed=0, num_data=bad)
    with pytest.raises(ValueError, match=r"expected.*Received"):
        driver.run(state, (ROWS[0], ROWS[1][:3]), 1, seed=0)


def test_a_network_xla_cannot_compile_runs_without_and_one_told_to_compile_says_so():
    layers = [keras.layers.Conv1D(1, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
    problem = Problem(keras.Sequential([keras.Input((3, 1)), *layers]), "gaussian", tfd.Normal(0.0, 1.0), N)
    method, data = Ensemble(Adam(), 2), (tf.zeros([N, 3, 1]), tf.zeros([N, 1]))
    start = method.init(problem, 0)
    with pytest.raises(ValueError, match=r"`jit_compile`: expected None or False .*Received: True"):
        Driver(problem, method, None, jit_compile=True).run(start, data, 1, seed=0)
    driver = Driver(problem, method, None)
    state, _ = driver.run(start, data, 1, seed=0)
    assert state.step == 1
    expected, _ = Driver(problem, method, None, jit_compile=False).run(start, data, 3, seed=0)
    traces = driver.num_traces
    state, _ = driver.run(state, data, 2, seed=0, start=1)
    np.testing.assert_array_equal(state.theta, expected.theta)
    assert driver.num_traces == traces


class Grows(OptimizationMethod):
    """A method whose θ and log joint grow tenfold per step until they overflow; or with a given gradient norm."""

    learning_rate = Schedule(0.8, 0.4, steps=100, kind="linear")

    def __init__(self, grad_norm=1.0):
        self.grad_norm = grad_norm

    def init(self, problem, seed, theta=None):
        zeros = tf.zeros_like(theta)
        return VisitsState(tf.constant(0), theta, zeros, zeros, tf.constant([0, 0]))

    def step(self, problem, state, batch, seed):
        log_joint = tf.reduce_sum(state.theta, axis=-1)
        after = state._replace(step=state.step + 1, theta=10 * state.theta)
        return after, Info.unadjusted(log_joint, self.grad_norm + tf.zeros_like(log_joint))

    def posterior(self, problem, state):
        raise NotImplementedError


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("extra", [0, 1, 30], ids=["in the last step", "in the last but one", "long before"])
def test_a_diverging_run_stops_and_keeps_the_last_finite_state(problem, jit_compile, extra):
    # 1e30 times 10^8 is the last power of ten that float32 holds: step 20 + 8 makes it infinite.
    driver = Driver(problem, Grows(), 4, jit_compile)
    start = Grows().init(problem, 0, tf.constant([[1.0, 0.0, 0.0], [1e30, 0.0, 0.0]]))
    with pytest.raises(Diverged, match=r"step 28 with learning_rate=0.688.*members \[1\].*Lower `learning_rate`") as e:
        driver.run(start, ROWS, 9 + extra, seed=0, start=20)
    assert e.value.step == 28 and e.value.state.step == 8
    np.testing.assert_allclose(e.value.state.theta[:, 0], [1e8, 1e38], rtol=1e-5)
    assert driver.num_traces == 1
    state, _ = driver.run(start, ROWS, 8, seed=0, start=20)
    np.testing.assert_array_equal(state.theta, e.value.state.theta)


def test_a_run_whose_start_is_not_finite_takes_no_step(problem):
    for method, theta in ((Grows(), [np.nan, 0.0, 0.0]), (Grows(np.inf), [1.0, 0.0, 0.0])):
        start = method.init(problem, 0, tf.constant(theta))
        with pytest.raises(Diverged, match="at step 3 with") as e:
            Driver(problem, method, None, jit_compile=False).run(start, ROWS, 5, seed=0, start=3)
        np.testing.assert_array_equal(e.value.state.theta, theta)


def test_a_real_method_diverges_with_advice():
    line = linear_regression(N)
    driver, start = Driver(line.problem, Adam(1e38), 4, jit_compile=False), Adam(1e38).init(line.problem, 0)
    with pytest.raises(Diverged, match=r"learning_rate=1e\+38: .*Lower `learning_rate`") as e:
        driver.run(start, line.data, 10, seed=0)
    assert np.isfinite(e.value.state.theta).all()


def test_a_method_that_needs_all_rows_refuses_minibatches(problem):
    class Corrected(Visits):
        full_batch_only: ClassVar[bool] = True

    for method in (Corrected(), Ensemble(Corrected(), 2)):
        with pytest.raises(ValueError, match=r"`batch_size`: expected None.*Received: 4.*exact log joint"):
            Driver(problem, method, 4)
        Driver(problem, method, None)


def regression(scale):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    return Problem(model, Gaussian(scale), tfd.Normal(0.0, 10 * scale), 12)


METHODS = [  # the first four in the fast tests
    lambda k: Ensemble(SWAG(swa_rate=0.01 * k, start=2 * k), size=2),
    lambda k: BSAM(0.01 * k, rho=0.1 * k, damping=0.1 * k, s_init=0.5 * k),
    lambda k: SGLD(Polynomial(1e-4 * k, b=k), burn_in=k, thin=k),
    lambda k: WarmStart(HMC(0.01 * k, num_leapfrog=2, burn_in=2 * k, chains=2), Adam(0.01 * k), steps=k),
    lambda k: Adam(0.01 * k),
    lambda k: SGD(Schedule(0.01 * k, steps=4 * k)),
    lambda k: BBB(0.01 * k, temperature=0.1 * k),
    lambda k: VBLL(0.01 * k),
    lambda k: VADAM(0.01 * k, temperature=0.1 * k),
    lambda k: IVON(0.01 * k, hess_init=0.5 * k),
    lambda k: SVGD(0.01 * k, size=2),
    lambda k: MCDropout(0.01 * k),
    lambda k: Laplace(Adam(0.01 * k), start=2 * k),
    lambda k: PSGLD(1e-4 * k, damping=1e-3 * k, burn_in=k),
    lambda k: SGHMC(1e-4 * k, burn_in=k, thin=k),
    lambda k: CyclicalSGLD(1e-4 * k, cycle=10, thin=k),
    lambda k: NUTS(0.01 * k, max_doublings=2, burn_in=k, chains=2),
]


@pytest.mark.parametrize(
    "make",
    [pytest.param(m, id=type(m(1)).__name__, marks=[] if m in METHODS[:4] else pytest.mark.slow) for m in METHODS],
)
def test_drivers_of_one_structure_share_a_loop_and_keep_their_numbers(make, monkeypatch):
    def run(shared, k):
        monkeypatch.setattr(compiled, "SHARED", shared)
        problem, method = regression(0.1 * k), make(k)
        driver = Driver(problem, method, None if method.full_batch_only else 4, jit_compile=False)
        state, info = driver.run(method.init(problem, 0), DATA, 6, 0)
        return driver, [a.numpy() for a in tf.nest.flatten((state, info))]

    shared = compiled.SharedPrograms()
    (first, _), (second, of_second) = run(shared, 1), run(shared, 2)
    alone, expected = run(compiled.SharedPrograms(), 2)
    assert (first.num_traces, second.num_traces, alone.num_traces) == (1, 0, 1)
    for array, other in zip(of_second, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def test_many_drivers_raise_no_warning_of_retracing(problem, caplog):
    for _ in range(6):
        Driver(problem, Visits(), None, jit_compile=False).run(Visits().start(), ROWS, 1, seed=0)
    assert not caplog.records
