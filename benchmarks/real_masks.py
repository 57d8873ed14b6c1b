"""Score street photos of real masks after training with and without drawn masks.

    python benchmarks/real_masks.py STANDIN SCENES [--people 250 --epochs 5 --input 96 72 --times 4 --share 0.5
        --wearings 0.8 0.1 0.1 --rough --half 1 --seeds 5]

STANDIN is a data set in the competition's layout with truth/train.csv: path, mask (0 wear, 1 incorrect, 2 normal) and
x1, y1, x2, y2 of the face. SCENES has photos and boxes.csv: file, x1, y1, x2, y2, mask (by name). Both are cut with the
pipeline's window. Both trainings take the same number of steps over the same photos, with each maskless photo `times`
times per epoch; in the second, a share of these repeats gets a mask, worn right, below the nose or under the chin with
the given weights. With --rough, both see photos as a street camera might take them. --half 0 or 1 scores half of the
street photos, so that choices made on one half can be scored on the other. Intervals are over street photos.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from classify.allocator import keep_freed_memory
from classify.config import ModelConfig, TrainConfig
from classify.evaluation.metrics import Score, class_table, score
from classify.masks.synthesis import WEARINGS, synthesise
from classify.models.backbones import build_network, normalise_of
from classify.models.losses import cross_entropy
from classify.preprocessing import Image, to_input
from classify.training.optimisation import build_optimiser, build_schedule
from detect.config import CropConfig, DetectConfig
from detect.decode import Failure, decode_file
from detect.subject_finder import SubjectFinder
from detect.window import cut, window_around

CLASSES = ("wear", "incorrect", "normal")
WORN_AS = dict(zip(WEARINGS, (0, 1, 1), strict=True))
SMALLEST = 32  # pixels of a street face's shorter side

# Distortions of a street camera, compared with a studio's.
ROUGH = (
    A.Affine(rotate=(-15, 15), scale=(0.8, 1.25), translate_percent=(-0.08, 0.08), p=0.9),
    A.Downscale(scale_range=(0.25, 0.8), p=0.5),
    A.GaussianBlur(blur_limit=(3, 5), p=0.3),
    A.RandomBrightnessContrast(p=0.5),
    A.HueSaturationValue(p=0.3),
)


@dataclass(frozen=True)
class Variant:
    """Repeats of each maskless photo in an epoch, how drawn masks are worn, and whether photos are made rough."""

    times: int
    wearings: dict[str, float] | None
    rough: bool


@dataclass(frozen=True)
class Faces:
    """Inputs, their class indices, landmarks in input pixels (NaN if not found), and the file of each."""

    pixels: NDArray[np.uint8]
    codes: NDArray[np.intp]
    landmarks: NDArray[np.float32]
    files: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("standin", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--input", type=int, nargs=2, default=(96, 72), metavar=("H", "W"))
    parser.add_argument("--times", type=int, default=4, help="repeats of each maskless photo in an epoch")
    parser.add_argument("--share", type=float, default=0.5, help="share of these repeats that get a mask")
    parser.add_argument("--wearings", type=float, nargs=3, help="weights: right, nose out, under the chin")
    parser.add_argument("--people", type=int, help="number of people of the stand-in; all by default")
    parser.add_argument("--rough", action="store_true", help="turn, shift, scale, coarsen and blur every photo")
    parser.add_argument("--half", type=int, choices=(0, 1), help="score one half of the street photos")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    variant = Variant(
        args.times, dict(zip(WEARINGS, args.wearings, strict=True)) if args.wearings else None, args.rough
    )
    model = ModelConfig(input=tuple(args.input))
    train = TrainConfig(epochs=args.epochs)
    truth = pl.read_csv(args.standin / "truth" / "train.csv")
    people = truth["person"].unique(maintain_order=True)[: args.people]
    rows = truth.filter(pl.col("person").is_in(people.implode())).select("path", "x1", "y1", "x2", "y2", "mask").rows()
    standin = read(args.standin / "train" / "images", rows, model, with_landmarks=True)
    boxes = pl.read_csv(args.scenes / "boxes.csv").select("file", "x1", "y1", "x2", "y2", "mask").rows()
    if args.half is not None:
        kept = sorted({row[0] for row in boxes})[args.half :: 2]
        boxes = [row for row in boxes if row[0] in set(kept)]
    large = [(*row[:5], CLASSES.index(row[5])) for row in boxes if min(row[3] - row[1], row[4] - row[2]) >= SMALLEST]
    scenes = read(args.scenes, large, model, with_landmarks=False)
    print(f"{len(standin.codes)} stand-in photos; {len(scenes.codes)} street faces", flush=True)
    print(f"| training | seed | macro-F1 | 95% | {' | '.join(CLASSES)} |\n|---|---|---|---|{'---|' * len(CLASSES)}")
    for name, share in (("stand-in alone", 0.0), ("with synthesis", args.share)):
        scores = [
            train_and_score(name, seed, share, variant, standin, scenes, model, train) for seed in range(args.seeds)
        ]
        print(f"| {name} | mean | {np.mean([s.macro_f1 for s in scores]):.3f} | | | | |", flush=True)


def read(folder: Path, rows: list[tuple], model: ModelConfig, *, with_landmarks: bool) -> Faces:
    """Make inputs of the faces at (file, x1, y1, x2, y2, class); landmarks are detected in maskless photos only."""
    crop, pixels, landmarks = CropConfig(), [], []
    finder = SubjectFinder(DetectConfig(), "auto", torch.get_num_threads()) if with_landmarks else None
    for file, *box, code in rows:
        photo = decode_file(folder / file)
        if isinstance(photo, Failure):
            raise SystemExit(f"{folder / file} can't be read: {photo}")
        window = window_around(tuple(float(edge) for edge in box), crop)
        inside = cut(photo, window, crop)
        pixels.append(to_input(inside, model.input, model.zoom))
        points = None
        if finder is not None and CLASSES[code] == "normal":
            points = finder.find([photo])[0].landmarks
        # The input is the centre of the window, enlarged by `zoom`.
        scale = model.input[0] / (window.y2 - window.y1) * model.zoom
        middle = ((window.x1 + window.x2) / 2, (window.y1 + window.y2) / 2)
        centre = np.array(model.input[::-1]) / 2
        found = np.full((5, 2), np.nan) if points is None else (np.asarray(points) - middle) * scale + centre
        landmarks.append(found.astype(np.float32))
    codes = np.array([row[-1] for row in rows], np.intp)
    return Faces(np.stack(pixels), codes, np.stack(landmarks), [row[0] for row in rows])


def train_and_score(
    name: str, seed: int, share: float, variant: Variant, standin: Faces, scenes: Faces, model: ModelConfig,
    train: TrainConfig,
) -> Score:  # fmt: skip
    """Train a network, score it on the street photos, and print a row."""
    torch.manual_seed(seed)
    keep_freed_memory()
    network = build_network(model, len(CLASSES), pretrained=True)
    normalise = normalise_of(network)
    optimiser = build_optimiser(network, train)
    count = len(epoch_rows(standin, variant.times, np.random.default_rng(0)))
    steps = count // train.batch
    schedule = build_schedule(optimiser, train, steps)
    network.train()
    for epoch in range(train.epochs):
        rng = np.random.default_rng([seed, epoch])
        for step, (images, codes) in enumerate(batches(standin, variant, share, train.batch, rng)):
            schedule.step_update(epoch * steps + step)
            loss = cross_entropy(network(normalise(images)), torch.eye(len(CLASSES))[codes])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(scenes.pixels).split(64)
        predicted = torch.cat([network(normalise(part)).argmax(dim=1) for part in parts]).numpy()
    result = score(scenes.codes, predicted, scenes.files, len(CLASSES))
    f1_cells = " | ".join(f"{row.f1:.3f}" for row in class_table(scenes.codes, predicted, CLASSES))
    print(
        f"| {name} | {seed} | {result.macro_f1:.3f} | {result.low:.3f} to {result.high:.3f} | {f1_cells} |", flush=True
    )
    return result


def epoch_rows(faces: Faces, times: int, rng: np.random.Generator) -> NDArray[np.intp]:
    repeats = np.where(faces.codes == CLASSES.index("normal"), times, 1)
    return rng.permutation(np.repeat(np.arange(len(faces.codes)), repeats))


def batches(
    faces: Faces, variant: Variant, share: float, batch: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    rows, rough = epoch_rows(faces, variant.times, rng), A.Compose(ROUGH if variant.rough else [])
    rough.set_random_seed(int(rng.integers(2**32)))
    for start in range(0, len(rows) - batch + 1, batch):
        samples = [make_sample(faces, row, share, variant, rough, rng) for row in rows[start : start + batch]]
        yield torch.from_numpy(np.stack([image for image, _ in samples])), torch.tensor([code for _, code in samples])


def make_sample(
    faces: Faces, row: int, share: float, variant: Variant, rough: A.Compose, rng: np.random.Generator
) -> tuple[Image, int]:
    image, code = faces.pixels[row], int(faces.codes[row])
    if CLASSES[code] == "normal" and rng.random() < share:
        image, wearing = synthesise(image, faces.landmarks[row], rng, wearings=variant.wearings)
        code = code if wearing is None else WORN_AS[wearing]
    image = rough(image=image)["image"]
    return (image[:, ::-1] if rng.random() < 0.5 else image), code


if __name__ == "__main__":
    main()
