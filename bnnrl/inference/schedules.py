"""Learning-rate schedules: functions of the step number, for the learning rate or step size of any method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import tensorflow as tf

from bnnrl.checks import check_choice, check_count, check_fields, check_nonnegative, check_positive, check_within
from bnnrl.structure import HasNumbers


@dataclass(frozen=True)
class Schedule(HasNumbers):
    """Learning-rate schedule: linear warm-up, decay, then constant.

    At step t, counted from 0:
        rate(t) = initial · (t + 1) / warmup                                           for t < warmup
                = final + (initial − final) · shape((t − warmup) / (steps − warmup))   until t = steps
                = final                                                                after
    with shape(p) = (1 + cos πp) / 2 for "cosine" and 1 − p for "linear". With "constant" the rate stays at `initial`
    after the warm-up, and `final` and `steps` are not used.

    Args:
        initial: the learning rate after the warm-up.
        final: the learning rate from step `steps` on.
        steps: number of steps of the schedule, including the warm-up.
        warmup: number of steps of linear warm-up, from `initial` / `warmup` at step 0.
        kind: "cosine", "linear" or "constant".

    Raises:
        ValueError: for a rate that is not positive, a warm-up that leaves no step to decay, or an unknown kind.
    """

    initial: float
    final: float = 0.0
    steps: int = 1
    warmup: int = 0
    kind: str = "cosine"

    tensor_fields: ClassVar = ("initial", "final", "steps")

    def __post_init__(self):
        check_fields(self, initial=check_positive, final=check_nonnegative)
        check_fields(self, steps=check_count, warmup=partial(check_count, least=0))
        check_choice("kind", self.kind, ("cosine", "linear", "constant"))
        if self.kind != "constant" and self.warmup >= self.steps:
            raise ValueError(
                f"Invalid `steps`: expected 0 <= warmup < steps. Received: warmup={self.warmup!r}, steps={self.steps!r}"
            )

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate at `step`, counted from 0, as a float32 scalar."""
        step = tf.cast(step, tf.float32)
        warm = tf.minimum(1.0, (step + 1.0) / self.warmup) if self.warmup else 1.0
        if self.kind == "constant":
            return tf.convert_to_tensor(self.initial * warm, tf.float32)
        progress = tf.clip_by_value((step - self.warmup) / tf.cast(self.steps - self.warmup, tf.float32), 0.0, 1.0)
        shape = 0.5 * (1.0 + tf.cos(math.pi * progress)) if self.kind == "cosine" else 1.0 - progress
        return (self.final + (self.initial - self.final) * shape) * warm


@dataclass(frozen=True)
class Polynomial(HasNumbers):
    """Polynomial decay for Langevin dynamics: rate(t) = a (b + t)^−γ at step t, counted from 0.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011.

    Args:
        a: the scale.
        b: the offset in steps; the rate has halved after b (2^(1/γ) − 1) steps.
        gamma: γ in (0.5, 1], for which the sum of the rates is infinite and the sum of their squares finite.

    Raises:
        ValueError: for an argument out of its range.
    """

    a: float
    b: float = 1.0
    gamma: float = 0.55

    tensor_fields: ClassVar = ("a", "b", "gamma")

    def __post_init__(self):
        check_fields(self, a=check_positive, b=check_positive, gamma=partial(check_within, interval="(0.5, 1]"))

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate at `step`, counted from 0, as a float32 scalar."""
        return self.a * (self.b + tf.cast(step, tf.float32)) ** -self.gamma


Rate = float | Schedule | Polynomial


def rate(value: Rate, step: tf.Tensor) -> tf.Tensor:
    """Return the rate at `step` for a constant or a schedule."""
    return value(step) if isinstance(value, Schedule | Polynomial) else tf.convert_to_tensor(value, tf.float32)


def check_rate(name: str, value: Any) -> Rate:
    """Return `value`, a number as a float, or raise ValueError unless it is a schedule or a positive finite number."""
    return value if isinstance(value, Schedule | Polynomial) else check_positive(name, value)
