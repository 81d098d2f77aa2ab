"""Options whose values have names."""

from typing import Any

import pytest

from bnnrl.cli.options import named_values


def test_values_are_read_as_python_writes_them():
    words = ["gravity=9.8", "continuous=True", "sutton=false", "size=[3, 4]", "name=a=b", "none=None", "hidden=(3, 4)"]
    expected: dict[str, Any] = {"gravity": 9.8, "continuous": True, "sutton": False, "size": [3, 4], "name": "a=b"}
    assert named_values(words) == {**expected, "none": None, "hidden": (3, 4)}


@pytest.mark.parametrize("word", ["gravity", "=3", "a b=3", "gravity="])
def test_other_words_are_refused(word):
    with pytest.raises(ValueError, match="Invalid `--env-kwargs`: expected name=value, such as gravity=9.8."):
        named_values([word], "env-kwargs", "gravity=9.8")
