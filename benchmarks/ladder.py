"""Count which step of the ladder finds the subject, per kind of photo, and how often it is the wrong face.

    python benchmarks/ladder.py STANDIN [--set detector=yunet --set second=none]

STANDIN is a data set in the competition's layout with truth/train.csv: path and x1, y1, x2, y2 of the subject's face.
The column "no face" is facenet-pytorch's MTCNN by itself, with min_face 60. Prints the table of docs/benchmarks.md.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

import polars as pl
import torch
from torchvision.ops import box_iou

from detect import FaceDetector
from detect.config import DetectConfig
from detect.decode import Failure, decode_file
from detect.faces import Image
from detect.subject_finder import SubjectFinder

WRONG = 0.3  # a box with a smaller IoU with the subject's is another face, or none


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("standin", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the detect settings")
    args = parser.parse_args()
    settings = DetectConfig(**dict(pair.split("=", 1) for pair in args.set))
    finder = SubjectFinder(settings, "auto", torch.get_num_threads())
    plain = FaceDetector(min_face=60)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for rows, images in read(args.standin):
        for row, faces, subject in zip(rows, plain.detect(images), finder.find(images), strict=True):
            kind = Path(row["path"]).stem
            counts[kind]["photos"] += 1
            counts[kind]["none"] += not len(faces)
            counts[kind][subject.found_by] += 1
            if subject.box is not None:
                truth = torch.tensor([[float(row[edge]) for edge in ("x1", "y1", "x2", "y2")]])
                counts[kind]["wrong"] += box_iou(truth, torch.tensor([subject.box])).item() < WRONG
    table(counts, settings.steps)


def read(standin: Path) -> Iterator[tuple[list[dict[str, str]], list[Image]]]:
    rows = pl.read_csv(standin / "truth" / "train.csv", infer_schema=False).to_dicts()
    with ThreadPoolExecutor() as pool:
        for part in (rows[start : start + 128] for start in range(0, len(rows), 128)):
            images = pool.map(lambda row: decode_file(standin / "train" / "images" / row["path"]), part)
            good = [(row, image) for row, image in zip(part, images, strict=True) if not isinstance(image, Failure)]
            yield [row for row, _ in good], [image for _, image in good]


def table(counts: dict[str, Counter[str]], steps: tuple[str, ...]) -> None:
    print(f"| photo | photos | no face with plain MTCNN | {' | '.join(f'`{s}`' for s in steps)} | wrong subject |")
    print(f"|---|{'---|' * (len(steps) + 3)}")
    total = sum((counts[kind] for kind in sorted(counts)), Counter[str]())
    for kind, count in [*sorted(counts.items()), ("all", total)]:
        found = " | ".join(str(count[step]) for step in steps)
        print(f"| {kind} | {count['photos']} | {count['none']} | {found} | {count['wrong']} |")
    share = {key: total[key] / total["photos"] for key in ("none", "fallback", "wrong")}
    print(
        f"| share | | {share['none']:.1%} |{' |' * (len(steps) - 1)} {share['fallback']:.2%} | {share['wrong']:.2%} |"
    )


if __name__ == "__main__":
    main()
