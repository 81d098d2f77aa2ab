"""Times keras.Model.fit with Adam for one network 200-200, minibatches of 64 out of 1000 rows."""

from __future__ import annotations

import keras
import numpy as np
from turns import serve

ROWS, BATCH, EPOCHS = 1000, 64, 8


def main() -> None:
    """Serve timed blocks to run.py."""
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

    def block():
        network.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)  # pyright: ignore[reportArgumentType]

    serve(block, EPOCHS * -(-ROWS // BATCH))


if __name__ == "__main__":
    main()
