"""Tables of photos: a table with a path column, label columns and a person column.

In: a table, read as a polars frame of strings. Out: a Photo for each usable row, and the defects of the others.

A table may have a million rows, so checks work on columns where they can, each folder that the paths name is listed
once instead of checking every file, and the loop over the rows does little.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from classify.tasks import EMPTY_CELLS, Task, comparable
from pipeline.intake.folder_index import FolderIndex, printable_name
from pipeline.intake.photo import OUTSIDE, Dataset, Defect, Photo
from pipeline.intake.photo_files import PHOTO_SUFFIXES, junk_reason
from pipeline.intake.table_file import missing_columns, read_table, row_location

# A root, a drive, a URL, or a step up; with either slash, for tables made on Windows.
LEAVES_THE_FOLDER = r"^[/\\]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|(^|[/\\])\.\.([/\\]|$)"


def load_table(path: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """Load the photos that a table lists; `tasks` and `columns` are as in `load_data`.

    Paths are relative to the table's folder. A table with label columns is to train on, one without is to predict.

    Raises:
        DataError: a required column is missing; the message names it and the existing ones.
    """
    table = read_table(path)
    named = _named_columns(table, path, tasks, columns)
    # Spaces around a label mean nothing; around a path they may be part of the file's name.
    cells = table.select(
        (pl.col(column) if what == "path" else pl.col(column).str.normalize("NFC").str.strip_chars()).alias(what)
        for what, column in named.items()
    ).with_row_index("row")
    cells = cells.filter(~pl.all_horizontal(pl.exclude("row").fill_null("").str.strip_chars() == ""))
    if "person" in named:
        empty = pl.col("person").is_in(list(EMPTY_CELLS))
        cells = cells.with_columns(pl.when(empty).then(None).otherwise(pl.col("person")).alias("person"))
    defects = [*_path_defects(cells, path), *_person_defects(cells, path)]
    labelled = [task for task in tasks if task.name in named]
    rows = _Rows(path, labelled, FolderIndex(path.parent))
    rows.add(cells.filter(~_has_bad_path()))
    defects += rows.defects
    defects.sort(key=lambda defect: not defect.fatal)
    # Photos with a missing file are kept: training leaves them out, and their prediction says so.
    photos = tuple(rows.photos.values())
    train, evaluation = (photos, ()) if labelled else ((), photos)
    return Dataset(
        path.parent,
        "table",
        train,
        evaluation,
        skipped=rows.count_unnamed(),
        defects=tuple(defects),
        notes=tuple(rows.spelling_notes()),
    )


def same_label(task: Task, first: str | float | None, second: str | float | None) -> bool:
    """Whether two labels of a task are equal: 45 equals 45.0, and None (no label) equals only None."""
    if first is None or second is None:
        return first is second
    try:
        return task.number(first) == task.number(second) if task.edges else task.encode(first) == task.encode(second)
    except ValueError:
        return first == second


class _Rows:
    """The photos of the rows so far (by their path on disk), and what is wrong with the rows."""

    def __init__(self, table: Path, tasks: Sequence[Task], index: FolderIndex) -> None:
        self.photos: dict[str, Photo] = {}
        self.defects: list[Defect] = []
        self._table, self._tasks, self._index = table, tasks, index
        self._named: defaultdict[str, set[str]] = defaultdict(set)  # folder -> files that the table names
        self._spellings: defaultdict[str, dict[str, str]] = defaultdict(dict)  # task -> label as written -> as kept

    def add(self, cells: pl.DataFrame) -> None:
        """Add rows whose paths have passed `_has_bad_path`."""
        people = cells["person"].to_list() if "person" in cells.columns else [None] * len(cells)
        label_cells = cells.select(task.name for task in self._tasks).rows() if self._tasks else [()] * len(cells)
        # Many rows have the same label cells, which are parsed once.
        parsed: dict[tuple[str | None, ...], tuple[dict[str, str | float], list[str]]] = {}
        root = str(self._table.parent)
        for row, path, person, texts in zip(cells["row"], cells["path"], people, label_cells, strict=True):
            if texts not in parsed:
                parsed[texts] = self._parse_labels(texts)
            labels, problems = parsed[texts]
            folder, file = _split(path)
            on_disk = self._index.find(folder, file)
            prefix = f"{folder}/" if folder else ""
            if on_disk.outside:
                message = f"{prefix + file!r} leads outside the data folder; copy the photo into it"
                self._add_defect(OUTSIDE, row, message)
                continue
            key = prefix + on_disk.name
            photo = Photo(Path(f"{root}/{key}"), printable_name(prefix + file), person or printable_name(key), labels)
            for problem in problems:
                self._add_defect("unknown label", row, problem)
            self._named[folder].add(on_disk.name)
            first = self.photos.setdefault(key, photo)
            if first is not photo:
                self._add_duplicate(first, photo, row)
            elif not on_disk.exists:
                self._add_defect("missing file", row, f"there is no file {photo.path}", fatal=False)

    def count_unnamed(self) -> dict[str, int]:
        """How many photos in the folders of the table it does not name, as an entry of `Dataset.skipped`."""
        count = 0
        for folder, named in self._named.items():
            rest = self._index.files(folder) - named
            count += sum(junk_reason(f) is None and Path(f).suffix.lower() in PHOTO_SUFFIXES for f in rest)
        return {"photos that the table does not name": count} if count else {}

    def _parse_labels(self, cells: Sequence[str | None]) -> tuple[dict[str, str | float], list[str]]:
        """A row's labels by task, and a message for each invalid one."""
        labels: dict[str, str | float] = {}
        problems: list[str] = []
        for task, text in zip(self._tasks, cells, strict=True):
            if text is None or task.is_empty(text):
                self._count_spelling(task, text or "", "an empty cell")
                continue
            try:
                labels[task.name] = task.normalised(text)
                self._count_spelling(task, text, str(labels[task.name]))
            except ValueError as error:
                labels[task.name] = text
                problems.append(f"{error}. Correct it, or leave the cell empty to train without it.")
        return labels, problems

    def _count_spelling(self, task: Task, text: str, meaning: str) -> None:
        """Remember that the table writes a label in another way than the settings."""
        if text and text != comparable(meaning):
            self._spellings[task.name][text] = meaning

    def spelling_notes(self) -> list[str]:
        """A sentence for each task whose labels are written in another way than its classes."""
        return [
            f"{task}: " + ", ".join(f"{text} is read as {meaning}" for text, meaning in sorted(spellings.items()))
            for task, spellings in self._spellings.items()
        ]

    def _add_duplicate(self, first: Photo, photo: Photo, row: int) -> None:
        """Record that `photo` repeats `first`, which is fatal if the two rows disagree."""
        same_labels = all(same_label(t, first.labels.get(t.name), photo.labels.get(t.name)) for t in self._tasks)
        if same_labels and first.person == photo.person:
            message = f"{photo.name} has a row already, with the same labels; this one is ignored"
            self._add_defect("duplicate row", row, message, fatal=False)
            return
        what = "another person" if first.person != photo.person else "other labels"
        self._add_defect("duplicate row", row, f"{photo.name} has a row already, with {what}; keep one of the two")

    def _add_defect(self, kind: str, row: int, message: str, *, fatal: bool = True) -> None:
        self.defects.append(Defect(kind, row_location(self._table, row), message, fatal))


def _split(path: str) -> tuple[str, str]:
    """Folder and file of a path with forward slashes; "./" and "//" mean nothing."""
    if "./" in path or "//" in path or path.endswith("/"):
        path = PurePosixPath(path).as_posix()
    folder, _, file = path.rpartition("/")
    return folder, file


def _has_bad_path() -> pl.Expr:
    """Rows whose path is empty, holds a NUL character or leaves the data folder."""
    path = pl.col("path").fill_null("")
    return (path.str.strip_chars() == "") | path.str.contains("\0", literal=True) | path.str.contains(LEAVES_THE_FOLDER)


def _path_defects(cells: pl.DataFrame, table: Path) -> list[Defect]:
    defects: list[Defect] = []
    for row, path in cells.filter(_has_bad_path()).select("row", "path").rows():
        if not (path or "").strip():
            message = "the path is empty; fill it in or remove the row"
        elif "\0" in path:
            message = f"{path!r} holds a NUL character and is no path"
        else:
            message = f"{path!r} leaves the data folder; write it relative to the folder of the table, without '..'"
        defects.append(Defect(OUTSIDE, row_location(table, row), message, fatal=True))
    return defects


def _person_defects(cells: pl.DataFrame, table: Path) -> list[Defect]:
    """A defect for each row without a person, or one for the table if it has no person column."""
    risk = (
        "counts as a separate person, so photos of one person can be on both sides of a split, and scores come out "
        "too good"
    )
    if "person" not in cells.columns:
        message = f"each photo {risk}; name the column with --set data.columns.person=NAME"
        return [Defect("no person column", str(table), message)]
    rows = cells.filter(pl.col("person").is_null())["row"]
    message = f"the person is not given; the photo {risk}"
    return [Defect("no person", row_location(table, row), message) for row in rows]


def _named_columns(
    table: pl.DataFrame, path: Path, tasks: Sequence[Task], columns: Mapping[str, str]
) -> dict[str, str]:
    """What a column holds -> its name. A table has label columns for all tasks or, if it is to predict, for none."""
    named: dict[str, str] = {}
    lacking: list[tuple[str, str]] = []
    for what in ("path", "person", *(task.name for task in tasks)):
        column = comparable(columns.get(what, what))
        if column in table.columns:
            named[what] = column
        elif column != what or what == "path":
            raise missing_columns(table, path, [(what, column)])
        elif what != "person":
            lacking.append((what, column))
    if lacking and len(lacking) < len(tasks):
        raise missing_columns(table, path, lacking)
    return named
