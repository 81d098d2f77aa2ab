"""Streamed training data: each row is used once an epoch, and the log joint is that of all rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.inference import Adam
from bnnrl.model.device_data import Shards, Stream
from tests.scenarios import mlp

pytestmark = pytest.mark.usefixtures("without_xla")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 3)).astype("f"), RNG.normal(size=(50, 2)).astype("f")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("bnnrl.model.device_data.IN_MEMORY_BYTES", 400)
    monkeypatch.setattr("bnnrl.model.device_data.SHARD_BYTES", 16 * 5 * 4)  # 16 rows of five numbers


def dataset(batched=False):
    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    return rows.batch(7) if batched else rows


@pytest.mark.parametrize("batched", [False, True])
def test_rows_come_in_equal_pieces_and_a_rest(small, batched):
    stream = Stream(dataset(batched), mlp(3, 2))
    assert stream.row_bytes == 20 and stream.read() is None
    parts = Shards(lambda part: part, 4, stream)
    assert (parts.num_data, parts.steps, parts.batch_size) == (50, 4 + 4 + 4 + 1, 4)
    seen = [(arrays[0][:count], count, steps) for arrays, count, steps in parts]
    np.testing.assert_array_equal(np.concatenate([x for x, *_ in seen]), X)
    assert [(count, steps) for _, count, steps in seen] == [(16, 4)] * 3 + [(2, 1)]
    x, y = stream.read(whatever_size=True)  # pyright: ignore[reportGeneralTypeIssues]
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_a_shard_has_no_more_rows_than_can_be_shuffled_quickly(small, monkeypatch):
    monkeypatch.setattr("bnnrl.model.device_data.SHARD_ROWS", 10)
    parts = list(Shards(lambda part: part, 4, Stream(dataset(batched=True), mlp(3, 2))))
    assert [count for _, count, _ in parts] == [10] * 5
    # A stream of less than a shard is not padded to a whole one.
    monkeypatch.setattr("bnnrl.model.device_data.SHARD_ROWS", 64)
    monkeypatch.setattr("bnnrl.model.device_data.SHARD_BYTES", 2**20)
    ((arrays, count, _),) = Shards(lambda part: part, 4, Stream(dataset(), mlp(3, 2)))
    assert count == len(arrays[0]) == 50


def test_training_data_are_held_once(monkeypatch):
    x, y = np.zeros((6, 3), np.float32), np.zeros((6, 2), np.float32)
    adapter = bnnrl.BayesianModel(mlp(3, 2), bnnrl.likelihoods.Gaussian(1.0))._adapter
    assert adapter.rows(x, y)[0] is x  # float32 is not copied
    shards = adapter.shards(x, y, 4)
    ((arrays, _, _),) = shards
    assert np.shares_memory(shards.first, np.asarray(arrays[0])) and not np.shares_memory(shards.first, x)
    x[:] = 1.0
    np.testing.assert_array_equal(arrays[0], 0.0)


class Seen(bnnrl.inference.Method):
    """An inference method whose θ is the sum of the rows of its batches."""

    def init(self, problem, seed, theta=None):
        return Adam().init(problem, seed, theta)

    def step(self, problem, state, batch, seed):
        rows = tf.reduce_sum(batch[0], axis=0)
        state = state._replace(theta=state.theta + tf.pad(rows, [[0, state.theta.shape[0] - 3]]), step=state.step + 1)
        return state, bnnrl.inference.Info.unadjusted(tf.cast(problem.num_data, tf.float32), 1.0)

    def posterior(self, problem, state):
        return bnnrl.posterior.Point(state.theta)


def test_a_stream_is_fitted_as_the_whole_would_be(small):
    method = Seen()
    bnn = bnnrl.BayesianModel(mlp(3, 2), bnnrl.likelihoods.Gaussian(1.0), method=method)
    epochs, start = 3, Adam().init(bnn._problem, 0).theta
    history = bnn.fit(dataset(), batch_size=2, epochs=epochs, verbose=0)
    assert bnn._trainer is not None
    np.testing.assert_allclose(
        bnn._trainer.state.theta[:3] - start[:3], epochs * X.sum(axis=0), rtol=1e-4, atol=1e-4
    )  # each row once
    np.testing.assert_allclose(history.history["loss"], -1.0)  # N is that of the whole
    assert bnn._trainer.state.step == epochs * 25
    assert bnn._trainer.driver.num_traces == 1


def test_a_stream_trains(small):
    bnn = bnnrl.BayesianModel(mlp(3, 2), bnnrl.likelihoods.Gaussian(1.0), method=Adam(1e-2))
    data = tf.data.Dataset.from_tensor_slices((X, X[:, :2]))
    loss = bnn.fit(data, batch_size=8, epochs=40, verbose=0).history["loss"]
    assert loss[-1] < loss[0] - 0.3


def test_bad_streams(small):
    bnn = bnnrl.BayesianModel(mlp(3, 2), bnnrl.likelihoods.Gaussian(1.0))
    with pytest.raises(ValueError, match="`batch_size`: expected a number.*Received: None"):
        bnn.fit(dataset(), batch_size=None, verbose=0)
    bad = Y.copy()
    bad[40, 1] = np.nan
    with pytest.raises(ValueError, match="`y`: expected finite.*column 1"):
        bnn.fit(tf.data.Dataset.from_tensor_slices((X, bad)), verbose=0)
    with pytest.raises(ValueError, match="expected finitely many pairs"):
        bnn.fit(dataset().repeat(), verbose=0)
    with pytest.raises(ValueError, match="at least one row"):
        bnn.fit(dataset().take(0), verbose=0)
    assert isinstance(bnn.keras_model, keras.Model)
