"""Atomic writes: the new file after a success, the old one after an error."""

import pytest

from bnnrl.storage.atomic import atomic_write


def test_what_was_written_takes_the_files_place(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("old", "new"):
        with atomic_write(path) as unfinished:
            unfinished.write_text(text)
        assert path.read_text() == text and list(tmp_path.iterdir()) == [path]


def _fill_the_disk(path):
    with atomic_write(path) as unfinished:
        unfinished.write_text("ne")
        raise OSError("full")


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        _fill_the_disk(str(path))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
