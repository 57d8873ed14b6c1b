"""Time the report of a large run, and measure the memory that it takes.

    python benchmarks/report.py FOLDER [--photos 2000 20000]

For each number of photos, makes FOLDER/NUMBER: small drawn photos, each with bytes of its own, their crops in a cache,
and the files of a finished run that has held all of them out and predicted all of them, with random answers of which
four in five are right and an untrained small network. Then runs `faceline report` on it in a process of its own.
Memory is that process's peak. Prints the table of docs/benchmarks.md.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `cache` would be looked for beside this file

import cv2
import numpy as np
import polars as pl

from cache.store import UNIT_SIZE, CropStore
from cache.unit import OK, Entry
from classify.inference.bundle import Bundle, save_bundle, trained_network
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks
from classify.tasks import joint_class
from detect.fingerprints import crop_spec
from pipeline.demo.dataset import STEMS
from pipeline.demo.face import draw_photo
from pipeline.demo.person import draw_person
from pipeline.settings import Settings, load_settings
from pipeline.task_names import probability_columns

SETTINGS = ["model.backbone=test_resnet", "model.pretrained=false", "model.input=[64,48]", "model.sharing=shared"]
WIDTH, HEIGHT = 96, 128  # of photos and crops
FOLDS = 4
RIGHT = 0.8  # of the answers to each task
MISSED = 0.07  # of the photos: that is what MTCNN misses on masked faces


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds and memory of `faceline report`.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, nargs="+", default=[2000, 20000])
    args = parser.parse_args()
    print("| photos | seconds | of the CPU | peak MB | page MB |\n|---|---|---|---|---|")
    for count in args.photos:
        folder = args.folder / str(count)
        if not (folder / "run" / "run.json").is_file():
            make_run(folder, count)
        seconds, cpu_seconds, megabytes = report(folder)
        page = (folder / "run" / "report.html").stat().st_size / 1e6
        print(f"| {count:,} | {seconds:.0f} | {cpu_seconds:.0f} | {megabytes:.0f} | {page:.1f} |", flush=True)


def make_run(folder: Path, count: int) -> None:
    """Write photos, cache and run."""
    settings = load_settings(None, SETTINGS)
    table, sources = write_photos(folder, count)
    fill_cache(folder / "cache", settings, table, sources)
    write_run(folder / "run", folder / "photos.csv", settings, table, sources)


def write_photos(folder: Path, count: int) -> tuple[pl.DataFrame, list[str]]:
    """Write photos and their table; returns it with the photos' source ids."""
    rng = np.random.default_rng(0)
    people = [draw_person(rng, int(age), gender) for age in (22, 45, 60) for gender in ("male", "female")]
    drawn = []
    for person in people:
        for stem in STEMS:
            mask = {"normal": "normal", "incorrect_mask": "incorrect"}.get(stem, "wear")
            small = cv2.resize(draw_photo(person, stem, rng), (WIDTH, HEIGHT))
            _, jpeg = cv2.imencode(".jpg", small[..., ::-1])
            drawn.append((mask, person.gender, person.age, jpeg.tobytes()))
    rows, sources = [], []
    for number in range(count):
        mask, gender, age, jpeg = drawn[number % len(drawn)]
        content = jpeg + number.to_bytes(8)  # what follows a picture's end is not looked at
        person = f"p{number // len(STEMS)}"
        path = folder / "photos" / person / f"{STEMS[number % len(STEMS)]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append([path.relative_to(folder).as_posix(), person, mask, gender, age])
        sources.append(hashlib.sha256(content).hexdigest())
    table = pl.DataFrame(rows, schema=["path", "person", "mask", "gender", "age"], orient="row")
    table.write_csv(folder / "photos.csv")
    return table, sources


def fill_cache(cache: Path, settings: Settings, table: pl.DataFrame, sources: list[str]) -> None:
    """Commit the photos as their own crops."""
    store = CropStore(cache, crop_spec(settings.detect, settings.crop))
    rng = np.random.default_rng(1)
    found_by = np.where(rng.random(len(sources)) < MISSED, "yunet", "mtcnn").tolist()
    root = cache.parent
    for first in range(0, len(sources), UNIT_SIZE):
        rows = range(first, min(first + UNIT_SIZE, len(sources)))
        store.commit([
            (
                Entry(sources[row], table["path"][row], OK,
                      {"found_by": found_by[row], "photo": [WIDTH, HEIGHT], "window": [8, 8, WIDTH - 8, HEIGHT - 8]}),
                (root / table["path"][row]).read_bytes(),
            )
            for row in rows
        ])  # fmt: skip


def write_run(run: Path, data: Path, settings: Settings, table: pl.DataFrame, sources: list[str]) -> None:
    """Write the files that a run of all these photos leaves, run.json last."""
    run.mkdir(parents=True, exist_ok=True)
    tasks = settings.task_list()
    rng = np.random.default_rng(2)
    columns: dict[str, object] = {}
    answers: list[np.ndarray] = []
    truth: dict[str, list[int]] = {}
    for task in tasks:
        true = np.array([task.encode(label) for label in table[task.name]])
        classes = len(task.classes)
        answer = np.where(rng.random(len(true)) < RIGHT, true, rng.integers(0, classes, len(true)))
        probabilities = rng.dirichlet(np.ones(classes), len(true))
        highest = probabilities.argmax(axis=1)  # the answer gets the highest of its probabilities
        rows = np.arange(len(true))
        probabilities[rows, highest], probabilities[rows, answer] = (
            probabilities[rows, answer].copy(), probabilities[rows, highest].copy(),
        )  # fmt: skip
        columns[task.name] = [task.classes[code] for code in answer]
        columns |= dict(zip(probability_columns(task), probabilities.T, strict=True))
        truth[f"true_{task.name}"] = true.tolist()
        answers.append(answer)
    joint = [joint_class(tasks, codes) for codes in np.stack(answers, axis=1).tolist()]
    folds = [int(person[1:]) % FOLDS for person in table["person"]]
    names = {"path": table["path"]}
    held_out = {
        **names,
        "person": table["person"],
        "source": sources,
        "fold": folds,
        **truth,
        **columns,
        "class": joint,
    }
    pl.DataFrame(held_out).write_csv(run / "validation.csv")
    where = {"status": "ok", "found_by": "mtcnn", **dict.fromkeys(("x1", "y1", "x2", "y2", "score"), 1.0)}
    predicted = pl.DataFrame({**names, **columns, "class": joint}).with_columns(
        **{name: pl.lit(value) for name, value in where.items()}
    )
    predicted.write_csv(run / "predictions.csv")
    pl.DataFrame({**names, "source": sources}).write_csv(run / "photos.csv")
    pl.DataFrame({**names, "person": table["person"], "fold": folds}).write_csv(run / "folds.csv")
    [plan] = plan_networks(settings.tasks)
    outputs = sum(len(task.classes) for task in tasks)
    networks = tuple(
        trained_network(
            plan, f"shared-fold{fold}", build_network(plan.model, outputs, pretrained=False).eval(), (fold,)
        )
        for fold in range(FOLDS)
    )
    save_bundle(run / "bundle", Bundle(tuple(tasks), networks, {}, {}, 0, flip=False))
    (run / "config.yaml").write_text(settings.as_yaml())
    (run / "data.json").write_text(json.dumps({"photos": len(table)}))
    lines = [
        {"task": task.name, "epoch": epoch, "train_loss": 1 / epoch, "loss": 1.2 / epoch, "macro_f1": 1 - 1 / epoch}
        for epoch in range(1, 31)
        for task in tasks
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "run.json").write_text(json.dumps({"data": str(data.resolve()), "status": "finished"}))


def report(folder: Path) -> tuple[float, float, float]:
    """Run the command; returns its seconds, the CPU's seconds, and the peak of its memory in MB."""
    words = [sys.executable, "-m", "pipeline", "report", str(folder / "run"), "--cache", str(folder / "cache")]
    started = time.perf_counter()
    process = subprocess.Popen(words, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
