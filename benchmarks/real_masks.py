"""Score street photos of real masks after training with and without drawn masks.

    python benchmarks/real_masks.py STANDIN SCENES [--backbone face_dlib --input 160 120 --zoom 1.7 --frozen]
        [--people 250 --epochs 5 --times 4 --share 0.5 --wearings 0.8 0.1 0.1 --incorrect 0.3 --rough --seeds 3]

STANDIN is a data set in the competition's layout with truth/train.csv: path, mask (0 wear, 1 incorrect, 2 normal) and
x1, y1, x2, y2 of the face. SCENES has photos and boxes.csv: file, x1, y1, x2, y2, mask (by name). Both are cut with the
pipeline's window. Both trainings see the same photos the same number of times, with each maskless photo `times` times
per epoch; in the second, a share of these repeats gets a mask, worn right, below the nose or under the chin with the
given weights. --incorrect is the weight of the incorrectly worn class in the loss. With --rough, both see photos as a
street camera might take them. With --frozen, only the last layer is fitted, on the features of all epochs.

Every other street photo is to choose settings by; the rest are scored. Intervals are over the scored photos.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from classify.allocator import keep_freed_memory
from classify.config import HeadConfig, TaskConfig, TrainConfig
from classify.evaluation.metrics import Score, class_table, score
from classify.masks.synthesis import WEARINGS, synthesise
from classify.model_config import ModelConfig
from classify.models.backbones import build_network, features_of, head_of, normalise_of
from classify.models.heads import Heads, build_heads
from classify.preprocessing import Image, to_input
from classify.tasks import Task
from classify.training.last_layer import fit_last_layer
from classify.training.optimisation import build_optimiser, build_schedule
from detect.config import CropConfig, DetectConfig
from detect.decode import Failure, decode_file
from detect.subject_finder import SubjectFinder
from detect.window import cut, window_around

CLASSES = ("wear", "incorrect", "normal")
WORN_AS = dict(zip(WEARINGS, (0, 1, 1), strict=True))
TASK = Task("mask", CLASSES)
SMALLEST = 32  # pixels of a street face's shorter side
WINDOW = ModelConfig(
    input=(288, 216), zoom=1
)  # on which masks are drawn and distortions act, before an input is cut out

# Distortions of a street camera, compared with a studio's.
ROUGH = (
    A.Affine(
        rotate=(-15, 15),
        scale=(0.8, 1.25),
        translate_percent=(-0.08, 0.08),
        border_mode=cv2.BORDER_REPLICATE,
        p=0.9,
    ),
    A.Downscale(scale_range=(0.12, 0.8), p=0.6),
    A.GaussianBlur(blur_limit=(3, 9), p=0.3),
    A.RandomBrightnessContrast(p=0.5),
    A.HueSaturationValue(p=0.3),
)

Batches = Iterator[tuple[torch.Tensor, NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True)
class Variant:
    """How the stand-in photos are shown, and what is trained."""

    times: int  # repeats of each maskless photo in an epoch
    wearings: dict[str, float] | None
    rough: bool
    frozen: bool


@dataclass(frozen=True)
class Faces:
    """Windows around faces as WINDOW has them, and of each: class index, landmarks (NaN if not found), file, person."""

    pixels: NDArray[np.uint8]
    codes: NDArray[np.intp]
    landmarks: NDArray[np.float32]
    files: list[str]
    people: NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("standin", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--input", type=int, nargs=2, default=(96, 72), metavar=("H", "W"))
    parser.add_argument("--zoom", type=float, default=1.3)
    parser.add_argument("--frozen", action="store_true", help="fit the last layer, and train nothing else")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--times", type=int, default=4, help="repeats of each maskless photo in an epoch")
    parser.add_argument("--share", type=float, default=0.5, help="share of these repeats that get a mask")
    parser.add_argument("--wearings", type=float, nargs=3, help="weights: right, nose out, under the chin")
    parser.add_argument("--incorrect", type=float, default=1.0, help="weight of the class `incorrect` in the loss")
    parser.add_argument("--people", type=int, help="number of people of the stand-in; all by default")
    parser.add_argument("--rough", action="store_true", help="turn, shift, scale, coarsen and blur every photo")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()
    variant = Variant(
        args.times, dict(zip(WEARINGS, args.wearings, strict=True)) if args.wearings else None, args.rough, args.frozen
    )
    model = ModelConfig(backbone=args.backbone, input=tuple(args.input), zoom=args.zoom)
    config = TaskConfig(
        classes=CLASSES, head=HeadConfig(weights={"incorrect": args.incorrect}), train=TrainConfig(epochs=args.epochs)
    )
    heads = build_heads([TASK], [config])
    truth = pl.read_csv(args.standin / "truth" / "train.csv")
    people = truth["person"].unique(maintain_order=True)[: args.people]
    rows = truth.filter(pl.col("person").is_in(people.implode()))
    standin = read(args.standin / "train" / "images", rows, rows["person"].to_list(), with_landmarks=True)
    boxes = pl.read_csv(args.scenes / "boxes.csv").with_columns(
        path="file", mask=pl.col("mask").replace_strict(dict(zip(CLASSES, range(3), strict=True)))
    )
    large = boxes.filter(pl.min_horizontal(pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")) >= SMALLEST)
    scenes = read(args.scenes, large, large["path"].to_list(), with_landmarks=False)
    print(f"{len(standin.codes)} stand-in photos; {len(scenes.codes)} street faces", flush=True)
    print(f"| training | seed | to choose by | macro-F1 | 95% | {' | '.join(CLASSES)} |")
    print(f"|---|---|---|---|---|{'---|' * len(CLASSES)}")
    for name, share in (("stand-in alone", 0.0), ("with synthesis", args.share)):
        scores = [
            train_and_score(name, seed, share, variant, standin, scenes, model, heads, config.train)
            for seed in range(args.seeds)
        ]
        means = [np.mean([s.macro_f1 for s in half]) for half in zip(*scores, strict=True)]
        print(f"| {name} | mean | {means[0]:.3f} | {means[1]:.3f} | | | | |", flush=True)


def read(folder: Path, rows: pl.DataFrame, people: Sequence[str], *, with_landmarks: bool) -> Faces:
    """Cut out the faces at path, x1, y1, x2, y2, mask; landmarks are detected in maskless photos only."""
    crop, pixels, landmarks = CropConfig(), [], []
    finder = SubjectFinder(DetectConfig(), "auto", torch.get_num_threads()) if with_landmarks else None
    for file, *box, code in rows.select("path", "x1", "y1", "x2", "y2", "mask").iter_rows():
        photo = decode_file(folder / file)
        if isinstance(photo, Failure):
            raise SystemExit(f"{folder / file} can't be read: {photo}")
        window = window_around(tuple(float(edge) for edge in box), crop)
        pixels.append(to_input(cut(photo, window, crop), WINDOW.input, WINDOW.zoom))
        points = finder.find([photo])[0].landmarks if finder and CLASSES[code] == "normal" else None
        scale = WINDOW.input[0] / (window.y2 - window.y1)
        middle = ((window.x1 + window.x2) / 2, (window.y1 + window.y2) / 2)
        centre = np.array(WINDOW.input[::-1]) / 2
        found = np.full((5, 2), np.nan) if points is None else (np.asarray(points) - middle) * scale + centre
        landmarks.append(found.astype(np.float32))
    numbers = np.unique(people, return_inverse=True)[1]
    return Faces(np.stack(pixels), rows["mask"].to_numpy(), np.stack(landmarks), rows["path"].to_list(), numbers)


def train_and_score(
    name: str, seed: int, share: float, variant: Variant, standin: Faces, scenes: Faces, model: ModelConfig,
    heads: Heads, train: TrainConfig,
) -> tuple[Score, Score]:  # fmt: skip
    """Train a network, score it on both halves of the street photos, and print a row."""
    torch.manual_seed(seed)
    network = build_network(model, len(CLASSES), pretrained=True)
    epochs = [batches(standin, variant, share, train.batch, [seed, epoch], model) for epoch in range(train.epochs)]
    if variant.frozen:
        fit(network, epochs, standin.people, heads)
    else:
        train_all(network, epochs, len(epoch_rows(standin, variant.times)) // train.batch, heads, train)

    network.eval()
    normalise = normalise_of(network)
    inputs = torch.from_numpy(np.stack([to_input(window, model.input, model.zoom) for window in scenes.pixels]))
    with torch.inference_mode():
        parts = [normalise(part) for part in inputs.split(64)]
        outputs = torch.cat([network(part) + network(part.flip(3)) for part in parts])
    predicted = outputs.argmax(dim=1).numpy()
    photos = {file: number for number, file in enumerate(sorted(set(scenes.files)))}
    half = np.array([photos[file] % 2 for file in scenes.files])
    to_choose, scored = (
        score(scenes.codes[half == h], predicted[half == h], np.array(scenes.files)[half == h].tolist(), len(CLASSES))
        for h in (0, 1)
    )
    table = class_table(scenes.codes[half == 1], predicted[half == 1], CLASSES)
    cells = " | ".join(f"{row.f1:.3f}" for row in table)
    interval = f"{scored.low:.3f} to {scored.high:.3f}"
    print(f"| {name} | {seed} | {to_choose.macro_f1:.3f} | {scored.macro_f1:.3f} | {interval} | {cells} |", flush=True)
    return to_choose, scored


def fit(network: nn.Module, epochs: Sequence[Batches], people: NDArray[np.intp], heads: Heads) -> None:
    """Fit the last layer on the features of all epochs."""
    network.eval()
    normalise = normalise_of(network)
    features, codes, rows = [], [], []
    for images, batch_codes, batch_rows in chain.from_iterable(epochs):
        with torch.inference_mode():
            features.append(features_of(network, normalise(images)))
        codes.append(batch_codes)
        rows.append(batch_rows)
    targets = encode(np.concatenate(codes), heads)
    layer = fit_last_layer(torch.cat(features), targets, heads, people[np.concatenate(rows)])
    last = head_of(network)
    with torch.no_grad():
        last.weight.copy_(layer.weight)
        last.bias.copy_(layer.bias)


def train_all(network: nn.Module, epochs: Sequence[Batches], steps: int, heads: Heads, train: TrainConfig) -> None:
    """Train all layers."""
    normalise = normalise_of(network)
    optimiser = build_optimiser(network, train)
    schedule = build_schedule(optimiser, train, steps)
    network.train()
    for step, (images, codes, _) in enumerate(chain.from_iterable(epochs)):
        schedule.step_update(step)
        loss = heads.loss(network(normalise(images)), encode(codes, heads))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def encode(codes: NDArray[np.intp], heads: Heads) -> torch.Tensor:
    return torch.from_numpy(heads.encode(codes[:, None], np.full((len(codes), 1), np.nan)))


def epoch_rows(faces: Faces, times: int) -> NDArray[np.intp]:
    repeats = np.where(faces.codes == CLASSES.index("normal"), times, 1)
    return np.repeat(np.arange(len(faces.codes)), repeats)


def batches(faces: Faces, variant: Variant, share: float, batch: int, seed: list[int], model: ModelConfig) -> Batches:
    """Yield images (N, H, W, 3), class indices (N,) and rows of `faces` (N,); the incomplete last batch is left out."""
    rng = np.random.default_rng(seed)
    rows, rough = rng.permutation(epoch_rows(faces, variant.times)), A.Compose(ROUGH if variant.rough else [])
    rough.set_random_seed(int(rng.integers(2**32)))
    for start in range(0, len(rows) - batch + 1, batch):
        batch_rows = rows[start : start + batch]
        samples = [make_sample(faces, row, share, variant, rough, rng) for row in batch_rows]
        images = np.stack([to_input(window, model.input, model.zoom) for window, _ in samples])
        yield torch.from_numpy(images), np.array([code for _, code in samples]), batch_rows


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
