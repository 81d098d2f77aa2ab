"""Arguments of any type, and arrays of any shape and type, given to the methods of `BayesianModel`."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import inspect
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import inference
from tests.fuzz.harness import REFUSED, anything, attempt, thorough
from tests.fuzz.test_arrays import _spoilt

X, Y = np.linspace(-1, 1, 24).reshape(12, 2), np.sin(np.arange(12.0))[:, np.newaxis]
NAMES = {
    *("x", "y", "data", "dataset", "batch_size", "epochs", "validation_data", "callbacks", "seed", "verbose", "model"),
    *(
        "num_samples",
        "engine",
        "structure",
        "keras_model",
        "likelihood",
        "prior",
        "method",
        "folder",
        "overwrite",
        "y_scaler",
        "network",
        "n",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Run everything without compiling: each case has other shapes."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def _network(outputs: int = 1) -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(outputs)])


def _targets(likelihood: str) -> np.ndarray:
    return {"gaussian": Y, "bernoulli": Y > 0, "categorical": np.arange(12) % 2, "poisson": np.arange(12)[:, None] % 3}[
        likelihood
    ]


@pytest.fixture(scope="module")
def models(eager) -> dict[str, bnnrl.BayesianModel]:
    """A fitted model for each likelihood."""
    made = {}
    for likelihood in ("gaussian", "categorical", "bernoulli", "poisson"):
        made[likelihood] = bnnrl.BayesianModel(_network(1 + (likelihood == "categorical")), likelihood, method="bbb")
        made[likelihood].fit(X, _targets(likelihood), batch_size=None, epochs=1, verbose=0)
    return made


def _finite(value) -> bool:
    if isinstance(value, dict):
        return all(np.isfinite(number) for number in value.values())
    if isinstance(value, tfd.Distribution):
        return bool(np.isfinite(value.mean()).all())
    return all(np.isfinite(part).all() for part in tf.nest.flatten(value))


METHODS = ["predict", "predict_distribution", "predict_samples", "uncertainty", "evaluate"]


def _check_method(models, data: st.DataObject) -> None:
    likelihood, name = data.draw(st.sampled_from(sorted(models))), data.draw(st.sampled_from(METHODS))
    function = getattr(models[likelihood], name)
    values = {"x": X, "y": _targets(likelihood), "num_samples": 3, "seed": 0}
    arguments = {key: values[key] for key in inspect.signature(function).parameters}
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[key] = data.draw(_spoilt(value=arguments[key]), label=key)
    count = arguments["num_samples"]
    if isinstance(count, int | np.integer) and count > 1000:  # asks for as much memory as it says
        arguments["num_samples"] = 4
    result = attempt(f"BayesianModel.{name}", NAMES, lambda: function(**arguments))
    assert result is REFUSED or _finite(result)
    if result is not REFUSED and name == "predict":
        assert len(result) == len(np.asarray(arguments["x"]))


@pytest.mark.slow
@thorough(2500)
@given(data=st.data())
def test_many_predictions(models, data):
    _check_method(models, data)


@pytest.mark.slow
@thorough(1200)
@given(data=st.data())
def test_fits(models, data):
    """A fit that is refused leaves the model as it was."""
    likelihood = data.draw(st.sampled_from(sorted(models)))
    model, y = models[likelihood], _targets(likelihood)
    before = model.predict(X, 3)
    arguments = {"x": X, "y": y, "batch_size": 6, "epochs": 1, "validation_data": (X, y), "callbacks": [], "seed": 0}
    arguments |= {"verbose": 0, "engine": "local"}
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        value = arguments[key]
        if key == "validation_data":
            spoilt = st.tuples(_spoilt(value=X), _spoilt(value=y)) | anything
        else:
            spoilt = _spoilt(value=value) if key in ("x", "y") else anything
        arguments[key] = data.draw(spoilt, label=key)
    epochs = arguments["epochs"]
    if isinstance(epochs, int | np.integer) and epochs > 2:
        arguments["epochs"] = 2
    if isinstance(arguments["verbose"], str | int):  # what is valid would print
        arguments["verbose"] = 0 if arguments["verbose"] in (1, 2, "auto") else arguments["verbose"]
    try:
        result = attempt("BayesianModel.fit", NAMES, lambda: model.fit(**arguments))
    except inference.Diverged:  # what large numbers do, which no check can foresee
        result = None
    if result is REFUSED:
        assert np.array_equal(model.predict(X, 3), before)
    else:
        model.fit(X, y, batch_size=None, epochs=1, verbose=0)


@pytest.mark.slow
@thorough(1500)
@given(data=st.data())
def test_constructors(data):
    arguments = {"keras_model": _NETWORK, "likelihood": "gaussian", "prior": None, "method": "adam"}
    likely = st.sampled_from(
        [tfd.Normal(0.0, 2.0), tfd.Normal([0.0, 1.0], 1.0), {"*": tfd.Laplace(0.0, 1.0)}, _NETWORK]
    )
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[key] = data.draw(anything | likely, label=key)
    attempt("BayesianModel", NAMES, lambda: bnnrl.BayesianModel(**arguments))


_NETWORK = _network()


@pytest.mark.slow
@thorough(300)
@given(data=st.data())
def test_laplace_of_a_keras_model(data):
    likelihood = data.draw(st.sampled_from(["gaussian", "bernoulli", "poisson"]))
    arguments = {"keras_model": _NETWORK, "data": (X, _targets(likelihood)), "likelihood": likelihood}
    arguments |= {"structure": data.draw(st.sampled_from(["last_layer", "diagonal"])), "prior": "learned"}
    for key in data.draw(st.sets(st.sampled_from(sorted(arguments)), max_size=2)):
        pair = st.tuples(_spoilt(value=X), _spoilt(value=_targets(likelihood)))
        arguments[key] = data.draw(pair | anything if key == "data" else anything, label=key)
    try:
        model = attempt("bnnrl.laplace", NAMES, lambda: bnnrl.laplace(**arguments))
    except inference.Diverged:  # what large numbers do, which no check can foresee
        return
    assert model is REFUSED or _finite(model.predict(X, 3))


@pytest.mark.slow
@thorough(300)
@given(data=st.data())
def test_folders(models, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "saved"
    shutil.rmtree(folder, ignore_errors=True)
    overwrite = data.draw(anything | st.booleans(), label="overwrite")
    saved = attempt("BayesianModel.save", NAMES, lambda: models["gaussian"].save(folder, overwrite))
    assert folder.exists() == (saved is not REFUSED)
    wrong = data.draw(anything.filter(lambda value: not isinstance(value, str)), label="folder")
    assert attempt("BayesianModel.save", NAMES, lambda: models["gaussian"].save(wrong)) is REFUSED
    assert attempt("bnnrl.load", NAMES, lambda: bnnrl.load(wrong)) is REFUSED
    attempt("bnnrl.load", NAMES, lambda: bnnrl.load(data.draw(st.text(max_size=4), label="name")))
