"""Times the policy update of rollout.py in JAX, compiled: a scan whose body has UNROLL steps.

python rollout_jax.py mlp|rbf UNROLL
"""

import sys

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import optax  # pyright: ignore[reportMissingImports]
from turns import serve

DRAWS, PER_DRAW, HORIZON, OBS, ACTIONS, WIDTH, UNITS = 10, 10, 25, 5, 1, 200, 50
UPDATES = 20


def init_network(key):
    """Return random weights of all model draws: a (kernel, bias) for each layer."""
    sizes = [OBS + ACTIONS, WIDTH, WIDTH, 2 * OBS]
    keys = jax.random.split(key, 3)
    return [
        (jax.random.normal(k, (DRAWS, i, o)) / i**0.5, jnp.zeros((DRAWS, o)))
        for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def init_policy(name, key):
    """Return random parameters of the policy "mlp" or "rbf"."""
    first, second = jax.random.split(key)
    weights = jax.random.normal(second, (UNITS, ACTIONS)) * 0.1
    if name == "mlp":
        return jax.random.normal(first, (OBS, UNITS)) * 0.3, jnp.zeros(UNITS), weights, jnp.zeros(ACTIONS)
    return jax.random.normal(first, (UNITS, OBS)), jnp.zeros(OBS), weights


def mlp(params, obs):
    """Return the actions of a network policy."""
    kernel_1, bias_1, kernel_2, bias_2 = params
    return jnp.tanh(jnp.tanh(obs @ kernel_1 + bias_1) @ kernel_2 + bias_2)


def rbf(params, obs):
    """Return the actions of a policy of radial basis functions."""
    centers, log_scales, weights = params
    z, c = obs * jnp.exp(-log_scales), centers * jnp.exp(-log_scales)
    d2 = jnp.sum(z**2, -1, keepdims=True) - 2 * z @ c.T + jnp.sum(c**2, -1)
    return jnp.tanh(jnp.exp(-0.5 * d2) @ weights)


def network(layers, x):
    """Return the outputs of one model draw."""
    *hidden, (kernel, bias) = layers
    for k, b in hidden:
        x = jax.nn.relu(x @ k + b)
    return x @ kernel + bias


def make_update(policy, layers, optimizer, unroll):
    """Return the compiled function (params, state, start, noise) -> (params, state, cost)."""

    def mean_cost(params, start, noise):
        def step(obs, eps):
            inputs = jnp.concatenate([obs, policy(params, obs)], -1)
            mean, log_scale = jnp.split(jax.vmap(network)(layers, inputs), 2, -1)
            obs = obs + 0.1 * mean + jnp.exp(jnp.clip(log_scale, -5, -2)) * eps
            return obs, jnp.mean(1 - jnp.exp(-0.5 * jnp.sum(obs**2, -1)))

        return jnp.mean(jax.lax.scan(step, start, noise, unroll=unroll)[1])

    @jax.jit
    def update(params, state, start, noise):
        value, grad = jax.value_and_grad(mean_cost)(params, start, noise)
        changes, state = optimizer.update(grad, state)
        return optax.apply_updates(params, changes), state, value

    return update


def main():
    """Serve timed blocks to run.py."""
    name, unroll = sys.argv[1], int(sys.argv[2])
    keys = jax.random.split(jax.random.key(0), 4)
    params = init_policy(name, keys[0])
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    update = make_update(mlp if name == "mlp" else rbf, init_network(keys[1]), optimizer, unroll)
    start = jax.random.normal(keys[2], (DRAWS, PER_DRAW, OBS))
    noise = jax.random.normal(keys[3], (HORIZON, DRAWS, PER_DRAW, OBS))

    def block():
        now, state = params, optimizer.init(params)
        for _ in range(UPDATES):
            now, state, value = update(now, state, start, noise)
        value.block_until_ready()

    serve(block, UPDATES)


if __name__ == "__main__":
    main()
