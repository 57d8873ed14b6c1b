"""Who may read the cache: as the user's umask says; and a cache that nobody may write."""

import os
import shutil
import stat
import subprocess

import pytest

from cache.errors import CacheError
from cache.store import CropStore
from tests.cache.conftest import SPEC, crop, photo, source
from tests.cache.writer import commit_all


@pytest.mark.skipif(os.name == "nt", reason="no umask there")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_files_and_folders_have_the_modes_that_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        commit_all(tmp_path / "cache")
    finally:
        os.umask(before)
    for path in (tmp_path / "cache").rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.fixture
def read_only(tmp_path):
    """A cache of two units on a disk that is mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "none", disk], check=False, capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here")
    commit_all(disk / "cache")
    subprocess.run([mount, "-o", "remount,ro", disk], check=True)
    yield disk / "cache"
    subprocess.run(["umount", disk], check=True)


def test_a_read_only_cache_is_read_and_refuses_a_commit_with_advice(read_only):
    store = CropStore(read_only, SPEC)
    assert store.read(source(0)) == crop(0)
    with pytest.raises(CacheError, match=r"Read-only file system(.|\n)*--cache DIR"):
        store.commit([photo(9)])
    assert store.missing([source(9)]) == [source(9)]
