"""Times the first, the second and later fits of networks of one structure in a process, and what they keep in memory.

    python experiments/benchmarks/repeated_fits.py [--width 200] [--fits 50]

Every fit has a network, a seed, a learning rate, a prior scale and a number of rows of its own. The figure of later
fits is a median. Run the script twice to see the second process on a machine, which reads compiled programs from disk;
`BNNRL_CACHE=0` leaves the disk out. The counts of memory maps and of megabytes need Linux.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from statistics import median

import tyro

BEGIN = time.perf_counter()


@dataclass
class Args:
    """Settings of the benchmark of repeated fits."""

    width: int = 200
    """Units of each of the two hidden layers."""
    rows: int = 500
    """Rows of the first fit; the k-th fit has k mod 5 rows more."""
    fits: int = 50
    """Number of fits, of one epoch each, so that the time is that of starting."""


def fit(args: Args, k: int) -> float:
    """Return the seconds of the k-th fit."""
    import keras
    import numpy as np
    from tensorflow_probability import distributions as tfd

    import bnnrl

    rng = np.random.default_rng(k)
    x = rng.normal(size=(args.rows + k % 5, 3)).astype(np.float32)
    hidden = [keras.layers.Dense(args.width, "swish") for _ in range(2)]
    network = keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(1)])
    method = bnnrl.inference.Adam(1e-3 * (1 + k % 7))
    begin = time.perf_counter()
    model = bnnrl.BayesianModel(network, "gaussian", tfd.Normal(0.0, 1.0 + k), method)
    model.fit(x, x[:, :1], epochs=1, verbose=0, seed=k)
    return time.perf_counter() - begin


def memory() -> tuple[int, float]:
    """Return the number of memory maps of this process, and its resident megabytes."""
    with open("/proc/self/maps") as maps, open("/proc/self/statm") as pages:
        return sum(1 for _ in maps), int(pages.read().split()[1]) * 4096 / 1e6


def main(args: Args) -> None:
    """Print the figures as JSON."""
    import bnnrl  # before Keras, which would start TensorFlow without the cache on disk

    _ = bnnrl.BayesianModel
    figures: dict[str, float] = {"import_seconds": time.perf_counter() - BEGIN}
    figures["first_fit_seconds"] = fit(args, 0)
    figures["second_fit_seconds"] = fit(args, 1)
    maps, size = memory()
    figures["later_fit_seconds"] = median(fit(args, k) for k in range(2, args.fits))
    later_maps, later_size = memory()
    figures["maps_per_fit"] = (later_maps - maps) / (args.fits - 2)
    figures["megabytes_per_fit"] = (later_size - size) / (args.fits - 2)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
