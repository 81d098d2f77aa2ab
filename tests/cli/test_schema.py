"""Fields read from source: those that the dataclasses have."""

import dataclasses
import importlib

import pytest

import bnnrl
from bnnrl.checks import default_of
from bnnrl.cli import schema
from bnnrl.cli.config import _plain
from bnnrl.cli.values import convert
from bnnrl.rl import pilco
from bnnrl.storage import config

CLASSES = [schema.DYNAMICS, schema.SEARCH, *(cls for kind in schema._TABLES for cls in schema.names(kind).values())]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls[1])
def test_fields_are_those_of_the_class(cls):
    module, name = cls
    fields = schema.fields_of(cls)
    expected = [field for field in dataclasses.fields(getattr(importlib.import_module(module), name)) if field.init]
    assert [field.name for field in fields] == [field.name for field in expected]
    for field, known in zip(fields, expected, strict=True):
        assert field.kinds and (field.doc or name in ("Bernoulli",)), field
        default = default_of(known)
        if field.default not in (None, "_OF_PRESET") and not (field.default_class or field.name == "method"):
            data = _plain(config.encode(default))
            assert convert(field, data) == data, field


def test_names_are_those_of_the_registries():
    found = {kind: {name: cls[1] for name, cls in schema.names(kind).items()} for kind in schema._TABLES}
    assert found["method"] == {name: cls.__name__ for name, cls in bnnrl.inference.REGISTRY.items()}
    assert found["policy"] == {name: cls.__name__ for name, cls in pilco._POLICIES.items()}
    assert found["likelihood"] == {name: cls.__name__ for name, cls in bnnrl.likelihoods._TYPES.items()}
