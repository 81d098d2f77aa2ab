"""The number of cases that each target was called with, printed at the end of a test run."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

from collections import Counter

import pytest

from tests.fuzz import harness


@pytest.fixture(autouse=True)
def _count_cases(request):
    """Attach the number of cases to a test's report, which also passes from worker processes to the summary."""
    harness.CASES.clear()
    yield
    request.node.user_properties += [("cases", target, count) for target, count in harness.CASES.items()]


def pytest_terminal_summary(terminalreporter):
    """Print the number of cases by target."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    totals = Counter()
    for report in reports:
        if getattr(report, "when", None) == "teardown":
            for kind, *cases in report.user_properties:
                if kind == "cases":
                    totals[cases[0]] += cases[1]
    if totals:
        terminalreporter.section("random input")
        for target, count in sorted(totals.items()):
            terminalreporter.write_line(f"{count:8d} {target}")
        terminalreporter.write_line(f"{sum(totals.values()):8d} cases")
