"""Photos in files, archives, videos and on the network come one after the other, and no more than fit into memory."""

import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from cache.errors import UsageError
from detect.failures import Failure
from pipeline.intake.load import load_data
from pipeline.intake.photo_inputs import load_inputs
from pipeline.intake.sources import OpenedSources, SourceOptions, check_sources, names_inside
from pipeline.settings import DataConfig


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inputs(*arguments):
    return load_inputs(arguments, lambda path: load_data(path, (), DataConfig())).evaluation


def write_zip(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.jpg", content)


def write_video(path, frames=25, size=(64, 48)):
    """Frame n has the brightness 10 n, up to 250."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), min(number * 10, 250), np.uint8))
    writer.release()


def test_files_archives_and_videos_keep_their_order(place):
    write_zip("p.zip", b=b"1", a=b"2")
    write_video("clip.avi")
    for name in ("z.jpg", "y.jpg"):
        Path(name).write_bytes(b"")
    opened = OpenedSources(SourceOptions(every=10))
    photos = list(opened.photos(inputs("z.jpg", "p.zip", "clip.avi", "y.jpg")))
    assert [photo.name for photo in photos] == [
        "z.jpg", "p.zip/b.jpg", "p.zip/a.jpg", "clip.avi#0", "clip.avi#10", "clip.avi#20", "y.jpg"
    ]  # fmt: skip
    assert [round(photo.content.mean(), -1) for photo in photos[3:6]] == [0, 100, 200]
    assert photos[3].content.shape == (48, 64, 3)


def test_a_pattern_and_a_list_may_name_archives_and_videos(place):
    write_zip("p.zip", a=b"1")
    write_video("clip.avi", 3)
    Path("notes.doc").write_bytes(b"")
    assert [photo.name for photo in inputs("*")] == ["clip.avi", "p.zip"]
    Path("list.txt").write_text("p.zip\nhttps://example.org/a.jpg\n")
    assert [photo.name for photo in inputs("list.txt")] == ["p.zip", "https://example.org/a.jpg"]


def test_a_video_is_read_at_most_as_far_as_is_wanted_and_a_broken_one_is_a_row(place):
    write_video("clip.avi")
    Path("torn.mp4").write_bytes(b"no video")
    opened = OpenedSources(SourceOptions(every=2, frames=3))
    *frames, torn = opened.photos(inputs("clip.avi", "torn.mp4"))
    assert [photo.name for photo in frames] == ["clip.avi#0", "clip.avi#2", "clip.avi#4"]
    assert torn.name == "torn.mp4" and isinstance(torn.content, Failure)
    assert "can't be read as a video" in torn.content.message
    [large] = OpenedSources(SourceOptions(max_megapixels=0.001)).photos(inputs("clip.avi"))
    assert large.content.reason == "too_large"


def test_a_video_that_ends_too_soon_is_named(place):
    write_video("clip.avi", 200)
    content = Path("clip.avi").read_bytes()
    Path("clip.avi").write_bytes(content[: len(content) // 2])
    opened = OpenedSources(SourceOptions(every=50))
    assert len(list(opened.photos(inputs("clip.avi")))) == 2
    assert "of about 200 frames could be read" in opened.problems[0]


def test_a_batch_holds_no_more_than_fits(place, monkeypatch):
    monkeypatch.setattr("pipeline.intake.sources.BATCH_BYTES", 250)
    write_zip("p.zip", **{f"a{n}": bytes(100) for n in range(7)})
    for name in ("z.jpg", "y.jpg"):
        Path(name).write_bytes(b"")
    batches = list(OpenedSources().batches(inputs("z.jpg", "p.zip", "y.jpg")))
    assert [len(batch) for batch in batches] == [4, 3, 2]
    assert sum(len(batch) for batch in batches) == 9


def test_two_archives_of_one_name_in_two_forms_give_names_that_differ(place):
    Path("in").mkdir()
    write_zip("in/p.zip", a=b"1")
    write_zip("p.zip", a=b"2")
    assert [photo.name for photo in OpenedSources().photos(inputs("p.zip", "in/p.zip", "./p.zip"))] == [
        "p.zip/a.jpg", "in/p.zip/a.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        ("https://example.org/a.jpg", SourceOptions(), "--allow-network"),
        ("https://example.org/a.zip", SourceOptions(allow_network=True), "download it"),
        ("camera:0", SourceOptions(), "--frames"),
        ("bad.zip", SourceOptions(), "bad.zip is no zip archive"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is(place, argument, options, message):
    Path("bad.zip").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=message):
        check_sources(inputs(argument), options)


def test_the_beginnings_of_names_inside_are_known_before(place):
    write_zip("p.zip", a=b"1")
    write_video("clip.avi", 1)
    assert names_inside(inputs("p.zip", "clip.avi")) == ("p.zip/", "clip.avi#")


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/away.jpg":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
        elif self.path == "/gone.jpg":
            self.send_response(404)
        else:
            self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * (2000 if self.path == "/big.jpg" else 5))

    def log_message(self, *_):
        pass


def test_photos_are_fetched_and_what_goes_wrong_is_a_row(place, monkeypatch):
    monkeypatch.setattr("pipeline.intake.downloads.MOST_BYTES", 1000)
    server = HTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        names = [f"{address}/{name}.jpg" for name in ("a", "gone", "away", "big")]
        opened = OpenedSources(SourceOptions(allow_network=True))
        photos = list(opened.photos(inputs(*names, "http://127.0.0.1:1/b.jpg")))
    finally:
        server.shutdown()
        server.server_close()
    assert [photo.name for photo in photos[:4]] == names
    first, *others = (photo.content for photo in photos)
    assert first == b"xxxxx"
    assert all(isinstance(content, Failure) for content in others)
    assert [content.reason for content in others] == ["missing", "missing", "too_large", "missing"]
    assert "404" in others[0].message and "'file:///etc/passwd' is not allowed" in others[1].message
    assert "refused" in others[3].message


def test_stdin_may_name_all_of_them(place, monkeypatch):
    write_zip("p.zip", a=b"1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"p.zip\n")))
    assert [photo.name for photo in OpenedSources().photos(inputs("-"))] == ["p.zip/a.jpg"]
