"""Archives are read without unpacking, whatever they say about themselves."""

import io
import stat
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cache.errors import UsageError
from detect.failures import Failure
from pipeline.intake.archives import ArchiveReader, refuse_other_files

MEMBERS = {"b.jpg": b"first", "in/deep/a.PNG": b"second", "in/notes.txt": b"", "__MACOSX/._b.jpg": b"", "c.zip": b""}


def make_zip(path: Path, members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members, mode="w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read(path: Path):
    reader = ArchiveReader()
    photos = list(reader.photos(path, path.name))
    assert all(str(photo.path) == photo.name for photo in photos)
    return {photo.name: photo.content for photo in photos}, reader


@pytest.mark.parametrize(
    ("name", "mode"),
    [("p.zip", ""), ("p.tar", "w"), ("p.tar.gz", "w:gz"), ("p.tbz2", "w:bz2"), ("p.TAR.XZ", "w:xz"), ("z.tar", "w:gz")],
)
def test_photos_at_any_depth_come_in_the_archives_order_and_others_are_counted(tmp_path, name, mode):
    path = tmp_path / name
    make_tar(path, MEMBERS.items(), mode) if mode else make_zip(path, MEMBERS.items())
    refuse_other_files(path)
    contents, reader = read(path)
    assert list(contents.items()) == [(f"{name}/b.jpg", b"first"), (f"{name}/in/deep/a.PNG", b"second")]
    assert reader.skipped == Counter(
        {"files that are no photos (.txt)": 1, "files that are no photos (.zip)": 1, "macOS shadow files (._*)": 1}
    )
    assert not reader.problems
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing was unpacked


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_name_leads_nowhere_and_two_of_one_name_are_two_photos(tmp_path, make):
    names = ["../../up.jpg", "/root.jpg", "C:\\win\\x.jpg", "a.jpg", "a.jpg", "./a.jpg"]
    path = make(tmp_path / f"p.{make.__name__[5:]}", [(name, name.encode()) for name in names])
    contents, reader = read(path)
    tails = [name.removeprefix(f"{path.name}/") for name in contents]
    assert tails == ["up.jpg", "root.jpg", "win/x.jpg", "a.jpg", "a.jpg#2", "a.jpg#3"]
    assert next(iter(contents.values())) == b"../../up.jpg"
    assert reader.skipped["names that lead out of an archive, predicted under the rest of the name"] == 3


def test_links_and_devices_are_not_followed(tmp_path):
    link, device = tarfile.TarInfo("link.jpg"), tarfile.TarInfo("device.jpg")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    contents, reader = read(make_tar(tmp_path / "p.tar", [(link, b""), (device, b""), ("a.jpg", b"a")]))
    assert list(contents) == ["p.tar/a.jpg"]
    assert reader.skipped == {"links in archives": 1, "files that are no photos (special)": 1}

    zip_link = zipfile.ZipInfo("link.jpg")
    zip_link.external_attr = (stat.S_IFLNK | 0o777) << 16
    contents, reader = read(make_zip(tmp_path / "p.zip", [(zip_link, "/etc/passwd"), ("a.jpg", b"a")]))
    assert list(contents) == ["p.zip/a.jpg"]
    assert reader.skipped == {"links in archives": 1}


def test_a_bomb_in_a_zip_is_a_photo_that_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.intake.archives.HARMLESS_BYTES", 1 << 20)
    path = make_zip(tmp_path / "p.zip", [("bomb.jpg", bytes(5 << 20)), ("a.jpg", b"a"), ("wall.bmp", bytes(1 << 20))])
    monkeypatch.setattr("zipfile.ZipFile.open", refuse_reading("bomb.jpg", zipfile.ZipFile.open))
    contents, _ = read(path)
    bomb, *others = contents.values()
    assert isinstance(bomb, Failure)
    assert bomb.reason == "too_large"
    assert others == [b"a", bytes(1 << 20)]


def refuse_reading(name, original):
    def read_member(archive, info, *more, **options):
        assert info.filename != name, "it was decompressed"
        return original(archive, info, *more, **options)

    return read_member


def test_a_photo_that_claims_to_be_small_is_cut_off_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.intake.archives.MOST_BYTES", 1000)
    contents, _ = read(make_tar(tmp_path / "p.tar", [("big.jpg", bytes(1001)), ("a.jpg", bytes(1000))]))
    big, small = contents.values()
    assert isinstance(big, Failure) and big.reason == "too_large"
    assert small == bytes(1000)


def test_a_bomb_in_a_compressed_tar_ends_it_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.intake.archives.HARMLESS_BYTES", 1 << 16)
    members = [("a.jpg", b"a"), ("bomb.bin", bytes(20 << 20)), ("b.jpg", b"b")]
    contents, reader = read(make_tar(tmp_path / "p.tar.xz", members, "w:xz"))
    assert list(contents) == ["p.tar.xz/a.jpg"]
    assert "bomb.bin would unpack to 20,971,520 bytes" in reader.problems[0]
    contents, reader = read(make_tar(tmp_path / "p.tar", members))  # no bomb: it has as many bytes itself
    assert list(contents) == ["p.tar/a.jpg", "p.tar/b.jpg"]


def test_a_name_of_megabytes_is_refused(tmp_path):
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"path": "x" * (2 << 20)}
    with tarfile.open(tmp_path / "p.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    contents, reader = read(tmp_path / "p.tar")
    assert not contents
    assert "a name of 2,0" in reader.problems[0]


def test_an_encrypted_member_says_so(tmp_path):
    path = make_zip(tmp_path / "p.zip", [("a.jpg", b"a" * 50), ("b.jpg", b"b")])
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    encrypted, other = read(path)[0].values()
    assert isinstance(encrypted, Failure) and encrypted.reason == "encrypted"
    assert other == b"b"


def test_a_damaged_member_leaves_the_others_alone(tmp_path):
    path = make_zip(tmp_path / "p.zip", [("a.jpg", bytes(range(256)) * 4), ("b.jpg", b"b")])
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)
    damaged, other = read(path)[0].values()
    assert isinstance(damaged, Failure) and damaged.reason == "unreadable"
    assert other == b"b"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(("harm", "shift"), [("cut off", 0), ("cut off", 100), ("overwritten", 0)])
def test_a_damaged_tar_is_read_as_far_as_it_goes_and_that_is_said(tmp_path, mode, harm, shift):
    rng = np.random.default_rng(0)
    noise = [(f"{n}.jpg", rng.bytes(9000)) for n in range(1, 20)]
    path = make_tar(tmp_path / "p.tar", noise, mode)
    content = bytearray(path.read_bytes())
    half = len(content) // 2 // 512 * 512 + shift
    if harm == "cut off":
        content = content[:half]
    else:
        content[half : half + 12_000] = b"\xa5" * 12_000
    path.write_bytes(content)
    contents, reader = read(path)
    assert 4 < len(contents) < 19
    assert "damaged after" in reader.problems[0]


def test_what_is_no_archive_is_refused_at_once(tmp_path):
    for name in ("a.zip", "a.tar", "a.tgz"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(UsageError, match=rf"{name} is no (zip|tar) archive"):
            refuse_other_files(tmp_path / name)
