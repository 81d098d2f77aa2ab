"""Times the work of approximate.py with posteriors (SGLD, variational inference) and laplace-torch, two threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch  # pyright: ignore[reportMissingImports]
import tyro
from turns import num_threads, serve

ROWS, FEATURES, TARGETS, WIDTH, NOISE, BATCH = 1000, 6, 4, 200, 0.7, 64


@dataclass
class Args:
    """Settings of the benchmark."""

    method: Literal["sgld", "vi", "laplace"] = "sgld"
    """The inference method."""
    count: int = 100
    """Items in a block: steps, or for Laplace's approximation passes over the rows."""


def network() -> torch.nn.Module:
    """Return the network."""
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    return torch.nn.Sequential(linear(FEATURES, WIDTH), relu(), linear(WIDTH, WIDTH), relu(), linear(WIDTH, TARGETS))


def steps_of(method: str, count: int, x: torch.Tensor, y: torch.Tensor) -> Callable:
    """Return a function that takes steps of a method of the package posteriors."""
    import posteriors  # pyright: ignore[reportMissingImports]
    import torchopt  # pyright: ignore[reportMissingImports]

    net = network()
    outputs = partial(torch.func.functional_call, net)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}

    def log_posterior(params, batch):
        residual = (batch[1] - outputs(params, batch[0])) / NOISE
        log_likelihood = -0.5 * residual.square().sum() / BATCH
        return log_likelihood - 0.5 * sum(p.square().sum() for p in params.values()) / ROWS, torch.tensor([])

    if method == "sgld":
        transform = posteriors.sgmcmc.sgld.build(log_posterior, 1e-3, temperature=1 / ROWS)
    else:
        transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(1e-3), 1 / ROWS, init_log_sds=-3.0)
    state = transform.init(params)

    def block():
        nonlocal state
        for _ in range(count):
            rows = torch.randint(ROWS, (BATCH,))
            state, _ = transform.update(state, (x[rows], y[rows]))

    return block


def laplace_passes(count: int, x: torch.Tensor, y: torch.Tensor) -> Callable:
    """Return a function that computes the curvature by laplace-torch."""
    from laplace import Laplace  # pyright: ignore[reportMissingImports]
    from torch.utils.data import DataLoader, TensorDataset  # pyright: ignore[reportMissingImports]

    net, batches = network(), DataLoader(TensorDataset(x, y), batch_size=250)

    def block():
        for _ in range(count):
            Laplace(net, "regression", "last_layer", "full", sigma_noise=NOISE).fit(batches)

    return block


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(num_threads())
    x, y = torch.randn(ROWS, FEATURES), torch.randn(ROWS, TARGETS)
    block = laplace_passes(args.count, x, y) if args.method == "laplace" else steps_of(args.method, args.count, x, y)
    serve(block, args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
