"""Settings of a command from a file: YAML, JSON, or the config.json of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bnnrl.checks import nearest
from bnnrl.cli import old_settings, values
from bnnrl.cli.output import check_file, warn
from bnnrl.cli.schema import Field
from bnnrl.storage.run_folder import VERSION

_OF_RUN = ("format", "version", "kind", "settings", "versions")  # entries of config.json
_KINDS = {"run": ("train", "compare", "config"), "comparison": ("compare",), "fit": ("fit",)}  # and its commands
_NOT_SETTINGS = ("config", "resume", "folder")  # options that a file cannot give

Path_ = tuple[str, ...]


class ConfigFile:
    """The settings in a file, not checked yet.

    Args:
        path: a YAML or JSON file.
        command: the name of the command that reads it, such as "train".

    Raises:
        ValueError: if there is no such file, it holds no settings, or those of another command or a newer version.
    """

    def __init__(self, path: str, command: str):
        self.path = path
        self._lines: dict[Path_, int] = {}
        content = self._read()
        self._prefix: Path_ = ()
        if isinstance(content.get("settings"), Mapping):  # the config.json of a run
            self._check_kind(content.get("kind"), command)
            self._prefix = ("settings",)
        version = content.get("version", 1 if self._prefix else VERSION)
        self.settings = self._of_this_version(dict(content["settings"] if self._prefix else content), version)
        self.settings.pop("version", None)
        if isinstance(self.settings.get("methods"), list):
            self.settings["methods"] = ",".join(map(str, self.settings["methods"]))

    def _read(self) -> dict[str, Any]:
        check_file(self.path)
        try:
            text = Path(self.path).read_text(encoding="utf-8")
            if self.path.endswith(".json"):
                text = text.expandtabs(2)  # YAML, of which JSON is a part, has no tabs between tokens
            self._note_lines(yaml.compose(text, yaml.SafeLoader), ())
            content = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"Invalid `--config`: expected a text file. Received: {self.path} ({error}).") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise ValueError(
                f"Invalid `--config`: expected YAML or JSON. Received: {self.path}{where}, which is neither "
                f"({getattr(error, 'problem', None) or error})."
            ) from error
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ValueError(
                f"Invalid `--config`: expected a mapping from names of settings to values, such as `seed: 1`. "
                f"Received: {self.path}, which holds {type(content).__name__}."
            )
        return content

    def _note_lines(self, node: Any, path: Path_) -> None:
        """Note the line of each entry, and raise ValueError for one that is given twice."""
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            entry = (*path, str(key.value))
            if entry in self._lines:
                first, line = self._lines[entry], key.start_mark.line + 1
                raise ValueError(
                    f"Invalid `{'.'.join(entry)}` in {self.path}, line {line}: expected it once. "
                    f"Received: another one in line {first}."
                )
            self._lines[entry] = key.start_mark.line + 1
            self._note_lines(value, entry)

    def _check_kind(self, kind: Any, command: str) -> None:
        if command not in _KINDS.get(kind, ()):
            raise ValueError(
                f"Invalid `--config`: expected settings of `bnnrl {command}`. Received: {self.path}, of a run of kind "
                f"{kind!r}."
            )

    def _of_this_version(self, settings: dict[str, Any], version: Any) -> dict[str, Any]:
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= VERSION:
            raise self._error(
                ("version",), f"expected at most {VERSION}. Received: {version!r}. A newer bnnrl wrote it: upgrade."
            )
        if version == VERSION:
            return settings
        new = old_settings.migrated(settings)
        if new != settings:
            moved = sorted(set(settings) - set(new))
            warn(f"{self.path} has settings of version {version}, which are read as those of {VERSION}: {moved}.")
        return new

    def _error(self, path: Path_, message: str) -> ValueError:
        line = self._lines.get((*self._prefix, *path)) or self._lines.get(path)
        where = f", line {line}" if line else ""
        return ValueError(f"Invalid `{'.'.join(path)}` in {self.path}{where}: {message}")

    def name(self, setting: str) -> Any:
        """Return the value of a setting of text, or the name in a mapping `setting: {name: ..., ...}`."""
        value = self.settings.get(setting)
        return value.get("name") if isinstance(value, Mapping) else value

    def checked(
        self, plain: Sequence[Field], fields: Mapping[str, Sequence[Field]], holders: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the settings by the field of the command that holds them.

        Args:
            plain: the settings of the command outside its groups.
            fields: the fields of each group.
            holders: the field of the command that holds each group.

        Raises:
            ValueError: for an unknown setting, or a value that is of no type of its field.
        """
        settings: dict[str, Any] = {}
        for name, value in self.settings.items():
            group = next((g for g, holder in holders.items() if name in (g, holder)), None)
            if group is None or (name in (f.name for f in plain) and not isinstance(value, Mapping)):
                settings[name] = value
                continue
            if not isinstance(value, Mapping):
                raise self._error((name,), f"expected a mapping from fields to values. Received: {value!r}.")
            entries = dict(value)
            if group != holders[group] and name == group and "name" in entries:
                settings[name] = entries.pop("name")
            settings[holders[group]] = self._convert((name,), fields[group], entries)
        known = tuple(field for field in plain if field.name not in _NOT_SETTINGS)
        rest = {name: value for name, value in settings.items() if name not in holders.values()}
        self._check_known(rest, known, fields)
        return {**self._convert((), known, rest), **{h: settings[h] for h in holders.values() if h in settings}}

    def _check_known(self, settings: Mapping[str, Any], plain: Sequence[Field], fields: Mapping[str, Any]) -> None:
        known = list(dict.fromkeys([*(field.name for field in plain), *fields]))
        for name in settings:
            if name not in known:
                inside = [f"{group}.{field.name}" for group in fields for field in fields[group]]
                same = [entry for entry in inside if entry.rpartition(".")[2] == name]
                near = f" Did you mean {same[0]!r}?" if same else nearest(name, [*known, *inside])
                raise self._error((name,), f"expected one of {known}. Received: {name!r}.{near}")

    def _convert(self, path: Path_, fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return values.convert_all(fields, given)
        except values.Refused as refused:
            raise self._error((*path, *refused.path), str(refused)) from refused


def chosen_classes(settings: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Return the classes that settings name for the settings within them, by their dotted path."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{name}" if path else str(name)
            if isinstance(value.get("class"), str):
                found[inner] = value["class"]
            found |= chosen_classes(value, inner)
    return found
