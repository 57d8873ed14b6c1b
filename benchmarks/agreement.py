"""Whether `exact` finds facenet-pytorch's faces, and `portrait` the subject that `exact` finds.

    python benchmarks/agreement.py PORTRAITS [--others SCENES] [--count 600]

Takes up to `--count` images of each folder, spread evenly, adds noise and flat, tiny, narrow and huge images, and hands
them over in one call, shuffled. Only the portraits are asked for their subject. Prints the table of docs/benchmarks.md.
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

SAME = 0.8  # overlap of two boxes of one subject


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--count", type=int, default=600)
    asked = parser.parse_args()
    portraits = read(asked.portraits, asked.count)
    images = [*portraits, *(read(asked.others, asked.count) if asked.others else ()), *odd_images()]
    random.Random(0).shuffle(images)
    peer = [facenets(MTCNN(keep_all=True, device="cpu"), image) for image in images]
    print(f"{len(images)} images; facenet-pytorch raised on {sum(one is None for one in peer)}\n")
    print("| | images with other faces | pixels, boxes | pixels, landmarks | scores |\n|---|---|---|---|---|")
    for networks in (TorchNetworks(torch.device("cpu")), OpenVinoNetworks()):
        detect.mtcnn.networks_on = lambda *_, networks=networks, **__: networks
        exact = FaceDetector(device="cpu").detect(images)
        told = [differences(one, faces) for one, faces in zip(peer, exact, strict=True) if one is not None]
        worst = np.max([one for one in told if one is not None], axis=0)
        cells = " | ".join(f"{value:.1e}" for value in worst)
        print(f"| `exact`, {type(networks).__name__} | {sum(one is None for one in told)} | {cells} |", flush=True)
    exact = FaceDetector(device="cpu").detect(portraits)
    portrait = FaceDetector(device="cpu", mode="portrait").detect(portraits)
    same = [
        agrees(image, wanted, found)
        for image, wanted, found in zip(portraits, exact, portrait, strict=True)
        if subject(image, wanted) is not None
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


def facenets(mtcnn: MTCNN, image: Image) -> Faces | None:
    """facenet-pytorch's faces, or None where it raises."""
    try:
        boxes, scores, landmarks = mtcnn.detect(image, landmarks=True)
    except Exception:  # whatever it is, it has no answer to compare with
        return None
    return Faces.none() if boxes is None else Faces(boxes, scores, landmarks)


def differences(peer: Faces, ours: Faces) -> tuple[float, float, float] | None:
    """The largest ones of boxes, landmarks and scores; None when there are other faces."""
    if len(peer) != len(ours):
        return None
    if not len(ours):
        return 0.0, 0.0, 0.0
    nearest = np.abs(peer.boxes[None] - ours.boxes[:, None]).max(2).argmin(1)
    pairs = ((getattr(peer, name)[nearest], getattr(ours, name)) for name in ("boxes", "landmarks", "scores"))
    boxes, landmarks, scores = (float(np.abs(one.astype(np.float64) - two).max()) for one, two in pairs)
    same = boxes <= 0.5 and landmarks <= 0.5 and scores <= 1e-3
    return (boxes, landmarks, scores) if same else None


def subject(image: Image, faces: Faces) -> int | None:
    return choose_subject(faces, image.shape[0], image.shape[1], DetectConfig().min_subject)


def agrees(image: Image, exact: Faces, portrait: Faces) -> bool:
    ours, theirs = subject(image, portrait), subject(image, exact)
    if ours is None or theirs is None:
        return False
    pair = (torch.from_numpy(faces.boxes[k : k + 1]) for faces, k in ((portrait, ours), (exact, theirs)))
    return box_iou(*pair).item() >= SAME


if __name__ == "__main__":
    main()
