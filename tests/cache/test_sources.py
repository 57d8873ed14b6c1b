import hashlib
import os
import threading
from pathlib import Path

import pytest

from cache.sources import FILES_AT_ONCE, hash_files, part_path, source_id, split_part


def test_a_source_id_is_the_sha256_of_the_bytes_whatever_the_name(tmp_path):
    first, twin = tmp_path / "a.jpg", tmp_path / "twin.png"
    first.write_bytes(b"same")
    twin.write_bytes(b"same")
    assert hash_files([first, twin]) == dict.fromkeys([first, twin], hashlib.sha256(b"same").hexdigest())


def test_every_file_gets_its_own_answer_in_the_requested_order(tmp_path):
    paths = [tmp_path / str(number) for number in range(3 * FILES_AT_ONCE + 1)]
    for path in paths:
        path.write_text(path.name)
    requested = [*reversed(paths), paths[0]]
    hashes = hash_files(requested, threads=3)
    assert list(hashes) == requested[:-1]
    assert all(hashes[path] == hashlib.sha256(path.name.encode()).hexdigest() for path in paths)


def test_no_files_give_no_answer():
    assert hash_files([]) == {}


def test_files_that_cannot_be_read_do_not_stop_the_others(tmp_path):
    good = tmp_path / "good"
    good.write_bytes(b"x")
    bad = [tmp_path / "missing", tmp_path, Path("nul\0byte"), good / "below a file"]
    hashes = hash_files([*bad, good])
    assert hashes[good] == hashlib.sha256(b"x").hexdigest()
    assert all(isinstance(hashes[path], OSError) for path in bad)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    hashes = {}
    hashing = threading.Thread(target=lambda: hashes.update(hash_files([pipe])))
    hashing.start()
    hashing.join(5)
    if hashing.is_alive():  # lets it go
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    assert "not a regular file" in str(hashes[pipe])


def test_a_part_of_a_picture_is_a_source_of_its_own(tmp_path):
    file = tmp_path / "a#1.jpg"
    file.write_bytes(b"picture")
    first, second = part_path(file, (-5, 0, 30, 40)), part_path(file, (0, 0, 30, 40))
    assert first.name == "a#1.jpg#xywh=-5,0,30,40"
    assert split_part(first) == (file, (-5, 0, 30, 40))
    assert split_part(file) == (file, None)
    hashes = hash_files([file, first, second])
    assert len(set(hashes.values())) == 3
    assert hashes[first] == hashlib.sha256(b"picture#xywh=-5,0,30,40").hexdigest() == source_id(b"picture", first)
    assert isinstance(hash_files([part_path(tmp_path / "no.jpg", (0, 0, 1, 1))]).popitem()[1], OSError)
