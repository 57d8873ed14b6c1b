import re
import sys

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFilter

from cache.errors import UsageError
from pipeline.intake.photo import Photo
from pipeline.reports.photo_quality import Measured, findings, measure
from tests.pipeline.conftest import faceline


def texture(seed, size=(96, 128)):
    """A picture that is like no other: large random fields with edges."""
    fields = np.random.default_rng(seed).integers(60, 256, (6, 8, 3), np.uint8)
    return Pillow.fromarray(fields).resize(size, Pillow.Resampling.NEAREST)


@pytest.fixture
def photos(tmp_path):
    """A good photo of ann; almost the same one of bob; a dark and a blurred one of cid."""
    texture(0).save(tmp_path / "a.png")
    texture(0).save(tmp_path / "b.jpg", quality=90)
    Pillow.eval(texture(1), lambda value: value // 8).save(tmp_path / "c.png")
    texture(2).filter(ImageFilter.GaussianBlur(16)).save(tmp_path / "d.png")
    people = {"a.png": "ann", "b.jpg": "bob", "c.png": "cid", "d.png": "cid"}
    return [Photo(tmp_path / name, name, person) for name, person in people.items()]


class NoFaces:
    def entry(self, source):
        return None


def looked_at(photos):
    sources = {photo.path: photo.name for photo in photos}
    return list(measure(photos, sources, NoFaces(), max_megapixels=1, threads=1))


def names_of(found):
    return {finding.name: [m.photo.name for m, _ in finding.photos] for finding in found}


def test_near_duplicates_dark_and_blurred_photos_are_found(photos):
    assert names_of(findings(looked_at(photos))) == {
        "Near duplicates of two people": ["a.png", "b.jpg"],
        "Dark": ["c.png"],
        "Blurred": ["d.png"],
    }


def test_faces_that_are_tiny_cut_off_or_off_centre_are_found():
    def of(name, *box):
        face = {"box": box, "photo": [300, 400]}
        return Measured(Photo(None, name, name), name, 128, 500, hash(name) % 2**64, face)

    measured = [
        of("good", 100, 120, 200, 260),
        of("tiny", 140, 180, 170, 220),
        of("cut off", 100, 320, 200, 460),
        of("aside", 0, 120, 100, 260),
    ]
    found = names_of(findings(measured))
    assert found["Tiny faces"] == ["tiny"]
    assert found["Cut-off faces"] == ["cut off"]
    assert set(found["Off-centre faces"]) == {"cut off", "aside"}


def test_check_writes_a_page_with_a_verdict_counts_and_pictures(some_data, shared_cache, tmp_path):
    first = next((some_data / "train" / "images").iterdir())
    (first / "mask1.jpg").write_bytes(b"broken")
    page = tmp_path / "data.html"
    faceline("check", some_data, "--html", page, "--cache", shared_cache)
    text = page.read_text()
    assert "Yes: 84 labelled photos of 12 people" in text
    assert "unreadable file: 1" in text
    assert "83" in text[text.index("Photos to look at</h2>") :]
    assert text.count("<svg") == 1
    assert "default-src 'none'" in text
    assert not re.search(r"""<link|<script|@import|url\((?!data:|#)""", text)
    shown = set(re.findall(r'class="t (p\d+)"', text))
    assert len(shown) >= 18, "a few of each class"


def test_without_the_extra_one_line_names_it(monkeypatch, photos):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(UsageError, match=r"pip install 'faceline\[html\]'"):
        looked_at(photos)
