"""Photos to measure with: those of a folder's most common size."""

from collections import Counter
from pathlib import Path

from detect.decode import decode_file
from detect.faces import Image
from detect.failures import Failure


def chosen(folder: Path, count: int) -> tuple[list[Path], list[Image]]:
    """`count` photos of the most common size, spread evenly over the folder, and their pixels."""
    candidates = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    spread = candidates[:: max(len(candidates) // (count + count // 10), 1)]
    read = [(path, image) for path in spread if not isinstance(image := decode_file(path), Failure)]
    size = Counter(image.shape for _, image in read).most_common(1)[0][0]
    kept = [(path, image) for path, image in read if image.shape == size][:count]
    return [path for path, _ in kept], [image for _, image in kept]
