"""Two small data sets with the Bayesian packages of PyTorch: the other side of bnnrl's own runs. See README.md.

    python torch_peers.py --datasets digits --methods map ivon --seeds 0 1 2 --csv results-peers.csv

It needs the packages of requirements.txt and nothing of bnnrl.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ivon  # pyright: ignore[reportMissingImports]
import numpy as np
import posteriors  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
import torchopt  # pyright: ignore[reportMissingImports]
from laplace import Laplace  # pyright: ignore[reportMissingImports]
from sklearn.datasets import load_diabetes, load_digits
from torch.nn.functional import cross_entropy, gaussian_nll_loss, one_hot  # pyright: ignore[reportMissingImports]
from torch.utils.data import DataLoader, TensorDataset  # pyright: ignore[reportMissingImports]
from torchmetrics.functional.classification import (  # pyright: ignore[reportMissingImports]
    multiclass_calibration_error,
)

EPOCHS, BATCH_SIZE, DRAWS = 100, 32, 100
NOISE = 0.7  # standard deviation of the noise of a regression, in standard deviations of the training targets
COLUMNS = ["stack", "dataset", "method", "seed", "accuracy", "rmse", "nll", "ece", "seconds", "cpu_seconds"]


@dataclass
class Task:
    """A data set, split and scaled, and the network for it."""

    x: torch.Tensor  # [N, F], training part
    y: torch.Tensor  # [N] classes, or [N, 1] standardised targets
    x_test: torch.Tensor
    y_test: torch.Tensor
    y_scale: float | None  # of the targets in their own units; None for classes
    hidden: tuple[int, ...]

    @property
    def is_regression(self) -> bool:
        return self.y_scale is not None

    def network(self) -> torch.nn.Sequential:
        """Return the network with PyTorch's own initial weights."""
        sizes = [self.x.shape[1], *self.hidden, 1 if self.is_regression else int(self.y.max()) + 1]
        layers = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the rows of all epochs, shuffled anew for each."""
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(self.x)).split(BATCH_SIZE):
                yield self.x[rows], self.y[rows]

    def mean_nll(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return −(1/B) Σ log p(y | outputs), []."""
        if self.is_regression:
            return gaussian_nll_loss(outputs, y, torch.full_like(y, NOISE**2), full=True)
        return cross_entropy(outputs, y)


def load(dataset: str, seed: int) -> Task:
    """Return the data with the first 80 % of `default_rng(seed).permutation(rows)` to train on, the rest to test."""
    x, y = (np.asarray(a) for a in (load_digits if dataset == "digits" else load_diabetes)(return_X_y=True))
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = np.split(order, [int(0.8 * len(x))])
    if dataset == "digits":
        x, y, y_scale, hidden = x / 16, torch.tensor(y), None, (100, 100)
    else:
        x = (x - x[train].mean(0)) / x[train].std(0)
        y_scale, hidden = float(y[train].std()), (50,)
        y = torch.tensor((y - y[train].mean()) / y_scale, dtype=torch.float32)[:, None]
    x = torch.tensor(x, dtype=torch.float32)
    return Task(x[train], y[train], x[test], y[test], y_scale, hidden)


def mean_neg_log_prior(params) -> torch.Tensor:
    """Return −log N(θ | 0, 1) up to a constant, to be divided by N."""
    return sum(p.square().sum() for p in params) / 2


def train_map(task: Task, lr: float) -> torch.nn.Module:
    network = task.network()
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for x, y in task.batches():
        optimizer.zero_grad()
        loss = task.mean_nll(network(x), y) + mean_neg_log_prior(network.parameters()) / len(task.x)
        loss.backward()
        optimizer.step()
    return network


# Each method trains and returns a function from inputs [B, F] to outputs of `DRAWS` networks, [S, B, K].
Predict = Callable[[torch.Tensor], torch.Tensor]


def run_map(task: Task, lr: float) -> Predict:
    network = train_map(task, lr)
    return lambda x: network(x)[None]


def run_laplace(task: Task, lr: float, subset: str) -> Predict:
    network = train_map(task, lr)
    likelihood = (
        {"likelihood": "regression", "sigma_noise": NOISE} if task.is_regression else {"likelihood": "classification"}
    )
    laplace = Laplace(network, subset_of_weights=subset, hessian_structure="kron", **likelihood)
    laplace.fit(DataLoader(TensorDataset(task.x, task.y), batch_size=BATCH_SIZE))
    laplace.optimize_prior_precision(pred_type="glm", method="marglik", prior_structure="scalar")
    return lambda x: laplace.functional_samples(x, pred_type="glm", n_samples=DRAWS)


def run_ivon(task: Task, lr: float) -> Predict:
    network, rows = task.network(), len(task.x)
    # ess · weight_decay is the prior's precision, 1.
    optimizer = ivon.IVON(network.parameters(), lr, ess=rows, weight_decay=1 / rows, hess_init=0.5, beta2=1 - 1e-4)
    for x, y in task.batches():
        with optimizer.sampled_params(train=True):
            optimizer.zero_grad()
            task.mean_nll(network(x), y).backward()
        optimizer.step()

    def predict(x):
        draws = []
        for _ in range(DRAWS):
            with optimizer.sampled_params():
                draws.append(network(x))
        return torch.stack(draws)

    return predict


def _functional(task: Task):
    """Return initial weights, outputs(weights, x), and log p(θ | batch) / N in the form that posteriors takes."""
    network = task.network()
    outputs = partial(torch.func.functional_call, network)

    def log_posterior(params, batch):
        x, y = batch
        value = -task.mean_nll(outputs(params, x), y) - mean_neg_log_prior(params.values()) / len(task.x)
        return value, torch.tensor([])

    return {name: p.detach().clone() for name, p in network.named_parameters()}, outputs, log_posterior


def run_sgld(task: Task, lr: float) -> Predict:
    """The first half of the epochs is burn-in; the draws are spread evenly over the second."""
    params, outputs, log_posterior = _functional(task)
    transform = posteriors.sgmcmc.sgld.build(log_posterior, lr, temperature=1 / len(task.x))
    state, kept = transform.init(params), []
    steps = EPOCHS * math.ceil(len(task.x) / BATCH_SIZE)
    keep = set(np.linspace(steps // 2, steps - 1, DRAWS).astype(int))
    for step, batch in enumerate(task.batches()):
        state, _ = transform.update(state, batch)
        if step in keep:
            kept.append(dict(state.params))
    return lambda x: torch.stack([outputs(params, (x,)) for params in kept])


def run_vi(task: Task, lr: float) -> Predict:
    params, outputs, log_posterior = _functional(task)
    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr), 1 / len(task.x), init_log_sds=-3.0)
    state = transform.init(params)
    for batch in task.batches():
        state, _ = transform.update(state, batch)
    return lambda x: torch.stack([outputs(posteriors.vi.diag.sample(state), (x,)) for _ in range(DRAWS)])


def scores(task: Task, outputs: torch.Tensor) -> dict[str, float]:
    """Return accuracy, nll and ece, or rmse and nll in the targets' own units, of the equal mixture of S draws."""
    mixture = lambda log_prob: -(log_prob.logsumexp(0) - math.log(len(outputs))).mean()
    if task.y_scale is not None:
        log_prob = torch.distributions.Normal(outputs, NOISE).log_prob(task.y_test)[..., 0]
        rmse = task.y_scale * (outputs.mean(0) - task.y_test).square().mean().sqrt()
        return {"rmse": float(rmse), "nll": float(mixture(log_prob)) + math.log(task.y_scale)}
    log_prob = outputs.log_softmax(-1)
    probs = log_prob.exp().mean(0)
    chosen = (log_prob * one_hot(task.y_test)).sum(-1)
    return {
        "accuracy": float((probs.argmax(-1) == task.y_test).float().mean()),
        "nll": float(mixture(chosen)),
        "ece": float(multiclass_calibration_error(probs, task.y_test, num_classes=probs.shape[-1], n_bins=15)),
    }


# Method: what runs, and its learning rate. Rates and IVON's two constants are the best of a grid in nll on seed 100.
_MAP_RATES = {"digits": 1e-3, "diabetes": 3e-4}
METHODS: dict[str, tuple[Callable[..., Predict], dict[str, float]]] = {
    "map": (run_map, _MAP_RATES),
    "sgld": (run_sgld, {"digits": 0.1, "diabetes": 0.01}),
    "vi": (run_vi, {"digits": 1e-2, "diabetes": 3e-3}),
    "laplace-last-kron": (partial(run_laplace, subset="last_layer"), _MAP_RATES),
    "laplace-all-kron": (partial(run_laplace, subset="all"), _MAP_RATES),
    "ivon": (run_ivon, {"digits": 0.1, "diabetes": 0.01}),
}


def run(dataset: str, method: str, seed: int, lr: float | None = None) -> dict:
    """Return one row of the table."""
    torch.manual_seed(seed)
    task, (train, rates) = load(dataset, seed), METHODS[method]
    wall, cpu = time.perf_counter(), time.process_time()
    predict = train(task, lr or rates[dataset])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        figures = {name: round(value, 5) for name, value in scores(task, predict(task.x_test)).items()}
    row = {"stack": "torch", "dataset": dataset, "method": method, "seed": seed, **figures}
    return {**row, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=["digits", "diabetes"], default=["digits", "diabetes"])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--lr", type=float, help="instead of the method's own")
    parser.add_argument("--csv", type=Path, help="a table to add the rows to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for dataset in args.datasets:
        for method in args.methods:
            for seed in args.seeds:
                rows.append(run(dataset, method, seed, args.lr))
                print(json.dumps(rows[-1]), flush=True)
    if args.csv:
        new = not args.csv.exists()
        with args.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
