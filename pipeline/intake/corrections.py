"""Corrected labels: tables that are laid over the labels in memory; no file of the user's is touched.

tables of corrections + Dataset -> the Dataset with other labels, and what each table changed.

A row names a photo (`path`), all photos of a person (`person`), or of the competition's person with an `id`; `photo`
picks one of a person's by its file name without suffix. `label` is the right class or number; empty, the photo is left
out of the task. What a row does depends on no other row, so rows may stand in any order and twice.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.intake.label_table import read_table, row_name, same_label
from pipeline.intake.load import load_data
from pipeline.intake.photo import AppliedCorrections, Dataset, Photo
from pipeline.settings import COMPETITION_TASKS, Settings

SHIPPED = ("boostcamp",)
NAMES = ("path", "person", "id")
LEVELS = ("core", "extended", "contested")
SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One label of one photo that is other than before; None is unlabelled."""

    photo: str
    task: str
    before: str | float | None
    after: str | float | None


def load_labelled(data: Path, settings: Settings) -> Dataset:
    """`load_data` with the corrections that the settings name.

    Raises:
        UsageError, DataError: as `load_data` and `correct` do.
    """
    dataset = load_data(data, settings.task_list(), settings.data.columns)
    if any(defect.fatal for defect in dataset.defects):
        return dataset  # what is wrong with the data set comes first
    for file in settings.data.corrections:
        dataset, _ = correct(dataset, file, settings)
    return dataset


def correct(dataset: Dataset, file: str, settings: Settings) -> tuple[Dataset, list[Change]]:
    """Lay one table over the labels of a data set; the changes are in the order of the photos.

    Args:
        dataset: without fatal defects.
        file: a CSV or Parquet table, or the name of a list that comes with faceline.
        settings: the tasks, and which levels count.

    Raises:
        UsageError: there is no such table.
        DataError: a row is wrong, names nothing that is there, or contradicts another; the message names the rows.
    """
    path, shipped = _place(file), file in SHIPPED
    rows = list(_read(path, file, settings, shipped=shipped))
    wanted = [row for row in rows if row.level in settings.data.correction_levels]
    found, absent = _found(wanted, dataset, shipped=shipped)
    photos = list(dataset.train)
    changes: list[Change] = []
    already = 0
    for (index, _), row in sorted(found.items(), key=lambda one: one[0]):
        labels = photos[index].labels
        before, after = labels.get(row.task.name), row.label_over(labels)
        if same_label(row.task, before, after):
            already += 1
            continue
        changes.append(Change(photos[index].name, row.task.name, before, after))
        others = {name: label for name, label in labels.items() if name != row.task.name}
        photos[index] = replace(photos[index], labels=others if after is None else {**others, row.task.name: after})
    changed = dict(Counter(change.task for change in changes))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    done = AppliedCorrections(file, digest, len(wanted), changed, already, absent)
    return replace(dataset, train=tuple(photos), corrections=(*dataset.corrections, done)), changes


@dataclass(frozen=True, slots=True)
class _Row:
    """One correction: the photos that `by` and `name` (and `photo`, where it is not empty) tell get `label`."""

    task: Task
    label: str
    by: str
    name: str
    photo: str
    level: str
    where: str

    def meaning(self) -> str | float:
        """Two rows with one meaning do not contradict each other."""
        return self.label if not self.label or _is_class(self.task, self.label) else self.task.number(self.label)

    def label_over(self, labels: Mapping[str, str | float]) -> str | float | None:
        """The label in place of that in `labels`; None takes it away."""
        if not self.label:
            return None
        if not self.task.edges or not _is_class(self.task, self.label):
            return self.label
        # The number is not known: the nearest whole one of the class to that which was given.
        code, edges = self.task.classes.index(self.label), (self.task.low, *self.task.edges, self.task.high + 1)
        low, high = edges[code], edges[code + 1]
        given = labels.get(self.task.name)
        return low if given is None else max(min(self.task.number(given), high - 1), low)


def _is_class(task: Task, label: str) -> bool:
    """Whether `label` is meant as a class: with edges it may be a number, or a class's name that is no number."""
    if not task.edges:
        return True
    try:
        float(label)
    except ValueError:
        return label in task.classes
    return False


def _place(file: str) -> Path:
    if file in SHIPPED:
        with resources.as_file(resources.files("pipeline.intake") / "correction_lists" / f"{file}.csv") as path:
            return path
    if not Path(file).is_file():
        raise UsageError(
            f"corrections: there is no file {file}; a list that comes with faceline is {', '.join(SHIPPED)}"
        )
    return Path(file)


def _read(path: Path, file: str, settings: Settings, *, shipped: bool) -> Iterator[_Row]:
    table = read_table(path)
    # A list of suspects is a table of corrections once its wrong rows are taken out.
    label = next((name for name in ("label", "suggested") if name in table.columns), None)
    names = [name for name in NAMES if name in table.columns]
    if "task" not in table.columns or label is None or not names:
        told = ", ".join(table.columns)
        raise DataError(
            f"{file} is no table of corrections: it has the columns {told}.\n"
            "It needs task, label (or suggested), and one of path, person and id."
        )
    tasks = {task.name: task for task in settings.task_list()}
    problems: list[str] = []
    for index, cells in enumerate(table.iter_rows(named=True)):
        # Spaces around a label mean nothing; around a path they may be part of the file's name.
        text = {name: value if value and name == "path" else (value or "").strip() for name, value in cells.items()}
        if not any(text.values()):
            continue  # a blank line
        if text["task"] not in tasks and (shipped or text["task"] in COMPETITION_TASKS):
            continue  # a task that these settings drop
        where = f"{file}, row {index + 2}" if shipped else row_name(path, index)
        by = next((name for name in names if text[name]), "")
        row = (text[label], by, text.get(by, ""), text.get("photo", ""), text.get("level") or LEVELS[0], where)
        if problem := _problem(tasks, text["task"], *row):
            problems += [] if shipped else [f"{where}: {problem}"]  # other classes than the competition's
            continue
        yield _Row(tasks[text["task"]], *row)
    _raise(problems)


def _problem(
    tasks: Mapping[str, Task], name: str, label: str, by: str, of: str, photo: str, level: str, _: str
) -> str | None:
    if name not in tasks:
        return f"the task is {name!r}, which is none of {', '.join(tasks)}"
    if not of:
        return f"none of {', '.join(NAMES)} says which photo is meant"
    if by == "path" and photo:
        return "a path names one photo; leave the cell 'photo' empty"
    if level not in LEVELS:
        return f"the level is {level!r}, which is none of {', '.join(LEVELS)}"
    task = tasks[name]
    if label and not (task.edges and _is_class(task, label)):
        try:
            task.encode(label)
        except ValueError as error:
            classes = f", and none of {', '.join(task.classes)}" if task.edges else ""
            return f"{error}{classes}"
    return None


def _found(rows: Sequence[_Row], dataset: Dataset, *, shipped: bool) -> tuple[dict[tuple[int, str], _Row], int]:
    """(Photo, task) -> its row, and how many rows of a shipped list are about other photos than these."""
    look_up = _finder(dataset)
    found: dict[tuple[int, str], _Row] = {}
    problems: list[str] = []
    absent = 0
    for row in rows:
        photos, problem = look_up(row)
        if problem and shipped:
            absent += 1
        elif problem:
            problems.append(f"{row.where}: {problem}")
        for index in photos:
            before = found.setdefault((index, row.task.name), row)
            if before.meaning() != row.meaning():
                told = (
                    f"{row.task.name} of {dataset.train[index].name} is {row.label!r} here and {before.label!r} there"
                )
                problems.append(f"{row.where} contradicts {before.where}: {told}; keep one of the two")
                break
    _raise(problems)
    return found, absent


def _finder(dataset: Dataset) -> Callable[[_Row], tuple[Sequence[int], str | None]]:
    """A function that finds a row's photos, or says why there are none."""
    photos: dict[str, dict[str, list[int]]] = {by: defaultdict(list) for by in NAMES}
    for index, photo in enumerate(dataset.train):
        for by, name in _names(photo, dataset):
            photos[by][name].append(index)

    def look_up(row: _Row) -> tuple[Sequence[int], str | None]:
        name = _key(row.name)
        indices = photos[row.by].get(name, [])
        if not indices:
            return (), f"there is no labelled photo with {row.by} {row.name!r} in {dataset.root}"
        people = sorted({dataset.train[i].person for i in indices})
        if row.by == "id" and len(people) > 1:
            return (), f"the id {row.name} is that of {' and '.join(people)}; name one with a column 'person'"
        chosen = [i for i in indices if row.photo in {"", dataset.train[i].path.stem.lower()}]
        return chosen, None if chosen else f"{people[0]} has no photo {row.photo!r}"

    return look_up


def _names(photo: Photo, dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield "path", _key(photo.name)
    yield "person", _key(photo.person)
    if dataset.kind == "competition":
        yield "id", _key(photo.person.partition("_")[0])


def _key(name: str) -> str:
    """In one Unicode form, as the disks and programs that wrote the names differ in it."""
    return unicodedata.normalize("NFC", name.removeprefix("./"))


def _raise(problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        told = [*problems[:SHOWN_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])]
        raise DataError("\n".join(told) + "\nNothing was changed.")
