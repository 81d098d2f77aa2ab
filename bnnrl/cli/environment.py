"""Options of the environment on the command line: keyword arguments, wrappers and reset options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from bnnrl.cli.options import named_values, optional


@dataclass
class EnvironmentOptions:
    """Options of the commands that train in an environment."""

    env: Annotated[str | None, tyro.conf.Positional, optional("ENV", "none; required without --resume")] = None
    """Id of a Gymnasium environment; module:Name-v0 if importing your module registers it."""
    preset: Annotated[str | None, optional("STR", "none")] = None
    """Variant of the environment, for environments that have presets."""
    env_kwargs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Keyword arguments of the environment, such as gravity=9.8 continuous=True."""
    wrapper: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE:CLASS ...")] = ()
    """Wrappers around the environment, the innermost first, such as gymnasium.wrappers:FlattenObservation."""
    reset_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Options of each reset of the environment."""


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
