"""`recommend`: an inference method for the data at hand, by rules from measured tables and a measured gradient."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_positive
from bnnrl.inference.base import value_and_grad
from bnnrl.inference.gauss_newton import GaussNewton
from bnnrl.likelihoods import Bernoulli, Categorical
from bnnrl.problem import Problem

_BATCH = 32  # rows in a minibatch, the default of `fit`
# Seconds of a Gauss-Newton step for each row, output and squared weight: experiments/results/uci_published.md has 23 s
# for 150 steps on energy, 691 rows and 501 weights.
_GAUSS_NEWTON = 1e-9
_GAUSS_NEWTON_STEPS = 5 * 150  # of five members
# Seconds for an epoch of eight chains of HMC and of the Adam before them, in those of a single gradient on all rows.
_GRADIENTS_OF_HMC, _EPOCHS_OF_HMC = 200, 400
_GRADIENTS = 20  # of NUTS and of the Adam before it, for an epoch of a run
_MOST_WEIGHTS = 2000  # of a network that HMC and NUTS cross in some hundred transitions


@dataclass(frozen=True)
class Recommendation:
    """A method for a model and its data.

    Attributes:
        name: the method's name, for `BayesianModel(method=...)`.
        settings: arguments of `BayesianModel.fit`.
        reason: why, with the sizes and the time that decided.
    """

    name: str
    settings: dict[str, Any]
    reason: str

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f'method="{self.name}", fit({arguments})\n{self.reason}'


class _Sizes(NamedTuple):
    """What the rules look at."""

    problem: Problem
    rows: int
    outputs: int  # numbers in a target
    seconds: float  # allowed for the fit
    of_batch: float  # seconds of a gradient on a minibatch
    of_all: float  # seconds of a gradient on all rows

    @property
    def num_params(self) -> int:
        """D, the number of weights."""
        return self.problem.num_params

    def epochs(self, members: int) -> int:
        """Return how many epochs of so many members fit into half of the seconds; the rest is for compiling."""
        return int(self.seconds / 2 / (members * max(1, self.rows // _BATCH) * self.of_batch))


def recommend(model: Any, data: Any, seconds: float = 60.0) -> Recommendation:
    """Return the inference method that the project's tables favour for a model and its data.

    The time of a gradient is measured, on a minibatch and on all rows. The rules and the tables behind them are in the
    guide "Which method when". They know nothing of the data's content: compare a second method on validation data if
    the choice matters.

    Args:
        model: a `BayesianModel` of any method; its network, likelihood and prior count.
        data: the training rows: a pair of arrays (x, y), or the result of `bnnrl.data.load`.
        seconds: how long the fit may take, roughly, on this machine.

    Raises:
        ValueError: if `data` is a tf.data.Dataset or no pair, or `seconds` is not positive.
    """
    sizes = _measured(model, data, check_positive("seconds", seconds))
    return _hmc(sizes) or _gauss_newton(sizes) or _nuts(sizes) or _trained(sizes)


def _measured(model: Any, data: Any, seconds: float) -> _Sizes:
    """Return the sizes of a model's problem on the data, with the times of its gradients."""
    pair = getattr(data, "train", data)
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise ValueError(
            f"Invalid `data`: expected a pair of arrays (x, y), or the result of `bnnrl.data.load` in memory. "
            f"Received: {type(pair).__name__}. Give some thousand rows of a stream as arrays."
        )
    x, y = tf.nest.map_structure(lambda a: tf.constant(np.asarray(a), tf.float32), tuple(pair))
    rows = int(y.shape[0])
    problem = Problem(model.keras_model, model.likelihood, model.prior, rows)
    batch = tf.nest.map_structure(lambda a: a[:_BATCH], (x, y))
    times = [_seconds_of_gradient(problem, part) for part in (batch, (x, y))]
    return _Sizes(problem, rows, int(np.prod(y.shape[1:])), seconds, *times)


def _seconds_of_gradient(problem: Problem, batch: Any) -> float:
    """Return the median seconds of five gradients of the log joint, after one that compiles."""
    gradient = tf.function(lambda theta: value_and_grad(problem, theta, batch)[1], autograph=False)
    theta, times = problem.init(0, 1)[0], []
    for _ in range(6):
        began = time.perf_counter()
        gradient(theta).numpy()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def _is_small(sizes: _Sizes) -> bool:
    """Return whether a network that predicts no classes is small enough for Hamiltonian chains."""
    classes = isinstance(sizes.problem.likelihood, Categorical | Bernoulli)
    return not classes and sizes.num_params <= _MOST_WEIGHTS


def _hmc(sizes: _Sizes) -> Recommendation | None:
    """Return HMC if eight chains of 400 steps, half of them Adam's, fit into the time."""
    cost = _EPOCHS_OF_HMC * _GRADIENTS_OF_HMC * sizes.of_all
    if not _is_small(sizes) or cost > sizes.seconds / 2:
        return None
    return Recommendation(
        "hmc",
        {"epochs": _EPOCHS_OF_HMC, "batch_size": None},
        f"{sizes.num_params} weights, and a gradient on all {sizes.rows} rows in {1000 * sizes.of_all:.2g} ms: eight "
        f"chains take about {max(1, round(cost))} s. On the UCI sets of up to 1030 rows, with prior='learned', they "
        "have the lowest negative log-likelihood of the methods compared.",
    )


def _gauss_newton(sizes: _Sizes) -> Recommendation | None:
    """Return Gauss-Newton learning if it can take the problem in time."""
    cost = _GAUSS_NEWTON_STEPS * _GAUSS_NEWTON * sizes.rows * sizes.outputs * sizes.num_params**2
    if cost > sizes.seconds:
        return None
    try:
        GaussNewton().init(sizes.problem, 0)
    except ValueError:  # of the likelihood, the prior or the network
        return None
    return Recommendation(
        "gauss_newton",
        {"epochs": 151},
        f"A regression of {sizes.rows} rows by {sizes.num_params} weights: the exact posterior of the linearised "
        f"network, with prior and noise by evidence, takes about {max(1, round(cost))} s. On four UCI sets, its "
        "negative log-likelihood is below that of probabilistic backpropagation; on energy and yacht, also below that "
        "of deep ensembles.",
    )


def _nuts(sizes: _Sizes) -> Recommendation | None:
    """Return NUTS if some hundred transitions of a small network fit into the time."""
    epochs = min(1000, int(sizes.seconds / 2 / (_GRADIENTS * sizes.of_all)))
    if not _is_small(sizes) or epochs < 300:
        return None
    return Recommendation(
        "nuts",
        {"epochs": epochs, "batch_size": None},
        f"{sizes.num_params} weights, and a gradient on all {sizes.rows} rows in {1000 * sizes.of_all:.2g} ms: the "
        "exact posterior, by chains whose convergence `fit` checks.",
    )


def _trained(sizes: _Sizes) -> Recommendation:
    """Return an ensemble if five members fit into the time, else a single fit."""
    sized = (
        f"{sizes.rows} rows, {sizes.num_params} weights, and a gradient on {min(_BATCH, sizes.rows)} rows in "
        f"{1000 * sizes.of_batch:.2g} ms"
    )
    if (epochs := sizes.epochs(members=5)) >= 50:
        reason = f"{sized}: five networks fit, and their mixture has the lowest negative log-likelihood on digits."
        return Recommendation("ensemble", {"epochs": min(epochs, 200)}, reason)
    if (epochs := sizes.epochs(members=1)) >= 20:
        reason = f"{sized}: only one network fits. SWAG gives it a posterior at the price of Adam."
        return Recommendation("swag", {"epochs": min(epochs, 200)}, reason)
    reason = f"{sized}: there is hardly time for one network. Adam gives the mean without uncertainty of the weights."
    return Recommendation("adam", {"epochs": max(1, epochs)}, reason)
