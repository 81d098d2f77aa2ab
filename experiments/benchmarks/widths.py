"""Measures a policy update beside the plain matrix products that it contains, by the width of the networks.

    python experiments/benchmarks/widths.py

The update is that of scaling.py, with 10 networks of two hidden layers of W units, 10 particles of each network and 25
steps. The plain products are those between the hidden layers alone, in the same process and compiled by XLA in loops of
25 steps: forward, [10, 10, W] times kernels [10, W, W], and backward, the same by the transposed kernels. All widths
and functions take turns within a round, on one thread. Times are processor times.

Writes a table to experiments/results/.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
from scaling import BASE, DRAWS, make_update
from sweeps import Row, quiet_single_thread, tabulate


@dataclass
class Args:
    """Settings of the benchmark."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Widths W."""
    rounds: int = 9
    """Rounds, whose median is reported."""
    name: str = "widths"
    """Name of the result files."""


def make_products(width: int) -> Callable[[int], object]:
    """Return the function that takes the products of an update's hidden layers, forward and then backward."""
    import tensorflow as tf

    from bnnrl.seeds import normal

    rows, steps = BASE["particles"] // DRAWS, BASE["horizon"]
    kernels = normal([DRAWS, width, width], 0) / width**0.5  # products keep the size of their input
    transposed = tf.linalg.matrix_transpose(kernels)

    @tf.function(jit_compile=True)
    def products(x, kernels, transposed):
        for stacked in (kernels, transposed):
            body = lambda i, h, stacked=stacked: (i + 1, tf.matmul(h, stacked))
            x = tf.while_loop(lambda i, _: i < steps, body, (tf.constant(0), x))[1]
        return x

    start = normal([DRAWS, rows, width], 1)
    return lambda _: products(start, kernels, transposed).numpy()


def gflop(width: int) -> float:
    """Return the 10⁹ operations of the products of an update's hidden layers."""
    return 2e-9 * 2 * BASE["particles"] * width**2 * BASE["horizon"]


def measure(args: Args) -> list[Row]:
    """Return milliseconds of update and products for each width."""
    quiet_single_thread()
    functions = {
        (kind, width): make(width)
        for width in args.widths
        for kind, make in (("update", lambda w: make_update(**BASE | {"width": w})), ("products", make_products))
    }
    found: dict[tuple[str, int], list[float]] = {key: [] for key in functions}
    for i in range(args.rounds + 2):  # the first rounds compile and warm the caches
        for key, function in functions.items():
            began = process_time()
            function(i)
            found[key].append(1e3 * (process_time() - began))
    return [
        {
            "width": width,
            "gflop": gflop(width),
            "update_ms": statistics.median(found["update", width][2:]),
            "products_ms": statistics.median(found["products", width][2:]),
            "share": statistics.median(
                p / u for p, u in zip(found["products", width][2:], found["update", width][2:], strict=True)
            ),
        }
        for width in args.widths
    ]


def summary(rows: list[Row]) -> str:
    """Return a Markdown table, with the time for each weight relative to the width before."""
    lines = ["| width | update, ms | its products alone, ms | their share | update a weight | products a weight |"]
    lines.append("|---|---|---|---|---|---|")
    for last, r in zip([None, *rows], rows, strict=False):
        ratios = [f"{_growth(last, r, name):.2f}" if last else "" for name in ("update_ms", "products_ms")]
        times = [f"{r['update_ms']:.2f}", f"{r['products_ms']:.2f}", f"{r['share']:.2f}"]
        lines.append(f"| {' | '.join([str(r['width']), *times, *ratios])} |")
    return "\n".join(lines) + "\n"


def _growth(last: Row, row: Row, name: str) -> float:
    """Return the time for each weight of a hidden layer, relative to that of the row before."""
    return row[name] / last[name] * (last["width"] / row["width"]) ** 2


def main(args: Args) -> None:
    """Measure all widths, and write the table."""
    tabulate(measure(args), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
