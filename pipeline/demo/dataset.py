"""The demo's data set: drawn people in the competition's layout, with the true labels in a folder of their own.

OUT/train/train.csv, OUT/train/images/<id>_<gender>_Asian_<age>/{mask1..5,incorrect_mask,normal}.jpg
OUT/eval/info.csv, OUT/eval/images/<40 hex>.jpg
OUT/truth/train.csv, OUT/truth/eval.csv                 the true labels, for scoring only
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from cache.errors import UsageError
from pipeline.demo.face import Image, draw_photo
from pipeline.demo.person import Person, draw_person

STEMS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
MASK_CODE = {"incorrect_mask": 1, "normal": 2}  # the others are worn right: 0
FEWEST_PEOPLE = 4
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]


def draw_data_set(out: Path, *, people: int = 60, seed: int = 0) -> Path:
    """Draw `people` to train on, and half as many others to predict, into `out`, which is returned.

    The same arguments give the same photos.

    Raises:
        UsageError: fewer than 4 people.
    """
    if people < FEWEST_PEOPLE:
        raise UsageError(f"a data set needs at least {FEWEST_PEOPLE} people, not {people}")
    rng = np.random.default_rng(seed)
    _write_train(out, _people(people, rng), rng)
    _write_eval(out, _people(max(2, people // 2), rng), seed, rng)
    return out


def _people(count: int, rng: np.random.Generator) -> list[Person]:
    """Draw people: half under 30, a third from 30 to 59, a sixth of 60; half of each age are women."""
    old = max(count // 6, 2 if count >= 12 else 1)
    young = (count - old) // 2 + (count - old) // 10
    ages = [60] * old + rng.integers(18, 30, young).tolist() + rng.integers(30, 60, count - old - young).tolist()
    drawn = [draw_person(rng, int(age), ("female", "male")[i % 2]) for i, age in enumerate(ages)]
    return [drawn[i] for i in rng.permutation(count)]


def _write_train(out: Path, people: Sequence[Person], rng: np.random.Generator) -> None:
    """Write the labelled photos, with the irregularities of real data sets: other file types, ids, stray files."""
    table: list[list[object]] = []
    truth: list[list[object]] = []
    for number, person in enumerate(people):
        identity = f"{number:06d}" if number % 40 != 7 else f"{number:06d}-1"  # an id need not be a number
        name = f"{identity}_{person.gender}_Asian_{person.age}"
        folder = out / "train" / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        table.append([identity, person.gender, "Asian", person.age, name])
        for stem in STEMS:
            photo = draw_photo(person, stem, rng)
            suffix = str(rng.choice([".jpg", ".png", ".jpeg"], p=[0.95, 0.03, 0.02]))
            _write_photo(folder / f"{stem}{suffix}", photo)
            truth.append([f"{name}/{stem}{suffix}", *_codes(person, stem), number])
        if number % 30 == 3:
            (folder / "._normal.jpg").write_bytes(b"\x00\x05\x16\x07 what an archive made on a Mac leaves behind")
    _write_table(out / "train" / "train.csv", ["id", "gender", "race", "age", "path"], table)
    _write_table(out / "truth" / "train.csv", ["path", "mask", "gender", "age", "person"], truth)


def _write_eval(out: Path, people: Sequence[Person], seed: int, rng: np.random.Generator) -> None:
    """Write the photos to predict, under names that reveal nothing, and their true labels."""
    folder = out / "eval" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    truth: list[list[object]] = []
    for number, person in enumerate(people):
        for stem in STEMS:
            name = hashlib.sha1(f"{seed}/{number}/{stem}".encode(), usedforsecurity=False).hexdigest() + ".jpg"
            _write_photo(folder / name, draw_photo(person, stem, rng))
            mask, gender, age = _codes(person, stem)
            joint = mask * 6 + gender * 3 + (0 if age < 30 else 1 if age < 60 else 2)
            truth.append([name, joint, mask, gender, age, number])
    truth.sort(key=lambda row: str(row[0]))
    _write_table(out / "eval" / "info.csv", ["ImageID", "ans"], [[row[0], 0] for row in truth])
    _write_table(out / "truth" / "eval.csv", ["ImageID", "ans", "mask", "gender", "age", "person"], truth)


def _codes(person: Person, stem: str) -> tuple[int, int, int]:
    """Return the mask's and gender's class index, and the age in years."""
    return MASK_CODE.get(stem, 0), int(person.gender == "female"), person.age


def _write_photo(path: Path, photo: Image) -> None:
    parameters = [] if path.suffix == ".png" else JPEG
    _, content = cv2.imencode(path.suffix, cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), parameters)
    path.write_bytes(content.tobytes())


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=list(columns), orient="row").write_csv(path)
