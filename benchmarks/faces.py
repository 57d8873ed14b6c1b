"""Compare the faces that detectors find, on labelled photos of people in the street.

    python benchmarks/faces.py SCENES [--smallest 32] [--overlap 0.4]

SCENES has the photos and boxes.csv: file, x1, y1, x2, y2, mask. A labelled face is found if a box has an IoU of
`--overlap` or more with it; each box counts for one face. Precision is over boxes of the smallest size or more; many of
its errors are unlabelled faces. Prints the table of docs/benchmarks.md.
"""

import argparse
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

import numpy as np
import polars as pl
import torch
from torchvision.ops import box_iou

from detect import FaceDetector, Faces
from detect.decode import Failure, decode_file
from detect.faces import Image
from detect.retinaface import RetinaFace
from detect.yunet import Yunet

Labels = tuple[torch.Tensor, list[str]]  # boxes (n, 4) and the mask of each


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--smallest", type=float, default=32)
    parser.add_argument("--overlap", type=float, default=0.4)
    args = parser.parse_args()
    images, labels = labelled(args.scenes)
    masks = sorted({mask for _, masks_of_photo in labels for mask in masks_of_photo})
    print(f"| detector | {' | '.join(masks)} | precision | seconds |\n|---|{'---|' * (len(masks) + 2)}")
    for name, find in detectors():
        started = time.perf_counter()
        found = find(images)
        seconds = time.perf_counter() - started
        recall, precision = scored(found, labels, args.smallest, args.overlap)
        print(
            f"| {name} | {' | '.join(f'{recall[m]:.3f}' for m in masks)} | {precision:.3f} | {seconds:.1f} |",
            flush=True,
        )


def labelled(scenes: Path) -> tuple[list[Image], list[Labels]]:
    paths = {path.name: path for path in scenes.rglob("*") if path.suffix.lower() in {".jpg", ".png"}}
    images: list[Image] = []
    labels: list[Labels] = []
    for (name,), rows in pl.read_csv(scenes / "boxes.csv").group_by("file", maintain_order=True):
        image = decode_file(paths[Path(str(name)).name])
        assert not isinstance(image, Failure), image
        images.append(image)
        labels.append((rows.select("x1", "y1", "x2", "y2").cast(pl.Float32).to_torch(), rows["mask"].to_list()))
    return images, labels


def detectors() -> list[tuple[str, Callable[[Sequence[Image]], list[Faces]]]]:
    def with_yunet(score: float) -> Callable[[Sequence[Image]], list[Faces]]:
        return lambda images: Yunet(score, torch.get_num_threads()).detect(images, [20.0] * len(images))

    rows: list[tuple[str, Callable[[Sequence[Image]], list[Faces]]]] = [
        ("MTCNN: `exact`", lambda images: FaceDetector().detect(images)),
        ("MTCNN: `exact`, thresholds 0.5", lambda images: FaceDetector(thresholds=(0.5, 0.5, 0.5)).detect(images)),
        ("YuNet, score 0.6", with_yunet(0.6)),
        ("YuNet, score 0.7", with_yunet(0.7)),
        ("both: `thorough`", lambda images: FaceDetector(mode="thorough").detect(images)),
    ]
    if importlib.util.find_spec("uniface"):
        rows.append(("RetinaFace", lambda images: RetinaFace(None, 0.6, "cpu").detect(images, [20.0] * len(images))))
    else:
        print("RetinaFace: not run, uniface is not installed\n")
    return rows


def scored(
    found: Sequence[Faces], labels: Sequence[Labels], smallest: float, overlap: float
) -> tuple[dict[str, float], float]:
    """Return recall per mask, and precision, of faces and boxes whose shorter side is at least `smallest` pixels."""
    hits: Counter[str] = Counter()
    labelled_faces: Counter[str] = Counter()
    correct = boxes = 0
    for faces, (truth, masks) in zip(found, labels, strict=True):
        overlaps = box_iou(truth, torch.from_numpy(faces.boxes)).numpy()
        taken: dict[int, int] = {}  # label -> box; boxes with a higher score choose first
        for box in range(len(faces)):
            free = [label for label in range(len(masks)) if label not in taken and overlaps[label, box] >= overlap]
            if free:
                taken[max(free, key=lambda label: overlaps[label, box])] = box
        for label, mask in enumerate(masks):
            if (truth[label, 2:] - truth[label, :2]).min() >= smallest:
                labelled_faces[mask] += 1
                hits[mask] += label in taken
        large = np.flatnonzero((faces.boxes[:, 2:] - faces.boxes[:, :2]).min(1, initial=np.inf) >= smallest)
        boxes += len(large)
        correct += len(set(large.tolist()) & set(taken.values()))
    return {mask: hits[mask] / count for mask, count in labelled_faces.items()}, correct / max(boxes, 1)


if __name__ == "__main__":
    main()
