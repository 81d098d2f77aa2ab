"""An agent's policy, and what its model expects of it, over a plane through the observations."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.rl.angles import wrap_angle
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.simulator.rollout import rollout_cost
from bnnrl.seeds import as_seed, host_seed, normal

_ENDS = 1.0, 99.0  # per cent of what was observed, between which an entry is varied
_MOST_DRAWS = 10  # of the model


class Plane(NamedTuple):
    """Observations over a grid of two entries, the others at the median of what was observed."""

    entries: tuple[int, int]
    x: np.ndarray  # [X] values of the first entry
    y: np.ndarray  # [Y] of the second
    obs: np.ndarray  # [Y, X, O] float32
    seen: np.ndarray  # [T + 1, 2] where the last episode went, angles in (−π, π]


def plane(agent: PILCO, size: int, entries: tuple[int, int] | None = None) -> Plane:
    """Return a grid of `size` by `size` observations: angles in (−π, π], other entries over what was observed.

    Args:
        agent: one with at least one episode of two observation entries or more.
        size: values of each entry.
        entries: their indices; None takes the first angle and the entry after it, or the first two.

    Raises:
        ValueError: for entries that are not two different ones of the observation.
    """
    observed = np.concatenate([episode.obs for episode in agent.episodes])
    num_obs = observed.shape[1]
    if entries is None:
        first = agent.task.angles[0] if agent.task.angles else 0
        entries = (first, first + 1) if first + 1 < num_obs else (first, first - 1)
    if len({*entries}) != 2 or not all(0 <= entry < num_obs for entry in entries):
        raise ValueError(
            f"Invalid `entries`: expected two different indices of observation entries, 0 to {num_obs - 1}. "
            f"Received: {tuple(entries)}."
        )
    x, y = (_values(observed[:, entry], entry in agent.task.angles, size) for entry in entries)
    obs = np.tile(np.median(observed, axis=0).astype(np.float32), (size, size, 1))
    obs[..., entries[0]], obs[..., entries[1]] = np.meshgrid(x, y)
    columns = (agent.episodes[-1].obs[:, entry] for entry in entries)
    seen = [wrap_angle(c) if e in agent.task.angles else c for e, c in zip(entries, columns, strict=True)]
    return Plane((int(entries[0]), int(entries[1])), x, y, obs, np.stack(seen, axis=1))


def actions(agent: PILCO, over: Plane) -> np.ndarray:
    """Return the policy's actions, [Y, X, A]."""
    chosen, _ = agent.predict(over.obs.reshape(-1, over.obs.shape[-1]))
    return np.reshape(chosen, (*over.obs.shape[:2], -1))


def values(agent: PILCO, over: Plane, steps: int, seed: int = 0) -> np.ndarray:
    """Return the mean cost of a step that the model expects of the policy from each observation on, [Y, X].

    Rollouts have one particle for each draw of the model.

    Args:
        agent: one with a fitted model and a policy.
        over: the observations.
        steps: of a rollout.
        seed: of the draws and the noise.
    """
    height, width, num_obs = over.obs.shape
    distinct = agent.model.posterior.num_distinct if agent.model.posterior else None
    draws = min(_MOST_DRAWS, distinct or _MOST_DRAWS)
    world = agent.simulated(draws, as_seed(host_seed(seed, 0)))
    start = tf.tile(tf.constant(over.obs.reshape(1, -1, num_obs)), [draws, 1, 1])  # [S, P, O]
    # One noise for all of the plane, or its picture would be grainy.
    noise = tf.stack([normal([draws, 1, num_obs], as_seed(host_seed(seed, 1, t))) for t in range(steps)])
    noise = tf.tile(noise, [1, 1, height * width, 1])  # [H, S, P, O]
    act = lambda obs, t: tf.reshape(agent.act(tf.reshape(obs, [-1, num_obs])), [*obs.shape[:-1], -1])
    costs = tf.function(partial(rollout_cost, world, act), autograph=False)(start, noise)
    return costs.numpy().mean(axis=0).reshape(height, width)


def _values(observed: np.ndarray, is_angle: bool, size: int) -> np.ndarray:
    if is_angle:
        return np.linspace(-np.pi, np.pi, size + 1)[1:]
    low, high = np.percentile(observed, _ENDS)
    return np.linspace(low, high, size) if high > low else low + np.linspace(-1, 1, size)
