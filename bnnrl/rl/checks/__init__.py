"""Checks whether an agent can learn in an environment, before training: `bnnrl.check` and `bnnrl check`."""

from bnnrl.rl.checks.environment import check, iter_findings
from bnnrl.rl.checks.findings import Finding, Report

__all__ = ["Finding", "Report", "check", "iter_findings"]
