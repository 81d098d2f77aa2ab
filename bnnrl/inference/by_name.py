"""Methods by name for a run of known length: burn-in, collection, step sizes and schedules follow from the run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from bnnrl.checks import check_choice, check_count, check_positive
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Method
from bnnrl.inference.bbb import BBB
from bnnrl.inference.bsam import BSAM
from bnnrl.inference.csgld import CyclicalSGLD
from bnnrl.inference.dropout import MCDropout
from bnnrl.inference.ensemble import Ensemble
from bnnrl.inference.gauss_newton import GaussNewton
from bnnrl.inference.gradient_chain import CurvatureStep
from bnnrl.inference.hmc import HMC
from bnnrl.inference.ivon import IVON
from bnnrl.inference.laplace import Laplace
from bnnrl.inference.mclmc import MCLMC
from bnnrl.inference.nuts import NUTS
from bnnrl.inference.registry import REGISTRY, get
from bnnrl.inference.schedules import Schedule
from bnnrl.inference.sgd import SGD
from bnnrl.inference.sghmc import SGHMC
from bnnrl.inference.sgld import PSGLD, SGLD
from bnnrl.inference.svgd import SVGD
from bnnrl.inference.swag import SWAG
from bnnrl.inference.vadam import VADAM
from bnnrl.inference.vbll import VBLL
from bnnrl.inference.warm_start import WarmStart

_DRAWS = 50  # kept of each chain of stochastic gradients, and collected by SWAG
_TRANSITIONS = 200  # draws kept, at most, of each chain with Metropolis steps
_LONG_STEP = 5e8  # rows × squared number of weights: multiplications of a Gauss-Newton step
_LONG_GRADIENT = 2e6  # rows × weights: multiplications of a network's output for all rows
_FEW = 10  # transitions after the burn-in, or iterates of SWAG, below which a warning says that the run is short


class ShortRunWarning(UserWarning):
    """A run has too few steps for its method's result to mean much."""


class Run(NamedTuple):
    """What is known of a run before its first step."""

    steps: int  # in all
    rows: int  # N
    batch_size: int  # rows of a step
    num_params: int  # D
    prior_precision: float = 1.0  # the largest of θ's entries, if the prior is normal
    limit: int | None = None  # the steps at most, if the run goes on after `steps` until chains have converged

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return max(1, self.rows // self.batch_size)

    @property
    def half(self) -> int:
        """Half of the steps, at least one."""
        return max(1, self.steps // 2)

    @property
    def rate(self) -> float:
        """A learning rate: 1e-2 for up to 5000 weights, and falling with the square root of their number."""
        return max(1e-3, 1e-2 * self._of_width)

    @property
    def adam_rate(self) -> float:
        """Adam's learning rate: that above, or as much more as lets a parameter change by 6 in a short run.

        Adam moves each parameter by the sum of its rates at most. The logarithm of a noise scale has to come from 0 to
        -5 where targets are nearly exact; otherwise the noise stays too large, and the network explains too little.
        """
        return max(self.rate, min(5e-2, 12.0 / self.steps) * self._of_width)

    @property
    def _of_width(self) -> float:
        return min(1.0, math.sqrt(5000 / self.num_params))

    @property
    def beta_2(self) -> float:
        """β₂ of Adam: the gradients of the first steps are forgotten long before the last, where they are far smaller.

        One of three values, so that runs of similar length share a compiled program.
        """
        return 0.9 if self.steps < 100 else 0.99 if self.steps < 10_000 else 0.999

    @property
    def chains(self) -> int:
        """Chains of a sampler with all rows: eight, or four where a step of all takes long.

        A chain seldom leaves the mode at which it starts, and two modes say little about where the others differ.
        """
        return 8 if self.rows * self.num_params <= _LONG_GRADIENT else 4

    @property
    def fast_step(self) -> float:
        """Step size with which a chain of stochastic gradients leaves a network's mode within a run of some epochs.

        The log joint is a sum over N rows: its largest curvature, and the inverse of a stable step, grow with N.
        """
        return 2e-3 / self.rows

    def falling(self, rate: float) -> Schedule:
        """Return the schedule that falls from `rate` to a hundredth of it over the run."""
        return Schedule(rate, rate / 100, max(1, self.steps))

    def adam(self, rate: float | Schedule) -> Adam:
        """Return Adam with this learning rate."""
        return Adam(rate, beta_2=self.beta_2)

    def warmed(self, sampler: Method) -> Method:
        """Return a sampler that starts where Adam ends after half of the run."""
        return WarmStart(sampler, self.adam(self.adam_rate), self.half)

    def kept(self, draws: int) -> int:
        """Return how many draws a chain keeps that keeps `draws` in a run of known length."""
        return draws if self.limit is None else 5 * draws

    def sampled(self, burn_in: int) -> int:
        """Return the number of steps after the first half and a burn-in."""
        return max(1, (self.limit or self.steps) - self.half - burn_in)

    def thin(self, burn_in: int) -> int:
        """Return how many steps of a chain's second half there are for each kept draw."""
        return max(1, self.sampled(burn_in) // self.kept(_DRAWS))


def _laplace(run: Run) -> Method:
    start = max(1, run.steps - max(1, min(2 * run.epoch, run.steps // 4)))
    return Laplace(run.adam(Schedule(run.adam_rate, run.adam_rate / 100, start)), start)


def _swag(run: Run) -> Method:
    every = max(1, (run.steps - run.half) // _DRAWS)
    return SWAG(run.adam(run.adam_rate), start=max(1, min(run.half, run.steps - 2)), every=every)


def _chains(run: Run, make: Callable[[int, int], Method]) -> Method:
    burn_in = min(run.epoch, (run.steps - run.half) // 4)
    return run.warmed(Ensemble(make(burn_in, run.thin(burn_in)), 2))


def _gauss_newton(run: Run) -> Method:
    """Return five anchored members, or a single one where a step on all rows takes long."""
    steps = max(1, run.steps - 1)
    if run.rows * run.num_params**2 > _LONG_STEP:
        return GaussNewton(steps)
    return Ensemble(GaussNewton(steps, anchored=True), 5)


def _csgld(run: Run) -> Method:
    """Return four cycles in the second half of the run, the second half of each for draws."""
    cycle = max(2, (run.steps - run.half) // 4)
    draws = run.kept(_DRAWS)
    thin = max(1, run.sampled(0) // (2 * draws))
    return run.warmed(Ensemble(CyclicalSGLD(CurvatureStep(), cycle, 0.5, thin, draws), 2))


def _transitions(run: Run, make: Callable[..., Method]) -> Method:
    """Return a sampler with Metropolis steps: half of the run for Adam, a quarter each for burn-in and draws."""
    burn_in = (run.steps - run.half) // 2
    transitions, most = run.sampled(burn_in), run.kept(_TRANSITIONS)
    thin = -(-transitions // most)
    return run.warmed(make(chains=run.chains, burn_in=burn_in, thin=thin, max_draws=min(transitions, most)))


_METHODS: dict[str, Callable[[Run], Method]] = {
    "sgd": lambda run: SGD(run.falling(3 * run.rate), momentum=0.9, clip_norm=0.3),
    "adam": lambda run: run.adam(run.falling(run.adam_rate)),
    "ensemble": lambda run: Ensemble(run.adam(run.falling(run.adam_rate)), 5),
    "dropout": lambda run: MCDropout(run.falling(run.adam_rate), rate=0.05, beta_2=run.beta_2),
    "swag": _swag,
    "laplace": _laplace,
    "gauss_newton": _gauss_newton,
    "vbll": lambda run: VBLL(run.falling(run.adam_rate), beta_2=run.beta_2),
    "bbb": lambda run: BBB(run.falling(run.adam_rate), beta_2=run.beta_2),
    "vadam": lambda run: VADAM(run.falling(30 * run.rate), prec_init=10.0 * run.rows + run.prior_precision),
    "bsam": lambda run: BSAM(run.falling(100 * run.rate), s_init=10.0, clip_radius=0.1),
    "ivon": lambda run: IVON(run.falling(10 * run.rate), hess_init=1.0, clip_radius=0.3),
    "svgd": lambda run: SVGD(run.falling(run.adam_rate), 10, run.beta_2),
    "sgld": lambda run: _chains(
        run, lambda burn_in, thin: SGLD(CurvatureStep(run.fast_step), burn_in, thin, run.kept(_DRAWS))
    ),
    "psgld": lambda run: _chains(
        run,
        lambda burn_in, thin: PSGLD(
            CurvatureStep(2 * run.fast_step),
            burn_in=burn_in,
            thin=thin,
            max_draws=run.kept(_DRAWS),
        ),
    ),
    "csgld": _csgld,
    "sghmc": lambda run: _chains(
        run,
        lambda burn_in, thin: SGHMC(
            CurvatureStep(run.fast_step), burn_in=burn_in, thin=thin, max_draws=run.kept(_DRAWS)
        ),
    ),
    "hmc": lambda run: _transitions(run, HMC),
    "nuts": lambda run: _transitions(run, partial(NUTS, max_doublings=6)),
    "mclmc": lambda run: _transitions(run, MCLMC),
}

# Steps of a run for half of which Adam trains, and which leave ten draws or iterates after the burn-in.
_LEAST = {"swag": 2 * _FEW, "hmc": 40 + 4 * _FEW, "nuts": 40 + 4 * _FEW, "mclmc": 40 + 4 * _FEW, "gauss_newton": 50}


def for_run(name: str, run: Run, **hyper_parameters: Any) -> Method:
    """Return the method of a name for a run of this length and size.

    The rules were chosen on regressions of some hundred rows and on images of handwritten digits. In a run that is too
    short for the method's stages, a single step is left to each; a run of fewer steps than stages gets Adam.

    Args:
        name: a name of `bnnrl.inference.REGISTRY`, in lower case.
        run: the run.
        **hyper_parameters: fields of the named method that do not follow from the run. With any of them, the run is
            not checked for its length.

    Raises:
        ValueError: if there is no method of that name, an entry of `run` is no count of at least 1 or, for
            `prior_precision`, no positive number, or a hyper-parameter is unknown or out of its range.

    Warns:
        ShortRunWarning: if the run is too short for the result to mean much.
    """
    check_choice("name", name, tuple(_METHODS))
    for entry in ("steps", "rows", "batch_size", "num_params"):
        check_count(entry, getattr(run, entry))
    check_positive("prior_precision", run.prior_precision)
    if run.limit is not None:
        check_count("limit", run.limit, run.steps)
    method = _METHODS[name](run)
    if hyper_parameters:
        get(name, **hyper_parameters)  # raises ValueError
        return _replaced(method, REGISTRY[name], hyper_parameters)
    least = max(_LEAST.get(name, 0), method.min_steps and 2 * _FEW)
    if run.steps < method.min_steps:
        method = run.adam(run.falling(run.adam_rate))
    if run.steps < least:
        warnings.warn(
            f"This run of {run.steps} steps is too short for {name!r}, which needs at least {least} for its stages"
            f"{', so that Adam takes its place' if type(method) is Adam else ''}. Give `fit` more epochs.",
            ShortRunWarning,
            stacklevel=4,  # the caller of `fit`
        )
    return method


def _replaced(method: Any, cls: type, hyper_parameters: dict[str, Any]) -> Any:
    """Return `method` with fields of another value, those of the wrapped method of class `cls`."""
    if type(method) is cls:
        return replace(method, **hyper_parameters)
    return replace(method, method=_replaced(method.inner, cls, hyper_parameters))
