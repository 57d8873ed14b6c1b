"""The frames of videos and cameras as photos.

In: a file or a camera. Out: a Photo for every so many frames, with its pixels, called clip.mp4#120 after the number of
the frame, from 0. A video that can't be read is a Photo that says why.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from detect.failures import Failure
from pipeline.intake.photo import Photo

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv", ".flv", ".ogv",
})  # fmt: skip
CAMERA = re.compile(r"camera:(\d+)")


def is_video(path: Path) -> bool:
    """Whether a file of this name is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def video_frames(
    video: Path | str | int, name: str, *, step: int, most: int | None, max_megapixels: float, problems: list[str]
) -> Iterator[Photo]:
    """Yield every `step`-th frame, the first one included.

    Args:
        video: a file, the URL of a stream, or the number of a camera.
        name: what it is called in the frames' names.
        step: 1 or more.
        most: number of frames to yield at most; a camera has no end.
        max_megapixels: of a frame.
        problems: where a sentence is added if the video ends before its end.
    """
    import cv2  # heavy
    import numpy as np

    capture = cv2.VideoCapture(video if isinstance(video, int) else str(video))
    path, count, number = Path(name), 0, 0
    try:
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_megapixels * 1e6:
            message = f"larger than {max_megapixels:g} megapixels: {width}x{height} pixels"
            yield Photo(path, name, name, content=Failure(path, "too_large", message))
            return
        while most is None or count < most:
            if not capture.grab():
                break
            if number % step == 0:
                is_there, pixels = capture.retrieve()
                frame = f"{name}#{number}"
                failure = Failure(Path(frame), "unreadable", "the frame is damaged")
                content = np.ascontiguousarray(pixels[..., ::-1], np.uint8) if is_there else failure
                yield Photo(Path(frame), frame, name, content=content)
                count += 1
            number += 1
        announced = 0 if isinstance(video, int) else capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    if not count:
        message = "the camera gives no picture" if isinstance(video, int) else "it can't be read as a video"
        yield Photo(path, name, name, content=Failure(path, "unreadable", message))
    elif (most is None or count < most) and number < announced * 0.9:
        problems.append(f"{name}: {number:,} of about {announced:,.0f} frames could be read; it is damaged there")
