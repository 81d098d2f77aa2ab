"""Presets: the hyper-parameters of each inference method, by name, as the method of a dynamics model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bnnrl.inference import (
    BBB,
    BSAM,
    HMC,
    IVON,
    MCLMC,
    NUTS,
    PSGLD,
    SGD,
    SGHMC,
    SGLD,
    SVGD,
    SWAG,
    VADAM,
    VBLL,
    Adam,
    CyclicalSGLD,
    Ensemble,
    GaussNewton,
    Laplace,
    MCDropout,
    Method,
    Schedule,
    WarmStart,
)
from bnnrl.likelihoods import Gaussian


class NetworkPreset(NamedTuple):
    """The network, the likelihood and the prior with which a method is used, where `Dynamics` does not give them."""

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "swish"
    likelihood: Gaussian = Gaussian("heteroscedastic", floor=3e-2)
    prior: str = "normal"
    separate_outputs: bool = False


class Preset(NamedTuple):
    """Settings of a method for a network of some thousand weights and 25 to some hundred rows of data."""

    build: Callable[[float, int, int], Method]  # (learning rate, training steps, members or chains) -> method
    learning_rate: float
    steps: int = 2000
    batch_size: int | None = 32  # None trains on all rows
    network: NetworkPreset = NetworkPreset()
    size: int = 10


def _cosine_decay(rate: float, steps: int) -> Schedule:
    """Return the learning rate that falls from `rate` to a hundredth by a cosine over `steps`."""
    return Schedule(rate, rate / 100, max(1, steps))


def _swag(rate: float, steps: int, size: int) -> Method:
    return SWAG(Adam(rate), 5 / 3 * rate, start=max(1, steps // 2), every=max(1, steps // 300), scale=1.0)


def _laplace(rate: float, steps: int, size: int) -> Method:
    start = max(1, steps - steps // 40 - 1)  # the last fortieth of the run, some epochs, estimates the curvature
    # The outputs are linear in the last layer's weights: draws of them need no expansion, which takes twice the time.
    return Laplace(Adam(_cosine_decay(rate, start)), start, linearised=False)


def _warm_started(sampler: Callable[[int], Method], warm_up: int, steps: int, batch_size: int | None = 32) -> Preset:
    """Return the preset of a sampler whose chains each start from a maximum a posteriori estimate.

    A fit of some seconds can sample near such estimates only: under N(0, 1) priors over the weights, the posterior
    extends thousands of times as far.

    Args:
        sampler: the method, given the number of chains.
        warm_up: training steps of Adam, which finds the estimates.
        steps: training steps in all.
        batch_size: rows in a minibatch, or None for all rows.
    """
    build = lambda rate, steps, size: WarmStart(sampler(size), Adam(_cosine_decay(rate, warm_up)), warm_up)
    return Preset(build, 9e-3, steps, batch_size)


def _few_draws(sampler: Callable[..., Method], size: int, **settings: int) -> Method:
    """Return a sampler of two draws of each chain, in units of the prior: a burn-in of 40 estimates no scales."""
    return sampler(1e-3, chains=size, burn_in=40, thin=20, max_draws=2, mass="identity", **settings)


# Temperatures below 1: with 5000 weights and 50 rows, the prior dominates the variational posterior at temperature 1,
# whose predictions then hardly depend on the data.
PRESETS: dict[str, Preset] = {
    "sgd": Preset(lambda rate, steps, size: SGD(_cosine_decay(rate, steps)), 1e-3, 6000),
    "adam": Preset(lambda rate, steps, size: Adam(_cosine_decay(rate, steps)), 1e-2, batch_size=None),
    "ensemble": Preset(
        lambda rate, steps, size: Ensemble(Adam(_cosine_decay(rate, steps)), size), 1e-2, batch_size=None
    ),
    "dropout": Preset(
        lambda rate, steps, size: MCDropout(_cosine_decay(rate, steps), rate=0.01, masks=8), 1e-2, 6000, batch_size=None
    ),
    "swag": Preset(_swag, 3e-3, 6000),
    "laplace": Preset(_laplace, 3e-3),
    "gauss_newton": Preset(
        lambda rate, steps, size: Ensemble(GaussNewton(steps - 1, rate, anchored=True), size),
        0.15,
        151,
        batch_size=None,
        network=NetworkPreset((32,), "swish", Gaussian("learned"), "learned", separate_outputs=True),
        size=5,
    ),
    "vbll": Preset(lambda rate, steps, size: VBLL(_cosine_decay(rate, steps), draws=2, linearised=False), 3e-3, 6000),
    "bbb": Preset(lambda rate, steps, size: BBB(_cosine_decay(rate, steps), temperature=0.1, draws=2), 3e-3, 6000),
    "vadam": Preset(lambda rate, steps, size: VADAM(_cosine_decay(rate, steps), temperature=0.01, draws=2), 1e-2, 6000),
    "bsam": Preset(
        lambda rate, steps, size: BSAM(
            _cosine_decay(rate, steps), beta_2=0.998, s_init=100.0, temperature=0.1, clip_radius=0.03
        ),
        0.1,
        6000,
    ),
    "ivon": Preset(
        lambda rate, steps, size: IVON(_cosine_decay(rate, steps), hess_init=0.1, clip_radius=0.3, temperature=0.05),
        0.1,
    ),
    "svgd": Preset(lambda rate, steps, size: SVGD(_cosine_decay(rate, steps), size), 3e-3),
    "sgld": _warm_started(lambda size: Ensemble(SGLD(1e-6, 1000, 200, 5), size), 1000, 3000),
    "psgld": _warm_started(lambda size: Ensemble(PSGLD(3e-6, burn_in=1000, thin=200, max_draws=5), size), 1000, 3000),
    "csgld": _warm_started(lambda size: Ensemble(CyclicalSGLD(2e-6, 1000, 0.5, 100, 10), size), 1000, 3000),
    "sghmc": _warm_started(lambda size: Ensemble(SGHMC(3e-7, 0.1, 0.0, 1000, 200, 5), size), 1000, 3000),
    "hmc": _warm_started(lambda size: _few_draws(HMC, size, num_leapfrog=15), 600, 680, None),
    "nuts": _warm_started(lambda size: _few_draws(NUTS, size, max_doublings=4), 600, 680, None),
    "mclmc": _warm_started(lambda size: _few_draws(MCLMC, size, max_leapfrog=8), 600, 680, None),
}
