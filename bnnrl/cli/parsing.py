"""From a command line to a command: old names, the settings of a file, and the options of all groups of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import tyro

from bnnrl.checks import nearest
from bnnrl.cli import groups, old_settings
from bnnrl.cli.completion import fish
from bnnrl.cli.config_file import ConfigFile, chosen_classes
from bnnrl.cli.output import warn

_COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


def parse(commands: Mapping[str, type], argv: Sequence[str], description: str) -> Any:
    """Return the command that a command line gives.

    Args:
        commands: the dataclasses of the commands, by name.
        argv: the command line.
        description: what the help says of the program.

    Raises:
        ValueError: for a file of settings that cannot be used, or an old option that has no value.
        SystemExit: after the help, or a mistake, which is printed; the code says which.
    """
    argv = old_settings.renamed(argv, warn)
    name = argv[0] if argv else ""
    prepared = {
        command: _Prepared(cls, command, argv) for command, cls in commands.items() if _is_needed(command, cls, argv)
    }
    if argv and argv[0] == _COMPLETION[0] and argv[1:] == ["fish"]:
        print(fish({command: _long_options(prepared.get(command), cls) for command, cls in commands.items()}), end="")
        raise SystemExit(0)
    found = tyro.extras.subcommand_cli_from_dict(
        {**commands, **{command: each.options for command, each in prepared.items()}},
        prog="bnnrl",
        description=description,
        args=argv or ["--help"],
    )
    return prepared[name].command(found) if name in prepared else found


def _long_options(prepared: _Prepared | None, cls: type) -> list[str]:
    """Return the names of the long options of a command."""
    names = [field.name for field in dataclasses.fields(cls) if field.type != "Group"]
    return [name.replace("_", "-") for name in (*names, *(prepared.paths if prepared else ()))]


def _is_needed(command: str, cls: type, argv: Sequence[str]) -> bool:
    """Return whether the options of all groups of a command are needed: for its command line, or for completion."""
    return bool(groups.groups_of(cls)) and bool(argv) and argv[0] in (command, *_COMPLETION)


class _Prepared:
    """A command with the options of its groups, and with the settings of a file as default values."""

    def __init__(self, cls: type, name: str, argv: Sequence[str]):
        self.cls, self.holders = cls, groups.groups_of(cls)
        path = _value_of(argv, "config")
        if path is not None and _value_of(argv, "resume") is not None:
            raise ValueError(
                "Invalid arguments: expected --config or --resume, which continues with the settings of the run. "
                f"Received: both, --config {path}."
            )
        file = ConfigFile(path, name) if path is not None else None
        named = [group for group, holder in self.holders.items() if group != holder]
        names = {group: self._names(group, argv, file) for group in named}
        self.fields = {group: groups.fields_of_group(group, names) for group in self.holders}
        if file:
            self._drop_fields_of_others(file, argv)
        self.below = file.checked(groups.plain_fields(cls), self.fields, self.holders) if file else {}
        self.paths: list[str] = []  # of the options of groups, such as "dynamics.hidden"
        self.options = self._make_options(argv, names)

    def _names(self, group: str, argv: Sequence[str], file: ConfigFile | None) -> list[str]:
        """Return the names that give a group its class; several where a command compares methods."""
        several = f"{group}s"
        option = several if any(f.name == several for f in dataclasses.fields(self.cls)) else group
        value = _value_of(argv, option) or (file.name(option) if file else None)
        default = next((f.default for f in dataclasses.fields(self.cls) if f.name == option), None)
        value = value or default or {"likelihood": "gaussian", "method": groups.UNNAMED_METHOD}.get(group, "")
        return [name.strip() for name in str(value).split(",")]

    def _drop_fields_of_others(self, file: ConfigFile, argv: Sequence[str]) -> None:
        """Drop the settings of a method or policy in a file if the command line names another one."""
        for group, holder in self.holders.items():
            given, in_file = _value_of(argv, group), file.name(group)
            if holder != group and given is not None and in_file is not None and given != in_file:
                entries = [name for name in (group, holder) if isinstance(file.settings.pop(name, None), Mapping)]
                if entries:
                    warn(
                        f"The settings of {group} {in_file} in {file.path} are not used, because of --{group} {given}."
                    )

    def _make_options(self, argv: Sequence[str], names: Mapping[str, Sequence[str]]) -> type:
        """Return a subclass of the command, whose fields for groups are classes of options."""
        hints = get_type_hints(self.cls, include_extras=True)
        fields: list[tuple[str, Any, Any]] = []
        for field in dataclasses.fields(self.cls):
            if field.name in self.below and field.name not in self.holders.values():
                value = self.below[field.name]
                value = tuple(value) if isinstance(value, list) else value
                fields.append((field.name, hints[field.name], dataclasses.field(default=value)))
        chosen = {**chosen_classes(self._by_group()), **_chosen_in(argv)}
        for group, holder in self.holders.items():
            description = _description(group, names.get(group, ()))
            cls = groups.options_class(group, self.fields[group], chosen, description)
            _check_options(argv, group, groups.paths_of(cls, group), ", ".join(names.get(group, ())))
            fields.append((holder, groups.named(cls, group), dataclasses.field(default_factory=cls)))
            self.paths += groups.paths_of(cls, group)
        made = dataclasses.make_dataclass(self.cls.__name__, fields, bases=(self.cls,))
        made.__doc__ = self.cls.__doc__
        return made

    def _by_group(self) -> dict[str, Any]:
        return {group: self.below.get(holder, {}) for group, holder in self.holders.items()}

    def command(self, options: Any) -> Any:
        """Return the command that tyro's result gives, with what the file gave below it."""
        values = {field.name: getattr(options, field.name) for field in dataclasses.fields(self.cls)}
        for holder in self.holders.values():
            values[holder] = groups.merged(self.below.get(holder, {}), groups.given(values[holder]))
        return self.cls(**values)


def _description(group: str, names: Sequence[str]) -> str:
    subject = {
        "dynamics": "Dynamics, the settings of the dynamics model",
        "reward_model": "Dynamics, for the models of reward and termination where these are learned",
        "search": "PolicySearch, the settings of the policy search",
    }.get(group, f"the {group} {', '.join(names)}")
    return f"Fields of {subject}."


def _check_options(argv: Sequence[str], group: str, known: Sequence[str], subject: str) -> None:
    """Raise ValueError if a command line has an option of a group that the group has not."""
    known = [f"--{path.replace('_', '-')}" for path in known]
    for word in argv:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith(f"--{group.replace('_', '-')}.") and option not in known:
            of = f" of the {group} {subject}" if subject else ""
            raise ValueError(
                f"Invalid `{option}`: expected one of the options{of}, {', '.join(known) or 'which has none'}. "
                f"Received: {word!r}.{nearest(option, known)}"
            )


def _value_of(argv: Sequence[str], option: str) -> str | None:
    """Return the last value that a command line gives to an option; None if it gives none."""
    found = None
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:].replace("-", "_") == option:
            found = value if equals else argv[i + 1] if i + 1 < len(argv) else found
    return found


def _chosen_in(argv: Sequence[str]) -> dict[str, str]:
    """Return the values of options within groups by their path, some of which name classes."""
    paths = {word[2:].partition("=")[0].replace("-", "_") for word in argv if word.startswith("--") and "." in word}
    return {path: value for path in paths if (value := _value_of(argv, path))}
