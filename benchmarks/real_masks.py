"""What drawn masks teach about real ones: street photos scored after training with and without mask synthesis.

    python benchmarks/real_masks.py STANDIN SCENES [--people 250 --epochs 5 --input 96 72 --times 4 --share 0.5
        --wearings 0.8 0.1 0.1 --rough --half 1 --seeds 5]

STANDIN is a data set in the competition's layout with truth/train.csv: path, mask (0 wear, 1 incorrect, 2 normal) and
x1, y1, x2, y2 of the face. SCENES holds photos and boxes.csv: file, x1, y1, x2, y2, mask (by name). Both are cut with
the pipeline's own window. Both trainings take the same steps over the same photos, each maskless photo `times` times an
epoch; in the second, a share of those showings gets a mask, of which so many are worn right, below the nose and under
the chin. With --rough, both see every photo as a street camera might. --half 0 or 1 scores every other street photo, so
that what is chosen on one half is told on the other. Prints a table; intervals are over street photos.
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
from detect.ladder import SubjectFinder
from detect.window import cut, window_around

CLASSES = ("wear", "incorrect", "normal")
WORN_AS = dict(zip(WEARINGS, (0, 1, 1), strict=True))
SMALLEST = 32  # pixels of a street face's shorter side


# Both ends of what a street camera makes of a face, beside a studio's.
ROUGH = (
    A.Affine(rotate=(-15, 15), scale=(0.8, 1.25), translate_percent=(-0.08, 0.08), p=0.9),
    A.Downscale(scale_range=(0.25, 0.8), p=0.5),
    A.GaussianBlur(blur_limit=(3, 5), p=0.3),
    A.RandomBrightnessContrast(p=0.5),
    A.HueSaturationValue(p=0.3),
)


@dataclass(frozen=True)
class Teaching:
    """Showings of each maskless photo in an epoch, how drawn masks are worn, and whether photos are made rough."""

    times: int
    wearings: dict[str, float] | None
    rough: bool


@dataclass(frozen=True)
class Faces:
    """Inputs, their class indices, landmarks in their pixels (NaN where none were found), and the file of each."""

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
    parser.add_argument("--times", type=int, default=4, help="showings of each maskless photo in an epoch")
    parser.add_argument("--share", type=float, default=0.5, help="of these showings that get a mask")
    parser.add_argument("--wearings", type=float, nargs=3, help="weights: right, nose out, under the chin")
    parser.add_argument("--people", type=int, help="of the stand-in, so many; all when left out")
    parser.add_argument("--rough", action="store_true", help="turn, shift, scale, coarsen and blur every photo")
    parser.add_argument("--half", type=int, choices=(0, 1), help="score every other street photo")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    teaching = Teaching(
        asked.times, dict(zip(WEARINGS, asked.wearings, strict=True)) if asked.wearings else None, asked.rough
    )
    model = ModelConfig(input=tuple(asked.input))
    train = TrainConfig(epochs=asked.epochs)
    truth = pl.read_csv(asked.standin / "truth" / "train.csv")
    people = truth["person"].unique(maintain_order=True)[: asked.people]
    rows = truth.filter(pl.col("person").is_in(people.implode())).select("path", "x1", "y1", "x2", "y2", "mask").rows()
    standin = read(asked.standin / "train" / "images", rows, model, with_landmarks=True)
    boxes = pl.read_csv(asked.scenes / "boxes.csv").select("file", "x1", "y1", "x2", "y2", "mask").rows()
    if asked.half is not None:
        kept = sorted({row[0] for row in boxes})[asked.half :: 2]
        boxes = [row for row in boxes if row[0] in set(kept)]
    large = [(*row[:5], CLASSES.index(row[5])) for row in boxes if min(row[3] - row[1], row[4] - row[2]) >= SMALLEST]
    scenes = read(asked.scenes, large, model, with_landmarks=False)
    print(f"{len(standin.codes)} stand-in photos; {len(scenes.codes)} street faces", flush=True)
    print(f"| training | seed | macro-F1 | 95% | {' | '.join(CLASSES)} |\n|---|---|---|---|{'---|' * len(CLASSES)}")
    for name, share in (("stand-in alone", 0.0), ("with synthesis", asked.share)):
        scores = [told(name, seed, share, teaching, standin, scenes, model, train) for seed in range(asked.seeds)]
        print(f"| {name} | mean | {np.mean([s.macro_f1 for s in scores]):.3f} | | | | |", flush=True)


def read(folder: Path, rows: list[tuple], model: ModelConfig, *, with_landmarks: bool) -> Faces:
    """The faces at (file, x1, y1, x2, y2, class) as inputs; landmarks are looked for in maskless photos only."""
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
        # The input is the middle of the window, `zoom` times as large.
        scale = model.input[0] / (window.y2 - window.y1) * model.zoom
        middle = ((window.x1 + window.x2) / 2, (window.y1 + window.y2) / 2)
        place = np.array(model.input[::-1]) / 2
        found = np.full((5, 2), np.nan) if points is None else (np.asarray(points) - middle) * scale + place
        landmarks.append(found.astype(np.float32))
    codes = np.array([row[-1] for row in rows], np.intp)
    return Faces(np.stack(pixels), codes, np.stack(landmarks), [row[0] for row in rows])


def told(
    name: str,
    seed: int,
    share: float,
    teaching: Teaching,
    standin: Faces,
    scenes: Faces,
    model: ModelConfig,
    train: TrainConfig,
) -> Score:
    """Train once, score once, print a line."""
    torch.manual_seed(seed)
    keep_freed_memory()
    network = build_network(model, len(CLASSES), pretrained=True)
    normalise = normalise_of(network)
    optimiser = build_optimiser(network, train)
    shown = len(epoch_rows(standin, teaching.times, np.random.default_rng(0)))
    steps = shown // train.batch
    schedule = build_schedule(optimiser, train, steps)
    network.train()
    for epoch in range(train.epochs):
        rng = np.random.default_rng([seed, epoch])
        for step, (images, codes) in enumerate(batches(standin, teaching, share, train.batch, rng)):
            schedule.step_update(epoch * steps + step)
            loss = cross_entropy(network(normalise(images)), torch.eye(len(CLASSES))[codes])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(scenes.pixels).split(64)
        answers = torch.cat([network(normalise(part)).argmax(dim=1) for part in parts]).numpy()
    result = score(scenes.codes, answers, scenes.files, len(CLASSES))
    each = " | ".join(f"{row.f1:.3f}" for row in class_table(scenes.codes, answers, CLASSES))
    print(f"| {name} | {seed} | {result.macro_f1:.3f} | {result.low:.3f} to {result.high:.3f} | {each} |", flush=True)
    return result


def epoch_rows(faces: Faces, times: int, rng: np.random.Generator) -> NDArray[np.intp]:
    repeats = np.where(faces.codes == CLASSES.index("normal"), times, 1)
    return rng.permutation(np.repeat(np.arange(len(faces.codes)), repeats))


def batches(
    faces: Faces, teaching: Teaching, share: float, batch: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    rows, rough = epoch_rows(faces, teaching.times, rng), A.Compose(ROUGH if teaching.rough else [])
    rough.set_random_seed(int(rng.integers(2**32)))
    for start in range(0, len(rows) - batch + 1, batch):
        shown = [showing(faces, row, share, teaching, rough, rng) for row in rows[start : start + batch]]
        yield torch.from_numpy(np.stack([image for image, _ in shown])), torch.tensor([code for _, code in shown])


def showing(
    faces: Faces, row: int, share: float, teaching: Teaching, rough: A.Compose, rng: np.random.Generator
) -> tuple[Image, int]:
    image, code = faces.pixels[row], int(faces.codes[row])
    if CLASSES[code] == "normal" and rng.random() < share:
        image, wearing = synthesise(image, faces.landmarks[row], rng, wearings=teaching.wearings)
        code = code if wearing is None else WORN_AS[wearing]
    image = rough(image=image)["image"]
    return (image[:, ::-1] if rng.random() < 0.5 else image), code


if __name__ == "__main__":
    main()
