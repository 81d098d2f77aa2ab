"""Times the work of pets.py with mbrl-lib (the package mbrl), two threads.

mbrl-lib differs in this: the loss of its ensemble has no prior, and bounds on the variance instead of a floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import gymnasium
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import tyro
from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel  # pyright: ignore[reportMissingImports]
from mbrl.planning import CEMOptimizer  # pyright: ignore[reportMissingImports]
from turns import num_threads, serve

MEMBERS, LAYERS, WIDTH, ROWS, BATCH, OBS, ACTIONS = 5, 3, 200, 1000, 256, 4, 1


@dataclass
class Args:
    """Settings of the benchmark."""

    part: Literal["train", "plan"] = "train"
    """What is timed."""
    count: int = 50
    """Training steps, or actions, in a block."""


def ensemble() -> Any:
    """Return mbrl-lib's ensemble of networks."""
    sizes: dict[str, Any] = {"in_size": OBS + ACTIONS, "out_size": OBS, "hid_size": WIDTH, "num_layers": LAYERS}
    return GaussianMLP(device="cpu", ensemble_size=MEMBERS, propagation_method="random_model", **sizes)


def trained(count: int) -> Callable:
    """Return a function that takes training steps."""
    model = ensemble()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = torch.randn(ROWS, OBS + ACTIONS), torch.randn(ROWS, OBS)

    def block():
        for _ in range(count):
            rows = torch.randint(ROWS, (MEMBERS, BATCH))
            model.update(x[rows], optimizer, y[rows])

    return block


def planned(count: int) -> Callable:
    """Return a function that chooses actions."""
    box = lambda size: gymnasium.spaces.Box(-1.0, 1.0, (size,))
    model = OneDTransitionRewardModel(ensemble(), target_is_delta=True, normalize=True, learned_rewards=False)
    reward = lambda action, obs: torch.exp(-0.5 * (obs**2).sum(-1, keepdim=True))
    goes_on = lambda action, obs: torch.zeros(len(obs), 1, dtype=torch.bool)
    spaces: Any = SimpleNamespace(observation_space=box(OBS), action_space=box(ACTIONS))
    env = ModelEnv(spaces, model, goes_on, reward)
    low, high = [[-1.0] * ACTIONS] * 15, [[1.0] * ACTIONS] * 15
    cem = CEMOptimizer(5, 0.1, 350, low, high, alpha=0.1, device=torch.device("cpu"), return_mean_elites=True)
    obs, start = np.random.default_rng(0).normal(size=OBS), torch.zeros(15, ACTIONS)

    def block():
        for _ in range(count):
            cem.optimize(lambda candidates: env.evaluate_action_sequences(candidates, obs, 20), start)

    return block


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(num_threads())
    serve(trained(args.count) if args.part == "train" else planned(args.count), args.count)


if __name__ == "__main__":
    main(tyro.cli(Args))
