"""Set-up of every test process: TensorFlow's persistent compilation cache.

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
