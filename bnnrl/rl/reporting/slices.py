"""Policy and value function of an agent over a plane: two observation entries vary, the others are fixed."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.compiled import CompiledFunction
from bnnrl.rl.angles import wrap_angle
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.simulator.rollout import rollout_cost
from bnnrl.seeds import as_seed, host_seed, normal

_PERCENTILES = 1.0, 99.0  # of the observed values of an entry, between which it is varied
_MAX_DRAWS = 10  # of the model


class Plane(NamedTuple):
    """A grid of observations over two entries; the other entries are at their observed median."""

    entries: tuple[int, int]  # indices of the two observation entries
    x: np.ndarray  # [X] values of the first entry
    y: np.ndarray  # [Y] values of the second entry
    obs: np.ndarray  # [Y, X, O] the observations of the grid
    trajectory: np.ndarray  # [T + 1, 2] the two entries in the last episode, angles in (−π, π]


def plane(agent: PILCO, size: int, entries: tuple[int, int] | None = None) -> Plane:
    """Return a grid of `size` by `size` observations: angles over (−π, π], other entries over their observed values.

    Args:
        agent: an agent with at least one episode, whose observations have two entries or more.
        size: number of values of each entry.
        entries: indices of the two entries; None takes the first angle and the entry after it, or the first two.

    Raises:
        ValueError: if `entries` are not two different indices of observation entries.
    """
    episodes = agent.learned_env.continuous(agent.episodes)  # of wrapped angles the median could lie opposite to all
    observed = np.concatenate([episode.obs for episode in episodes])
    memory = agent.learned_env.memory
    num_obs = memory.num_obs
    if entries is None:
        first = agent.task.angles[0] if agent.task.angles else 0
        entries = (first, first + 1) if first + 1 < num_obs else (first, first - 1)
    if len({*entries}) != 2 or not all(0 <= entry < num_obs for entry in entries):
        raise ValueError(
            f"Invalid `entries`: expected two different indices of observation entries, 0 to {num_obs - 1}. "
            f"Received: {tuple(entries)}."
        )
    x, y = (_grid_values(observed[:, entry], entry in agent.task.angles, size) for entry in entries)
    median = np.tile(np.median(observed, axis=0).astype(observed.dtype), (size, size, 1))
    obs = memory.newest(median).copy()
    obs[..., entries[0]], obs[..., entries[1]] = np.meshgrid(x, y)
    obs = obs if memory.is_empty else memory.moved(median, obs)
    columns = (agent.episodes[-1].obs[:, entry] for entry in entries)
    trajectory = [wrap_angle(c) if e in agent.task.angles else c for e, c in zip(entries, columns, strict=True)]
    return Plane((int(entries[0]), int(entries[1])), x, y, obs, np.stack(trajectory, axis=1))


def actions(agent: PILCO, over: Plane) -> np.ndarray:
    """Return the policy's actions over a plane, [Y, X, A]."""
    chosen, _ = agent.predict(over.obs.reshape(-1, over.obs.shape[-1]))
    return np.reshape(chosen, (*over.obs.shape[:2], -1))


def values(agent: PILCO, over: Plane, steps: int, seed: int = 0) -> np.ndarray:
    """Return the value function over a plane: the mean cost per step of rollouts from each observation, [Y, X].

    Rollouts follow the policy in the model, with one particle for each of at most 10 model draws.

    Args:
        agent: an agent with a fitted model and a policy.
        over: the plane.
        steps: steps of a rollout.
        seed: seed of model draws and noise.
    """
    height, width, num_obs = over.obs.shape
    distinct = agent.model.posterior.num_distinct if agent.model.posterior else None
    draws = min(_MAX_DRAWS, distinct or _MAX_DRAWS)
    env, learned = agent.simulated(draws, as_seed(host_seed(seed, 0))), agent.learned_env
    start = tf.tile(tf.constant(learned.centred(over.obs.reshape(1, -1, num_obs))), [draws, 1, 1])  # [S, P, O]
    # All observations of the plane share the same noise, so that the picture is not grainy.
    noise = tf.stack([normal([draws, 1, num_obs], as_seed(host_seed(seed, 1, t))) for t in range(steps)])
    noise = tf.tile(noise, [1, 1, height * width, 1])  # [H, S, P, O]
    act = lambda obs, t: tf.reshape(agent.act(learned.uncentred(tf.reshape(obs, [-1, num_obs]))), [*obs.shape[:-1], -1])
    costs = CompiledFunction(partial(rollout_cost, env, act), jit_compile=False)(start, noise)
    with np.errstate(over="ignore", invalid="ignore"):  # a picture leaves values blank that are not finite
        return costs.numpy().mean(axis=0).reshape(height, width)


def _grid_values(observed: np.ndarray, is_angle: bool, size: int) -> np.ndarray:
    if is_angle:
        return np.linspace(-np.pi, np.pi, size + 1)[1:]
    low, high = np.percentile(observed, _PERCENTILES)
    return np.linspace(low, high, size) if high > low else low + np.linspace(-1, 1, size)
