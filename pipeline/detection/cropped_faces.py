"""Recognise photos that are faces cut out already, of which a crop would be mostly repeated border pixels.

In: photos, or the windows that were cut from them. Out: a sentence that says so, with the setting for such photos.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from cache.sources import split_part
from cache.unit import OK, Entry
from detect.config import CropConfig, DetectConfig
from detect.failures import Failure
from pipeline.intake.photo import Photo

SAMPLE = 24  # photos that `check` looks at
FEWEST = 4  # faces from which anything is concluded
# Share of a crop outside its photo: portraits have up to 0.55, tight crops 0.7. Small pictures (CelebA 178x218, UTKFace
# 200x200, FairFace 224x224) are no camera's, so a looser crop of them counts, too.
OUTSIDE, OUTSIDE_IF_SMALL, SMALL = 0.6, 0.1, 320

Found = tuple[Sequence[float], Sequence[int]]  # a window, x1, y1, x2, y2, and the photo's width and height


def note_on_sample(
    photos: Sequence[Photo], detect: DetectConfig, crop: CropConfig, *, max_megapixels: float
) -> str | None:
    """Look for the face in a few photos, with YuNet, which is quickly loaded."""
    if detect.detector == "none":
        return None
    from detect.decode import decode_file
    from detect.subject import choose_subject
    from detect.window import window_around
    from detect.yunet import Yunet

    yunet = Yunet(detect.yunet_score)
    found: list[Found] = []
    for photo in photos[:: max(len(photos) // SAMPLE, 1)][:SAMPLE]:
        image = decode_file(photo.path, max_megapixels=max_megapixels)
        if isinstance(image, Failure):
            continue
        height, width = image.shape[:2]
        faces = yunet.detect([image], [max(detect.min_subject * min(height, width), 12.0)])[0]
        subject = choose_subject(faces, height, width, detect.min_subject)
        if subject is not None:
            x1, y1, x2, y2 = map(float, faces.boxes[subject])
            window = window_around((x1, y1, x2, y2), crop)
            found.append((window.as_list(), (width, height)))
    return _note(found)


def note_on_crops(entries: Iterable[Entry]) -> str | None:
    """Judge by the crops that were made, those of parts of photos apart."""
    facts = [entry.facts for entry in entries if entry.outcome == OK and split_part(Path(entry.path))[1] is None]
    return _note([(item["window"], item["photo"]) for item in facts if item.get("landmarks")])


def share_outside(window: Sequence[float], photo: Sequence[int]) -> float:
    """The share of a window, x1, y1, x2, y2, that is outside a photo of this width and height."""
    x1, y1, x2, y2 = window
    inside = max(min(x2, photo[0]) - max(x1, 0), 0) * max(min(y2, photo[1]) - max(y1, 0), 0)
    return 1 - inside / ((x2 - x1) * (y2 - y1))


def _note(found: Sequence[Found]) -> str | None:
    if len(found) < FEWEST:
        return None
    typical = median(share_outside(window, photo) for window, photo in found)
    is_small = median(max(photo) for _, photo in found) <= SMALL
    if typical < (OUTSIDE_IF_SMALL if is_small else OUTSIDE):
        return None
    return (
        f"these photos look like faces that are cut out already: {typical:.0%} of a crop would be repeated border "
        "pixels; --set detect.detector=none takes each photo as the crop"
    )
