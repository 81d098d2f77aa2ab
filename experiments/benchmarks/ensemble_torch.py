"""Times the steps of ensemble.py in PyTorch: eager, batched matrix products for five networks, two threads."""

import itertools

import torch  # pyright: ignore[reportMissingImports]
from turns import num_threads, serve

ROWS, BATCH, WIDTH, MEMBERS = 1000, 64, 200, 5
STEPS = 100


def main():
    """Serve timed blocks to run.py."""
    torch.manual_seed(0)
    torch.set_num_threads(num_threads())
    x_all, y_all = torch.randn(ROWS, 6), torch.randn(ROWS, 4)
    sizes = [6, WIDTH, WIDTH, 4]
    (k1, b1), (k2, b2), (k3, b3) = layers = [
        (torch.nn.Parameter(torch.randn(MEMBERS, i, o) / i**0.5), torch.nn.Parameter(torch.zeros(MEMBERS, 1, o)))
        for i, o in itertools.pairwise(sizes)
    ]
    optimizer = torch.optim.Adam([weight for layer in layers for weight in layer], 1e-3)

    def step():
        rows = torch.randint(ROWS, (MEMBERS, BATCH))
        x, y = x_all[rows], y_all[rows]
        x = torch.relu(torch.baddbmm(b1, x, k1))
        x = torch.relu(torch.baddbmm(b2, x, k2))
        loss = ((torch.baddbmm(b3, x, k3) - y) ** 2).mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def block():
        for _ in range(STEPS):
            step()

    serve(block, STEPS)


if __name__ == "__main__":
    main()
