"""Times the policy update of rollout.py in PyTorch: eager, two threads.

python rollout_torch.py mlp|rbf
"""

import itertools
import sys

import torch  # pyright: ignore[reportMissingImports]
from turns import num_threads, serve

DRAWS, PER_DRAW, HORIZON, OBS, ACTIONS, WIDTH, UNITS = 10, 10, 25, 5, 1, 200, 50
UPDATES = 10


class RBF(torch.nn.Module):
    """Policy of radial basis functions."""

    def __init__(self):
        super().__init__()
        self.centers = torch.nn.Parameter(torch.randn(UNITS, OBS))
        self.log_scales = torch.nn.Parameter(torch.zeros(OBS))
        self.weights = torch.nn.Parameter(torch.randn(UNITS, ACTIONS) * 0.1)

    def forward(self, obs):
        """Return the actions."""
        inverse = torch.exp(-self.log_scales)
        z, c = obs * inverse, self.centers * inverse
        d2 = (z**2).sum(-1, keepdim=True) - 2 * z @ c.T + (c**2).sum(-1)
        return torch.tanh(torch.exp(-0.5 * d2) @ self.weights)


def make_policy(name):
    """Return the policy "mlp" or "rbf"."""
    if name == "rbf":
        return RBF()
    return torch.nn.Sequential(
        torch.nn.Linear(OBS, UNITS), torch.nn.Tanh(), torch.nn.Linear(UNITS, ACTIONS), torch.nn.Tanh()
    )


def main():
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(num_threads())
    policy = make_policy(sys.argv[1])
    optimizer = torch.optim.Adam(policy.parameters(), 1e-3)
    sizes = [OBS + ACTIONS, WIDTH, WIDTH, 2 * OBS]
    (k1, b1), (k2, b2), (k3, b3) = [
        (torch.randn(DRAWS, i, o) / i**0.5, torch.zeros(DRAWS, 1, o)) for i, o in itertools.pairwise(sizes)
    ]
    start, noise = torch.randn(DRAWS, PER_DRAW, OBS), torch.randn(HORIZON, DRAWS, PER_DRAW, OBS)

    def step(obs, eps):
        x = torch.cat([obs, policy(obs)], -1)
        x = torch.relu(torch.baddbmm(b1, x, k1))
        x = torch.relu(torch.baddbmm(b2, x, k2))
        mean, log_scale = torch.baddbmm(b3, x, k3).chunk(2, -1)
        return obs + 0.1 * mean + torch.exp(log_scale.clamp(-5, -2)) * eps

    def update():
        obs, total = start, torch.zeros(())
        for eps in noise:
            obs = step(obs, eps)
            total = total + (1 - torch.exp(-0.5 * (obs**2).sum(-1))).mean()
        optimizer.zero_grad()
        (total / HORIZON).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()

    def block():
        for _ in range(UPDATES):
            update()

    serve(block, UPDATES)


if __name__ == "__main__":
    main()
