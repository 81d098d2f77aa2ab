"""Measures the arithmetic speed of plain matrix products in the shapes of a rollout, by the width of the networks.

    python experiments/benchmarks/products.py

A step of a rollout multiplies, for each of 10 networks, the hidden units of its particles [rows, W] by a kernel [W, W].
The policy update of scaling.py has 10 rows for each network. The products are NumPy's, on one thread, and times are
processor times.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from time import process_time

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from sweeps import Row, tabulate

NETWORKS = 10


@dataclass
class Args:
    """Settings of the benchmark."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Widths W."""
    rows: tuple[int, ...] = (10, 100)
    """Particles of each network."""
    repeats: int = 5
    """Timed blocks of each shape, whose median is reported."""
    name: str = "products"
    """Name of the result files."""


def measure(width: int, rows: int, repeats: int) -> Row:
    """Return the speed of the products of one shape, in 10⁹ operations a second."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NETWORKS, rows, width)).astype(np.float32)
    kernels = rng.normal(size=(NETWORKS, width, width)).astype(np.float32)
    gflop = 2e-9 * NETWORKS * rows * width**2
    count = max(3, int(0.4 / gflop))
    rates = []
    for _ in range(repeats + 1):  # the first block warms the caches
        began = process_time()
        for _ in range(count):
            np.matmul(x, kernels)
        rates.append(count * gflop / (process_time() - began))
    rates = rates[1:]
    span = {"gflop_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}
    return {"width": width, "rows": rows, "kernels_mebibytes": kernels.nbytes / 2**20, **span}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| width | kernels, MiB | rows of each network | GFLOP a second (range) |", "|---|---|---|---|"]
    for r in rows:
        span = f"{r['gflop_per_second']:.1f} ({r['lowest']:.1f} to {r['highest']:.1f})"
        lines.append(f"| {r['width']} | {r['kernels_mebibytes']:.2f} | {r['rows']} | {span} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Measure all shapes, and write the table."""
    shapes = [(rows, width) for rows in args.rows for width in args.widths]
    tabulate((measure(width, rows, args.repeats) for rows, width in shapes), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
