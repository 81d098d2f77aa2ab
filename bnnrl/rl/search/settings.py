"""Settings of a policy search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from bnnrl.checks import check_count, check_fields, check_fraction, check_nonnegative, check_positive, check_within
from bnnrl.storage import config

_COUNTS = ("restarts", "updates", "rounds", "scout_updates", "candidates", "warmup")
_POSITIVE = (
    "screening_width",
    "settling_width",
    "learning_rate",
    "final_learning_rate",
    "adjoint_bound",
    "clip_norm",
)


@dataclass(frozen=True)
class PolicySearch:
    """Settings of a policy search.

    The cost of a swing-up is flat for almost every policy, and has many local optima for the others. The search
    therefore has two stages:

    1. Scouting repeats `rounds` times: screen `candidates` random policies by a rollout without gradient under a
       widened cost, then refine the best `restarts` of them side by side by a few gradient steps.
    2. Refinement takes many gradient steps with `restarts` policies: the best half of the previous search's policies,
       where there was one, and the best scouts. A refined policy is kept if its cost is lower than before.

    The policy of lowest expected cost then acts. Gradient steps are Adam's, relative to each parameter's scale, with
    a linear warm-up and a cosine decay of the learning rate; each policy's gradient is clipped to a global norm.
    Initial states and noise are drawn anew at every update and are the same for all policies.

    Args:
        restarts: R, number of policies refined side by side. The agent's particles are divided among them.
        updates: gradient steps of the refinement.
        rounds: rounds of scouting.
        scout_updates: gradient steps of a round of scouting.
        candidates: random policies screened in a round, rounded up to a multiple of 128 if there are more than 128.
        scout_horizon: share of the horizon over which scouts are judged. In the first half of the refinement, the
            horizon grows from this share to the whole: a policy that cannot yet hold the goal is dominated, over a
            long horizon, by how it leaves the goal again.
        screening_width: factor > 1 on the width of a saturating cost while screening.
        learning_rate: Adam's learning rate after the warm-up.
        final_learning_rate: Adam's learning rate at the last update.
        warmup: updates of the linear warm-up. Adam's first steps all have full size, which would undo the screening.
        settling_width: factor < 1 on the width of a saturating cost, which fades in over the second half of the
            refinement. A cost such as the distance of a pole's tip from upright hardly changes when the pole sways
            about its tip; a narrower cost does.
        optimism: κ of the objective, mean − κ × standard deviation of a policy's expected cost over draws of the
            models, for a saturating cost. κ counts in full above a mean of 0.6 and not at all below 0.4: a model that
            has seen little is worth trying where some draws promise success (Curi et al., "Efficient Model-Based
            Reinforcement Learning through Optimistic Policy Search and Planning", NeurIPS 2020), but near the goal no
            draw may fail.
        effort: share of a step's reward 1 − c that a saturating cost takes away for the largest action, and in
            proportion to the squared action for smaller ones. Effort fades in like `settling_width`. Discrete actions
            have none.
        adjoint_bound: bound on the gradient with respect to a particle's state at any time: the largest change of the
            particle's mean cost, in units of the cost's range, for a typical step of the state. Rollouts near an
            unstable equilibrium are chaotic; without a bound, a few particles with exploding gradients dominate.
        beta_2: Adam's β₂.
        clip_norm: largest norm of one policy's gradient.
        dropout: probability of leaving out each hidden unit of a policy in an update, as in MC-PILCO (Amadio et al.,
            IEEE T-RO 2022, section V).
        action_noise: standard deviation of noise added to actions in an update, in shares of the action's range. A
            policy that is refined under noise tolerates errors of its actions.
        extrapolation: how far an entry of the observation may leave the range observed so far, in widths of this range,
            before a step counts as the worst, see `bnnrl.rl.search.objective.penalize_extrapolation`. Rods that whirl
            in a rollout that diverges are upright by chance, which a search prefers to rods that hang. Entries that the
            model does not see as they are, such as angles, have no range. Infinity: no penalty.

    Raises:
        ValueError: if a value is out of its range.
    """

    restarts: int = 8
    updates: int = 1000
    rounds: int = 4
    scout_updates: int = 200
    candidates: int = 2048
    scout_horizon: float = 0.6
    screening_width: float = 2.5
    learning_rate: float = 2e-2
    final_learning_rate: float = 1e-3
    warmup: int = 100
    settling_width: float = 0.5
    optimism: float = 1.0
    effort: float = 0.1
    adjoint_bound: float = 1.0
    beta_2: float = 0.99
    clip_norm: float = 1.0
    dropout: float = 0.0
    action_noise: float = 0.0
    extrapolation: float = math.inf

    def __post_init__(self):
        check_fields(self, **dict.fromkeys(_COUNTS, check_count), **dict.fromkeys(_POSITIVE, check_positive))
        check_fields(self, scout_horizon=partial(check_within, interval="(0, 1]", expected="a share in (0, 1]"))
        check_fields(self, extrapolation=partial(check_within, interval="[0, inf]", expected="a number of at least 0"))
        check_fields(self, optimism=check_nonnegative, action_noise=check_nonnegative)
        check_fields(self, effort=check_fraction, dropout=check_fraction, beta_2=check_fraction)
        if self.candidates < self.restarts:
            raise ValueError(
                f"Invalid `candidates`: expected at least one for each of the {self.restarts} restarts. "
                f"Received: candidates={self.candidates}."
            )


config.register(PolicySearch)
