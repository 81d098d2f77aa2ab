"""Install a wheel without extras into a fresh environment, and use it: `python tests/wheel.py dist/bnnrl-*.whl`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

FIT = """
import keras, numpy as np, bnnrl
x = np.linspace(-1, 1, 64, dtype="float32")[:, np.newaxis]
network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
model = bnnrl.BayesianModel(network, "gaussian", method="ensemble")
model.fit(x, x**2, epochs=20, verbose=0)
assert model.predict(x).shape == (64, 1)
model.save("model")
assert np.array_equal(bnnrl.load("model").predict(x), model.predict(x))
"""
TRAIN = ["train", "bnnrl/CartPoleSwingUp-v0", "--trials", "2", "--search.updates", "20"]
TRAIN += ["--search.rounds", "1", "--dynamics.steps", "50"]


def main(wheel: str) -> None:
    """Install the wheel; check its import, `bnnrl --help`, a fit that is saved and loaded, and a short training."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "env", with_pip=True)
        programs = Path(folder) / "env" / "bin"

        def run(purpose: str, *command: str) -> str:
            print(purpose, flush=True)
            arguments = [str(programs / command[0]), *command[1:]]
            done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{purpose}: failed with exit code {done.returncode}.\n{done.stderr}")
            return done.stdout

        run("Install the wheel", "python", "-m", "pip", "install", "--quiet", str(Path(wheel).absolute()))
        version = run("Import bnnrl", "python", "-c", "import bnnrl; print(bnnrl.__version__)").strip()
        if f"bnnrl-{version}-" not in wheel:
            raise SystemExit(f"The wheel {wheel} holds version {version}.")
        if "train" not in run("Show the help", "bnnrl", "--help"):
            raise SystemExit("`bnnrl --help` does not list the commands.")
        run("Fit, save and load a model", "python", "-c", FIT)
        run("Train an agent for two trials", "bnnrl", *TRAIN, "--folder", "run")
        if not (Path(folder) / "run" / "report.html").is_file():
            raise SystemExit("The training wrote no report.html.")


if __name__ == "__main__":
    main(sys.argv[1])
