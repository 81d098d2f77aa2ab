"""Times the policy update of cartpole.py with Gaussian processes in PyTorch, on one thread.

"mc-pilco" is a stand-in for the code of MC-PILCO's authors, which no package index has. It is written from the paper
(Amadio et al., "Model-Based Policy Search Using Monte Carlo Gradient Estimation With Real Systems Application", IEEE
T-RO 2022): one Gaussian process for each velocity, positions integrated from velocities, 400 particles, 60 steps, a
policy of 200 Gaussian units and a saturating cost, in float64. The kernel is squared exponential, and all data are
used. The part "fit" is a step of Adam on both marginal likelihoods.

"torchrl" is PILCO by the modules of TorchRL: a Gaussian belief, moment matching and a policy of 50 Gaussian units.

    python cartpole_torch.py --stack mc-pilco --points 300
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch  # pyright: ignore[reportMissingImports]
import tyro
from turns import serve

PARTICLES, HORIZON, OBS, UNITS, DT, LIMIT = 400, 60, 4, 200, 0.05, 10.0


@dataclass
class Args:
    """Settings of the benchmark."""

    stack: Literal["mc-pilco", "torchrl"] = "mc-pilco"
    """The implementation."""
    points: int = 300
    """Number of transitions in the data; an episode has 60."""
    part: Literal["update", "fit"] = "update"
    """A policy update, or a training step of the model."""
    float32: bool = False
    """Whether to compute in float32."""


def features(obs: torch.Tensor) -> torch.Tensor:
    """Return x, x', θ', sin θ and cos θ, [..., 5], of observations x, x', θ, θ' [..., 4]."""
    return torch.cat([obs[..., :2], obs[..., 3:], obs[..., 2:3].sin(), obs[..., 2:3].cos()], -1)


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the squared distances [..., A, B] of rows a [..., A, F] and b [..., B, F]."""
    squares = (a**2).sum(-1)[..., :, None] + (b**2).sum(-1)[..., None, :]
    return (squares - 2 * a @ b.transpose(-1, -2)).clamp_min(0)


class GaussianProcesses(torch.nn.Module):
    """Two Gaussian processes with squared exponential kernels and zero mean."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor):
        super().__init__()
        self.inputs, self.targets = inputs, targets  # [N, F], [2, N]
        self.log_scales = torch.nn.Parameter(torch.zeros(2, 1, inputs.shape[-1]))
        self.log_noise = torch.nn.Parameter(torch.full((2,), -2.0))

    def factor(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the Cholesky factors [2, N, N] of the targets' covariance, and its inverse times the targets."""
        scaled = self.inputs * torch.exp(-self.log_scales)
        covariance = torch.exp(-0.5 * squared_distances(scaled, scaled))
        noise = torch.exp(2 * self.log_noise)[:, None, None] * torch.eye(len(self.inputs))
        root = torch.linalg.cholesky(covariance + noise)
        return root, torch.cholesky_solve(self.targets[..., None], root)

    def negative_log_likelihood(self) -> torch.Tensor:
        """Return −log p(targets | inputs) of both processes, up to a constant."""
        root, weights = self.factor()
        data = 0.5 * (self.targets[..., None] * weights).sum()
        return data + root.diagonal(dim1=-2, dim2=-1).log().sum()

    def predictor(self) -> Callable:
        """Return the function from inputs [P, F] to means and standard deviations, [2, P]."""
        with torch.no_grad():
            root, weights = self.factor()
            inverse = torch.cholesky_inverse(root)
            scales = torch.exp(-self.log_scales)
            scaled = self.inputs * scales

        def predict(x):
            kernel = torch.exp(-0.5 * squared_distances(x * scales, scaled))  # [2, P, N]
            variance = 1.0 - ((kernel @ inverse) * kernel).sum(-1)
            return (kernel @ weights)[..., 0], variance.clamp_min(1e-8).sqrt()

        return predict


class Policy(torch.nn.Module):
    """A weighted sum of Gaussian units, squashed to the range of the action."""

    def __init__(self):
        super().__init__()
        self.centers = torch.nn.Parameter(torch.randn(UNITS, OBS + 1))
        self.log_scales = torch.nn.Parameter(torch.zeros(OBS + 1))
        self.weights = torch.nn.Parameter(torch.rand(UNITS, 1) - 0.5)

    def forward(self, obs):
        """Return the actions [..., 1]."""
        scale = torch.exp(-self.log_scales)
        units = torch.exp(-squared_distances(features(obs) * scale, self.centers * scale))
        return LIMIT * torch.tanh(units @ self.weights / LIMIT)


def sampled_rollout(predict: Callable, policy: Policy) -> torch.Tensor:
    """Return the mean cost of the particles' rollouts by a model's predictor, with a gradient for the policy."""
    obs, total = 0.01 * torch.randn(PARTICLES, OBS), 0.0
    for _ in range(HORIZON):
        mean, deviation = predict(torch.cat([features(obs), policy(obs)], -1))
        change = (mean + deviation * torch.randn_like(mean)).T  # [P, 2]
        velocity = obs[:, 1::2] + change
        position = obs[:, ::2] + DT * (obs[:, 1::2] + velocity) / 2
        obs = torch.stack([position[:, 0], velocity[:, 0], position[:, 1], velocity[:, 1]], -1)
        distance = ((obs[:, 2].abs() - torch.pi) / 3) ** 2 + obs[:, 0] ** 2
        total = total + (1 - torch.exp(-distance)).mean()
    return total / HORIZON


def torchrl_update(points: int) -> Callable:
    """Return the function that takes a policy update with TorchRL's modules."""
    from tensordict import TensorDict  # pyright: ignore[reportMissingImports]
    from torchrl.modules import GPWorldModel, RBFController  # pyright: ignore[reportMissingImports]
    from torchrl.objectives import ExponentialQuadraticCost  # pyright: ignore[reportMissingImports]

    model = GPWorldModel(OBS, 1)
    obs, action = torch.randn(points, OBS), torch.randn(points, 1)
    after = obs + 0.1 * torch.sin(obs + action) + 0.01 * torch.randn(points, OBS)
    model.fit(TensorDict({"observation": obs, "action": action, ("next", "observation"): after}, [points]))
    policy, cost = RBFController(OBS, 1, LIMIT, 50), ExponentialQuadraticCost()
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)

    def update():
        mean, covariance, total = torch.zeros(1, OBS), 1e-4 * torch.eye(OBS)[None], torch.zeros(())
        for _ in range(HORIZON):
            action, spread, cross = policy(mean, covariance)
            belief = {"mean": mean, "var": covariance}
            act = {"mean": action, "var": spread, "cross_covariance": cross}
            result = model(TensorDict({"observation": belief, "action": act}, [1]))
            mean, covariance = result["next", "observation", "mean"], result["next", "observation", "var"]
            state = TensorDict({"observation": {"mean": mean, "var": covariance}}, [1])
            total = total + cost(state)["loss_cost"]
        optimizer.zero_grad()
        (total / HORIZON).backward()
        optimizer.step()

    return update


def mc_pilco_step(points: int, part: str) -> Callable:
    """Return the function that takes a policy update, or a training step of the model."""
    inputs, targets = torch.randn(points, OBS + 2), 0.1 * torch.randn(2, points)
    model, policy = GaussianProcesses(inputs, targets), Policy()
    predict = model.predictor()  # once, because the model does not change during a policy search
    loss = model.negative_log_likelihood if part == "fit" else lambda: sampled_rollout(predict, policy)
    optimizer = torch.optim.Adam((model if part == "fit" else policy).parameters(), 1e-2)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def main(args: Args) -> None:
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32 if args.float32 else torch.float64)
    step = torchrl_update(args.points) if args.stack == "torchrl" else mc_pilco_step(args.points, args.part)
    serve(step, 1)


if __name__ == "__main__":
    main(tyro.cli(Args))
