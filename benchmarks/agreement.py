"""Compare `exact` with facenet-pytorch's faces, and the subjects of `portrait` with those of `exact`.

    python benchmarks/agreement.py PORTRAITS [--others SCENES] [--count 600]

Takes up to `--count` images of each folder, spread evenly, adds noise and flat, tiny, narrow and huge images, and
detects all in one call, shuffled. Subjects are compared on the portraits only. Prints the table of docs/benchmarks.md.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

import numpy as np
import torch
from facenet_pytorch import MTCNN
from torchvision.ops import box_iou

import detect.mtcnn
from detect import FaceDetector, Faces
from detect.config import DetectConfig
from detect.decode import Failure, decode_file
from detect.faces import Image
from detect.networks import OpenVinoNetworks, TorchNetworks
from detect.subject import choose_subject

SAME = 0.8  # minimum IoU of two boxes of the same subject


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    portraits = read(args.portraits, args.count)
    images = [*portraits, *(read(args.others, args.count) if args.others else ()), *odd_images()]
    random.Random(0).shuffle(images)
    expected = [facenet_faces(MTCNN(keep_all=True, device="cpu"), image) for image in images]
    print(f"{len(images)} images; facenet-pytorch raised on {sum(faces is None for faces in expected)}\n")
    print("| | images with other faces | pixels, boxes | pixels, landmarks | scores |\n|---|---|---|---|---|")
    for networks in (TorchNetworks(torch.device("cpu")), OpenVinoNetworks()):
        detect.mtcnn.networks_on = lambda *_, networks=networks, **__: networks
        exact = FaceDetector(device="cpu").detect(images)
        pairs = zip(expected, exact, strict=True)
        results = [differences(facenet, faces) for facenet, faces in pairs if facenet is not None]
        worst = np.max([result for result in results if result is not None], axis=0)
        cells = " | ".join(f"{value:.1e}" for value in worst)
        print(
            f"| `exact`, {type(networks).__name__} | {sum(result is None for result in results)} | {cells} |",
            flush=True,
        )
    exact = FaceDetector(device="cpu").detect(portraits)
    portrait = FaceDetector(device="cpu", mode="portrait").detect(portraits)
    same = [
        has_same_subject(image, expected, found)
        for image, expected, found in zip(portraits, exact, portrait, strict=True)
        if subject(image, expected) is not None
    ]
    print(f"\n`portrait` has the same subject in {sum(same)} of {len(same)} portraits ({np.mean(same):.2%})")


def read(folder: Path, count: int) -> list[Image]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    spread = paths[:: max(len(paths) // count, 1)][:count]
    return [image for image in map(decode_file, spread) if not isinstance(image, Failure)]


def odd_images() -> list[Image]:
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (16, 200), (8000, 30), (300, 400), (64, 64), (21, 21), (20, 20), (19, 40), (2000, 3000), (25, 700)]
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    return noise + [np.full((512, 384, 3), value, np.uint8) for value in (0, 128, 255)]


def facenet_faces(mtcnn: MTCNN, image: Image) -> Faces | None:
    """Return facenet-pytorch's faces, or None if it raises."""
    try:
        boxes, scores, landmarks = mtcnn.detect(image, landmarks=True)
    except Exception:  # of any kind: there is nothing to compare with
        return None
    return Faces.none() if boxes is None else Faces(boxes, scores, landmarks)


def differences(expected: Faces, found: Faces) -> tuple[float, float, float] | None:
    """Return the largest differences of boxes, landmarks (in pixels) and scores; None if the faces are not the same."""
    if len(expected) != len(found):
        return None
    if not len(found):
        return 0.0, 0.0, 0.0
    nearest = np.abs(expected.boxes[None] - found.boxes[:, None]).max(2).argmin(1)
    pairs = ((getattr(expected, name)[nearest], getattr(found, name)) for name in ("boxes", "landmarks", "scores"))
    boxes, landmarks, scores = (float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)
    same = boxes <= 0.5 and landmarks <= 0.5 and scores <= 1e-3
    return (boxes, landmarks, scores) if same else None


def subject(image: Image, faces: Faces) -> int | None:
    return choose_subject(faces, image.shape[0], image.shape[1], DetectConfig().min_subject)


def has_same_subject(image: Image, exact: Faces, portrait: Faces) -> bool:
    first, second = subject(image, portrait), subject(image, exact)
    if first is None or second is None:
        return False
    boxes = (torch.from_numpy(faces.boxes[k : k + 1]) for faces, k in ((portrait, first), (exact, second)))
    return box_iou(*boxes).item() >= SAME


if __name__ == "__main__":
    main()
