"""Convergence diagnostics of Markov chains: split R-hat, effective sample size, acceptance, and export to ArviZ.

Use them for predictions, not for the weights of a neural network. Exchanging hidden units or flipping their signs
leaves the function as it is, so that chains in different but equivalent modes never agree on a weight: R-hat of a
weight stays large however long the chains run. Give `diagnose` a function from θ to predictions.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import as_array
from bnnrl.inference.base import Info, State
from bnnrl.inference.hamiltonian import HMCState
from bnnrl.inference.mclmc import MCLMCState
from bnnrl.inference.warm_start import WarmStartState
from bnnrl.posterior import Mixture, Posterior, Samples

Function = Callable[[tf.Tensor], Any]  # from draws [n, D] to an array [n, ...]

_MAX_RHAT = 1.05  # looser than the 1.01 of Vehtari et al. 2021, which networks' short chains rarely reach
_ACCEPT = (0.4, 0.95)  # around the optimum for HMC, 0.65 (Neal 2011) to 0.8 (Stan's default)


class SamplingWarning(UserWarning):
    """Chains have not converged, or their steps are too long or too short."""


class Diagnostics(NamedTuple):
    """The results of `diagnose`; None for those that need an argument which was not given."""

    rhat: np.ndarray  # [...] split R-hat of each quantity; NaN for a quantity that never changes
    ess: np.ndarray  # [...] bulk effective sample size of each quantity, over all chains
    accept: float | None  # mean acceptance probability
    divergent: float | None  # share of the transitions that diverged
    step_size: float | None  # the adapted ε, in units of the chains' scales


def diagnose(
    posterior: Posterior, function: Function | None = None, info: Info | None = None, state: State | None = None
) -> Diagnostics:
    """Return convergence diagnostics of Markov chains, and warn if they show a problem.

    Args:
        posterior: the posterior of a sampler: Samples, or a Mixture of Samples, one for each chain.
        function: from the draws of a chain [K, D] to quantities [K, ...] whose convergence matters, such as
            predictions; None for θ itself, which for a neural network hardly ever converges.
        info: the Info of a run after the burn-in, for the acceptance; None, or an acceptance of NaN, for a method
            without a Metropolis step.
        state: the state of the sampler, for the step size.

    Warns:
        SamplingWarning: if an R-hat is above 1.05, the mean acceptance is outside 0.4 to 0.95, or a transition
            diverged.

    Raises:
        ValueError: if the posterior does not consist of chains of equal length, with at least four draws each.
    """
    values = chains(posterior, function)
    accept = None if info is None or np.isnan(np.mean(info.accept)) else float(np.mean(info.accept))
    divergent = None if info is None else float(np.mean(info.divergent))
    found = Diagnostics(split_rhat(values), bulk_ess(values), accept, divergent, _step_size(state))
    for message in _problems(found, function):
        warnings.warn(message, SamplingWarning, stacklevel=2)
    return found


def chains(posterior: Posterior, function: Function | None = None) -> np.ndarray:
    """Return the draws of C chains, or `function` of them, [C, K, ...].

    Raises:
        ValueError: if the posterior does not consist of chains of equal length.
    """
    parts = posterior.components if isinstance(posterior, Mixture) else (posterior,)
    draws = [part.draws for part in parts if isinstance(part, Samples)]
    if len(draws) < len(parts) or len({len(d) for d in draws}) > 1:
        raise ValueError(
            "Invalid `posterior`: expected chains of equal length, the posterior of a sampler. "
            f"Received: {sorted({type(part).__name__ for part in parts})}."
        )
    return np.stack([np.asarray(d if function is None else function(d)) for d in draws])


def are_chains(posterior: Posterior) -> bool:
    """Return whether a posterior consists of chains with enough draws for diagnostics, four."""
    parts = posterior.components if isinstance(posterior, Mixture) else (posterior,)
    return all(isinstance(part, Samples) and len(part.draws) >= 4 for part in parts)


def split_rhat(values: np.ndarray) -> np.ndarray:
    """Return the rank-normalised split R-hat of each quantity, [...], for the values of chains [C, K, ...].

    This is the larger of the R-hat of the values, and the R-hat of their distances from the median, which detects
    chains that differ in spread alone.

    Source: Vehtari et al., "Rank-Normalization, Folding, and Localization: An Improved R-hat", Bayesian Analysis 2021.

    Raises:
        ValueError: for chains of fewer than four draws.
    """
    halves = _split(values)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.fmax(_rhat(_rank_normalised(halves)), _rhat(_rank_normalised(folded)))


def bulk_ess(values: np.ndarray) -> np.ndarray:
    """Return the bulk effective sample size of each quantity, [...], for the values of chains [C, K, ...].

    The effective sample size is the number of independent draws that would estimate the mean equally well. As in R-hat,
    chains are halved and rank-normalised. Autocorrelations are summed in pairs of lags while the pairs are positive,
    and a pair counts at most as much as the pair before.

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
    return size / np.maximum(time, 1 / math.log10(size))  # Vehtari's bound for antithetic chains


def to_arviz(posterior: Posterior, functions: Mapping[str, Function] | None = None) -> Any:
    """Return the chains in ArviZ's container, for the plots and tables of ArviZ.

    Args:
        posterior: the posterior of a sampler, as in `diagnose`.
        functions: the quantities to export by name, each a function as in `diagnose`; None for θ, named "theta".

    Raises:
        ImportError: if ArviZ is not installed.
        ValueError: if the posterior does not consist of chains of equal length.
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
    """Return the first and the second half of each chain as two chains, [2 C, K // 2, ...], in float64."""
    values = as_array("values", values)
    if values.ndim < 2 or values.size == 0 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError(
            f"Invalid `values`: expected finite numbers [C, K, ...] of C chains of K draws. Received: shape "
            f"{values.shape} of type {values.dtype}, of which some may be NaN or infinite."
        )
    half = values.shape[1] // 2
    if half < 2:
        raise ValueError(f"Invalid chains: expected at least four draws of each. Received: {values.shape[1]}.")
    return np.concatenate([values[:, :half], values[:, -half:]]).astype(np.float64)


def _rank_normalised(values: np.ndarray) -> np.ndarray:
    """Return the normal scores of each quantity's ranks among all draws; equal values get their mean rank."""
    flat = values.reshape(values.shape[0] * values.shape[1], -1)  # [S, Q]
    in_order = np.sort(flat, axis=0)
    ranks = np.empty_like(flat)
    for q, (column, sorted_column) in enumerate(zip(flat.T, in_order.T, strict=True)):
        ranks[:, q] = 1 + np.searchsorted(sorted_column, column) + np.searchsorted(sorted_column, column, side="right")
    return tf.math.ndtri((ranks / 2 - 3 / 8) / (len(flat) + 1 / 4)).numpy().reshape(values.shape)


def _rhat(values: np.ndarray) -> np.ndarray:
    """Return the square root of (total variance / variance within chains), [...], for chains [C, K, ...]."""
    num_draws = values.shape[1]
    between, within = values.mean(axis=1).var(axis=0, ddof=1), values.var(axis=1, ddof=1).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((num_draws - 1) / num_draws + between / within)


def _step_size(state: State | None) -> float | None:
    """Return the adapted ε of HMC, NUTS or MCLMC, warm-started or not; None for other states."""
    while isinstance(state, WarmStartState):
        state = state.method
    return float(state.adaptation.step_size) if isinstance(state, HMCState | MCLMCState) else None


def _problems(found: Diagnostics, function: Function | None) -> list[str]:
    """Return a message for each problem that the diagnostics show, with its remedy."""
    problems = []
    worst = float(np.nanmax(found.rhat, initial=0.0))
    if worst > _MAX_RHAT:
        above = int(np.sum(found.rhat > _MAX_RHAT))
        remedy = "Run longer, raise `burn_in` or `thin`, or start the chains nearer to a mode with WarmStart."
        if function is None:
            remedy += " Weights may never agree, as a network has many equivalent modes: give a `function` of them."
        problems.append(
            f"R-hat is {worst:.2f}, above {_MAX_RHAT}, for {above} of {found.rhat.size} quantities: the chains have "
            f"not mixed. {remedy}"
        )
    low, high = _ACCEPT
    if found.accept is not None and found.accept < low:
        problems.append(
            f"Acceptance is {found.accept:.2f}, below {low}: steps are too long. Lower `step_size`, or raise `burn_in` "
            "so that it has time to adapt."
        )
    if found.accept is not None and found.accept > high:
        problems.append(
            f"Acceptance is {found.accept:.2f}, above {high}: steps are shorter than necessary. Raise `step_size`, "
            "or lower `target_accept` and raise `burn_in` so that it has time to adapt."
        )
    if found.divergent:
        problems.append(
            f"{found.divergent:.1%} of the transitions diverged, so that parts of the posterior may be missed. Lower "
            "`step_size`, or raise `target_accept`."
        )
    return problems
