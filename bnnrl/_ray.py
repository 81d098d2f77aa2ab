"""Connecting to Ray, an optional package for work on several machines."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

from bnnrl._tensorflow import cores

CONNECT_TIMEOUT = 30.0  # seconds
_PROBE = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"


def is_connected() -> bool:
    """Return whether this process is connected to a Ray cluster."""
    ray: Any = sys.modules.get("ray")  # importing Ray takes a second
    return ray is not None and ray.is_initialized()


def connect(alternative: str, timeout: float = CONNECT_TIMEOUT) -> Any:
    """Return the package `ray`, connected to the cluster at RAY_ADDRESS or, if that is not set, to a new one here.

    A process that is connected already stays so.

    Args:
        alternative: what a user without Ray can do instead, for the message.
        timeout: seconds that the cluster has to answer in.

    Raises:
        ValueError: if Ray is not installed, or no cluster answers at RAY_ADDRESS.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "Invalid `engine`: expected one that is installed. Received: engine='ray', and Ray cannot be imported "
            f'({error}). Run `pip install "bnnrl[ray]"`, or {alternative}.'
        ) from error
    if is_connected():
        return ray
    address = os.environ.get("RAY_ADDRESS")
    quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _check_answers(address, timeout)
        ray.init(address, **quiet)
    else:
        ray.init("local", num_cpus=cores(), include_dashboard=False, **quiet)
    return ray


def _check_answers(address: str, timeout: float) -> None:
    """Raise ValueError unless a cluster answers at the address.

    Another process tries to connect, because a failed attempt can take minutes or kill its process.
    """
    expected = "Invalid RAY_ADDRESS: expected the address of a Ray cluster, such as 10.0.0.1:6379"
    remedy = "Start a cluster with `ray start --head`, or unset the variable to use this machine."
    try:
        command = [sys.executable, "-P", "-c", _PROBE, address]
        found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{expected}. Received: {address!r}, which did not answer in {timeout:g} s. {remedy}"
        ) from None
    if found.returncode:
        lines = found.stderr.strip().splitlines()
        raise ValueError(f"{expected}. Received: {address!r} ({lines[-1] if lines else 'no reason given'}). {remedy}")
