"""`Constraint`: what a policy has to keep to along an episode, with a stated probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bnnrl.checks import check_callable, check_fields, check_open_unit


@dataclass(frozen=True)
class Constraint:
    """A chance constraint: with a probability of at least `probability`, a function stays below 0 at every step.

    Example:
        A cart that has to stay on its rail of 1.2 m in 99 of 100 episodes::

            Constraint(lambda obs, action, next_obs: tf.abs(next_obs[..., 0]) - 0.6, probability=0.99)

    Args:
        function: differentiable TensorFlow function (obs [..., M], action [..., A], next_obs [..., M]) -> float32
            [...], which is 0 or more where a step violates the constraint. Observations include what `Task.delay` and
            `Task.history` add to them: of an observation with O entries and `delay=1`, entries O and after are the
            previous action, on whose change a limit can thereby be set.
        probability: probability that a whole rollout keeps the constraint, above 0 and below 1.

    Raises:
        ValueError: if the function is not callable, or the probability is out of its range.
    """

    function: Callable
    probability: float = 0.95

    def __post_init__(self):
        check_fields(self, function=check_callable, probability=check_open_unit)

    @property
    def allowed(self) -> float:
        """The largest share of rollouts that may violate the constraint."""
        return 1.0 - self.probability


def check_constraints(name: str, value: Any) -> dict[str, Constraint]:
    """Return constraints by their names, or raise ValueError unless `value` is a mapping from names to constraints.

    A function in the place of a constraint is one with the default probability.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(
            f"Invalid `{name}`: expected a mapping from names to bnnrl.tasks.Constraint or functions, such as "
            "{'rail': lambda obs, action, next_obs: tf.abs(next_obs[..., 0]) - 0.6}. "
            f"Received: {name}={value!r}."
        )
    return {key: one if isinstance(one, Constraint) else Constraint(one) for key, one in value.items()}
