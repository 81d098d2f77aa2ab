"""Many fits in one process."""

import keras
import numpy as np
import pytest
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.inference import Adam

FITS = 100


def memory_maps() -> int:
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def fit(k: int) -> np.ndarray:
    rng = np.random.default_rng(k)
    x = rng.normal(size=(50 + k % 10, 3))
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, "swish"), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", tfd.Normal(0.0, 1.0 + k), Adam(1e-3 * (k + 1)))
    model.fit(x, x[:, :1], epochs=2, verbose=0, seed=k)
    return model.predict(x[:20])


@pytest.mark.slow  # a hundred fits
@pytest.mark.skipif("not __import__('os').path.exists('/proc/self/maps')", reason="counts memory maps as Linux does")
def test_a_thousand_fits_would_grow_by_few_maps_and_little_memory():
    for k in range(20):  # every number of rows once, and the caches of TensorFlow and Keras
        fit(k)
    maps, memory = memory_maps(), resident_megabytes()
    for k in range(20, 20 + FITS):
        assert np.isfinite(fit(k)).all()
    maps, memory = memory_maps() - maps, resident_megabytes() - memory
    print(f"{FITS} fits grew by {maps} memory maps and {memory:.1f} MB")
    assert maps * 1000 / FITS < 2000
    assert memory * 1000 / FITS < 200
