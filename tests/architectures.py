"""Every inference method on many Keras architectures: the loss falls, and a loaded model predicts the same.

The tests are in several files, by kind of network, because a process can hold only some hundred compiled models and
each file can run in a process of its own.
"""

import itertools

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl import inference
from tests.scenarios import two_inputs

L = keras.layers
N = 24


def sequential(*layers, shape=(3,)):
    return keras.Sequential([keras.Input(shape), *layers, L.Dense(2)])


def named_inputs():
    a, b = two_inputs().inputs
    return keras.Model({"a": a, "b": b}, L.Dense(2)(L.Concatenate()([L.Dense(4, "relu")(a), b])))


def attention():
    x = keras.Input((4, 3))
    h = L.MultiHeadAttention(2, 2)(x, x)
    return keras.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(L.LayerNormalization()(x + h))))


@keras.saving.register_keras_serializable("bnnrl_tests")
class Subclassed(keras.Model):
    """A model whose `call` has no argument `training`; its batch normalisation and dropout get it all the same."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.norm, self.drop, self.head = (
            L.Dense(4, "tanh"), L.BatchNormalization(), L.Dropout(0.2), L.Dense(2))  # fmt: skip

    def build(self, shape):
        self.hidden.build(shape)
        self.norm.build((None, 4))
        self.head.build((None, 4))

    def call(self, x):
        return self.head(self.drop(self.norm(self.hidden(x))))


def subclassed():
    model = Subclassed()
    model(np.zeros([1, 3], np.float32))
    return model


def mixed():
    return sequential(L.Dense(4, "relu", dtype="mixed_bfloat16"))


def application():
    kwargs = {"alpha": 0.25, "weights": None, "classes": 2, "classifier_activation": None}
    return keras.applications.MobileNetV3Small((32, 32, 1), **kwargs)


NETWORKS = {
    "dense": (lambda: sequential(L.Dense(4, "tanh")), [(3,)]),
    "conv 1-d": (lambda: sequential(L.Conv1D(2, 2, activation="relu"), L.Flatten(), shape=(5, 2)), [(5, 2)]),
    "conv 2-d": (lambda: sequential(L.Conv2D(2, 3), L.MaxPooling2D(), L.Flatten(), shape=(6, 6, 1)), [(6, 6, 1)]),
    "separable conv": (lambda: sequential(L.SeparableConv2D(2, 3), L.Flatten(), shape=(5, 5, 2)), [(5, 5, 2)]),
    "batch norm": (lambda: sequential(L.Dense(4), L.BatchNormalization(), L.ReLU()), [(3,)]),
    "layer norm": (lambda: sequential(L.Dense(4), L.LayerNormalization()), [(3,)]),
    "lstm": (lambda: sequential(L.LSTM(3), shape=(4, 2)), [(4, 2)]),
    "gru": (lambda: sequential(L.GRU(3), shape=(4, 2)), [(4, 2)]),
    "attention": (attention, [(4, 3)]),
    "embedding": (lambda: sequential(L.Embedding(10, 3), L.Flatten(), shape=(4,)), ["tokens"]),
    "two inputs": (two_inputs, [(3,), (2,)]),
    "named inputs": (named_inputs, [(3,), (2,)]),
    "subclassed": (subclassed, [(3,)]),
    "dropout": (lambda: sequential(L.Dense(8, "relu"), L.Dropout(0.3)), [(3,)]),
    "frozen": (lambda: sequential(L.Dense(4, "tanh", trainable=False)), [(3,)]),
    "mixed precision": (mixed, [(3,)]),
    "keras application": (application, [(32, 32, 1)]),
}
METHODS = {
    "adam": inference.Adam(3e-2),
    "sgd": inference.SGD(3e-3, momentum=0.9),
    "ensemble": inference.Ensemble(inference.Adam(3e-2), 2),
    "dropout": inference.MCDropout(3e-2, rate=0.05, input_rate=0.01),
    "sgld": inference.SGLD(1e-3, burn_in=20, thin=5, max_draws=3),
    # Weights without influence on the outputs, such as biases of attention keys, take steps of step_size / damping.
    "psgld": inference.PSGLD(1e-4, damping=1e-3, burn_in=20, thin=5, max_draws=3),
    "csgld": inference.CyclicalSGLD(1e-3, 20, 0.5, 5, 3),
    "sghmc": inference.SGHMC(1e-4, 0.1, 0.0, burn_in=20, thin=5, max_draws=3),
    "swag": inference.SWAG(inference.Adam(3e-2), start=20, every=2, rank=4),
    "laplace": inference.Laplace(inference.Adam(3e-2), start=30, structure="last_layer"),
    "vbll": inference.VBLL(3e-2),
    "bbb": inference.BBB(3e-2),
    "vadam": inference.VADAM(3e-2, temperature=0.01),
    "bsam": inference.BSAM(1e-2, s_init=100.0, temperature=0.01, clip_radius=0.03),
    "ivon": inference.IVON(3e-2, hess_init=1.0, clip_radius=0.3, temperature=0.01),
    "svgd": inference.SVGD(3e-2, 2),
    "hmc": inference.HMC(5e-3, 5, chains=2, burn_in=15, max_draws=3),
    "nuts": inference.NUTS(5e-3, 2, chains=2, burn_in=15, max_draws=3),
    "mclmc": inference.MCLMC(5e-3, max_leapfrog=3, chains=2, burn_in=15, max_draws=3),
}
# 24 rows determine little of 250 000 weights. A sampler at temperature 1 therefore moves toward the prior, where the
# loss is higher, unless it starts at a mode and takes small steps.
ADAM = inference.Adam(3e-2)
LARGE = METHODS | {
    "sgld": inference.WarmStart(inference.SGLD(1e-7, burn_in=5, thin=5, max_draws=3), ADAM, 40),
    "psgld": inference.WarmStart(inference.PSGLD(1e-8, damping=1e-3, burn_in=5, thin=5, max_draws=3), ADAM, 40),
    "csgld": inference.WarmStart(inference.CyclicalSGLD(1e-7, 10, 0.5, 2, 3), ADAM, 40),
    "sghmc": inference.WarmStart(inference.SGHMC(1e-8, 0.1, 0.0, burn_in=5, thin=5, max_draws=3), ADAM, 40),
    "hmc": inference.WarmStart(inference.HMC(1e-4, 5, chains=2, burn_in=5, max_draws=3), ADAM, 20),
    "nuts": inference.WarmStart(inference.NUTS(1e-4, 2, chains=2, burn_in=5, max_draws=3), ADAM, 20),
    "mclmc": inference.WarmStart(inference.MCLMC(1e-4, max_leapfrog=3, chains=2, burn_in=0, max_draws=3), ADAM, 20),
}
FAST = {
    ("dense", "laplace"),
    ("batch norm", "swag"),
    ("conv 2-d", "ensemble"),
    ("lstm", "adam"),
    ("named inputs", "bbb"),
    ("dropout", "adam"),
    ("subclassed", "sgld"),
    ("mixed precision", "vadam"),
    ("embedding", "ivon"),
}


def every_method(*networks):
    """Return a parametrisation over these networks and all methods; the combinations in FAST are not marked slow."""
    unmixed = pytest.mark.filterwarnings("ignore::bnnrl.diagnostics.SamplingWarning")  # chains of few steps do not mix
    marks = lambda case: [unmixed] if case in FAST else [unmixed, pytest.mark.slow]
    cases = [pytest.param(*case, marks=marks(case)) for case in itertools.product(networks, METHODS)]
    return pytest.mark.parametrize(("network", "method"), cases)


def data(name):
    shapes, rng = NETWORKS[name][1], np.random.default_rng(0)
    draw = lambda s: rng.integers(0, 10, (N, 4)) if s == "tokens" else rng.normal(size=(N, *s))
    xs = [draw(s).astype("f") for s in shapes]
    y = np.tanh(sum(x.reshape(N, -1)[:, :2] / (10 if s == "tokens" else 1) for x, s in zip(xs, shapes, strict=True)))
    if name == "named inputs":
        return dict(zip("ab", xs, strict=True)), y
    return xs if len(xs) > 1 else xs[0], y


def check(network, method, tmp_path):
    """Assert that training lowers the loss, and that a saved model predicts the same after loading."""
    keras.utils.set_random_seed(0)
    model, inferred_by = NETWORKS[network][0](), (LARGE if network == "keras application" else METHODS)[method]
    bnn = bnnrl.BayesianModel(model, bnnrl.likelihoods.Gaussian(0.3), method=inferred_by)
    x, y = data(network)
    sampler = METHODS[method].full_batch_only
    history = bnn.fit(x, y, batch_size=None if sampler else N // 2, epochs=30, verbose=0, seed=1).history["loss"]
    assert np.isfinite(history).all() and np.mean(history[-3:]) < history[0]
    mean = bnn.predict(x, num_samples=3)
    assert mean.shape == y.shape and np.isfinite(mean).all()
    bnn.save(tmp_path / "m")
    again = bnnrl.load(tmp_path / "m")
    np.testing.assert_allclose(again.predict(x, num_samples=3), mean, rtol=1e-5, atol=1e-6)
    assert again.method == inferred_by
