"""A file is the old one or the new one."""

from pathlib import Path

import pytest

from cache import atomic


def test_a_staged_file_replaces_the_old_one_when_the_block_succeeds(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        with atomic.staged_file(path) as staged:
            staged.write_bytes(content)
            assert staged.parent == path.parent
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fails", [lambda _: 1 / 0, Path.unlink])
def test_a_block_that_fails_or_writes_nothing_leaves_the_old_file(tmp_path, fails):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises((ZeroDivisionError, FileNotFoundError)), atomic.staged_file(path) as staged:
        staged.write_bytes(b"half of the n")
        fails(staged)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
