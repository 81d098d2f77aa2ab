"""Random streams of an agent: each seed derives from the agent's seed, a purpose, and indices such as the trial."""

from __future__ import annotations

from enum import IntEnum

import tensorflow as tf

from bnnrl.seeds import as_seed, host_seed

_EVALUATE_CALLS = 1 << 20  # keeps the streams of `PILCO.evaluate` apart from those of trials


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of every seed: changing one would change every figure of a run."""

    RESET = 0  # resets of the environment in a trial's real episodes
    FIT = 1  # fits of the learned environment
    DRAWS = 2  # draws of the fitted models
    REFERENCE = 3  # reference features of a policy search
    SEARCH = 4  # policy search
    PREDICT = 5  # the prediction of a trial
    EXPLORE = 6  # random actions
    EVALUATE = 7  # resets of the environment in evaluation episodes
    PLAN = 8  # plans
    VISITED = 9  # visited states that planned rollouts begin in


def integer_seed(agent_seed: int, purpose: Purpose, *indices: int) -> int:
    """Return the seed of a stream for NumPy, Keras or Gymnasium."""
    return host_seed(agent_seed, purpose, *indices)


def tensor_seed(agent_seed: int, purpose: Purpose, *indices: int) -> tf.Tensor:
    """Return the seed pair of a stream for stateless operations, int32 [2]."""
    return as_seed(host_seed(agent_seed, purpose, *indices))


def evaluation_stream(seed: int) -> int:
    """Return the stream index of `PILCO.evaluate(seed=seed)`; that of a trial's evaluation is the trial's number."""
    return host_seed(seed, _EVALUATE_CALLS)
