"""Times the transitions of samplers.py in BlackJAX and in NumPyro, compiled: the same log joint, steps and draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import tyro
from jax.flatten_util import ravel_pytree  # pyright: ignore[reportMissingImports]
from turns import serve

CHAINS, LEAPFROGS, DOUBLINGS, ROWS, STEPS, BURN_IN, STEP_SIZE = 4, 20, 6, 200, 100, 300, 0.005


@dataclass
class Args:
    """Settings of the benchmark."""

    package: Literal["blackjax", "numpyro"] = "blackjax"
    """The package."""
    method: Literal["hmc", "nuts"] = "hmc"
    """The sampler."""
    outputs: Path | None = None
    """File for the network's outputs along the chains of the last block, [C, K, 16]."""


def blackjax_sampler(log_joint, method: str, starts):
    """Return the states of the chains, and the function (key, state) -> (state, position)."""
    import blackjax  # pyright: ignore[reportMissingImports]

    mass = jnp.ones(ravel_pytree(starts)[0].size // CHAINS)
    if method == "hmc":
        sampler = blackjax.hmc(log_joint, STEP_SIZE, mass, LEAPFROGS)
    else:
        sampler = blackjax.nuts(log_joint, STEP_SIZE, mass, max_num_doublings=DOUBLINGS)

    def step(key, state):
        state, _ = sampler.step(key, state)
        return state, state.position

    return jax.vmap(sampler.init)(starts), step


def numpyro_sampler(log_joint, method: str, starts):
    """Return the states of the chains, and the function (key, state) -> (state, position)."""
    from numpyro.infer import HMC, NUTS  # pyright: ignore[reportMissingImports]

    fixed = {"step_size": STEP_SIZE, "adapt_step_size": False, "adapt_mass_matrix": False}
    potential = lambda weights: -log_joint(weights)
    if method == "hmc":
        kernel = HMC(potential_fn=potential, trajectory_length=STEP_SIZE * LEAPFROGS, **fixed)
    else:
        kernel = NUTS(potential_fn=potential, max_tree_depth=DOUBLINGS, **fixed)
    keys = jax.random.split(jax.random.PRNGKey(7), CHAINS)
    init = lambda key, start: kernel.init(key, 0, init_params=start)
    init(keys[0], [weight[0] for weight in starts])  # outside of `vmap`, because the kernel keeps what it makes here
    states = jax.vmap(init)(keys, starts)

    def step(key, state):
        state = kernel.sample(state._replace(rng_key=key), (), {})
        return state, state.z

    return states, step


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    key = jax.random.PRNGKey(0)
    x = jax.random.normal(key, (ROWS, 4))
    y = jnp.sin(x.sum(-1, keepdims=True))
    start = [
        jax.random.normal(key, (4, 50)) * 0.3,
        jnp.zeros(50),
        jax.random.normal(key, (50, 1)) * 0.1,
        jnp.zeros(1),
    ]
    starts = [jnp.stack([w] * CHAINS) for w in start]

    def network(weights, x):
        k1, b1, k2, b2 = weights
        return jnp.tanh(x @ k1 + b1) @ k2 + b2

    def log_joint(weights):
        residual = (y - network(weights, x)) / 0.1
        return -0.5 * jnp.sum(residual**2) - sum(0.5 * jnp.sum(w**2) for w in weights)

    make = blackjax_sampler if args.package == "blackjax" else numpyro_sampler
    state, step = make(log_joint, args.method, starts)

    @jax.jit
    def run(key, state):
        keys = jax.random.split(key, (STEPS, CHAINS))
        return jax.lax.scan(lambda state, keys: jax.vmap(step)(keys, state), state, keys)

    draws = None

    def block():
        nonlocal state, draws, key
        key, own = jax.random.split(key)
        state, draws = run(own, state)
        jax.block_until_ready(draws)

    def burn_in():
        for _ in range(BURN_IN // STEPS):
            block()

    def write():
        if args.outputs is not None:
            outputs = jax.vmap(jax.vmap(lambda weights: network(weights, x[:16])[:, 0]))(draws)  # [K, C, 16]
            np.save(args.outputs, np.swapaxes(outputs, 0, 1))

    serve(block, STEPS, burn_in, write)


if __name__ == "__main__":
    main(tyro.cli(Args))
