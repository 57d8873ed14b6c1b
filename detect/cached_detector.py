"""Find the subjects of photos: in the cache, else with the detector.

source ids and their files -> decoded images -> entries with a subject each, or with the reason why there is none.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from cache.errors import DetectionError
from cache.sources import split_part
from cache.unit import OK, Entry
from detect.decode import decode_content, decode_file
from detect.faces import Image
from detect.failures import MAX_MEGAPIXELS, Failure, Reason, failure_of, first_line
from detect.subject import Subject

if TYPE_CHECKING:
    from detect.subject_finder import SubjectFinder  # loads torch, which is not needed to cut crops

BLANK = np.full((96, 72, 3), 128, np.uint8)  # a photo on which no detector fails, unless it fails on all


class CachedSubjectDetector:
    """Finds the subjects of photos: in the cache, else with the detector, which is loaded when first needed.

    Args:
        paths: source id -> file.
        known: source id -> the cache's entry with its subject, or failure.
        max_megapixels: larger photos are not read.
        contents: source id -> the photo, where it is in memory and not in a file.
    """

    def __init__(
        self,
        load_finder: Callable[[], "SubjectFinder"],
        paths: Mapping[str, Path],
        known: Mapping[str, Entry],
        max_megapixels: float = MAX_MEGAPIXELS,
        contents: "Mapping[str, bytes | Image] | None" = None,
    ) -> None:
        self._load_finder, self._paths, self.known = load_finder, paths, known
        self._contents = contents or {}
        self._max_megapixels = max_megapixels
        self._finder: SubjectFinder | None = None

    def decode(self, source: str) -> Image | Failure:
        """Read a photo, unless the cache says that it can't be read."""
        entry = self.known.get(source)
        if entry is not None and entry.outcome != OK:
            facts = {key: value for key, value in entry.facts.items() if key != "sentence"}
            return Failure(self._paths[source], cast("Reason", entry.outcome), entry.facts.get("sentence", ""), facts)
        path, content = self._paths[source], self._contents.get(source)
        if content is not None:
            return decode_content(content, path, max_megapixels=self._max_megapixels)
        return decode_file(path, max_megapixels=self._max_megapixels, source=source)

    def find(self, sources: Sequence[str], images: Sequence[Image | Failure]) -> list[Entry]:
        """Return an entry with the subject of each photo, or its failure, in order."""
        entries: dict[str, Entry] = {}
        unknown: list[tuple[str, Image]] = []
        for source, image in zip(sources, images, strict=True):
            if isinstance(image, Failure):
                entries[source] = image.entry(source)
            elif source in self.known:
                entries[source] = self.known[source]
            else:
                unknown.append((source, image))
        if unknown:
            for (source, image), subject in zip(unknown, self._detect(unknown), strict=True):
                if isinstance(subject, Failure):
                    entries[source] = subject.entry(source)
                else:
                    facts = {**subject.facts(), "photo": [image.shape[1], image.shape[0]]}
                    entries[source] = Entry(source, str(self._paths[source]), OK, facts)
        return [entries[source] for source in sources]

    def _detect(self, photos: Sequence[tuple[str, Image]]) -> "Sequence[Subject | Failure]":
        """Load the detector unless it is loaded, and run it; errors as those of `find_subjects`."""
        if self._finder is None:
            self._finder = self._load_finder()
        return find_subjects(self._finder, [(self._paths[source], image) for source, image in photos])


def find_subjects(finder: "SubjectFinder", photos: Sequence[tuple[Path, Image]]) -> "Sequence[Subject | Failure]":
    """Run the detector on all photos at once, and after an error on each photo by itself.

    Raises:
        DetectionError: it fails on all of them, and on a blank image, too.
    """
    try:
        return finder.find([image for _, image in photos], [_is_part(path) for path, _ in photos])
    except Exception:  # of any kind: a photo on which the detector fails must not stop the others
        found = [_find_subject(finder, path, image) for path, image in photos]
    if all(isinstance(subject, Failure) for subject in found):
        _require_working(finder)
    return found


def _is_part(path: Path) -> bool:
    return split_part(path)[1] is not None


def _find_subject(finder: "SubjectFinder", path: Path, image: Image) -> Subject | Failure:
    try:
        return finder.find([image], [_is_part(path)])[0]
    except Exception as error:
        return failure_of(error, path, "the detector failed on it")


def _require_working(finder: "SubjectFinder") -> None:
    try:
        finder.find([BLANK])
    except Exception as error:
        raise DetectionError(
            f"the face detector does not work: {first_line(error)}\n"
            "No photo is recorded as unreadable for that, and what was finished before is kept. If the same "
            "command fails again, try --device cpu."
        ) from error
