"""Checkpoint, and callbacks of Keras in `BayesianModel.fit`."""

import csv
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import inference
from bnnrl.callbacks import Checkpoint
from bnnrl.inference import SGLD, Adam

pytestmark = pytest.mark.usefixtures("without_xla")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 2)).astype(np.float32)
Y = RNG.normal(size=(32, 1)).astype(np.float32)  # independent of the inputs, so that every fit overfits
HELD_OUT = (X[::-1], Y)


@pytest.fixture(scope="module")
def bnn(without_xla) -> bnnrl.BayesianModel:
    """Return a model that is compiled once for all tests of this file."""
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(50, "tanh"), keras.layers.Dense(1)])
    return bnnrl.BayesianModel(net, bnnrl.likelihoods.Gaussian(0.5), method=Adam(3e-2))


def fit(bnn, *callbacks, epochs=4, **kwargs):
    return bnn.fit(X, Y, epochs=epochs, callbacks=list(callbacks), verbose=0, **kwargs).history


# Checkpoint.


def test_checkpoint_keeps_the_best_posterior(bnn, tmp_path):
    best = Checkpoint(tmp_path / "best")
    scores = fit(bnn, best, epochs=40, validation_data=HELD_OUT)["val_loss"]
    assert best.best == min(scores) < scores[-1]
    loaded = bnnrl.load(tmp_path / "best")
    assert loaded.evaluate(*HELD_OUT)["nll"] == pytest.approx(min(scores), rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best"]


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "scores", "saved"),
    [
        ({}, [3.0, 2.0, 2.0, 4.0, 1.0], [0, 1, 4]),
        ({"mode": "max"}, [3.0, 2.0, 3.0, 4.0, 1.0], [0, 3]),
        ({"monitor": "val_accuracy"}, [0.5, 0.25, 0.75, 0.75, 0.5], [0, 2]),
        ({"monitor": "val_accuracy", "mode": "min"}, [0.5, 0.25, 0.75, 0.75, 0.5], [0, 1]),
        ({"save_best_only": False}, [3.0, 4.0, NAN, 1.0, 2.0], [0, 1, 2, 3, 4]),
        ({}, [NAN, 2.0, NAN, 1.0, -np.inf], [1, 3, 4]),
    ],
)
def test_checkpoint_saves_when_the_monitored_value_improves(arguments, scores, saved):
    calls = []
    callback = Checkpoint("somewhere", **arguments)
    callback.set_model(SimpleNamespace(method=Adam(), save=calls.append))
    callback.set_params({"steps": 1})
    callback.on_train_begin()
    written = []
    for epoch, score in enumerate(scores):
        callback.on_epoch_end(epoch, {callback.monitor: score})
        written += [epoch] * (len(calls) - len(written))
    assert written == saved and set(calls) == {"somewhere"}


def test_checkpoint_saves_nothing_before_the_first_posterior(tmp_path):
    variants = {"a": {}, "b": {"monitor": "loss"}, "c": {"save_best_only": False}}
    found = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: found.append(len(list(tmp_path.iterdir()))))
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    sampler = bnnrl.BayesianModel(net, "gaussian", method=SGLD(1e-4, burn_in=3))
    callbacks = [Checkpoint(tmp_path / name, **arguments) for name, arguments in variants.items()]
    fit(sampler, *callbacks, look, epochs=4, batch_size=16, validation_data=HELD_OUT)
    assert found == [0, 3, 3, 3]  # of two steps an epoch and a burn-in of three, the first draw is in the second epoch
    for name in variants:
        assert bnnrl.load(tmp_path / name).predict(X).shape == Y.shape


def test_each_fit_forgets_the_best_value_of_the_last(bnn, tmp_path):
    best = Checkpoint(tmp_path / "a", monitor="loss")
    fit(bnn, best, epochs=20)
    low = best.best
    fit(bnn, best, epochs=1)
    assert low is not None and best.best is not None and best.best > low
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "a").predict(X), bnn.predict(X))


def test_a_folder_of_other_files_is_not_changed(bnn, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        fit(bnn, Checkpoint(tmp_path, monitor="loss"))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_invalid_arguments_are_refused(bnn, tmp_path):
    with pytest.raises(ValueError, match=r"Invalid `mode`: expected 'auto'.*Received: mode='best'"):
        Checkpoint(tmp_path / "a", mode="best")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"Invalid `monitor`: expected one of \['loss'\].*validation data"):
        fit(bnn, Checkpoint(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


# Callbacks of Keras.


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Return the scalars that TensorBoard's event files in `folder` hold, by tag and step."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                if tensor.dtype.kind == "f" and tensor.ndim == 0:
                    found.setdefault(value.tag, {})[event.step] = float(tensor)
    return found


@pytest.mark.parametrize(
    "arguments", [{}, {"histogram_freq": 2, "write_images": True}, {"write_steps_per_second": True}, {"update_freq": 1}]
)
def test_tensorboard_gets_every_epoch(bnn, tmp_path, arguments):
    pytest.importorskip("tensorboard")  # TensorFlow does not install it, and writes no summary without it
    history = fit(bnn, keras.callbacks.TensorBoard(tmp_path, **arguments), validation_data=HELD_OUT)
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    assert list(train["epoch_loss"].values()) == pytest.approx(history["loss"])
    assert list(train["epoch_loss"]) == [0, 1, 2, 3]
    assert list(validation["epoch_loss"].values()) == pytest.approx(history["val_loss"])
    assert list(validation["epoch_rmse"].values()) == pytest.approx(history["val_rmse"])
    if "write_steps_per_second" in arguments:
        assert all(rate > 0 for rate in train["epoch_steps_per_second"].values())
    if "update_freq" in arguments:
        assert list(train["batch_loss"].values()) == pytest.approx(history["loss"])


def test_early_stopping_restores_the_best(bnn):
    stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    losses = fit(bnn, stop, epochs=300, validation_data=HELD_OUT)["val_loss"]
    assert len(losses) == stop.best_epoch + 4 < 300
    assert bnn.evaluate(*HELD_OUT)["nll"] == min(losses) < losses[-1]


@pytest.mark.filterwarnings("error:Early stopping")
def test_early_stopping_waits_for_a_samplers_first_draw():
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    bnn = bnnrl.BayesianModel(net, bnnrl.likelihoods.Gaussian(0.5), method=SGLD(1e-4, 40, 1, 3))
    losses = fit(bnn, keras.callbacks.EarlyStopping(patience=3), epochs=200, batch_size=8, validation_data=HELD_OUT)
    assert len(losses["loss"]) - len(losses["val_loss"]) == 10  # epochs of the burn-in


def test_a_checkpoint_after_early_stopping_holds_the_restored_posterior(bnn, tmp_path):
    stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    fit(bnn, stop, Checkpoint(tmp_path / "a"), epochs=300, validation_data=HELD_OUT)
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "a").predict(X), bnn.predict(X))


def test_csv_logger_writes_every_value(bnn, tmp_path):
    history = fit(bnn, keras.callbacks.CSVLogger(tmp_path / "log.csv"), validation_data=HELD_OUT)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values)


def test_terminate_on_nan_is_harmless_and_a_divergence_raises(bnn):
    assert len(fit(bnn, keras.callbacks.TerminateOnNaN())["loss"]) == 4
    with pytest.raises(inference.Diverged):
        bnn.fit(1e30 * X, 1e30 * Y, epochs=2, callbacks=[keras.callbacks.TerminateOnNaN()], verbose=0)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=1e9),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
    ],
)
def test_callbacks_that_set_the_learning_rate_are_refused(bnn, callback):
    with pytest.raises(ValueError, match="Invalid callback: expected none that sets the learning rate.*schedule"):
        fit(bnn, callback)


def test_model_checkpoint_saves_what_load_reads(bnn, tmp_path):
    path = str(tmp_path / "m.keras")
    fit(bnn, keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True))
    np.testing.assert_array_equal(bnnrl.load(path).predict(X), bnn.predict(X))
