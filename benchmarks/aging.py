"""Carry the texture of old skin to middle-aged faces: does it help to recognise people of 60 and over?

    python benchmarks/aging.py DATA [--cache DIR] [--backbone face_dlib --input 150 150 --zoom 1.7] [--seeds 3]
        [--sheet sheet.png]

For each photo of a person of 45 to 57 to train on, another of a person of 60 and over is chosen, of the same gender and
with a mask that is worn the same way. It is warped by the five landmarks, and the fine structure of its brightness is
added to the middle-aged face, whose geometry is kept. Last layers are fitted on features of the photos, of their mirror
images and of such faces. Each variant is scored on people whom it has not seen, in three folds for each seed: average
precision of 60 and over, on all photos and on those without a mask, log loss, and macro-F1. --sheet writes pictures.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classify.model_config import ModelConfig
from classify.models.backbones import build_network, normalise_of
from classify.models.frozen_features import compute_features
from classify.preprocessing import Image, decode_crop, to_input
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.settings import load_settings
from pipeline.training.samples import make_samples

MIDDLE_AGED, OLD = (45, 57), 60
BARE, BINS = 2, 3  # the class index of a face without a mask; bins of age
STRENGTHS = (0.5, 1.2)  # of the structure that is carried
FINE = 0.09  # of the distance of the eyes: what a blur of this size removes is structure
REPLACED = 0.3  # share of the face's structure that makes room for it
C = 0.002  # of the logistic regressions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--backbone", default="face_dlib")
    parser.add_argument("--input", type=int, nargs=2, default=(150, 150), metavar=("H", "W"))
    parser.add_argument("--zoom", type=float, default=1.7)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sheet", type=Path, help="write pictures and stop: face, aged twice, where from")
    args = parser.parse_args()
    context = RunContext(load_settings(), args.cache)
    photos = load_labelled(args.data, context.settings).require_usable().train
    detection = detect_photos(photos, context)
    samples = make_samples(photos, detection, None, context)
    crops = [decode_crop(detection.store.read(sample.source)) for sample in samples]
    points = [
        landmarks(detection.store.crop(sample.source).facts, crop) for sample, crop in zip(samples, crops, strict=True)
    ]
    codes = np.array([sample.codes for sample in samples])
    ages = np.array([sample.numbers[2] for sample in samples])
    people = np.unique([sample.person for sample in samples], return_inverse=True)[1]
    if args.sheet:
        rng = np.random.default_rng(0)
        pairs = partners(np.arange(len(codes)), codes, ages, points, rng)
        rows = [
            [crops[a], *(carry(crops[a], points[a], crops[b], points[b], s) for s in STRENGTHS), crops[b]]
            for a, b in pairs[:8]
        ]
        sheet = np.concatenate([np.concatenate([to_input(image, (240, 180), 1.3) for image in row], 1) for row in rows])
        cv2.imwrite(str(args.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        return

    network = build_network(
        ModelConfig(backbone=args.backbone, input=tuple(args.input), zoom=args.zoom), 3, pretrained=True
    )

    def features(images: list[Image], *, mirrored: bool = False) -> NDArray[np.float32]:
        pixels = np.stack([to_input(image, tuple(args.input), args.zoom) for image in images])
        return compute_features(network, normalise_of(network), pixels, "cpu", mirrored=mirrored).numpy()

    # Features of all photos once; those of aged faces anew for each fold, from faces that are trained on
    plain, mirrored = features(crops), features(crops, mirrored=True)
    bins = codes[:, 2]
    results: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(args.seeds):
        folds = StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(codes, codes[:, 1] * 3 + bins, people)
        predicted: dict[str, NDArray[np.float64]] = {}
        for train, held_out in folds:
            rng = np.random.default_rng(seed)
            aged, targets = [], []
            for target, source in partners(train, codes, ages, points, rng):
                strength = rng.uniform(*STRENGTHS)
                aged.append(carry(crops[target], points[target], crops[source], points[source], strength))
                targets.append(target)
            aged_features, targets = features(aged), np.array(targets)
            bare = codes[targets, 0] == BARE
            old = np.repeat(train[bins[train] == BINS - 1], 4)
            label = np.full(len(targets), BINS - 1)
            more = {
                "no aged faces": (plain[:0], label[:0], 1.0),
                "aged, labelled 60 and over": (aged_features, label, 1.0),
                "the same, counted 0.3 times": (aged_features, label, 0.3),
                "the same, maskless faces only": (aged_features[bare], label[bare], 1.0),
                "aged, with the label they had": (aged_features, bins[targets], 1.0),
                "not aged, labelled 60 and over, counted 0.3 times": (plain[targets], label, 0.3),
                "people of 60 and over counted three times": (plain[old], bins[old], 1.0),
            }
            for name, (extra, extra_labels, weight) in more.items():
                inputs = np.concatenate([plain[train], mirrored[train], extra])
                labels = np.concatenate([bins[train], bins[train], extra_labels])
                weights = np.repeat([1.0, weight], [2 * len(train), len(extra)])
                layer = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=200))
                layer.fit(inputs, labels, logisticregression__sample_weight=weights)
                both = (layer.predict_proba(plain[held_out]) + layer.predict_proba(mirrored[held_out])) / 2
                predicted.setdefault(name, np.zeros((len(codes), BINS)))[held_out] = both
        for name, both in predicted.items():
            results.setdefault(name, []).append(scores(both, bins, codes[:, 0] == BARE))
    print(
        "| trained on | average precision, 60 and over | without a mask | log loss | macro-F1 |\n|---|---|---|---|---|"
    )
    for name, rows in results.items():
        cells = [
            f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(np.mean(rows, 0), np.std(rows, 0, ddof=1), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def landmarks(facts: dict[str, Any], crop: Image) -> NDArray[np.float32] | None:
    """(5, 2) in pixels of the crop; None if they were not found, or the crop is turned."""
    if facts.get("landmarks") is None or facts["turn"]:
        return None
    left, top, _, bottom = facts["window"]
    return ((np.array(facts["landmarks"]) - (left, top)) * crop.shape[0] / (bottom - top)).astype(np.float32)


def partners(
    rows: NDArray[np.intp],
    codes: NDArray[np.intp],
    ages: NDArray[np.float64],
    points: list[NDArray[np.float32] | None],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Pairs of a middle-aged person's photo and one of a person of 60 and over, of the same gender and mask."""
    rows = np.array([row for row in rows.tolist() if points[row] is not None])
    old = rows[ages[rows] >= OLD]
    middle_aged = rows[(ages[rows] >= MIDDLE_AGED[0]) & (ages[rows] <= MIDDLE_AGED[1])]
    pairs = []
    for target in middle_aged.tolist():
        similar = old[(codes[old, :2] == codes[target, :2]).all(axis=1)]
        if len(similar):
            pairs.append((target, int(rng.choice(similar))))
    return pairs


def carry(
    target: Image,
    target_points: NDArray[np.float32],
    source: Image,
    source_points: NDArray[np.float32],
    strength: float,
) -> Image:
    """The target with the fine structure of the source's brightness, within the face."""
    matrix, _ = cv2.estimateAffine2D(source_points, target_points, method=cv2.LMEDS)
    if matrix is None:
        return target
    height, width = target.shape[:2]
    warped = cv2.warpAffine(source, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    lab = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)
    brightness = cv2.cvtColor(warped, cv2.COLOR_RGB2LAB).astype(np.float32)[..., 0]
    eyes = float(np.linalg.norm(target_points[1] - target_points[0]))
    up = target_points[:2].mean(axis=0) - target_points[3:].mean(axis=0)
    lean = 90 - float(np.degrees(np.arctan2(-up[1], up[0])))
    face = np.zeros((height, width), np.float32)
    middle = target_points.mean(axis=0).tolist()
    cv2.ellipse(face, (middle, (eyes * 2.2, eyes * 3.0), lean), 1.0, -1)
    face = cv2.GaussianBlur(face, (0, 0), eyes * 0.12)

    def fine(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return image - cv2.GaussianBlur(image, (0, 0), max(eyes * FINE, 1.0))

    lab[..., 0] += face * strength * (fine(brightness) - REPLACED * fine(lab[..., 0]))
    return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def scores(probabilities: NDArray[np.float64], codes: NDArray[np.intp], bare: NDArray[np.bool_]) -> tuple[float, ...]:
    old, p_old = codes == BINS - 1, probabilities[:, -1]
    return (
        average_precision_score(old, p_old),
        average_precision_score(old[bare], p_old[bare]),
        log_loss(codes, probabilities),
        f1_score(codes, probabilities.argmax(axis=1), average="macro"),
    )


if __name__ == "__main__":
    main()
