"""Times the steps of approximate.py in JAX, compiled: SGLD by BlackJAX, variational inference by BlackJAX and NumPyro.

Minibatches of 64 rows are drawn with replacement. The variational distribution is a normal one with independent
weights, and one draw of it is taken a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import tyro
from turns import serve

ROWS, FEATURES, TARGETS, WIDTH, NOISE, BATCH = 1000, 6, 4, 200, 0.7, 64


@dataclass
class Args:
    """Settings of the benchmark."""

    package: Literal["blackjax", "numpyro"] = "blackjax"
    """The package. NumPyro has no SGLD."""
    method: Literal["sgld", "vi"] = "sgld"
    """The inference method."""
    count: int = 200
    """Steps in a block."""


def outputs(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    """Return the outputs of a network 200-200."""
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = jax.nn.relu(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def log_prior(weights: list[jax.Array]) -> jax.Array:
    """Return the log density of the prior, up to a constant."""
    return -0.5 * sum(jnp.sum(w**2) for w in weights)


def log_likelihood(weights: list[jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return the log density of targets, up to a constant."""
    x, y = batch
    return -0.5 * jnp.sum(((y - outputs(weights, x)) / NOISE) ** 2)


def blackjax_sgld(weights: list[jax.Array]) -> tuple[Any, Callable]:
    """Return the state, and the function (state, key, batch) -> state."""
    import blackjax  # pyright: ignore[reportMissingImports]

    grad = blackjax.sgmcmc.gradients.grad_estimator(log_prior, log_likelihood, ROWS)
    sampler = blackjax.sgld(grad)
    return weights, lambda state, key, batch: sampler.step(key, state, batch, 1e-6)


def blackjax_vi(weights: list[jax.Array]) -> tuple[Any, Callable]:
    """Return the state, and the function (state, key, batch) -> state."""
    import optax  # pyright: ignore[reportMissingImports]
    from blackjax.vi import meanfield_vi  # pyright: ignore[reportMissingImports]

    optimizer = optax.adam(1e-3)

    def step(state, key, batch):
        log_joint = lambda weights: log_prior(weights) + ROWS / BATCH * log_likelihood(weights, batch)
        return meanfield_vi.step(key, state, log_joint, optimizer, num_samples=1)[0]

    return meanfield_vi.init(weights, optimizer), step


def numpyro_vi(weights: list[jax.Array]) -> tuple[Any, Callable]:
    """Return the state, and the function (state, key, batch) -> state."""
    import numpyro  # pyright: ignore[reportMissingImports]
    from numpyro import distributions as dist  # pyright: ignore[reportMissingImports]
    from numpyro.infer import SVI, Trace_ELBO  # pyright: ignore[reportMissingImports]
    from numpyro.infer.autoguide import AutoDiagonalNormal  # pyright: ignore[reportMissingImports]
    from numpyro.optim import Adam  # pyright: ignore[reportMissingImports]

    def model(x, y):
        sampled = [
            numpyro.sample(f"w{i}", dist.Normal(jnp.zeros(w.shape), 1.0).to_event(w.ndim))
            for i, w in enumerate(weights)
        ]
        with numpyro.handlers.scale(scale=ROWS / BATCH):
            numpyro.sample("y", dist.Normal(outputs(sampled, x), NOISE).to_event(1), obs=y)

    svi = SVI(model, AutoDiagonalNormal(model, init_scale=0.01), Adam(1e-3), Trace_ELBO())
    state = svi.init(jax.random.key(1), jnp.zeros((BATCH, FEATURES)), jnp.zeros((BATCH, TARGETS)))
    return state, lambda state, key, batch: svi.update(state, *batch)[0]


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    makers = {("blackjax", "sgld"): blackjax_sgld, ("blackjax", "vi"): blackjax_vi, ("numpyro", "vi"): numpyro_vi}
    if (args.package, args.method) not in makers:
        raise SystemExit(f"Invalid `package`: expected blackjax for {args.method}. Received: {args.package}.")
    keys = iter(jax.random.split(jax.random.key(0), 8))
    x, y = jax.random.normal(next(keys), (ROWS, FEATURES)), jax.random.normal(next(keys), (ROWS, TARGETS))
    shapes = ((FEATURES, WIDTH), (WIDTH, WIDTH), (WIDTH, TARGETS))
    layers = [(jax.random.normal(next(keys), s) / s[0] ** 0.5, jnp.zeros(s[1])) for s in shapes]
    state, step = makers[args.package, args.method]([weight for layer in layers for weight in layer])

    @partial(jax.jit, static_argnums=2)
    def run(state, key, count):
        def body(state, key):
            of_rows, own = jax.random.split(key)
            rows = jax.random.randint(of_rows, (BATCH,), 0, ROWS)
            return step(state, own, (x[rows], y[rows])), None

        return jax.lax.scan(body, state, jax.random.split(key, count))[0]

    key = next(keys)
    serve(lambda: jax.block_until_ready(run(state, key, args.count)), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
