"""Fixtures of comparisons."""

import json

import pytest

from bnnrl.cli import train
from bnnrl.comparison import jobs

FAKE = "import sys; from tests.comparison import fake_run; sys.exit(fake_run.main())"


@pytest.fixture
def fakes(monkeypatch, fresh_python):
    """Replace runs by fake_run.py, and return a function that sets what happens to each, by <method>_<seed>."""
    monkeypatch.setattr(jobs, "PROGRAM", (*fresh_python, "-c", FAKE))
    monkeypatch.setattr(train, "make_agent", lambda settings: None)
    return lambda **fates: monkeypatch.setenv("FAKES", json.dumps({k.replace("_", "/"): v for k, v in fates.items()}))
