"""Networks with Keras's preprocessing layers predict the same after they were saved and loaded."""

import json
import subprocess

import keras
import numpy as np
import pytest
from keras import layers

import bnnrl
from bnnrl import callbacks, posterior
from bnnrl.network import Network
from bnnrl.storage import checkpoint

pytestmark = pytest.mark.usefixtures("without_xla")

rng = np.random.default_rng(0)
REAL = rng.normal(50.0, 20.0, (64, 3)).astype(np.float32)
TOKENS = rng.integers(3, 9, (64, 2))


def adapted(layer, x):
    layer.adapt(x)
    return layer


def network(x, *first):
    inputs = keras.Input(x.shape[1:], dtype="int64" if x.dtype.kind == "i" else None)
    return keras.Sequential([inputs, *first, layers.Flatten(), layers.Dense(1)])


def nested(x):
    inner = keras.Sequential([keras.Input(x.shape[1:]), adapted(layers.Normalization(), x), layers.Dense(2)])
    return network(x, inner)


NETWORKS = {
    "normalization": (REAL, lambda x: network(x, adapted(layers.Normalization(), x))),
    "inverse": (REAL, lambda x: network(x, adapted(layers.Normalization(invert=True), x))),
    "given": (REAL, lambda x: network(x, layers.Normalization(mean=50.0, variance=400.0))),
    "nested": (REAL, nested),
    "discretization": (
        REAL,
        lambda x: network(x, adapted(layers.Discretization(num_bins=4, output_mode="one_hot"), x)),
    ),
    "multi_hot": (TOKENS, lambda x: network(x, adapted(layers.IntegerLookup(output_mode="multi_hot"), x))),
    "tf_idf": (TOKENS, lambda x: network(x, adapted(layers.IntegerLookup(output_mode="tf_idf"), x))),
    "embedded": (TOKENS, lambda x: network(x, adapted(layers.IntegerLookup(), x), layers.Embedding(9, 2))),
    "encoding": (TOKENS, lambda x: network(x, layers.CategoryEncoding(10, "multi_hot"))),
    "hashing": (TOKENS, lambda x: network(x, layers.Hashing(4, output_mode="multi_hot"))),
}

IN_A_NEW_PROCESS = """
import json, sys
import numpy as np
import bnnrl

for folder, file in json.loads(sys.argv[1]):
    np.save(folder + "/new.npy", bnnrl.load(folder + "/model").predict(np.load(file)))
"""


def unfitted(name):
    x, make = NETWORKS[name]
    model = bnnrl.BayesianModel(make(x), "gaussian")
    model.become(posterior.Point(model._problem.init(0, 1)[0]))
    return model, x


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_outputs_after_loading(tmp_path, name):
    model, x = unfitted(name)
    model.save(tmp_path / "m")
    outputs = model.keras_model(x).numpy()
    again = bnnrl.load(tmp_path / "m").keras_model
    again.set_weights(model.keras_model.get_weights())
    np.testing.assert_array_equal(again(x), outputs)
    assert np.ptp(outputs) > 0


def test_the_same_predictions_in_a_new_process(tmp_path, fresh_python):
    expected, jobs = {}, []
    for name in ("normalization", "tf_idf"):
        x, make = NETWORKS[name]
        folder = tmp_path / name
        model = bnnrl.BayesianModel(make(x), "gaussian")
        keep = callbacks.Checkpoint(folder / "model", "loss")
        model.fit(x, x[:, :1], batch_size=None, epochs=1, verbose=0, callbacks=[keep])
        np.save(folder / "x.npy", x)
        jobs.append((str(folder), str(folder / "x.npy")))
        expected[name] = model.predict(x)
    subprocess.run([*fresh_python, "-c", IN_A_NEW_PROCESS, json.dumps(jobs)], check=True, timeout=120)
    for name, mean in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / name / "new.npy"), mean, name)


def test_a_normalization_layer_saved_by_an_earlier_version(tmp_path):
    model, x = unfitted("normalization")
    config, arrays = model.to_saved()
    checkpoint.write(tmp_path / "m", config, {k: v for k, v in arrays.items() if not k.startswith("layers/")})
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "m").predict(x), model.predict(x))


def test_xla_is_not_asked_to_compile_hash_tables():
    found = {name: Network(make(x)).never_by_xla for name, (x, make) in NETWORKS.items()}
    assert {name for name, never in found.items() if never} == {"multi_hot", "tf_idf", "embedded", "hashing"}


def test_text_is_turned_into_numbers_before_the_network():
    model = bnnrl.BayesianModel(network(REAL), "gaussian")
    with pytest.raises(ValueError, match="type <U1. Apply layers for text, such as keras.layers.StringLookup"):
        model.fit(np.array([["a", "b", "c"]]), [[1.0]], verbose=0)
