"""Effective draws a gradient of HMC, NUTS and MCLMC, on an ill-conditioned normal distribution and a small network.

Four chains start where Adam ends after 500 steps. They take 150 transitions of burn-in and 150 more, all of which are
kept. The table has the bulk effective sample size, over all chains, for 1000 gradients of each chain: the least over
the 50 entries of the normal distribution, and the median over the network's outputs at 16 rows. Gradients of the
burn-in do not count. A transition of NUTS counts the gradients of the longest trajectory of the four chains, because
the others wait for it. Transitions of at most ten steps are ten times as many.

    python experiments/benchmarks/effective_draws.py --seeds 0 1 2 3 4
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tyro
from tensorflow_probability import distributions as tfd

from bnnrl.diagnostics import bulk_ess, chains, split_rhat
from bnnrl.inference import HMC, MCLMC, NUTS, Adam, Driver, WarmStart
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem
from bnnrl.seeds import normal

WARM_UP = 500


class Target(NamedTuple):
    """A distribution of θ, its data, and the quantities whose effective sample size is measured."""

    problem: Problem
    data: Any
    quantities: Any  # from draws [K, D] to [K, Q]
    step_size: float  # ε to start from, in the prior's standard deviations


def normal_distribution() -> Target:
    """Return 50 independent entries whose standard deviations go from 0.01 to 1, under a nearly flat prior."""
    network = keras.Sequential([keras.Input((50,)), keras.layers.Dense(1, use_bias=False)])
    x = tf.linalg.diag(10.0 ** tf.linspace(2.0, 0.0, 50))
    problem = Problem(network, Gaussian(1.0), tfd.Normal(0.0, 10.0), 50)
    return Target(problem, (x, tf.zeros([50, 1])), lambda draws: draws, 1e-3)


def small_network() -> Target:
    """Return the weights of a network 4-20-1 given 100 rows."""
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(20, "tanh"), keras.layers.Dense(1)])
    problem = Problem(network, Gaussian(0.1), tfd.Normal(0.0, 1.0), 100)
    x = normal([100, 4], 0)
    y = tf.sin(tf.reduce_sum(x, axis=-1, keepdims=True)) + 0.1 * normal([100, 1], 1)
    outputs = lambda draws: problem.apply(draws, tf.broadcast_to(x[:16], [draws.shape[0], 16, 4]))[..., 0]
    return Target(problem, (x, y), outputs, 5e-3)


TARGETS = {"normal": normal_distribution, "network": small_network}
METHODS: dict[str, Any] = {
    "hmc, identity": HMC(mass="identity"),
    "hmc": HMC(mass="diagonal"),
    "nuts, identity": NUTS(mass="identity"),
    "nuts": NUTS(mass="diagonal"),
    "mclmc": MCLMC(),
    "mclmc, short": MCLMC(max_leapfrog=10),
    "mclmc, short, tuned": MCLMC(max_leapfrog=10, tune_memory=True),
    "mclmc, adjusted": MCLMC(adjusted=True),
}
SHORT = 10  # times as many transitions take those of at most ten steps, so that they have as many gradients


@dataclass
class Args:
    """Settings of the benchmark."""

    targets: tuple[str, ...] = tuple(TARGETS)
    """Names of targets."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the chains."""
    transitions: int = 150
    """Transitions of the burn-in, and as many draws of each chain."""


class _CountingNUTS(tfp.mcmc.NoUTurnSampler):
    """TFP's kernel, whose results have the gradients of the transition in place of the divergences."""

    def one_step(self, *args, **kwargs):
        theta, results = super().one_step(*args, **kwargs)
        count = tf.reduce_max(results.leapfrogs_taken)
        return theta, results._replace(has_divergence=tf.fill(results.has_divergence.shape, count))


def gradients(method: Any, state: Any, info: Any) -> float:
    """Return the mean number of gradients of a transition after the burn-in."""
    epsilon = float(state.method.adaptation.step_size)
    if isinstance(method, NUTS):
        return float(np.mean(info.divergent))
    lengths = np.linspace(0, 2, 2001)[1:] if getattr(method, "adjusted", False) else np.ones(1)
    steps = np.clip(np.ceil(lengths * method.trajectory / epsilon), 1, method.max_leapfrog)
    return float(steps.mean()) * (2 if isinstance(method, MCLMC) else 1)


def measure(target: Target, method: Any, seed: int, transitions: int) -> str:
    """Return the columns of one run."""
    transitions *= SHORT if getattr(method, "max_leapfrog", SHORT + 1) <= SHORT else 1
    settings = {"burn_in": transitions, "max_draws": transitions, "step_size": target.step_size}
    method = replace(method, **settings)
    warmed = WarmStart(method, Adam(1e-2), WARM_UP)
    driver, began = Driver(target.problem, warmed, None), time.perf_counter()
    state = warmed.init(target.problem, seed)
    state, _ = driver.run(state, target.data, WARM_UP + transitions, seed)
    state, info = driver.run(state, target.data, transitions, seed, start=WARM_UP + transitions)
    values = chains(warmed.posterior(target.problem, state), target.quantities)
    count, sizes, rhat = gradients(method, state, info), bulk_ess(values), split_rhat(values)
    rate = 1000 * np.array([sizes.min(), np.median(sizes)]) / (count * transitions)
    seconds = time.perf_counter() - began
    return (
        f"{rate[0]:.2f} | {rate[1]:.2f} | {count:.1f} | {np.mean(info.accept):.2f} | {np.nanmax(rhat):.3f} | "
        f"{float(state.method.adaptation.step_size):.4f} | {seconds:.1f}"
    )


def main(args: Args) -> None:
    """Print a row for each run."""
    tfp.mcmc.NoUTurnSampler = _CountingNUTS
    print("| target | method | seed | least | median | gradients | acceptance | R-hat | ε | seconds |", flush=True)
    for name in args.targets:
        target = TARGETS[name]()
        for seed in args.seeds:
            for method in args.methods:
                row = measure(target, METHODS[method], seed, args.transitions)
                print(f"| {name} | {method} | {seed} | {row} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
