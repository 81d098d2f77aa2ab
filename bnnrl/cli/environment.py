"""Options of the environment on the command line: keyword arguments, wrappers and reset options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnrl.cli.options import named_values


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of PILCO and check for the options "preset", "env_kwargs", "wrapper" and "reset_options"."""
    env_kwargs = named_values(options["env_kwargs"] or (), "env-kwargs", "gravity=9.8")
    if options["preset"]:
        env_kwargs = {"preset": options["preset"], **env_kwargs}
    reset_options = named_values(options["reset_options"] or (), "reset-options", "low=0.1")
    return {
        "env_kwargs": env_kwargs,
        "wrappers": tuple(options["wrapper"] or ()),
        "reset_options": reset_options or None,
    }
