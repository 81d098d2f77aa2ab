"""The cache of compiled programs: on by default, off on request, and harmless whatever its folder is like."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from bnnrl import _compilation_cache as cache
from bnnrl import cli, compiled
from bnnrl.compiled import CompiledFunction

PROGRAM = """
import bnnrl
import tensorflow as tf
from bnnrl.compiled import CompiledFunction
double = CompiledFunction(lambda x: tf.reduce_sum(x @ x), jit_compile=True)
print(double(tf.ones([8, 8])).numpy())
"""


AGENT = """
import os
import numpy as np
import tensorflow as tf
from tests.rl.point_mass import make_agent
for i in range(int(os.environ["EARLIER_TENSORS"])):
    tf.constant(i)
agent = make_agent(seed=0).learn(2, evaluation_episodes=1)
print(agent.history[-1].predicted_cost, agent.control.population.tobytes().hex())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache that is not in use yet; returns its root."""
    monkeypatch.setenv("BNNRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setattr(cache, "_folder", None)
    monkeypatch.setattr(cache, "_checked", None)
    monkeypatch.setattr(cache.atexit, "register", lambda *_: None)
    return tmp_path / "cache"


def enabled(monkeypatch) -> Path:
    """Enable and check the cache as a new process would, and return its folder."""
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setattr(cache, "_folder", None)
    monkeypatch.setattr(cache, "_checked", None)
    cache.enable()
    cache.check()
    assert cache._folder is not None
    return cache._folder


def run(program: str = PROGRAM, **variables: str) -> str:
    """Return what the program prints in a new process with these environment variables."""
    known = {k: v for k, v in os.environ.items() if k not in ("TF_XLA_FLAGS", "BNNRL_CACHE", "TF_CPP_MIN_LOG_LEVEL")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=known | variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # eight processes that import TensorFlow
def test_programs_are_kept_and_damage_costs_nothing(tmp_path):
    assert run(BNNRL_CACHE=str(tmp_path)) == "512.0\n"
    (program,) = cache.programs(tmp_path)
    (sums,) = tmp_path.rglob(cache._CHECKSUMS)
    whole, changed = program.read_bytes(), program.stat().st_mtime_ns
    assert run(BNNRL_CACHE=str(tmp_path)) == "512.0\n"
    assert program.stat().st_mtime_ns == changed  # it was read
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:300], bytes(flipped), os.urandom(2000), b""):
        program.write_bytes(damaged)
        os.utime(program, ns=(changed, changed))
        assert run(BNNRL_CACHE=str(tmp_path)) == "512.0\n"
        assert len(program.read_bytes()) == len(whole)
        changed = program.stat().st_mtime_ns
    sums.write_text("[1")
    assert run(BNNRL_CACHE=str(tmp_path)) == "512.0\n"
    (tmp_path / "file").touch()
    assert run(BNNRL_CACHE=str(tmp_path / "file")) == "512.0\n"  # it cannot be a folder


@pytest.mark.slow  # two processes that import TensorFlow, one of which compiles the functions of an agent
def test_a_second_agent_finds_every_program_whatever_ran_before(tmp_path):
    def learned(earlier_tensors: int) -> tuple[str, dict[str, int]]:
        printed = run(AGENT, BNNRL_CACHE=str(tmp_path), EARLIER_TENSORS=str(earlier_tensors))
        return printed, {path.name: path.stat().st_mtime_ns for path in cache.programs(tmp_path)}

    printed, programs = learned(earlier_tensors=0)
    assert len(programs) >= 5  # the fit and four functions of the search
    assert learned(earlier_tensors=7) == (printed, programs)


def test_it_is_for_this_user_processor_and_version(folder, monkeypatch):
    found = enabled(monkeypatch)
    assert found.parent == folder and found.name.startswith(tf.__version__) and found.stat().st_mode & 0o77 == 0
    assert f"--tf_xla_persistent_cache_directory={found}" in os.environ["TF_XLA_FLAGS"]
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    assert enabled(monkeypatch) != found


def test_a_users_own_flags_are_kept(folder, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_max_cluster_size=10")
    cache.enable()
    assert os.environ["TF_XLA_FLAGS"].startswith("--tf_xla_max_cluster_size=10 --tf_xla_persistent_cache_directory=")
    monkeypatch.setattr(cache, "_folder", None)
    own = "--tf_xla_persistent_cache_directory=/own --tf_xla_persistent_cache_prefix=mine"
    monkeypatch.setenv("TF_XLA_FLAGS", own)
    cache.enable()
    assert os.environ["TF_XLA_FLAGS"] == own and cache._folder is None


def test_a_child_process_takes_over_its_parents_and_checks_it(folder, monkeypatch):
    found = enabled(monkeypatch)
    monkeypatch.setattr(cache, "_folder", None)
    monkeypatch.setattr(cache, "_checked", None)
    (found / "empty.pb").touch()
    cache.enable()
    assert cache._folder == found
    cache.check()
    assert cache.programs(found) == []


def test_programs_are_read_once_and_not_before_a_function_is_to_be_compiled(folder, monkeypatch):
    read = []
    monkeypatch.setattr(cache, "_remove_damaged", read.append)
    cache.enable()
    assert read == []
    cache.check()
    cache.check()
    assert read == [cache._folder]


@pytest.mark.parametrize("setting", ["0", "off", "False"])
def test_it_can_be_turned_off(folder, monkeypatch, setting, capsys):
    monkeypatch.setenv("BNNRL_CACHE", setting)
    cache.enable()
    assert cache._folder is None and "TF_XLA_FLAGS" not in os.environ
    assert cli.main(["cache"]) == 0 and "off" in capsys.readouterr().out


def test_it_is_left_off_where_it_cannot_be_used(folder, monkeypatch):
    for name, value in (("_FREE_BYTES", 2**62), ("_is_usable", lambda folder: False)):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, value)
            cache.enable()
            assert cache._folder is None and "TF_XLA_FLAGS" not in os.environ


def test_damaged_programs_are_removed(folder, monkeypatch):
    found = enabled(monkeypatch)
    message = b"\x0a\x05hello\x10\x96\x01"  # field 1 of five bytes, field 2 the number 150
    (found / "recorded.pb").write_bytes(message)
    cache._record(found, os.getpid())
    (found / "whole.pb").write_bytes(message)
    (found / "cut.pb").write_bytes(message[:4])
    (found / "empty.pb").touch()
    enabled(monkeypatch)
    assert {path.name for path in cache.programs(found)} == {"recorded.pb", "whole.pb"}
    changed = (found / "recorded.pb").stat().st_mtime_ns
    (found / "recorded.pb").write_bytes(message.replace(b"e", b"a"))  # as after a flipped bit on the disk
    os.utime(found / "recorded.pb", ns=(changed, changed))
    enabled(monkeypatch)
    assert {path.name for path in cache.programs(found)} == {"whole.pb"}


def test_the_size_is_bounded_and_what_was_used_last_is_kept(folder, monkeypatch):
    found = enabled(monkeypatch)
    for i in range(10):
        path = found / f"{i}.pb"
        path.write_bytes(b"\x0a\x62" + bytes(98))
        os.utime(path, (1000 + i, 1000 + i))
    monkeypatch.setattr(cache, "MOST_BYTES", 800)
    enabled(monkeypatch)
    assert {path.name for path in cache.programs(found)} == {f"{i}.pb" for i in range(4, 10)}


def test_a_failure_of_the_cache_empties_it_and_compiles_again(folder, monkeypatch):
    found = enabled(monkeypatch)
    (found / "a.pb").write_bytes(b"\x0a\x00")
    full = tf.errors.ResourceExhaustedError(None, None, f"{found}/b.pb.tmp; No space left on device")
    errors = [full]

    def function(x):
        if errors:
            raise errors.pop()
        return x + 1

    monkeypatch.setattr(compiled.tf, "function", lambda function, **_: function)
    assert CompiledFunction(function, jit_compile=True)(1) == 2
    assert cache.programs(found) == []
    errors += [full, full]
    with pytest.raises(RuntimeError, match="BNNRL_CACHE=0.*No space left"):
        CompiledFunction(function, jit_compile=True)(1)
    errors += [tf.errors.InvalidArgumentError(None, None, "another")]
    with pytest.raises(tf.errors.InvalidArgumentError, match="another"):
        CompiledFunction(function, jit_compile=True)(1)


def test_the_command_shows_and_clears(folder, monkeypatch, capsys):
    found = enabled(monkeypatch)
    (found / "a.pb").write_bytes(bytes(2**20))
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out == f"folder: {folder}\nprograms: 1\nmegabytes: 1.0\nmost_megabytes: 256\n"
    assert cli.main(["cache", "--clear"]) == 0 and "programs: 0" in capsys.readouterr().out
    assert cache.programs(folder) == []
