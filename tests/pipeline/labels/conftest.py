"""A data set of drawn photos and a run that held all of it out, written without a training."""

import hashlib
import json
import os
from types import SimpleNamespace

import polars as pl
import pytest

from pipeline.context import RunContext
from pipeline.labels.review_cases import load_review
from pipeline.settings import load_settings
from tests.pipeline.conftest import drawn_data

MARKUP = '"><script>alert(1)</script>.jpg'  # the folder `"><script>alert(1)<` and a file in it
MASKS = ("wear", "incorrect", "normal")


def write_review_run(folder, drawn, people=6, wrong=2, settings=()):
    """People with a photo of each mask class each: of the first `wrong`, the networks contradict the gender.

    The first person's photos of the masks "incorrect" and "normal" seem to be swapped, and the last photo of all has a
    name that holds a script.
    """
    data, run = folder / "data", folder / "run"
    data.mkdir(parents=True)
    run.mkdir()
    chosen = load_settings(None, list(settings))
    tasks = chosen.task_list()
    pictures = [photo.path for photo in drawn_data(drawn)][: 3 * people]
    labels, rows = [], []
    for number in range(people):
        for code, mask in enumerate(MASKS):
            name = f"p{number:02}/{mask}.jpg"
            if number == people - 1 and mask == "normal":
                name = MARKUP
            picture = pictures[(3 * number + code) % len(pictures)]
            (data / name).parent.mkdir(exist_ok=True)
            os.link(picture, data / name)
            person = f"<b>{number:02}</b>"
            gender, age = number % 2, (20, 45, 70)[number % 3]
            labels.append(
                {"path": name, "person": person, "mask": mask, "gender": ("male", "female")[gender], "age": age}
            )
            true = {"mask": code, "gender": gender, "age": number % 3}
            shown = dict(true)
            if number < wrong:
                shown["gender"] = 1 - gender
            if number == 0 and code:
                shown["mask"] = 3 - code
            row = {
                "path": name,
                "person": person,
                "source": hashlib.sha256(picture.read_bytes()).hexdigest(),
                "fold": 0,
            }
            for task in tasks:
                sure = 0.9 - 0.001 * number
                rest = (1 - sure) / (len(task.classes) - 1)
                row |= {f"true_{task.name}": true[task.name], task.name: task.classes[shown[task.name]]}
                row |= {
                    f"p_{task.name}_{c}": sure if i == shown[task.name] else rest for i, c in enumerate(task.classes)
                }
            rows.append(row | {"class": 0})
    pl.DataFrame(labels).write_csv(data / "labels.csv")
    pl.DataFrame(rows).write_csv(run / "validation.csv")
    (run / "config.yaml").write_text(chosen.as_yaml())
    table = data / "labels.csv"
    (run / "run.json").write_text(
        json.dumps({"status": "finished", "data": str(table), "command": ["faceline", "train", str(table)]})
    )
    (run / "bundle").mkdir()
    (run / "bundle" / "bundle.json").write_text('{"format": 3}')
    return SimpleNamespace(data=table, run=run, settings=chosen, folder=folder)


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory, drawn):
    """Six people of whom two have a doubtful gender and one has swapped masks; never write into it."""
    return write_review_run(tmp_path_factory.mktemp("review"), drawn)


@pytest.fixture
def review(reviewed, tmp_path):
    return load(reviewed, tmp_path)


def load(reviewed, cache, data=None, **options):
    context = RunContext(reviewed.settings, cache / "cache", workers=1)
    return load_review([reviewed.run], data, reviewed.settings.task_list(), context, **options)
