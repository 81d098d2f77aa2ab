"""Have the chains converged: split R-hat, effective sample size, acceptance, and the way to ArviZ's plots.

The weights of a neural network are the wrong quantity to ask it of. Hidden units can be exchanged, and signs flipped,
without changing the function, so that chains in different but equivalent modes never agree on a weight, and R-hat is
large however long they run. Ask it of what is predicted: give `diagnose` a function of θ.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.inference.base import Info, State
from bnnrl.inference.hamiltonian import HMCState
from bnnrl.inference.warm_start import WarmStartState
from bnnrl.posterior import Mixture, Posterior, Samples

Function = Callable[[tf.Tensor], Any]  # of draws [n, D], to an array [n, ...]

_MAX_RHAT, _ACCEPT = 1.05, (0.4, 0.95)


class SamplingWarning(UserWarning):
    """Chains that have not converged, or steps of a wrong length."""


class Diagnostics(NamedTuple):
    """What `diagnose` finds; None for what it was not given the means to find."""

    rhat: np.ndarray  # [...] of each quantity; NaN for one that never changes
    ess: np.ndarray  # [...] bulk effective sample size, of all chains together
    accept: float | None  # mean acceptance probability
    divergent: float | None  # share of transitions that diverged
    step_size: float | None  # the adapted ε, in prior standard deviations


def diagnose(
    posterior: Posterior, function: Function | None = None, info: Info | None = None, state: State | None = None
) -> Diagnostics:
    """Return diagnostics of Markov chains, and warn of what is wrong with them.

    Args:
        posterior: of a sampler: Samples, or a Mixture of them as chains.
        function: from a chain's draws [K, D] to quantities [K, ...] whose convergence matters, such as predictions;
            None for θ itself, of which see the module's note.
        info: of a run after the burn-in, for the acceptance; None for a method without a Metropolis step.
        state: the sampler's, for the step size.

    Warns:
        SamplingWarning: if an R-hat is above 1.05, the mean acceptance outside 0.4 to 0.95, or a transition diverged.

    Raises:
        ValueError: if the posterior is no chains of equal length, of four draws at least.
    """
    values = chains(posterior, function)
    accept = None if info is None else float(np.mean(info.accept))
    divergent = None if info is None else float(np.mean(info.divergent))
    found = Diagnostics(split_rhat(values), bulk_ess(values), accept, divergent, _step_size(state))
    for message in _complaints(found, function):
        warnings.warn(message, SamplingWarning, stacklevel=2)
    return found


def chains(posterior: Posterior, function: Function | None = None) -> np.ndarray:
    """Return the draws of each chain, or `function` of them, [C, K, ...].

    Raises:
        ValueError: if the posterior is no chains of equal length.
    """
    parts = posterior.components if isinstance(posterior, Mixture) else (posterior,)
    draws = [part.draws for part in parts if isinstance(part, Samples)]
    if len(draws) < len(parts) or len({len(d) for d in draws}) > 1:
        raise ValueError(
            "Invalid `posterior`: expected chains of equal length, as a sampler leaves behind. "
            f"Received: {sorted({type(part).__name__ for part in parts})}."
        )
    return np.stack([np.asarray(d if function is None else function(d)) for d in draws])


def are_chains(posterior: Posterior) -> bool:
    """Return whether a posterior is chains long enough for diagnostics."""
    parts = posterior.components if isinstance(posterior, Mixture) else (posterior,)
    return all(isinstance(part, Samples) and len(part.draws) >= 4 for part in parts)


def split_rhat(values: np.ndarray) -> np.ndarray:
    """Return rank-normalised split R-hat of each quantity, [...], for the values of chains [C, K, ...].

    It is the larger of two: of the values, and of their distances from the median, which sees chains that differ in
    spread alone. Source: Vehtari et al., "Rank-Normalization, Folding, and Localization: An Improved R-hat", Bayesian
    Analysis 2021.

    Raises:
        ValueError: for chains of fewer than four draws.
    """
    halves = _split(values)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.fmax(_rhat(_rank_normalised(halves)), _rhat(_rank_normalised(folded)))


def bulk_ess(values: np.ndarray) -> np.ndarray:
    """Return the bulk effective sample size of each quantity, [...], for the values of chains [C, K, ...].

    It is that of the rank-normalised halves of all chains: so many independent draws would tell the mean as well.
    Autocorrelations are summed in pairs of lags as long as the pairs are positive, each at most the one before.
    Source: Vehtari et al. 2021, section 3.2; Geyer, "Practical Markov Chain Monte Carlo", 1992, for the pairs.

    Raises:
        ValueError: for chains of fewer than four draws.
    """
    halves = _rank_normalised(_split(values))  # [C, K, ...]
    num_chains, num_draws = halves.shape[:2]
    spectrum = np.fft.rfft(halves - halves.mean(axis=1, keepdims=True), n=2 * num_draws, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :num_draws].mean(axis=0) / num_draws  # [K, ...]
    within = covariance[0] * num_draws / (num_draws - 1)
    total = covariance[0] + halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(invalid="ignore"):
        correlation = 1 - (within - covariance) / total
    correlation[0] = np.where(total > 0, 1.0, np.nan)
    even = num_draws // 2 * 2
    pairs = np.minimum.accumulate(correlation[0:even:2] + correlation[1:even:2], axis=0)
    time = 2 * np.where(pairs > 0, pairs, 0 * pairs).sum(axis=0) - 1
    size = num_chains * num_draws
    return size / np.maximum(time, 1 / math.log10(size))  # as antithetic chains may seem better than they are


def to_arviz(posterior: Posterior, functions: Mapping[str, Function] | None = None) -> Any:
    """Return the chains as ArviZ's container, for its plots and tables.

    Args:
        posterior: as in `diagnose`.
        functions: what to export, by name, each a function as in `diagnose`; None for θ itself, as "theta".

    Raises:
        ImportError: if ArviZ is not installed.
        ValueError: if the posterior is no chains of equal length.
    """
    group = {name: chains(posterior, function) for name, function in (functions or {"theta": None}).items()}
    try:
        arviz: Any = importlib.import_module("arviz")
    except ImportError as error:
        raise ImportError("`to_arviz` needs ArviZ, which is not installed: pip install arviz") from error
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict({"posterior": group})
    return arviz.from_dict(posterior=group)


def _split(values: np.ndarray) -> np.ndarray:
    """Return the first and the second half of each chain as chains, [2 C, K // 2, ...] in float64."""
    half = values.shape[1] // 2
    if half < 2:
        raise ValueError(f"Invalid chains: expected at least four draws of each. Received: {values.shape[1]}.")
    return np.concatenate([values[:, :half], values[:, -half:]]).astype(np.float64)


def _rank_normalised(values: np.ndarray) -> np.ndarray:
    """Return the normal scores of each quantity's ranks among all draws, equal values sharing their mean rank."""
    flat = values.reshape(values.shape[0] * values.shape[1], -1)  # [S, Q]
    in_order = np.sort(flat, axis=0)
    ranks = np.empty_like(flat)
    for q, (column, sorted_column) in enumerate(zip(flat.T, in_order.T, strict=True)):
        ranks[:, q] = 1 + np.searchsorted(sorted_column, column) + np.searchsorted(sorted_column, column, side="right")
    return tf.math.ndtri((ranks / 2 - 3 / 8) / (len(flat) + 1 / 4)).numpy().reshape(values.shape)


def _rhat(values: np.ndarray) -> np.ndarray:
    num_draws = values.shape[1]
    between, within = values.mean(axis=1).var(axis=0, ddof=1), values.var(axis=1, ddof=1).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((num_draws - 1) / num_draws + between / within)


def _step_size(state: State | None) -> float | None:
    while isinstance(state, WarmStartState):
        state = state.method
    return float(state.adaptation.step_size) if isinstance(state, HMCState) else None


def _complaints(found: Diagnostics, function: Function | None) -> list[str]:
    complaints = []
    worst = float(np.nanmax(found.rhat, initial=0.0))
    if worst > _MAX_RHAT:
        above = int(np.sum(found.rhat > _MAX_RHAT))
        remedy = "Run longer, raise `burn_in` or `thin`, or start the chains nearer to a mode with WarmStart."
        if function is None:
            remedy += " Weights may never agree, as a network has many equivalent modes: give a `function` of them."
        complaints.append(
            f"R-hat is {worst:.2f}, above {_MAX_RHAT}, for {above} of {found.rhat.size} quantities: the chains have "
            f"not mixed. {remedy}"
        )
    low, high = _ACCEPT
    if found.accept is not None and found.accept < low:
        complaints.append(
            f"Acceptance is {found.accept:.2f}, below {low}: steps are too long. Lower `step_size`, or raise `burn_in` "
            "so that it has time to adapt."
        )
    if found.accept is not None and found.accept > high:
        complaints.append(
            f"Acceptance is {found.accept:.2f}, above {high}: steps are shorter than they need be. Raise `step_size`, "
            "or lower `target_accept` and raise `burn_in` so that it has time to adapt."
        )
    if found.divergent:
        complaints.append(
            f"{found.divergent:.1%} of the transitions diverged, so that parts of the posterior are missed. Lower "
            "`step_size`, or raise `target_accept`."
        )
    return complaints
