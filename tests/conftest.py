"""Set-up of every test process: the cache of compiled programs, the order of files, and new processes for tests.

Test processes, and the processes that they start, compile many of the same programs. TensorFlow writes each compiled
program to .pytest_cache/xla and reads it from there instead of compiling it again, with equal results to the bit. The
programs are machine code, so that the folder's name holds TensorFlow's version and the processor's features.
"""

import hashlib
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import fork_server

MOST_BYTES = 2**30


def _processor() -> str:
    """Return what tells apart processors that run different machine code."""
    described = Path("/proc/cpuinfo")
    if not described.is_file():
        return platform.platform()
    features = [
        line for line in described.read_text().splitlines() if line.startswith(("model name", "flags", "Features"))
    ]
    return "\n".join(sorted(set(features)))


def _use_compilation_cache() -> None:
    """Name the cache in TF_XLA_FLAGS, which TensorFlow reads when it is imported, unless a user has named one."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return
    key = hashlib.sha256(f"{_processor()} {os.environ.get('XLA_FLAGS')} {flags}".encode()).hexdigest()[:16]
    root = Path(__file__).parents[1] / ".pytest_cache" / "xla"
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if not is_worker and sum(file.stat().st_size for file in root.glob("*/*")) > MOST_BYTES:
        shutil.rmtree(root)
    folder = root / f"{version('tensorflow')}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    cache = f"--tf_xla_persistent_cache_directory={folder} --tf_xla_persistent_cache_prefix=tests"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {cache}".strip()


_use_compilation_cache()


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
