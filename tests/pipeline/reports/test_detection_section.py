"""The report's pictures of photos in which no face was found."""

import base64
import hashlib
import re

import cv2
import numpy as np
import pytest

from cache.store import CropStore
from cache.unit import OK, Entry
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import encode_image
from pipeline.reports.detection_section import PHOTO_HEIGHT, PHOTO_WIDTH, detection_facts
from pipeline.reports.pictures import Pictures, crops_of


@pytest.fixture
def wall(tmp_path):
    """A grey photo, and a function that makes the facts of its detection and the picture of it."""
    photo = Photo(tmp_path / "wall.png", "wall.png", "")
    cv2.imwrite(str(photo.path), np.full((512, 384, 3), 150, np.uint8))
    source = hashlib.sha256(photo.path.read_bytes()).hexdigest()
    facts = {"found_by": "fallback", "photo": [384, 512], "window": [60, 80, 320, 430]}
    store = CropStore(tmp_path / "cache", {})
    crop = encode_image(np.full((350, 260, 3), 150, np.uint8))
    store.commit([(Entry(source, "wall.png", OK, facts), crop)])
    (tmp_path / "photos.csv").write_text(f"path,source\n{photo.name},{source}\n")

    def facts_and_picture():
        pictures = Pictures(crops_of(store))
        facts = detection_facts(tmp_path, "mtcnn", store, pictures, [photo])
        [content] = re.findall(r"base64,([^)]+)", pictures.style())
        return facts, cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)

    return photo, facts_and_picture


def red(picture):
    return ((picture[..., 2] > 150) & (picture[..., 1] < 110) & (picture[..., 0] < 110)).sum()


def test_a_miss_is_the_photo_with_its_window_and_without_the_photo_the_window(wall):
    photo, facts_and_picture = wall
    facts, picture = facts_and_picture()
    assert [(miss.path, miss.step) for miss in facts.misses] == [("wall.png", "fallback")]
    assert picture.shape[:2] == (PHOTO_HEIGHT, PHOTO_WIDTH)
    assert red(picture) > 50, "the fallback window is drawn in red"

    photo.path.unlink()
    facts, picture = facts_and_picture()
    assert [miss.path for miss in facts.misses] == ["wall.png"]
    assert facts.misses[0].picture
    assert red(picture) == 0
