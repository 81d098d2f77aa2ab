"""What every inference method must pass, a line for each: `tests/inference/test_battery.py` runs it.

A new method joins by its line in CASES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bnnrl.inference import (
    BBB,
    BSAM,
    HMC,
    IVON,
    NUTS,
    PSGLD,
    SGD,
    SGHMC,
    SGLD,
    SVGD,
    SWAG,
    VADAM,
    Adam,
    CyclicalSGLD,
    Ensemble,
    Laplace,
    MCDropout,
    Method,
)


@dataclass(frozen=True)
class Case:
    """A method, and what the battery needs to know of it."""

    method: Method
    """With settings under which a few steps do all it ever does."""
    gradient: Callable[[Any], tf.Tensor] | None = None
    """From the state after one step, −∇ log p(θ, data) / N at its start; None for a method that keeps no such thing."""
    linear: Method | None = None
    """The method with its own noise off, so that `gradient` is that at θ; `method` itself if None."""
    full_batch: bool = False
    """Whether it takes all rows at every step."""


CASES: dict[str, Case] = {
    "sgd": Case(SGD(), lambda state: state.v),
    "adam": Case(Adam(0.01), lambda state: 10 * state.m),
    "ensemble": Case(Ensemble(Adam(0.01), 2), lambda state: 10 * state.m),
    "dropout": Case(MCDropout(0.01, input_rate=0.2), lambda state: 10 * state.m, MCDropout(rate=0.0)),
    "swag": Case(SWAG(Adam(0.01), start=2, every=1, rank=3), lambda state: 10 * state.inner.m),
    "bbb": Case(BBB(0.01), lambda state: 10 * state.mu.m, BBB(std_init=1e-12)),
    "vadam": Case(VADAM(0.01), lambda state: 10 * state.m, VADAM(temperature=1e-24)),
    "bsam": Case(BSAM(0.01, s_init=100.0), lambda state: 10 * state.gm, BSAM(rho=0.0)),
    "laplace": Case(Laplace(Adam(0.01), start=2), lambda state: 10 * state.inner.m),
    "svgd": Case(SVGD(0.01, size=2), lambda state: 10 * state.m, SVGD(size=1)),
    "ivon": Case(IVON(), lambda state: 10 * state.g, IVON(temperature=1e-24)),
    "sgld": Case(SGLD(1e-5, burn_in=1, thin=1, max_draws=4)),
    "psgld": Case(PSGLD(1e-5, burn_in=1, thin=1, max_draws=4)),
    "csgld": Case(CyclicalSGLD(1e-5, cycle=4, exploration=0.5, thin=1, max_draws=4)),
    "sghmc": Case(SGHMC(1e-5, burn_in=1, thin=1, max_draws=4)),
    "hmc": Case(HMC(0.01, 3, chains=2, burn_in=1, max_draws=4), full_batch=True),
    "nuts": Case(NUTS(0.01, 3, chains=2, burn_in=1, max_draws=4), full_batch=True),
}
