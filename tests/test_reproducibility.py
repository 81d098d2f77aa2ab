"""Results are equal bit for bit in new processes, with a cold or a warm cache, and with other numbers of threads.

The guide docs/guides/reproducibility.md states what these tests check.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # five processes that import TensorFlow, one of which compiles everything

PROGRAM = """
import hashlib, json, sys
import bnnrl
import keras, numpy as np, tensorflow as tf

intra, inter = map(int, sys.argv[1:])
tf.config.threading.set_intra_op_parallelism_threads(intra)
tf.config.threading.set_inter_op_parallelism_threads(inter)
digests, rng = {}, np.random.default_rng(0)

def keep(name, *arrays):
    digests[name] = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

def fit(name, method, x, y, layers, **options):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input(x.shape[1:]), *layers, keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", method=method)
    model.fit(x, y, seed=0, verbose=0, **options)
    keep(name, *model.posterior.to_arrays()[1].values())
    keep(f"{name}: predictions", model.predict(x, 8), model.predict(np.tile(x, [9] + [1] * (x.ndim - 1)), 8))

dense = lambda *widths: [keras.layers.Dense(width, "tanh") for width in widths]
x = rng.normal(size=(600, 8)).astype("float32")
y = np.sin(x.sum(axis=1))
images = rng.normal(size=(256, 8, 8, 1)).astype("float32")
ensemble = bnnrl.inference.get("ensemble", size=4)
fit("minibatches", "adam", x, y, dense(50, 50), epochs=3)
fit("all rows", "adam", x, y, dense(200, 200), epochs=20, batch_size=None)
fit("ensemble", ensemble, x, y, dense(50, 50), epochs=3)
convolutions = [keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Flatten()]
fit("convolutions", ensemble, images, images.sum(axis=(1, 2, 3)), convolutions, epochs=2)

search = bnnrl.PolicySearch(restarts=4, updates=30, rounds=1, scout_updates=5, candidates=16, warmup=5)
agent = bnnrl.PILCO(
    "bnnrl/CartPoleSwingUp-v0",
    bnnrl.Dynamics(hidden=(16,), size=3, steps=150),
    bnnrl.policies.RBF(6),
    particles=24,
    horizon=12,
    search=search,
)
agent.learn(2, evaluation_episodes=1)
keep("dynamics model", *agent.model.posterior.to_arrays()[1].values())
keep("policies", agent.control.population, agent.prediction.obs, agent.episodes[1].obs)
print(json.dumps(digests))
"""
# What may differ in the last bits between one operation at a time and several.
DIVIDED = {"ensemble", "ensemble: predictions", "policies"}


def run(cache: str, intra: int, inter: int) -> dict[str, str]:
    """Return the digest of each result in a new process.

    Args:
        cache: the value of BNNRL_CACHE.
        intra: number of threads within an operation.
        inter: number of operations at a time.
    """
    known = {k: v for k, v in os.environ.items() if k not in ("TF_XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL")}
    command = [sys.executable, "-c", PROGRAM, str(intra), str(inter)]
    done = subprocess.run(command, env=known | {"BNNRL_CACHE": cache}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    """An empty folder for the cache of compiled programs."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def cold(cache) -> dict[str, str]:
    """The results of one thread in the process that fills the cache."""
    return run(cache, 1, 1)


def test_a_warm_cache_gives_the_same_bits(cache, cold):
    assert run(cache, 1, 1) == cold


def test_threads_within_an_operation_do_not_matter(cache, cold):
    assert run(cache, 2, 1) == cold


def test_operations_at_a_time_matter_only_where_work_is_divided_by_their_number(cache, cold):
    two = run(cache, 1, 2)
    assert run(cache, 2, 2) == two
    undivided = lambda digests: {name: digest for name, digest in digests.items() if name not in DIVIDED}
    assert undivided(two) == undivided(cold)
