"""`bnnrl config`: the settings of a run that `bnnrl train` would begin, as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
import yaml

import bnnrl
from bnnrl.cli import train
from bnnrl.cli.options import optional
from bnnrl.exit_codes import DONE
from bnnrl.storage import config
from bnnrl.storage.run_folder import VERSION

_OWN = ("dynamics", "search", "reward_model", "method_fields", "policy_fields")  # written as groups


@dataclass
class Config(train.Train):
    """Print the settings with which `bnnrl train` would run, as YAML that its option --config takes.

    Example: `bnnrl config Pendulum-v1 --method hmc > settings.yaml`, then `bnnrl train --config settings.yaml`. All
    values are written out, also those that follow from others: the schedule of a method from `dynamics.steps`, its
    chains or members from `dynamics.size`. Change them together, or remove those that shall follow.
    """

    env: Annotated[str | None, tyro.conf.Positional, optional("ENV", "none; required without --config")] = None
    """Id of a Gymnasium environment; module:Name-v0 if importing your module registers it."""
    folder: tyro.conf.Suppress[str | None] = None
    resume: tyro.conf.Suppress[str | None] = None

    def run(self) -> int:
        """Print the settings, and return the exit code."""
        if self.env is None:
            raise ValueError("Invalid arguments: expected the id of an environment, or --config FILE. Received: none.")
        settings = train.settings_of(self)
        print(as_yaml(resolved(settings, train.make_agent(settings))), end="")
        return DONE


def resolved(settings: Mapping[str, Any], agent: bnnrl.PILCO) -> dict[str, Any]:
    """Return the settings of a run with all values that its agent has.

    Args:
        settings: the settings of the run, some of which may be None.
        agent: the agent that they describe.
    """
    plain = {name: value for name, value in settings.items() if name not in _OWN}
    plain |= {"horizon": agent.horizon}
    method: Any = settings["method"]
    if not agent.dynamics.is_gaussian_process:
        method = {"name": method, **_method_fields(method, agent.dynamics.resolve_method())}
    return {
        "version": VERSION,
        **plain,
        "method": method,
        "dynamics": _dynamics_fields(agent.dynamics),
        "policy": {"name": settings["policy"], **_fields(agent.policy)},
        "search": _fields(agent.search),
        "reward_model": {"method": agent.reward_model.method_name, **_dynamics_fields(agent.reward_model)},
    }


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Return settings as YAML, an entry a line, and lists in brackets."""
    return yaml.dump(_plain(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _method_fields(name: str, method: Any) -> dict[str, Any]:
    """Return the fields of the method called `name`, which wrappers may hold."""
    cls = bnnrl.inference.REGISTRY[name.lower()]
    return _fields(method) if type(method) is cls else _method_fields(name, method.inner)


def _dynamics_fields(dynamics: bnnrl.Dynamics) -> dict[str, Any]:
    found = _fields(dynamics)
    del found["method"]
    if not dynamics.is_gaussian_process:
        found |= {"steps": dynamics.num_steps, "batch_size": dynamics.rows}
    return {name: value for name, value in found.items() if value is not None}  # None stands for the default value


def _fields(settings: Any) -> dict[str, Any]:
    return {name: value for name, value in config.encode(settings).items() if name != "class"}


def _plain(value: Any) -> Any:
    """Return JSON-able data with lists for tuples, and infinity as a number."""
    if isinstance(value, Mapping):
        if value.get("class") == "float":
            return float(value["value"])
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


class _Dumper(yaml.SafeDumper):
    """Writes lists in brackets, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: equal values are written out each time."""
        return True


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))
