"""Set-up of every test process: the cache of compiled programs, the order of files, and new processes for tests."""

import os
from pathlib import Path

import pytest

from tests import fork_server

# Test processes, and the processes that they start, compile many of the same programs: they share a cache of their own.
# bnnrl reads this variable when it is imported.
os.environ.setdefault("BNNRL_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "programs"))

# These files begin first and in this order, so that the two processes of `make test` end at about the same time.
SLOWEST_FILES = (
    *("inference/test_battery.py", "rl/reporting/test_run.py", "rl/test_pilco.py", "model/test_bayesian_model.py"),
    *("inference/test_hmc.py", "rl/search/test_searcher.py", "inference/test_conjugate.py"),
    *("inference/test_warm_start.py", "inference/test_driver.py", "inference/test_laplace.py"),
    *("model/test_scaled_data.py", "test_import.py", "test_plots.py", "comparison/test_comparison.py"),
    *("rl/simulator/test_dynamics.py", "rl/test_kinds.py", "rl/reporting/test_html.py", "inference/test_sgld.py"),
    *("test_architectures_dense.py", "test_tracking.py", "test_diagnostics.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    order = {Path(__file__).parent / name: i for i, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="module")
def without_xla():
    """Make `tf.function` build plain graphs in a module. Plain graphs and XLA differ in the last bits of a result."""
    from tests.plain_graphs import plain_function

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow.function", plain_function)
        yield


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory) -> tuple[str, ...]:
    """The start of a command that, followed by "-c", code and arguments, runs the code in a new process."""
    folder = tmp_path_factory.getbasetemp()
    return fork_server.fresh_python(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
