"""Exported models: the numbers of `predict` and `interval`, without bnnrl."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.likelihoods import Categorical, Gaussian
from bnnrl.posterior import Samples

pytestmark = pytest.mark.usefixtures("without_xla")
RNG = np.random.default_rng(0)
X = RNG.normal(5.0, 2.0, (12, 3)).astype(np.float32)


def model_with(likelihood, outputs: int, activation: str = "tanh", scaled: bool = True) -> bnnrl.BayesianModel:
    """Return a model with seven posterior samples drawn at random."""
    layers = [keras.Input((3,)), keras.layers.Dense(6, activation), keras.layers.Dense(4, "relu", use_bias=False)]
    model = bnnrl.BayesianModel(keras.Sequential([*layers, keras.layers.Dense(outputs)]), likelihood)
    size = model._problem.num_params
    model.become(Samples(tf.constant(RNG.normal(0, 0.7, (7, size)), tf.float32)))
    model.x_scaler = bnnrl.data.Scaler.fit(X)
    if scaled:
        model.y_scaler = bnnrl.data.Scaler.fit(RNG.normal(100.0, 20.0, (30, 2)).astype(np.float32))
    return model


GAUSSIAN = {
    "learned": lambda: model_with(Gaussian(), 2),
    "fixed": lambda: model_with(Gaussian(0.5), 2, "softplus"),
    "heteroscedastic": lambda: model_with(Gaussian("heteroscedastic"), 4, "elu"),
}


def python_of(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lite_of(path: Path, x: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's advice to use another package for inference
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])


@pytest.mark.parametrize("kind", GAUSSIAN)
def test_the_python_file_predicts_as_the_model(kind, tmp_path):
    model = GAUSSIAN[kind]()
    exported = python_of(model.export(tmp_path / "model.py", level=0.8))
    np.testing.assert_allclose(exported.predict(X), model.predict(X), rtol=1e-5)
    np.testing.assert_allclose(exported.interval(X), model.interval(X, 0.8), rtol=1e-4)
    np.testing.assert_allclose(exported.interval(X, 0.5), model.interval(X, 0.5), rtol=1e-4)
    with pytest.raises(ValueError, match=r"shape \(B, 3\)"):
        exported.predict(X[0])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, when it saves
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["learned", "heteroscedastic"])
def test_the_keras_model_and_the_lite_model_predict_as_the_model(kind, tmp_path):
    model = GAUSSIAN[kind]()
    expected = np.stack([model.predict(X), *model.interval(X, 0.8)], axis=-1)
    assert np.all(np.ptp(expected, axis=0) > 1)
    loaded: Any = keras.saving.load_model(model.export(tmp_path / "model.keras", 0.8), safe_mode=True)
    np.testing.assert_allclose(np.asarray(loaded(X)), expected, rtol=1e-3)
    found = lite_of(model.export(tmp_path / "model.tflite", 0.8), X)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_classes(tmp_path):
    model = model_with(Categorical(), 4, scaled=False)
    expected = model.predict(X)
    exported = python_of(model.export(tmp_path / "model.py"))
    np.testing.assert_allclose(exported.predict(X), expected, atol=1e-5)
    assert not hasattr(exported, "interval")
    loaded: Any = keras.saving.load_model(model.export(tmp_path / "model.keras"), safe_mode=True)
    np.testing.assert_allclose(np.asarray(loaded(X)), expected, atol=1e-5)
    np.testing.assert_allclose(lite_of(model.export(tmp_path / "model.tflite"), X), expected, atol=1e-5)


def test_fewer_samples_are_those_of_predict(tmp_path):
    model = GAUSSIAN["fixed"]()
    exported = python_of(model.export(tmp_path / "model.py", num_samples=3, seed=5))
    np.testing.assert_allclose(exported.predict(X), model.predict(X, 3, 5), rtol=1e-5)


def wide() -> bnnrl.BayesianModel:
    model = GAUSSIAN["fixed"]()
    model.x_scaler = bnnrl.data.Scaler.fit(X.astype(np.float64))
    return model


def calibrated() -> bnnrl.BayesianModel:
    model = GAUSSIAN["fixed"]()
    model.calibrate(np.tile(X, (9, 1)), RNG.normal(100.0, 20.0, (108, 2)))
    return model


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (GAUSSIAN["fixed"], "model.onnx", r"ends in one of \('.py', '.keras', '.tflite'\)"),
        (lambda: model_with("poisson", 2, scaled=False), "model.py", "Gaussian or a categorical.*Received: Poisson"),
        (lambda: model_with(Gaussian(), 2, "gelu"), "model.py", "chain of Dense layers.*gelu"),
        (wide, "model.keras", "expected a .py file.*float32"),
        (calibrated, "model.py", "one that is calibrated"),
    ],
)
def test_what_cannot_be_exported_is_told(model, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        model().export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_inputs_with_many_digits_are_taken_by_python(tmp_path):
    model = wide()
    exported = python_of(model.export(tmp_path / "model.py"))
    np.testing.assert_allclose(exported.predict(X.astype(np.float64)), model.predict(X.astype(np.float64)), rtol=1e-5)
