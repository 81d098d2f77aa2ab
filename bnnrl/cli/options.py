"""How options are shown by `--help`."""

from __future__ import annotations

from typing import Any

import tyro


def optional(metavar: str, default: str) -> Any:
    """Return the annotation of an option whose default is None.

    Args:
        metavar: how the help shows the value, such as "INT".
        default: what is used if the option is not given, as the help shows it.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")
