"""Findings of `bnnrl check`, and the report that collects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnnrl.html_table import html_of_table

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """The result of one check: its subject, what was found, and what to do about it.

    Args:
        level: "ok"; "note" for something that may slow learning down; or "problem" for something that prevents it.
        subject: the part of the environment or task that was checked, such as "reset" or "cost".
        words: what was found, in one sentence.
        remedy: what to change, or "" where there is nothing to change.
    """

    level: Level
    subject: str
    words: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """What was found and the remedy, on one line."""
        return f"{self.words} {self.remedy}".strip()


@dataclass(frozen=True)
class Report:
    """All findings about one environment and its task; `str(report)` has one line per finding."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether an agent can be trained, which means that no finding is a problem."""
        return all(finding.level != "problem" for finding in self.findings)

    def _repr_html_(self) -> str:
        verdict = "An agent can be trained" if self.ok else "An agent cannot be trained"
        rows = [{"level": f.level, "subject": f.subject, "found": f.words, "remedy": f.remedy} for f in self.findings]
        return html_of_table(rows, verdict)

    def __str__(self) -> str:
        return "\n".join(f"{f.level:8}{f.subject}: {f.text}" for f in self.findings)
