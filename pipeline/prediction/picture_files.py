"""Write photos with what was predicted for them, and sort photos into folders by what was predicted.

In: predictions with their photos. Out: DIR/PHOTO.jpg with boxes, answers and bars; or DIR/CLASS/.../PHOTO, a link to
the photo or a copy of it.

A photo's name may hold anything, such as .. or a drive, so it is never used as a path as it is.
"""

import io
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from PIL import Image as Pillow

from cache.sources import split_part
from detect.failures import Failure
from pipeline.intake.own_files import marked
from pipeline.intake.photo import Photo
from pipeline.prediction.prediction import Prediction, draw_predictions, whole_photo

QUALITY = 90
LONGEST = 200  # bytes of a name that every disk takes
UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
JPEG_SUFFIXES = (".jpg", ".jpeg")


class FileNames:
    """Gives photos names of files below a folder, each only once."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def name(self, photo: str, suffix: str = "") -> Path:
        """The path for a photo; with a suffix other than its own, that one is added."""
        parts = [_safe(part) for part in photo.replace("\\", "/").split("/")]
        path = Path(*[part for part in parts if part] or ["photo"])
        if suffix and path.suffix.lower() not in {suffix, *(JPEG_SUFFIXES if suffix in JPEG_SUFFIXES else ())}:
            path = path.with_name(path.name + suffix)
        key = str(path).casefold()  # for disks that ignore case
        self._used[key] += 1
        number = self._used[key]
        return path if number == 1 else self.name(str(path.with_name(f"{path.stem}-{number}{path.suffix}")))


class DrawnPictures:
    """Writes the photos of predictions with boxes, answers and bars.

    Attributes:
        written: number of pictures.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._names = FileNames()
        self.written = 0

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Draw all faces of each photo into one picture; photos that can't be read have none."""
        readable = [item for item in predictions if item.is_readable and item.photo is not None]
        groups = [list(group) for _, group in groupby(readable, key=lambda item: id(_photo_of(item)))]
        files = [self._folder / self._names.name(_photo_of(group[0]).name, ".jpg") for group in groups]
        with ThreadPoolExecutor(self._threads, "draw") as pool:
            self.written += sum(pool.map(_draw, groups, files))


class SortedPhotos:
    """Puts photos into folders named after the predicted classes, one below another in the order of the tasks.

    Attributes:
        counts: folder -> number of photos.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], *, copy: bool) -> None:
        self._folder, self._tasks, self._copy = folder, tasks, copy
        self._names = FileNames()
        self.counts: Counter[str] = Counter()

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Link to each prediction's photo, or copy it; of one face of several, its part of the photo is written."""
        for prediction in predictions:
            if prediction.photo is None:
                continue
            folder = self._class_folder(prediction)
            if _place(prediction.photo, self._folder, folder, self._names, copy=self._copy):
                self.counts[folder] += 1

    def _class_folder(self, prediction: Prediction) -> str:
        if prediction.status != "ok":
            return prediction.status
        return "/".join(class_folder(prediction.tasks[task].label) for task in self._tasks)


def class_folder(label: str) -> str:
    """A class's name as the name of a folder: <30 is "under 30", >=60 is "from 60"."""
    words = label.replace(">=", "from ").replace("<=", "up to ").replace(">", "over ").replace("<", "under ")
    return _safe(words.replace("/", "_").replace("\\", "_")) or "_"


def _safe(part: str) -> str:
    """One part of a path without what leads elsewhere or can't be in a name."""
    part = UNSAFE.sub("_", part).strip()
    if part in {"", ".", ".."}:
        return ""
    encoded = part.encode("utf-8", "backslashreplace")
    if len(encoded) > LONGEST:  # the end has the suffix and the number of a frame or a face
        encoded = encoded[:100] + encoded[-80:]
    return encoded.decode("utf-8", "ignore")


def _photo_of(prediction: Prediction) -> Photo:
    photo = prediction.photo
    assert photo is not None
    return photo.face.photo if photo.face is not None else photo


def _draw(predictions: Sequence[Prediction], file: Path) -> bool:
    photo = _photo_of(predictions[0])
    image = whole_photo(photo)
    if isinstance(image, Failure):  # it was there before
        return False
    content = io.BytesIO()
    draw_predictions(image, predictions).save(content, "JPEG", quality=QUALITY)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(marked(content.getvalue()))
    return True


def _place(photo: Photo, root: Path, folder: str, names: FileNames, *, copy: bool) -> bool:
    """Link to a photo in the folder, or write it there; False if there is nothing to write."""
    content = photo.content
    is_pixels = content is not None and not isinstance(content, bytes | Failure)
    file = root / folder / names.name(photo.name, ".png" if is_pixels else "")
    original, _ = split_part(photo.path)
    if isinstance(content, Failure) or (content is None and not original.is_file()):
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        Pillow.fromarray(content).save(file)
    elif copy:
        file.write_bytes(original.read_bytes())
    else:
        file.symlink_to(original.resolve())
    return True
