"""Times the work of approximate.py with posteriors (SGLD, variational inference) and laplace-torch, two threads.

laplace-torch predicts the exact mean and covariance of the linearised network's outputs, without draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch  # pyright: ignore[reportMissingImports]
import tyro
from turns import num_threads, serve

ROWS, FEATURES, TARGETS, NOISE, BATCH, PASS = 1000, 6, 4, 0.7, 64, 250
HESSIANS = {"last_layer": "full", "diagonal": "diag", "kronecker": "kron", "full": "full"}


@dataclass
class Args:
    """Settings of the benchmark."""

    method: Literal["sgld", "vi", "laplace", "predict"] = "sgld"
    """What is timed."""
    structure: Literal["last_layer", "diagonal", "kronecker", "full"] = "last_layer"
    """The structure of Laplace's curvature."""
    width: int = 200
    """Units in each hidden layer."""
    count: int = 100
    """Items in a block."""


def network(width: int) -> torch.nn.Module:
    """Return the network."""
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    return torch.nn.Sequential(linear(FEATURES, width), relu(), linear(width, width), relu(), linear(width, TARGETS))


def steps_of(args: Args, x: torch.Tensor, y: torch.Tensor) -> Callable:
    """Return a function that takes steps of a method of the package posteriors."""
    import posteriors  # pyright: ignore[reportMissingImports]
    import torchopt  # pyright: ignore[reportMissingImports]

    net = network(args.width)
    outputs = partial(torch.func.functional_call, net)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}

    def log_posterior(params, batch):
        residual = (batch[1] - outputs(params, batch[0])) / NOISE
        log_likelihood = -0.5 * residual.square().sum() / BATCH
        return log_likelihood - 0.5 * sum(p.square().sum() for p in params.values()) / ROWS, torch.tensor([])

    if args.method == "sgld":
        transform = posteriors.sgmcmc.sgld.build(log_posterior, 1e-3, temperature=1 / ROWS)
    else:
        transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(1e-3), 1 / ROWS, init_log_sds=-3.0)
    state = transform.init(params)

    def block():
        nonlocal state
        for _ in range(args.count):
            rows = torch.randint(ROWS, (BATCH,))
            state, _ = transform.update(state, (x[rows], y[rows]))

    return block


def laplace(args: Args, x: torch.Tensor, y: torch.Tensor) -> Callable:
    """Return a function that fits Laplace's approximation, or predicts by one."""
    from laplace import Laplace  # pyright: ignore[reportMissingImports]
    from torch.utils.data import DataLoader, TensorDataset  # pyright: ignore[reportMissingImports]

    net, batches = network(args.width), DataLoader(TensorDataset(x, y), batch_size=PASS)
    subset = "last_layer" if args.structure == "last_layer" else "all"

    def fitted():
        found = Laplace(net, "regression", subset, HESSIANS[args.structure], sigma_noise=NOISE)
        found.fit(batches)
        if args.structure != "kronecker":  # its eigenvectors are computed by `fit`
            _ = found.posterior_scale  # computed at the first use
        return found

    if args.method == "laplace":
        return lambda: [fitted() for _ in range(args.count)]
    known = fitted()

    def predict():
        with torch.no_grad():
            for _ in range(args.count):
                for rows in x.split(PASS):
                    known(rows)

    return predict


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(num_threads())
    x, y = torch.randn(ROWS, FEATURES), torch.randn(ROWS, TARGETS)
    make = laplace if args.method in ("laplace", "predict") else steps_of
    serve(make(args, x, y), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
