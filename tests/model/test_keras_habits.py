"""What users of Keras expect of a model: summaries, weights in files, copies and callbacks."""

import copy
import pickle
from typing import Any

import keras
import numpy as np
import pytest
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.inference import SWAG, Adam
from tests.scenarios import draws, mlp

pytestmark = pytest.mark.usefixtures("without_xla")
X = draws(40, 2)
Y = X[:, :1] - 0.5 * X[:, 1:]


@pytest.fixture(scope="module")
def fitted() -> bnnrl.BayesianModel:
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=SWAG(rank=2, start=6, every=2))
    model.fit(bnnrl.data.load((X, 10 + Y), seed=0), epochs=20, verbose=0)
    return model


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_fitted_model_is_copied(fitted, again):
    other = again(fitted)
    np.testing.assert_array_equal(other.predict(X), fitted.predict(X))
    pairs = zip(other.keras_model.get_weights(), fitted.keras_model.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    other.fit(X, Y, epochs=10, verbose=0)
    assert fitted.y_scaler is not None and other.y_scaler is None


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("prior", [None, "learned", {"*": tfd.Normal(0.0, 2.0)}])
def test_a_model_that_is_not_fitted_is_copied(again, prior):
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", prior, Adam(1e-2))
    other = again(model)
    for each in (model, other):
        each.fit(X, Y, epochs=2, verbose=0)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_weights_in_files(fitted, tmp_path):
    fitted.save_weights(tmp_path / "weights")
    other = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    other.load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(X), fitted.predict(X))
    with pytest.raises(ValueError, match="Invalid posterior: expected"):
        bnnrl.BayesianModel(mlp(2, 3), "gaussian").load_weights(tmp_path / "weights")


@pytest.mark.parametrize(("weights_only", "name"), [(False, "best.keras"), (True, "best.weights.h5")])
def test_the_best_epoch_is_kept_by_keras_itself(weights_only, name, tmp_path):
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    path = str(tmp_path / name)
    kept = keras.callbacks.ModelCheckpoint(
        path, "val_nll", mode="min", save_best_only=True, save_weights_only=weights_only
    )
    model.fit(X, Y, epochs=3, validation_split=0.2, callbacks=kept, verbose=0)
    if weights_only:
        model.load_weights(path)
    else:
        model = bnnrl.load(path)
    np.testing.assert_allclose(model.evaluate(X[32:], Y[32:])["nll"], kept.best, rtol=1e-5)


@pytest.mark.parametrize(
    ("callback", "remedy"),
    [
        (lambda path: keras.callbacks.BackupAndRestore(str(path)), "bnnrl.callbacks.Checkpoint"),
        (lambda path: keras.callbacks.SwapEMAWeights(), "swag"),
    ],
)
def test_callbacks_that_cannot_work_are_refused(callback, remedy, tmp_path):
    model = bnnrl.BayesianModel(mlp(2, 1), "gaussian", method=Adam(1e-2))
    with pytest.raises(ValueError, match=f"`callbacks`: expected none.*Received: .*{remedy}"):
        model.fit(X, Y, epochs=1, callbacks=[callback(tmp_path)], verbose=0)


def test_arguments_of_predict(fitted):
    np.testing.assert_array_equal(fitted.predict(X, batch_size=7, verbose=0), fitted.predict(X))
    wrong: list[Any] = [{"batch_size": 0}, {"verbose": 3}]
    for given in wrong:
        with pytest.raises(ValueError, match="Invalid `"):
            fitted.predict(X, **given)


def test_a_summary_names_the_parts_of_the_model(fitted, capsys):
    fitted.summary()
    text = capsys.readouterr().out
    assert "Total params" in text and "Likelihood: Gaussian(" in text and "Method: SWAG(" in text
    lines: list[str] = []
    bnnrl.BayesianModel(mlp(2, 1), "gaussian", method="adam").summary(print_fn=lines.append)
    assert "Method: adam" in lines[-1] and "Posterior: none, before `fit`" in lines[-1]
