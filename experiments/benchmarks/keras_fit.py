"""keras.Model.fit of one network 200-200, batches of 64 out of 1000 rows, Adam. Prints ms a step."""

from __future__ import annotations

from time import perf_counter

import keras
import numpy as np

ROWS, BATCH, EPOCHS = 1000, 64, 40


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 6)).astype("float32"), rng.normal(size=(ROWS, 4)).astype("float32")
    network = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(200, "relu"),
            keras.layers.Dense(200, "relu"),
            keras.layers.Dense(4),
        ]
    )
    network.compile(optimizer="adam", loss="mse")
    started = perf_counter()
    network.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)  # pyright: ignore[reportArgumentType]
    compiled = perf_counter() - started
    started = perf_counter()
    network.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)  # pyright: ignore[reportArgumentType]
    steps = EPOCHS * -(-ROWS // BATCH)
    print(f"{(perf_counter() - started) / steps * 1e3:.3f} ms, compiled in {compiled:.1f} s")


if __name__ == "__main__":
    main()
