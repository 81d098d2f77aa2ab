"""The command `bnnrl`. TensorFlow is imported only where needed, so that help and errors appear at once."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import bnnrl
from bnnrl._compilation_cache import CacheError
from bnnrl.cli import interrupt
from bnnrl.cli.baseline import Baseline
from bnnrl.cli.cache import Cache
from bnnrl.cli.check import Check
from bnnrl.cli.compare import Compare
from bnnrl.cli.config import Config
from bnnrl.cli.evaluate import Evaluate
from bnnrl.cli.fit import Fit
from bnnrl.cli.parsing import parse
from bnnrl.cli.predict import Predict
from bnnrl.cli.report import Report
from bnnrl.cli.train import Train
from bnnrl.cli.tune import Tune
from bnnrl.cli.view import View
from bnnrl.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from bnnrl.storage.atomic import WriteError

_COMMANDS = {
    "check": Check,
    "train": Train,
    "config": Config,
    "compare": Compare,
    "baseline": Baseline,
    "fit": Fit,
    "tune": Tune,
    "predict": Predict,
    "evaluate": Evaluate,
    "report": Report,
    "view": View,
    "cache": Cache,
}

_DESCRIPTION = (
    "Bayesian neural networks by many inference methods, and model-based reinforcement learning with them. "
    "`bnnrl COMMAND --help` lists the options of a command."
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `bnnrl.exit_codes`.

    Args:
        argv: the arguments; None for those of the process.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # so that a closed pipe raises its error here and not when Python exits
    except BrokenPipeError:
        # The reader of the output has gone, as in `bnnrl --help | head`. What is still buffered goes to the null
        # device, because Python would otherwise fail to write it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:  # before the command has begun, or after it has ended
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(argv: list[str]) -> int:
    if argv == ["--version"]:
        print(f"bnnrl {bnnrl.__version__}")
        return DONE
    try:
        command = parse(_COMMANDS, argv, _DESCRIPTION)
    except ValueError as error:
        print(f"bnnrl: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except SystemExit as stop:
        # Without arguments the help is shown, but no command was run.
        return BAD_INPUT if not argv or stop.code else DONE
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that "module:Env-v0" finds modules in this folder, as with `python -m`
    with warnings.catch_warnings():
        # Gymnasium's warnings are advice to the authors of environments.
        warnings.filterwarnings("ignore", module="gymnasium")
        return _carry_out(command)


def _carry_out(command: Any) -> int:
    """Run a command and return its exit code; tell errors of its user, of the disk and Ctrl-C in a message."""
    try:
        with interrupt.watch():
            return command.run()
    except ValueError as error:
        print(f"bnnrl: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (WriteError, CacheError) as error:
        print(f"bnnrl: error: {error} {interrupt.advice()}".rstrip(), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"Interrupted. {interrupt.advice()}".rstrip(), file=sys.stderr)
        return INTERRUPTED
