"""The command line. TensorFlow is imported only by what needs it, so that help and mistakes answer at once."""

from __future__ import annotations

import os
import sys
import warnings

import tyro

import bnnrl
from bnnrl.cli.cache import Cache
from bnnrl.cli.check import Check
from bnnrl.cli.compare import Compare
from bnnrl.cli.evaluate import Evaluate
from bnnrl.cli.fit import Fit
from bnnrl.cli.report import Report
from bnnrl.cli.train import Train
from bnnrl.exit_codes import INTERRUPTED

_COMMANDS = {
    "check": Check,
    "train": Train,
    "compare": Compare,
    "fit": Fit,
    "evaluate": Evaluate,
    "report": Report,
    "cache": Cache,
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 2 bad input, 1 failed, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        print(f"bnnrl {bnnrl.__version__}")
        return 0
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="bnnrl",
            description="Bayesian neural networks, and model-based reinforcement learning with them.",
            args=argv or ["--help"],
        )
    except SystemExit as stop:
        # No arguments: help, but it is not what was wanted.
        return 2 if not argv or stop.code else 0
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where "module:Env-v0" is looked for too, as by `python -m`
    with warnings.catch_warnings():
        # Gymnasium's advice on how to write environments is not for those who use them.
        warnings.filterwarnings("ignore", module="gymnasium")
        try:
            return command.run()
        except ValueError as error:
            print(f"bnnrl: error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return INTERRUPTED
