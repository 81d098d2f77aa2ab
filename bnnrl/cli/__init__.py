"""The command line: one module for each command of `bnnrl`."""

from bnnrl.cli.main import main

__all__ = ["main"]
