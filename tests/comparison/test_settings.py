"""The command line of the runs of a comparison."""

import dataclasses
import json

import tyro

from bnnrl.cli import train
from bnnrl.comparison.settings import train_arguments


def test_every_option_of_train_reaches_its_command_line():
    settings = {}
    for field in dataclasses.fields(train.Train):
        several = ("a=8", "b=4") if "tuple[str" in str(field.type) else (8, 4)
        others = {bool: not field.default, int: 7, tuple: several, str: "word"}
        kind = next((t for t in (bool, tuple, int) if t.__name__ in str(field.type)), str)
        settings[field.name] = {"policy": "icem", "propagation": "ts1"}.get(field.name, others[kind])
    expected = train.Train(**settings)
    for given in (settings, json.loads(json.dumps(settings))):
        assert tyro.cli(train.Train, args=train_arguments(train.Train, given)[1:]) == expected
    assert train_arguments(train.Train, {}) == ("train",)
