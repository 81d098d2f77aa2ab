"""When a fit of Markov chains ends: `Converged`, and the callback that ends the fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from bnnrl import inference
from bnnrl.checks import check_count, check_fields, check_positive, check_within
from bnnrl.diagnostics import SamplingWarning, bulk_ess, split_rhat

_FEWEST = 20  # draws of each chain, below which R-hat can be near 1 by chance
_WORST = 3  # predictions that a warning names
_PAUSE = 1.1  # factor between the numbers of epochs after which chains are checked


@dataclass(frozen=True)
class Converged:
    """The rule by which `BayesianModel.fit(until=...)` takes chains for converged.

    Every output of the network for the first training rows must have both.

    Source: Vehtari et al., "Rank-Normalization, Folding, and Localization: An Improved R-hat", Bayesian Analysis 2021,
    for the defaults.

    Args:
        rhat: the split R-hat that each must be below, above 1.
        ess: the bulk effective sample size over all chains that each must reach.

    Raises:
        ValueError: for a value out of its range.
    """

    rhat: float = 1.01
    ess: float = 400.0

    def __post_init__(self):
        check_fields(self, rhat=partial(check_within, interval="(1, inf)"), ess=check_positive)


def rule_and_limit(until: Any, max_epochs: Any, epochs: int) -> tuple[Converged | None, int]:
    """Return the rule that `fit`'s argument `until` stands for, or None, and the largest number of epochs.

    Raises:
        ValueError: if `until` is not None, "converged" or a `Converged`; if `max_epochs` is below `epochs`, or given
            without `until`.
    """
    if until is None:
        if max_epochs is not None:
            raise ValueError(
                f"Invalid `max_epochs`: expected None without `until`, as `epochs` is the number then. Received: "
                f"max_epochs={max_epochs!r}."
            )
        return None, epochs
    rule = Converged() if isinstance(until, str) and until == "converged" else until
    if not isinstance(rule, Converged):
        raise ValueError(f"Invalid `until`: expected None, 'converged' or a `Converged`. Received: until={until!r}.")
    return rule, 10 * epochs if max_epochs is None else check_count("max_epochs", max_epochs, epochs)


def require_chains(method: inference.Method) -> None:
    """Raise ValueError unless a method has parallel chains."""
    inner = inference.innermost(method)
    if not (method.has_members and isinstance(inner, inference.Sampler)):
        raise ValueError(
            f"Invalid `until`: expected None for {type(inner).__name__} as it is given, which has no parallel chains "
            "that could converge. Received: a rule of convergence. Take hmc, nuts, mclmc, sgld, psgld, csgld or sghmc "
            "by name and enough `epochs`, or an `Ensemble` of a sampler."
        )


class StopWhenConverged(keras.callbacks.Callback):
    """Ends a fit as soon as its chains fulfil a rule.

    Chains are checked after epochs whose numbers grow by a tenth, because a check takes the outputs of all draws.

    Args:
        rule: the rule.
        chains: returns the network's outputs along the chains, [C, K, B, ...], or None before the first draw.

    Attributes:
        converged: whether the chains fulfilled the rule at the last check.
    """

    def __init__(self, rule: Converged, chains: Callable[[], np.ndarray | None]):
        super().__init__()
        self._rule, self._chains = rule, chains
        self.converged = False
        self._sampled, self._next = 0, 1
        self._epochs = 0
        self._found: tuple[np.ndarray, np.ndarray] | None = None  # R-hat and ESS at the last check

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Check the chains if it is time to, and end the fit if they have converged."""
        self._epochs = epoch + 1
        if (values := self._chains()) is None:
            return
        self._sampled += 1
        if self._sampled >= self._next and values.shape[1] >= _FEWEST:
            self._next = max(self._sampled + 1, int(_PAUSE * self._sampled))
            self._check(values)

    def on_train_end(self, logs: Any = None) -> None:
        """Check the final chains, and warn with the worst predictions if they have not converged."""
        values = None if self.converged else self._chains()
        if values is not None and values.shape[1] >= _FEWEST:
            self._check(values)
        if not self.converged:
            warnings.warn(self._message(), SamplingWarning, stacklevel=2)

    def _check(self, values: np.ndarray) -> None:
        rhat, ess = split_rhat(values), bulk_ess(values)
        self._found = rhat, ess
        self.converged = bool(np.all((rhat < self._rule.rhat) & (ess >= self._rule.ess)))
        model: Any = self.model
        model.stop_training = model.stop_training or self.converged

    def _message(self) -> str:
        """Return what has not converged, with the worst entries and a remedy."""
        begin = f"The chains have not converged after {self._epochs} epochs"
        if self._found is None:
            return f"{begin}, which leave fewer than {_FEWEST} draws of each. Raise `max_epochs` or `max_draws`."
        rhat, ess = (np.asarray(values) for values in self._found)
        order = np.argsort(np.nan_to_num(ess, nan=0.0).ravel())[:_WORST]
        places = [tuple(map(int, np.unravel_index(i, ess.shape))) for i in order]
        worst = "; ".join(f"{place}: R-hat {rhat[place]:.2f}, {ess[place]:.0f} effective draws" for place in places)
        high, low = int(np.sum(~(rhat < self._rule.rhat))), int(np.sum(~(ess >= self._rule.ess)))
        return (
            f"{begin}: of {ess.size} predictions, {high} have an R-hat of {self._rule.rhat} or more, and {low} have "
            f"fewer than {self._rule.ess:g} effective draws. The worst by (row of the training data, output): {worst}. "
            "Raise `max_epochs`. If chains stay apart, they are in different modes: judge them by `diagnose`."
        )
