"""Times the transitions of hmc.py in BlackJAX, compiled."""

import blackjax  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from jax.flatten_util import ravel_pytree  # pyright: ignore[reportMissingImports]
from turns import serve

CHAINS, LEAPFROGS, ROWS, STEPS = 4, 20, 200, 100


def main():
    """Serve timed blocks to run.py."""
    key = jax.random.PRNGKey(0)
    x = jax.random.normal(key, (ROWS, 4))
    y = jnp.sin(x.sum(-1, keepdims=True))
    weights = [
        jax.random.normal(key, (4, 50)) * 0.3,
        jnp.zeros(50),
        jax.random.normal(key, (50, 1)) * 0.1,
        jnp.zeros(1),
    ]

    def log_joint(weights):
        k1, b1, k2, b2 = weights
        residual = (y - jnp.tanh(x @ k1 + b1) @ k2 - b2) / 0.1
        return -0.5 * jnp.sum(residual**2) - sum(0.5 * jnp.sum(w**2) for w in weights)

    hmc = blackjax.hmc(log_joint, 0.005, jnp.ones(ravel_pytree(weights)[0].size), LEAPFROGS)
    state = jax.vmap(hmc.init)([jnp.stack([w] * CHAINS) for w in weights])

    @jax.jit
    def run(key, state):
        def one(state, key):
            state, info = jax.vmap(hmc.step)(jax.random.split(key, CHAINS), state)
            return state, (state.position, info.is_accepted)

        return jax.lax.scan(one, state, jax.random.split(key, STEPS))

    serve(lambda: run(key, state)[1][1].block_until_ready(), STEPS)


if __name__ == "__main__":
    main()
