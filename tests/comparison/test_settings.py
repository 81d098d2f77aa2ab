"""The command line of the runs of a comparison."""

import dataclasses
import json

from bnnrl.cli import parsing, train
from bnnrl.comparison.settings import train_arguments


def test_every_option_of_train_reaches_its_command_line():
    settings = {}
    of_groups = {"hidden": [8, 7], "likelihood": {"floor": 0.1}, "midpoint": True, "prior": "learned"}
    for field in dataclasses.fields(train.Train):
        if field.type == "Group":
            inner = {"rank": 3, "optimizer": {"class": "SGD", "momentum": 0.5}}
            settings[field.name] = {
                "method_fields": inner,
                "policy_fields": {"beta": 1.0},
                "search": {"updates": 3},
            }.get(field.name, of_groups)
            continue
        several = ("a=8", "b=4") if "tuple[str" in str(field.type) else (8, 4)
        others = {bool: not field.default, int: 7, tuple: several, str: "word"}
        kind = next((t for t in (bool, tuple, int) if t.__name__ in str(field.type)), str)
        words = {"policy": "icem", "propagation": "ts1", "method": "swag"}
        settings[field.name] = words.get(field.name, others[kind])
    settings["config"] = settings["resume"] = None  # which go with no other option
    expected = train.Train(**settings)
    for given in (settings, json.loads(json.dumps(settings))):
        assert parsing.parse({"train": train.Train}, train_arguments(train.Train, given), "") == expected
    assert train_arguments(train.Train, {}) == ("train",)
