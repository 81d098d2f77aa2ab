"""Inference methods as dynamics models: what each name stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
    Schedule,
    WarmStart,
)


class Preset(NamedTuple):
    """A method's settings for a network of some thousand weights and 25 to some hundred rows."""

    build: Callable[[float, int, int], Method]  # of the learning rate, the run's steps, and members or chains
    learning_rate: float
    steps: int = 2000
    batch_size: int | None = 32


def _falling(rate: float, steps: int) -> Schedule:
    """Return the schedule that falls to a hundredth by a cosine."""
    return Schedule(rate, rate / 100, max(1, steps))


def _swag(rate: float, steps: int, size: int) -> Method:
    return SWAG(Adam(rate), 5 / 3 * rate, start=max(1, steps // 2), every=max(1, steps // 300), scale=1.0)


def _laplace(rate: float, steps: int, size: int) -> Method:
    start = max(1, steps - steps // 40 - 1)  # a fortieth of the run is some epochs
    return Laplace(Adam(_falling(rate, start)), start)


def _from_estimates(sampler: Callable[[int], Method], warm_up: int, steps: int, batch_size: int | None = 32) -> Preset:
    """Return the preset of chains that start from as many maximum a posteriori estimates, and sample near them.

    That is what a fit of some seconds allows: N(0, 1) priors over the weights make the whole posterior thousands of
    times as far.
    """
    build = lambda rate, steps, size: WarmStart(sampler(size), Adam(_falling(rate, warm_up)), warm_up)
    return Preset(build, 9e-3, steps, batch_size)


# The variational methods' exact posteriors, at temperature 1, are so wide for 5000 weights and 50 rows that little of
# the data is left in them.
PRESETS: dict[str, Preset] = {
    "sgd": Preset(lambda rate, steps, size: SGD(_falling(rate, steps)), 1e-3, 6000),
    "adam": Preset(lambda rate, steps, size: Adam(_falling(rate, steps)), 1e-2, batch_size=None),
    "ensemble": Preset(lambda rate, steps, size: Ensemble(Adam(_falling(rate, steps)), size), 1e-2, batch_size=None),
    "dropout": Preset(
        lambda rate, steps, size: MCDropout(_falling(rate, steps), rate=0.01, masks=8), 1e-2, 6000, batch_size=None
    ),
    "swag": Preset(_swag, 3e-3, 6000),
    "laplace": Preset(_laplace, 3e-3),
    "bbb": Preset(lambda rate, steps, size: BBB(_falling(rate, steps), temperature=0.1, draws=2), 3e-3, 6000),
    "vadam": Preset(lambda rate, steps, size: VADAM(_falling(rate, steps), temperature=0.01, draws=2), 1e-2, 6000),
    "bsam": Preset(
        lambda rate, steps, size: BSAM(
            _falling(rate, steps), beta_2=0.998, s_init=100.0, temperature=0.1, clip_radius=0.03
        ),
        0.1,
        6000,
    ),
    "ivon": Preset(
        lambda rate, steps, size: IVON(_falling(rate, steps), hess_init=0.1, clip_radius=0.3, temperature=0.05), 0.1
    ),
    "svgd": Preset(lambda rate, steps, size: SVGD(_falling(rate, steps), size), 3e-3),
    "sgld": _from_estimates(lambda size: Ensemble(SGLD(1e-6, 1000, 200, 5), size), 1000, 3000),
    "psgld": _from_estimates(lambda size: Ensemble(PSGLD(3e-6, burn_in=1000, thin=200, max_draws=5), size), 1000, 3000),
    "csgld": _from_estimates(lambda size: Ensemble(CyclicalSGLD(2e-6, 1000, 0.5, 100, 10), size), 1000, 3000),
    "sghmc": _from_estimates(lambda size: Ensemble(SGHMC(3e-7, 0.1, 0.0, 1000, 200, 5), size), 1000, 3000),
    "hmc": _from_estimates(lambda size: HMC(1e-3, 15, chains=size, burn_in=40, thin=20, max_draws=2), 600, 680, None),
    "nuts": _from_estimates(lambda size: NUTS(1e-3, 4, chains=size, burn_in=40, thin=20, max_draws=2), 600, 680, None),
}
