"""Everything that photos can be in: files, archives, videos, cameras and pages on the network.

In: Photos as `load_inputs` lists them, of which some stand for an archive, a video, a camera or a URL. Out: in their
place the photos that are in them, with their content, in batches that fit into memory.

An archive or a video is opened when its turn comes and read once from its beginning to its end, so that memory and disk
hold no more than a batch of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path

from cache.errors import UsageError
from detect.failures import MAX_MEGAPIXELS, Failure
from pipeline.intake.archives import ArchiveReader, is_archive, refuse_other_files
from pipeline.intake.downloads import download, is_url
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.videos import CAMERA, is_video, video_frames

EVERY = 10  # frames
BATCH_BYTES = 256 << 20  # of content in memory
BATCH_PHOTOS = 4096
DOWNLOADS = 8  # at once


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How videos are read, and whether the network may be used."""

    every: int = EVERY  # n-th frame of a video or a camera
    frames: int | None = None  # of each video or camera, at most
    allow_network: bool = False
    max_megapixels: float = MAX_MEGAPIXELS


@dataclass(slots=True)
class OpenedSources:
    """The photos in some inputs, opened one by one.

    Attributes:
        options: how videos are read.
        skipped: reason for passing something over -> how often; complete when all photos have been read.
        problems: sentences on what could not be read to its end.
    """

    options: SourceOptions = field(default_factory=SourceOptions)
    skipped: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])

    def photos(self, inputs: Iterable[Photo]) -> Iterator[Photo]:
        """Yield the photos in the inputs, in their order; names that come twice are numbered."""
        archives = ArchiveReader(self.skipped, self.problems)
        names: Counter[str] = Counter()
        for kind, group in groupby(inputs, kind_of):
            for photo in self._opened(kind, group, archives):
                if kind == "file":
                    yield photo
                    continue
                names[photo.name] += 1
                number = names[photo.name]
                yield photo if number == 1 else _renamed(photo, f"{photo.name}#{number}")

    def batches(self, inputs: Iterable[Photo]) -> Iterator[list[Photo]]:
        """Yield the same photos in lists, of which each fits into memory."""
        batch: list[Photo] = []
        size = 0
        for photo in self.photos(inputs):
            batch.append(photo)
            if photo.content is not None and not isinstance(photo.content, Failure):
                size += len(photo.content) if isinstance(photo.content, bytes) else photo.content.nbytes
            if size > BATCH_BYTES or len(batch) >= BATCH_PHOTOS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def added_to(self, dataset: Dataset) -> Dataset:
        """Return the data set with what was passed over in its archives, and with the problems as notes."""
        skipped = Counter(dataset.skipped) + self.skipped
        return replace(dataset, skipped=dict(skipped), notes=(*dataset.notes, *self.problems))

    def _opened(self, kind: str, group: Iterable[Photo], archives: ArchiveReader) -> Iterator[Photo]:
        match kind:
            case "file":
                yield from group
            case "archive":
                for photo in group:
                    yield from archives.photos(photo.path, photo.name)
            case "url":
                yield from self._downloaded(group)
            case _:
                for photo in group:
                    camera = CAMERA.fullmatch(photo.name)
                    yield from video_frames(
                        int(camera[1]) if camera else photo.path, photo.name, step=self.options.every,
                        most=self.options.frames, max_megapixels=self.options.max_megapixels, problems=self.problems,
                    )  # fmt: skip

    def _downloaded(self, group: Iterable[Photo]) -> Iterator[Photo]:
        with ThreadPoolExecutor(DOWNLOADS, "downloads") as pool:
            remaining = iter(group)
            while photos := list(islice(remaining, DOWNLOADS)):
                contents = pool.map(lambda photo: download(photo.name, photo.path), photos)
                yield from (replace(photo, content=content) for photo, content in zip(photos, contents, strict=True))


def kind_of(photo: Photo) -> str:
    """What a photo of `load_inputs` is or stands for: file, archive, video, camera or url."""
    if photo.content is not None:
        return "file"
    if is_url(photo.name):
        return "url"
    if CAMERA.fullmatch(photo.name) and not photo.path.exists():
        return "camera"
    return "archive" if is_archive(photo.path) else "video" if is_video(photo.path) else "file"


def check_sources(inputs: Iterable[Photo], options: SourceOptions) -> None:
    """Refuse what can't be opened, before anything is.

    Raises:
        UsageError: the message names the source, and the option that is missing.
    """
    for photo in inputs:
        kind = kind_of(photo)
        if kind == "url" and not options.allow_network:
            raise UsageError(f"{photo.name} is on the network; --allow-network fetches it")
        if kind == "url" and (is_archive(Path(photo.name)) or is_video(Path(photo.name))):
            raise UsageError(f"{photo.name}: only single photos are fetched; download it, and name the file")
        if kind == "camera" and options.frames is None:
            raise UsageError(f"{photo.name} has no end; say how many frames to predict with --frames")
        if kind == "archive":
            refuse_other_files(photo.path)


def not_in_a_file(inputs: Iterable[Photo]) -> str:
    """The name of the first photo that is in no file of its own, or stands for several; empty if there is none."""
    return next((photo.name for photo in inputs if photo.content is not None or kind_of(photo) != "file"), "")


def names_inside(inputs: Iterable[Photo]) -> tuple[str, ...]:
    """The beginnings of the names of photos that are in archives, videos and cameras."""
    kinds = [(photo.name, kind_of(photo)) for photo in inputs]
    return tuple(f"{name}{'/' if kind == 'archive' else '#'}" for name, kind in kinds if kind not in {"file", "url"})


def _renamed(photo: Photo, name: str) -> Photo:
    return replace(photo, path=Path(name), name=name)
