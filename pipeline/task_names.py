"""Names that a task and its classes can't have, since columns and files are named after them.

In: the names in the settings. Out: nothing, or the reason why one is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from classify.tasks import Task

# Columns of predictions.csv, validation.csv, submissions and label tables; keys of `evaluate --json`; what a rule of
# augment.groups can use.
RESERVED_COLUMNS = frozenset({
    "path", "status", "found_by", "x1", "y1", "x2", "y2", "score", "class", "unsure", "fold", "trained_on", "person",
    "source", "split", "row", "name", "file", "imageid", "ans", "joint", "photos", "matched", "unanswered", "remarks",
    "folder", "stem", "id", "faces", "photo", "face", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y",
    "nose_x", "nose_y", "left_mouth_x", "left_mouth_y", "right_mouth_x", "right_mouth_y",
})  # fmt: skip
RESERVED_FOLDERS = frozenset({"bundle", "shared", "joint"})  # in a run's folder, beside a folder for each network
RESERVED_SUFFIXES = (".json", ".jsonl", ".csv", ".yaml", ".parquet", ".html", ".png")  # of files in a run's folder
NOT_IN_FILE_NAMES = re.compile(r'[/\\:*?"<>|]|^\.|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def probability_columns(task: Task) -> list[str]:
    """Return the names of the columns that hold a task's probabilities, in the order of its classes."""
    return [f"p_{task.name}_{name}" for name in task.classes]


def refuse_unusable_names(classes: Mapping[str, Sequence[str]]) -> None:
    """Check the names of all tasks and their classes.

    Args:
        classes: task -> its class names.

    Raises:
        ValueError: a name is no name of a folder or column, or two columns or folders would have the same one.
    """
    folders: dict[str, str] = {}
    columns: dict[str, str] = {}
    for task, names in classes.items():
        _check_task(task)
        other = folders.setdefault(task.casefold(), task)
        if other != task:
            raise ValueError(f"the tasks {other!r} and {task!r} differ only in case; rename one of them")
        _check_classes(task, names)
        for column, what in _columns(task, names):
            owner = columns.setdefault(column, what)
            if owner != what:
                raise ValueError(f"{owner} and {what} would both have the column {column!r}; rename one of them")


def _check_task(task: str) -> None:
    """Refuse a name that is no folder's or is another folder's or column's."""
    plain = task.casefold()
    if plain in RESERVED_COLUMNS | RESERVED_FOLDERS:
        raise ValueError(
            f"a task can't be called {task!r}, which is the name of a column or folder of faceline's own; call it "
            f"something like my_{plain}, and name the table's column with data.columns"
        )
    if not _is_plain(task) or NOT_IN_FILE_NAMES.search(task) or plain.endswith(RESERVED_SUFFIXES):
        raise ValueError(
            f"a task can't be called {task!r}: a folder is named after it. Use letters, digits, '_' and '-', and name "
            "the table's column with data.columns"
        )


def _check_classes(task: str, names: Sequence[str]) -> None:
    """Refuse class names that no label can be."""
    for name in names:
        if not _is_plain(name):
            raise ValueError(
                f"tasks.{task}.classes: {name!r} is empty, begins or ends with a space or holds a character that "
                "can't be shown"
            )


def _is_plain(name: str) -> bool:
    return name.isprintable() and name.strip() == name != ""


def _columns(task: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each column that is named after a task, and what it holds."""
    yield task, f"the task {task!r}"
    yield f"true_{task}", f"the true labels of the task {task!r}"
    for name in names:
        yield f"p_{task}_{name}", f"the probability of {task} {name!r}"
