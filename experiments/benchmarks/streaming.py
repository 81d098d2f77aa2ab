"""Times fits of rows that are streamed from a Parquet file, and measures their memory, on Linux.

    python experiments/benchmarks/streaming.py [--sizes 10000 100000 1000000 10000000]

A file has 8 columns of inputs and one of targets, float32. pyarrow reads it in batches, which a tf.data.Dataset hands
to `fit`. The network is 8-64-64-1, a minibatch has 1000 rows, and an epoch is one pass. Ways to fit:

- keras: keras.Model.fit of the dataset, in the file's order.
- dataset: BayesianModel.fit of the dataset, whose rows are held in memory and shuffled.
- streamed: the same with the limit for rows held in memory set to 0, so that each epoch reads the file in pieces.
- load: BayesianModel.fit of `bnnrl.data.load`, which reads the file with pandas and standardises the columns.

Each fit is a process of its own. The first epoch includes the compilation; later ones are fits of the same model again.
Memory is what the process's peak adds to its resident memory before the first fit, in units of the rows' bytes.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from memory import added_mebibytes, reset_peak
from sweeps import Row, quiet_single_thread, run_all, tabulate

FEATURES, BATCH = 8, 1000
WAYS = ("keras", "dataset", "streamed", "load")
ROW_BYTES = 4 * (FEATURES + 1)


@dataclass
class Args:
    """Settings of the benchmark."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    """Numbers of rows."""
    ways: tuple[str, ...] = WAYS
    """Ways to fit."""
    repeats: int = 5
    """Fits after the first."""
    seconds: float = 40.0
    """No further fit of a size starts after this time, so that the largest size has fewer repeats."""
    name: str = "streaming"
    """Name of the result files."""


def write_parquet(path: Path, rows: int) -> None:
    """Write random rows, a chunk at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(FEATURES)] + ["y"]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as writer:
        for first in range(0, rows, 2**18):
            columns = rng.normal(size=(FEATURES + 1, min(2**18, rows - first))).astype("float32")
            writer.write_table(pa.table(dict(zip(names, columns, strict=True))))


def dataset_of(path: Path):
    """Return the file's rows as a tf.data.Dataset of batches (x [B, F], y [B, 1])."""
    import pyarrow.parquet as pq
    import tensorflow as tf

    def batches():
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH):
            table = np.stack([column.to_numpy() for column in batch.columns], axis=1)
            yield table[:, :-1], table[:, -1:]

    spec = tuple(tf.TensorSpec([None, size], tf.float32) for size in (FEATURES, 1))
    return tf.data.Dataset.from_generator(batches, output_signature=spec)


def network():
    """Return the Keras network."""
    import keras

    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers])


def epoch_of(way: str, path: Path) -> Callable[[], object]:
    """Return the function that fits one epoch."""
    import bnnrl
    from bnnrl.model import device_data

    if way == "keras":
        model = network()
        model.compile(optimizer="adam", loss="mse")
        dataset = dataset_of(path).prefetch(2)
        return lambda: model.fit(dataset, epochs=1, verbose=0)  # pyright: ignore[reportArgumentType]
    if way == "streamed":
        device_data.IN_MEMORY_BYTES = 0
    bayesian = bnnrl.BayesianModel(network(), bnnrl.likelihoods.Gaussian(0.7), method="adam")
    data = lambda: bnnrl.data.load(path, test=0.0) if way == "load" else dataset_of(path)
    return lambda: bayesian.fit(data(), batch_size=BATCH, epochs=1, verbose=0)


def measure(way: str, rows: int, repeats: int, seconds: float) -> Row:
    """Return rows a second and memory of one way to fit."""
    quiet_single_thread()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write_parquet(path, rows)
        epoch = epoch_of(way, path)
        gc.collect()
        before = reset_peak()
        began, walls, cpus = perf_counter(), [], []
        while len(walls) <= repeats and (len(walls) < 2 or perf_counter() - began < seconds):
            wall, cpu = perf_counter(), process_time()
            epoch()
            walls.append(perf_counter() - wall)
            cpus.append(process_time() - cpu)
        added = added_mebibytes(before)
    again = walls[1:]
    return {
        "way": way,
        "rows": rows,
        "data_mebibytes": rows * ROW_BYTES / 2**20,
        "first_seconds": walls[0],
        "seconds": statistics.median(again),
        "shortest": min(again),
        "longest": max(again),
        "repeats": len(again),
        "cpu_seconds": statistics.median(cpus[1:]),
        "mebibytes": added,
    }


def summary(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| rows | way | first epoch, s | later, s | their CPU, s | rows a second | fits | MiB | of the rows' |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        span = f"{r['seconds']:.2f} ({r['shortest']:.2f} to {r['longest']:.2f})"
        cells = [f"{r['rows']:,}", r["way"], f"{r['first_seconds']:.2f}", span, f"{r['cpu_seconds']:.2f}"]
        cells.append(f"{r['rows'] / r['seconds']:,.0f}")
        cells += [str(r["repeats"]), f"{r['mebibytes']:.0f}", f"{r['mebibytes'] / r['data_mebibytes']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Measure all ways and sizes, and write the table."""
    calls = [(way, rows, args.repeats, args.seconds) for rows in args.sizes for way in args.ways]
    tabulate(run_all(measure, calls, 1), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
