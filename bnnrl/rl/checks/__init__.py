"""`bnnrl check`: whether an environment and its task suit an agent, told before training."""

from bnnrl.rl.checks.environment import Finding, Report, check

__all__ = ["Finding", "Report", "check"]
