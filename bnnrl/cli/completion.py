"""Completion for the shell fish, which tyro does not write; tyro writes that for bash, zsh and tcsh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def fish(options: Mapping[str, Iterable[str]]) -> str:
    """Return a script for fish that completes commands and their options.

    Args:
        options: the long options of each command, without dashes.
    """
    no_command = f"not __fish_seen_subcommand_from {' '.join(options)}"
    lines = ["# Completion of bnnrl for fish."]
    lines += [f"complete -c bnnrl -n '{no_command}' -f -a {command}" for command in options]
    for command, names in options.items():
        lines += [f"complete -c bnnrl -n '__fish_seen_subcommand_from {command}' -l {name}" for name in names]
    return "\n".join(lines) + "\n"
