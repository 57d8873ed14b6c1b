"""Contact sheets: many small pictures on one, to look at before trusting a score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cache import atomic
from cache.errors import UsageError
from cache.unit import OK, Entry
from classify.preprocessing import decode_crop
from detect.decode import decode_file
from detect.failures import Failure
from pipeline.detection.detect import Detection
from pipeline.intake.own_files import marked
from pipeline.intake.photo import Photo

Image = NDArray[np.uint8]

CELL_WIDTH, CELL_HEIGHT, CAPTION_HEIGHT, GAP = 120, 160, 18, 4  # pixels
BACKGROUND, INK = 250, (60, 60, 60)
MAX_PICTURES = 240
STEP_COLOURS = {  # RGB, by the detection step that found the face
    "mtcnn": (40, 160, 60),
    "yunet": (40, 110, 200),
    "retinaface": (120, 60, 180),
    "mtcnn-retry": (220, 140, 20),
    "fallback": (200, 40, 40),
    "whole": (120, 120, 120),
    "given": (40, 160, 160),
}


def contact_sheet(pictures: Sequence[Image], captions: Sequence[str], columns: int = 8) -> Image:
    """Arrange RGB pictures, (h, w, 3) uint8 of any sizes, in a grid, each as large as fits into its cell.

    Each caption is cut off after 17 letters, which fit below a picture.
    """
    columns = max(min(columns, len(pictures)), 1)
    rows = max(-(-len(pictures) // columns), 1)
    wide, tall = CELL_WIDTH + GAP, CELL_HEIGHT + CAPTION_HEIGHT + GAP
    sheet = np.full((rows * tall + GAP, columns * wide + GAP, 3), BACKGROUND, np.uint8)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        top, left = (number // columns) * tall + GAP, (number % columns) * wide + GAP
        small = resize_into_cell(picture)
        height, width = small.shape[:2]
        y, x = top + (CELL_HEIGHT - height) // 2, left + (CELL_WIDTH - width) // 2
        sheet[y : y + height, x : x + width] = small
        text = caption.encode("ascii", "replace").decode()[:17]  # OpenCV's font has no other letters
        baseline = (left, top + CELL_HEIGHT + CAPTION_HEIGHT - 6)  # (x, y)
        cv2.putText(sheet, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
    return sheet


def write_sheet(sheet: Image, path: Path) -> None:
    """Write a sheet as a PNG or JPEG file, depending on the name; UsageError if it ends in neither."""
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise UsageError(f"--sheet {path}: the name must end in .png or .jpg")
    atomic.write_bytes(path, marked(encode_image(sheet, path.suffix.lower())))


def encode_image(image: Image, suffix: str = ".jpg", quality: int = 85) -> bytes:
    """Encode an RGB image as a file: PNG for the suffix ".png", else JPEG."""
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()


def missed_sheet(photos: Sequence[Photo], detection: Detection, path: Path) -> tuple[int, int]:
    """Write a sheet of the photos in which the first detection step found no face, with the window that was cut.

    If there are none, there is no sheet, and one of an earlier run is removed.

    Returns:
        The number of pictures on the sheet, and of such photos.
    """
    missed = [photo for photo in photos if detection.entry(photo).facts.get("found_by") != detection.steps[0]]
    pictures: list[Image] = []
    captions: list[str] = []
    for photo in missed[:MAX_PICTURES]:
        entry = detection.entry(photo)
        image = photo_with_window(photo, entry)
        if image is None:
            pictures.append(np.full((CELL_HEIGHT, CELL_WIDTH, 3), 225, np.uint8))
            captions.append(f"{entry.outcome} {photo.path.stem}")
        else:
            pictures.append(image)
            captions.append(f"{entry.facts['found_by']} {photo.path.stem}")
    if pictures:
        write_sheet(contact_sheet(pictures, captions), path)
    else:
        path.unlink(missing_ok=True)
    return len(pictures), len(missed)


def photo_with_window(photo: Photo, entry: Entry) -> Image | None:
    """A photo with the window that was cut for its crop; None if there is no crop, or the photo is gone."""
    if entry.outcome != OK:
        return None
    width, height = entry.facts["photo"]
    image = decode_file(photo.path, max_megapixels=width * height / 1e6, source=entry.source)
    return None if isinstance(image, Failure) else _draw_window(image, entry.facts)


def crop_sheet(photos: Sequence[Photo], detection: Detection, columns: int = 7) -> Image:
    """Arrange the cached crops of photos, captioned with the step that found the face."""
    entries = [entry for entry in map(detection.entry, photos) if entry.outcome == "ok"]
    crops = [decode_crop(detection.store.read(entry.source)) for entry in entries]
    return contact_sheet(crops, [entry.facts["found_by"] for entry in entries], columns)


def resize_into_cell(picture: Image) -> Image:
    """Resize a picture to the largest size that fits into a cell."""
    height, width = picture.shape[:2]
    scale = min(CELL_HEIGHT / height, CELL_WIDTH / width)
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _draw_window(image: Image, facts: Any) -> Image:
    """Draw the window that was cut onto a copy of the photo, in the colour of the step that found the face."""
    marked = image.copy()
    x1, y1, x2, y2 = (round(value) for value in facts["window"])
    cv2.rectangle(marked, (x1, y1), (x2, y2), STEP_COLOURS[facts["found_by"]], max(image.shape[0] // 80, 2))
    return marked
