"""The lock of a folder: who holds it, that it ends with its holder, and file systems without locks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from bnnrl.storage import lock
from bnnrl.storage.atomic import WriteError
from bnnrl.storage.lock import FolderInUseError, hold

HOLDER = """
import sys, time
from bnnrl.storage.lock import hold
with hold(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.3)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_named(tmp_path, holder):
    with (
        pytest.raises(FolderInUseError, match=rf"process {holder.pid} on .* \(-c .*\) is writing to. Wait until"),
        hold(tmp_path, pytest.fail),
    ):
        pytest.fail("two held the lock")


def test_a_killed_holder_leaves_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / lock.NAME).exists()
    with hold(tmp_path, pytest.fail):
        assert (tmp_path / lock.NAME).read_text().startswith(f'{{"process": {os.getpid()}')
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_is_ending_is_waited_for(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 10.0)
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
    with hold(tmp_path, pytest.fail):
        assert holder.wait(1) == -signal.SIGKILL
    killer.wait()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    with hold(tmp_path, pytest.fail):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with hold(tmp_path, pytest.fail):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_second_block_of_the_same_process_is_refused(tmp_path):
    with (
        hold(tmp_path, pytest.fail),
        pytest.raises(FolderInUseError, match=f"process {os.getpid()}"),
        hold(tmp_path, pytest.fail),
    ):
        pytest.fail("two held the lock")


def test_a_lock_that_was_removed_meanwhile_is_not_taken_for_the_new_one(tmp_path, monkeypatch):
    real, removed = fcntl.flock, []

    def remove_once(descriptor, operation):
        if not removed:  # the holder before ends between the opening of its file and the locking
            removed.append(True)
            (tmp_path / lock.NAME).unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_once)
    with hold(tmp_path, pytest.fail):
        assert (tmp_path / lock.NAME).exists()
    assert removed


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    messages = []
    with hold(tmp_path, messages.append):
        pass
    assert len(messages) == 1 and "has no locks: take care" in messages[0]


def test_a_folder_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(WriteError, match="Cannot write .*lock: No such file or directory. Check the folder"),
        hold(tmp_path / "nowhere", pytest.fail),
    ):
        pytest.fail("nothing to hold")
