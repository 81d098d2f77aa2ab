"""`bnnrl.load` by kind and from run folders; network and prior as JSON; code in a folder is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods, posterior
from bnnrl.model import serialization
from bnnrl.storage import checkpoint


def saved_model(w=1.0):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    bnn = bnnrl.BayesianModel(model, likelihoods.Gaussian(0.1))
    bnn._loaded_posterior = posterior.Point(tf.constant([w, 0.0]))
    return bnn


def test_a_run_folder_gives_its_latest_readable_step(tmp_path):
    for step in (1, 2):
        checkpoint.write_step(tmp_path, step, *saved_model(step).to_saved())
    assert bnnrl.load(tmp_path).predict([[1.0]]) == 2.0
    (tmp_path / "checkpoints" / "step_2" / "config.json").write_text("{")
    with pytest.warns(UserWarning, match="Skipped checkpoint step_2, using step_1") as caught:
        assert bnnrl.load(str(tmp_path)).predict([[1.0]]) == 1.0
    assert caught[0].filename == __file__


def test_nothing_to_load(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        bnnrl.load(tmp_path / "nowhere")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="at least one checkpoint.*none yet"):
        bnnrl.load(tmp_path)


@pytest.mark.parametrize("config", [{"kind": "os.system"}, {}, {"kind": None}])
def test_an_unknown_kind(tmp_path, config):
    checkpoint.write(tmp_path / "c", config, {})
    with pytest.raises(ValueError, match="expected a saved bayesian_model or pilco. Received: .* of kind"):
        bnnrl.load(tmp_path / "c")


def test_pilco_is_dispatched(tmp_path, monkeypatch):
    from bnnrl.rl import pilco

    checkpoint.write(tmp_path / "c", {"kind": "pilco", "x": 1}, {"a": np.ones(2)})
    monkeypatch.setattr(pilco.PILCO, "from_saved", lambda config, arrays: (config["x"], list(arrays)))
    assert bnnrl.load(tmp_path / "c") == (1, ["a"])


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Normal(0.0, 1.0),
        tfd.Normal(0.1, 1 / 3),
        tfd.Laplace(0.0, 0.7),
        tfd.StudentT(3.0, 0.0, 0.5),
        {"*/kernel": tfd.Normal(0.0, 0.3), "*/b*": tfd.Laplace(0.0, 1.0), "*": tfd.StudentT(2.5, 0.0, 2.0)},
    ],
)
def test_priors_round_trip_exactly(tmp_path, prior):
    checkpoint.write(tmp_path / "c", {"prior": serialization.prior_to_config(prior)}, {})
    back = serialization.prior_from_config(checkpoint.read(tmp_path / "c")[0]["prior"])
    as_mapping = lambda p: p if isinstance(p, dict) else {"*": p}
    before, after = as_mapping(prior), as_mapping(back)
    assert list(after) == list(before)  # patterns are tried in order
    x = tf.linspace(-3.0, 3.0, 11)
    for one, other in zip(before.values(), after.values(), strict=True):
        assert type(one) is type(other)
        np.testing.assert_array_equal(one.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize(
    "prior",
    [
        None,
        tfd.Normal(tf.zeros(1), 1.0),
        tfd.Uniform(-1.0, 1.0),
        {"*/kernel": tfd.Normal(0.0, 1.0), "*": tfd.Cauchy(0.0, 1.0)},
        type("Normal", (tfd.Normal,), {})(0.0, 1.0),  # the same name, another density perhaps
    ],
)
def test_other_priors_are_left_out(prior):
    assert serialization.prior_to_config(prior) is None and serialization.prior_from_config(None) is None


def test_a_model_is_saved_without_a_prior_that_json_cannot_tell(tmp_path):
    bnn = saved_model()
    other = bnnrl.BayesianModel(bnn.keras_model, bnn.likelihood, tfd.Cauchy(0.0, 1.0))
    other._loaded_posterior = bnn.posterior
    other.save(tmp_path / "c")
    loaded = bnnrl.load(tmp_path / "c")
    assert loaded.prior is None and loaded.predict([[3.0]]) == 3.0


def layers():
    x = keras.Input((6, 3))
    h = keras.layers.LayerNormalization()(keras.layers.Conv1D(4, 3, activation="relu")(x))
    h = keras.layers.BatchNormalization()(keras.layers.LSTM(5)(h))
    return keras.Model(x, keras.layers.Dense(2)(keras.layers.Dropout(0.1)(h)))


def test_networks_round_trip():
    model = layers()
    again = serialization.network_from_config(serialization.network_to_config(model))
    again.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(x), again(x))
    assert [v.path for v in model.trainable_variables] == [v.path for v in again.trainable_variables]


@keras.saving.register_keras_serializable(package="test_saving")
class Registered(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units)
        self.units = units

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Unregistered(Registered):
    pass


def test_subclassed_networks_need_to_be_registered():
    model = Registered(units=2)
    model(np.ones((1, 4)))
    assert serialization.network_from_config(serialization.network_to_config(model)).count_params() == 10
    other = Unregistered()
    other(np.ones((1, 4)))
    with pytest.raises(ValueError, match="registered by"):
        serialization.network_to_config(other)


def test_code_in_a_network_is_refused_whatever_the_users_setting(tmp_path, monkeypatch):
    """A Lambda layer planted in a folder with correct checksums is refused, even with Keras's safe mode off."""
    bomb = keras.layers.Lambda(lambda x: x + __import__("os").mkdir("exploded"))
    config, arrays = saved_model().to_saved()
    planted = keras.saving.serialize_keras_object(bomb)
    config["network"]["config"]["layers"].append(planted)
    checkpoint.write(tmp_path / "c", config, arrays)
    monkeypatch.chdir(tmp_path)
    for unsafe in (False, True):
        with monkeypatch.context() as patch:
            if unsafe:
                from keras.src.backend.common import global_state

                patch.setitem(global_state.GLOBAL_STATE_TRACKER.__dict__, "safe_mode_saving", False)
                assert keras.saving.deserialize_keras_object(planted) is not None  # Keras alone would take it
            with pytest.raises(ValueError, match="without Lambda layers, whose code is never saved nor loaded"):
                bnnrl.load(tmp_path / "c")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("subprocess", "Popen"), ("builtins", "exec")])
def test_a_network_cannot_name_code_outside_keras(module, name):
    for class_name, inner in ((name, {"command": "mkdir exploded"}), ("function", name)):
        planted = {"module": module, "class_name": class_name, "config": inner, "registered_name": name}
        with pytest.raises(ValueError, match="Invalid network"):
            serialization.network_from_config(planted)
