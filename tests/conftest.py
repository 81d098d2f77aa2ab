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
    *("inference/test_battery.py", "inference/test_conjugate.py", "docs/test_code.py", "rl/search/test_searcher.py"),
    *("rl/reporting/test_run.py", "inference/test_hmc.py", "model/test_bayesian_model.py", "rl/test_pilco.py"),
    *("rl/reporting/test_html.py", "inference/test_driver.py", "model/test_scaled_data.py", "cli/test_fit_run.py"),
    *("test_architectures_dense.py", "plots/test_plots.py", "comparison/test_comparison.py", "test_import.py"),
    *("inference/test_laplace.py", "rl/test_kinds.py", "rl/simulator/test_learned_env.py", "inference/test_sgld.py"),
    *("inference/test_warm_start.py", "test_diagnostics.py", "test_tracking.py", "rl/test_planners.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    order = {Path(__file__).parent / name: i for i, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="module")
def without_xla():
    """Make `tf.function` build plain graphs in a module. Plain graphs and XLA differ in the last bits of a result."""
    from tests.plain_graphs import PLAIN, plain_function

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow.function", plain_function)
        patch.setattr("bnnrl.compiled.SHARED", PLAIN)
        patch.setattr("bnnrl.inference.ranking.xla_sort", None)
        yield


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory) -> tuple[str, ...]:
    """The start of a command that, followed by "-c", code and arguments, runs the code in a new process."""
    folder = tmp_path_factory.getbasetemp()
    return fork_server.fresh_python(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
