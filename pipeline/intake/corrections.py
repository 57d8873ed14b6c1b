"""Correct labels by tables that are applied in memory; the user's files stay as they are.

In: tables of corrections and a Dataset. Out: the Dataset with corrected labels, and what each table changed.

A row names a photo (`path`), all photos of a person (`person`), or of the competition's person with an `id`; `photo`
picks one of a person's by its file name without suffix. `label` is the right class or number; if it is empty, the photo
is left out of the task. Rows are independent of each other: they may stand in any order and be repeated. Only where
they are decisions, as `faceline review` writes them, does a later one replace an earlier one.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task, comparable
from pipeline.intake.decision_log import CorrectionRows, read_rows
from pipeline.intake.folder_index import nfc
from pipeline.intake.label_table import same_label
from pipeline.intake.load import load_data
from pipeline.intake.photo import AppliedCorrections, Dataset
from pipeline.intake.table_file import row_location
from pipeline.safe_csv import safe_text
from pipeline.settings import COMPETITION_TASKS, Settings

SHIPPED = ("boostcamp",)
NAME_COLUMNS = ("path", "person", "id")
LEVELS = ("core", "extended", "contested")
SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Change:
    """A changed label of one photo; None is unlabelled."""

    photo: str
    task: str
    before: str | float | None
    after: str | float | None


def load_labelled(data: Path, settings: Settings) -> Dataset:
    """`load_data` with the corrections that the settings name; a data set with fatal defects is not corrected."""
    dataset = load_data(data, settings.task_list(), settings.data)
    if not any(defect.fatal for defect in dataset.defects):
        for file in settings.data.corrections:
            dataset, _ = apply_corrections(dataset, file, settings)
    return dataset


def apply_corrections(dataset: Dataset, file: str, settings: Settings) -> tuple[Dataset, list[Change]]:
    """Apply one table of corrections to the labels of a data set.

    Args:
        dataset: without fatal defects.
        file: a CSV or Parquet table, or the name of a list that comes with faceline.
        settings: their tasks, and the levels of the rows to apply.

    Returns:
        The corrected data set, and the changes in the order of its photos.

    Raises:
        UsageError: there is no such table.
        DataError: a row is invalid, matches no photo, or contradicts another; the message names the rows.
    """
    path, shipped = locate_list(file), file in SHIPPED
    levels = settings.data.correction_levels
    table = read_rows(path)
    rows = [row for row in _valid_rows(table, path, file, settings, shipped=shipped) if row.level in levels]
    matches, absent = _match_rows(rows, dataset, shipped=shipped)
    photos = list(dataset.train)
    changes: list[Change] = []
    already = 0
    for (index, task), row in sorted(matches.items(), key=lambda match: match[0]):
        labels = photos[index].labels
        before, after = labels.get(task), row.corrected_label(labels)
        if same_label(row.task, before, after):
            already += 1
            continue
        changes.append(Change(photos[index].name, task, before, after))
        others = {name: label for name, label in labels.items() if name != task}
        photos[index] = replace(photos[index], labels=others if after is None else {**others, task: after})
    changed = dict(Counter(change.task for change in changes))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    applied = AppliedCorrections(file, digest, len(rows), changed, already, absent)
    corrected = replace(dataset, train=tuple(photos), corrections=(*dataset.corrections, applied))
    return replace(corrected, notes=(*dataset.notes, *table.notes)), changes


@dataclass(frozen=True, slots=True)
class _Row:
    """One correction: the photos whose `name_column` holds `name` (and whose file stem is `photo`, if set) get `label`.

    An empty `label` removes the label. `where` is the row's location for messages.
    """

    task: Task
    label: str
    name_column: str
    name: str
    photo: str
    level: str
    where: str

    def meaning(self) -> str | float:
        """The label in a form that is equal for rows that do not contradict each other."""
        if not self.label or not _is_class(self.task, self.label):
            return self.task.number(self.label) if self.label else ""
        return self.task.classes[self.task.class_index(self.label) or 0]

    def corrected_label(self, labels: Mapping[str, str | float]) -> str | float | None:
        """The label that replaces the one in `labels`; None removes it."""
        if not self.label:
            return None
        if not self.task.edges or not _is_class(self.task, self.label):
            return self.task.normalised(self.label)
        # The row names a class, not a number: take the class's whole number that is nearest to the given one.
        code, edges = self.task.class_index(self.label) or 0, (self.task.low, *self.task.edges, self.task.high + 1)
        low, high = edges[code], edges[code + 1]
        given = labels.get(self.task.name)
        return low if given is None else max(min(self.task.number(given), high - 1), low)


def _is_class(task: Task, label: str) -> bool:
    """Whether `label` names a class; of a task with edges, it can be a number instead."""
    if not task.edges:
        return True
    try:
        float(label)
    except ValueError:
        return task.class_index(label) is not None
    return False


def locate_list(file: str) -> Path:
    """The table of corrections that `file` names: a path, or a list that comes with faceline; UsageError if neither."""
    if file in SHIPPED:
        return Path(__file__).parent / "correction_lists" / f"{file}.csv"
    if not Path(file).is_file():
        raise UsageError(
            f"corrections: there is no file {file}; a list that comes with faceline is {', '.join(SHIPPED)}"
        )
    return Path(file)


def _valid_rows(table: CorrectionRows, path: Path, file: str, settings: Settings, *, shipped: bool) -> Iterator[_Row]:
    """Yield the valid rows of a table; invalid ones of a shipped list are skipped, of a user's table refused."""
    # A list of suspects becomes a table of corrections once its wrong rows are removed.
    label = next((name for name in ("label", "suggested") if name in table.columns), None)
    name_columns = [name for name in NAME_COLUMNS if name in table.columns]
    if "task" not in table.columns or label is None or not name_columns:
        raise DataError(
            f"{file} is no table of corrections: it has the columns {', '.join(table.columns)}.\n"
            "It needs task, label (or suggested), and one of path, person and id."
        )
    tasks = {comparable(task.name): task for task in settings.task_list()}
    problems: list[str] = []
    for index, cells in table.rows:
        # Spaces around a label mean nothing; around a path they may be part of the file's name.
        text = {name: value if value and name == "path" else (value or "").strip() for name, value in cells.items()}
        if not any(text.values()):
            continue  # a blank line
        task = comparable(text["task"])
        if task not in tasks and (shipped or task in COMPETITION_TASKS):
            continue  # the settings leave this task out
        if task in tasks and tasks[task].is_empty(text[label]):
            text[label] = ""
        where = f"{file}, row {index + 2}" if shipped else row_location(path, index)
        column = next((name for name in name_columns if text[name]), "")
        level = text.get("level") or LEVELS[0]
        fields = (text[label], column, text.get(column, ""), text.get("photo", ""), level, where)
        problem = _find_problem(tasks, task, *fields[:-1])
        if problem is None:
            yield _Row(tasks[task], *fields)
        elif not shipped:  # a shipped list may not fit other classes than the competition's
            problems.append(f"{where}: {problem}")
    _raise_problems(problems)


def _find_problem(
    tasks: Mapping[str, Task], task_name: str, label: str, column: str, name: str, photo: str, level: str
) -> str | None:
    """What is wrong with a row, if anything; `column` and `name` are as in `_Row`."""
    if task_name not in tasks:
        return f"the task is {task_name!r}, which is none of {', '.join(tasks)}"
    if not name:
        return f"none of {', '.join(NAME_COLUMNS)} says which photo is meant"
    if column == "path" and photo:
        return "a path names one photo; leave the cell 'photo' empty"
    if level not in LEVELS:
        return f"the level is {level!r}, which is none of {', '.join(LEVELS)}"
    task = tasks[task_name]
    if label and not (task.edges and _is_class(task, label)):
        try:
            task.encode(label)
        except ValueError as error:
            classes = f", and none of {', '.join(task.classes)}" if task.edges else ""
            return f"{error}{classes}"
    return None


def _match_rows(rows: Sequence[_Row], dataset: Dataset, *, shipped: bool) -> tuple[dict[tuple[int, str], _Row], int]:
    """(Index of a photo in `dataset.train`, task) -> its row; and how many rows of a shipped list match no photo."""
    find = _photo_finder(dataset)
    matches: dict[tuple[int, str], _Row] = {}
    problems: list[str] = []
    absent = 0
    for row in rows:
        indices, problem = find(row)
        if problem and shipped:
            absent += 1
        elif problem:
            problems.append(f"{row.where}: {problem}")
        for index in indices:
            first = matches.setdefault((index, row.task.name), row)
            if first.meaning() != row.meaning():
                what = f"{row.task.name} of {dataset.train[index].name}"
                labels = f"{what} is {row.label!r} here and {first.label!r} there"
                problems.append(f"{row.where} contradicts {first.where}: {labels}; keep one of the two")
                break
    _raise_problems(problems)
    return matches, absent


def _photo_finder(dataset: Dataset) -> Callable[[_Row], tuple[Sequence[int], str | None]]:
    """A function from a row to the indices of its photos, and to the reason if there are none."""
    by_name: dict[str, dict[str, list[int]]] = {column: defaultdict(list) for column in NAME_COLUMNS}
    for index, photo in enumerate(dataset.train):
        names = {"path": photo.name, "person": photo.person}
        if dataset.layout == "competition":
            names["id"] = photo.person.partition("_")[0]
        for column, name in names.items():
            by_name[column][_key(name)].append(index)
            if column != "path" and (as_text := safe_text(name)) != name:
                by_name[column][_key(as_text)].append(index)  # as suspects.csv has it

    def find(row: _Row) -> tuple[Sequence[int], str | None]:
        indices = by_name[row.name_column].get(_key(row.name), [])
        if not indices:
            return (), f"there is no labelled photo with {row.name_column} {row.name!r} in {dataset.root}"
        people = sorted({dataset.train[i].person for i in indices})
        if row.name_column == "id" and len(people) > 1:
            return (), f"the id {row.name} is that of {' and '.join(people)}; name one with a column 'person'"
        chosen = [i for i in indices if row.photo in {"", dataset.train[i].path.stem.lower()}]
        return chosen, None if chosen else f"{people[0]} has no photo {row.photo!r}"

    return find


def _key(name: str) -> str:
    """A name without "./", in one Unicode form."""
    return nfc(name.removeprefix("./"))


def _raise_problems(problems: Sequence[str]) -> None:
    """Raise a DataError that lists the first problems, if there are any."""
    if problems:
        more = f"\n... and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise DataError("\n".join(problems[:SHOWN_PROBLEMS]) + f"{more}\nNothing was changed.")
