"""Tables of photos: a CSV or Parquet file with a path column, label columns and a person column.

table -> polars frame of strings -> Photo rows and the defects of each row.

A table may have a million rows. Columns are checked whole; each folder that the paths name is listed once, in place of
a look at every file; and one light loop makes the rows.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.intake.folder_index import FolderIndex, spelled
from pipeline.intake.photo import Dataset, Defect, Photo
from pipeline.intake.photo_files import PHOTO_SUFFIXES, junk_reason

TABLE_SUFFIXES = frozenset({".csv", ".parquet"})
# A root, a drive, a URL, or a step up; with either slash, for tables that were made on Windows.
LEAVES_THE_FOLDER = r"^[/\\]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|(^|[/\\])\.\.([/\\]|$)"
OUTSIDE = "path outside the data folder"


def read_table(path: Path) -> pl.DataFrame:
    """A table with every column as text, as it stands there; columns of lists and structures are left out.

    Raises:
        UsageError: there is no such file.
        DataError: it can't be read, is empty, or is not in UTF-8.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        table = pl.read_parquet(path) if _is_parquet(path) else pl.read_csv(path, infer_schema=False)
        table = table.select(
            pl.col(name).cast(pl.String) for name, kind in table.schema.items() if not kind.is_nested()
        )
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; it needs a line of column names and a line per photo") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a readable table ({reason}); save it as CSV in UTF-8, or as Parquet") from None
    # polars refuses cells that are no UTF-8, and puts replacement characters into such column names.
    if any("\ufffd" in name or "\0" in name for name in table.columns):
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8, or as Parquet")
    plain = [name.strip().lstrip("\ufeff") for name in table.columns]
    if twice := [name for name, count in Counter(plain).items() if count > 1]:
        raise DataError(f"{path} has two columns called {twice[0]!r}; rename one of them")
    return table.rename(dict(zip(table.columns, plain, strict=True)))


def row_name(path: Path, index: int) -> str:
    """The row at `index` as the user counts it: a CSV's first row is its column names."""
    return f"{path}, row {index + (1 if _is_parquet(path) else 2)}"


def load_table(path: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """The photos that a table lists, with their labels; paths are relative to the table's folder.

    Raises:
        DataError: a column that is needed is missing; the message names it and those that there are.
    """
    table = read_table(path)
    named = _named_columns(table, path, tasks, columns)
    # Spaces around a label mean nothing; around a path they may be part of the file's name.
    text = {what: pl.col(column) for what, column in named.items()}
    cells = table.select(
        column.alias(what) if what == "path" else column.str.strip_chars().alias(what) for what, column in text.items()
    ).with_row_index("row")
    cells = cells.filter(~pl.all_horizontal(pl.exclude("row").fill_null("").str.strip_chars() == ""))
    defects = [*_path_defects(cells, path), *_person_defects(cells, path)]
    labelled = [task for task in tasks if task.name in named]
    rows = _Rows(path, labelled, FolderIndex(path.parent))
    rows.add(cells.filter(~_bad_path()))
    defects += rows.defects
    defects.sort(key=lambda defect: not defect.fatal)
    # Photos whose file is missing stay in: they are left out of training, and their prediction says so.
    every = tuple(rows.photos.values())
    train, evaluation = (every, ()) if labelled else ((), every)
    return Dataset(path.parent, "table", train, evaluation, skipped=rows.unnamed(), defects=tuple(defects))


def missing_column(table: pl.DataFrame, path: Path, what: str, column: str) -> DataError:
    """The error to raise when `what` has no column."""
    leave_out = "" if what in {"path", "person"} else f", or leave the task out with --set tasks.{what}=null"
    separated = len(table.columns) == 1 and any(mark in table.columns[0] for mark in ";\t")
    commas = "\nIts cells are not separated by commas; save it so." if separated else ""
    return DataError(
        f"{path} has no column {column!r}; it has {', '.join(table.columns)}.{commas}\n"
        f"Name the right one with --set data.columns.{what}=NAME{leave_out}."
    )


def same_labels(tasks: Sequence[Task], one: Mapping[str, str | float], other: Mapping[str, str | float]) -> bool:
    """Whether two photos have the same labels: 45 is 45.0, and a label that only one of them has is a difference."""
    return all(same_label(task, one.get(task.name), other.get(task.name)) for task in tasks)


def same_label(task: Task, one: str | float | None, other: str | float | None) -> bool:
    """`same_labels` for one task."""
    if one is None or other is None or not task.edges:
        return one == other
    try:
        return task.number(one) == task.number(other)
    except ValueError:
        return one == other


class _Rows:
    """The photos of the rows so far, and what was wrong with them."""

    def __init__(self, table: Path, tasks: Sequence[Task], listing: FolderIndex) -> None:
        self.photos: dict[str, Photo] = {}
        self.defects: list[Defect] = []
        self._table, self._tasks, self._listing = table, tasks, listing
        self._named: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, cells: pl.DataFrame) -> None:
        """Add rows whose paths are fit to be looked for."""
        people = cells["person"].to_list() if "person" in cells.columns else [None] * len(cells)
        labels = cells.select(task.name for task in self._tasks).rows() if self._tasks else [()] * len(cells)
        known: dict[tuple[str | None, ...], tuple[dict[str, str | float], list[str]]] = {}
        root = str(self._table.parent)
        for row, written, person, label in zip(cells["row"], cells["path"], people, labels, strict=True):
            if label not in known:
                known[label] = self._encoded(label)
            folder, file = _split(written)
            found = self._listing.find(folder, file)
            place = f"{folder}/{found.file}" if folder else found.file
            name = f"{folder}/{file}" if folder else file
            if found.outside:
                self._defect(OUTSIDE, row, f"{name!r} leads outside the data folder; copy the photo into it")
                continue
            photo = Photo(Path(f"{root}/{place}"), spelled(name), person or spelled(place), known[label][0])
            for problem in known[label][1]:
                self._defect("unknown label", row, problem)
            self._named[folder].add(found.file)
            before = self.photos.setdefault(place, photo)
            if before is not photo:
                self._twice(before, photo, row)
            elif not found.there:
                self._defect("missing file", row, f"there is no file {photo.path}", fatal=False)

    def unnamed(self) -> dict[str, int]:
        """How many photos lie beside those that the table names."""
        count = 0
        for folder, named in self._named.items():
            rest = self._listing.files(folder) - named
            count += sum(junk_reason(f) is None and Path(f).suffix.lower() in PHOTO_SUFFIXES for f in rest)
        return {"photos that the table does not name": count} if count else {}

    def _encoded(self, cells: Sequence[str | None]) -> tuple[dict[str, str | float], list[str]]:
        """A row's labels and what is wrong with them."""
        labels: dict[str, str | float] = {}
        problems: list[str] = []
        for task, text in zip(self._tasks, cells, strict=True):
            if text:
                labels[task.name] = text
                try:
                    task.encode(text)
                except ValueError as error:
                    problems.append(f"{error}. Mend it, or leave the cell empty to train without it.")
        return labels, problems

    def _twice(self, before: Photo, photo: Photo, row: int) -> None:
        if same_labels(self._tasks, before.labels, photo.labels) and before.person == photo.person:
            message = f"{photo.name} has a row already, with the same labels; this one is ignored"
            self._defect("duplicate row", row, message, fatal=False)
            return
        what = "another person" if before.person != photo.person else "other labels"
        self._defect("duplicate row", row, f"{photo.name} has a row already, with {what}; keep one of the two")

    def _defect(self, kind: str, row: int, message: str, *, fatal: bool = True) -> None:
        self.defects.append(Defect(kind, row_name(self._table, row), message, fatal))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _split(written: str) -> tuple[str, str]:
    """Folder and file of a path with forward slashes; "./" and "//" mean nothing."""
    if "./" in written or "//" in written or written.endswith("/"):
        written = PurePosixPath(written).as_posix()
    folder, _, file = written.rpartition("/")
    return folder, file


def _bad_path() -> pl.Expr:
    path = pl.col("path").fill_null("")
    return (path.str.strip_chars() == "") | path.str.contains("\0", literal=True) | path.str.contains(LEAVES_THE_FOLDER)


def _path_defects(cells: pl.DataFrame, table: Path) -> list[Defect]:
    defects: list[Defect] = []
    for row, path in cells.filter(_bad_path()).select("row", "path").rows():
        where = row_name(table, row)
        if not (path or "").strip():
            defects.append(Defect(OUTSIDE, where, "the path is empty; fill it in or take the row out", fatal=True))
        elif "\0" in path:
            defects.append(Defect(OUTSIDE, where, f"{path!r} holds a NUL character and is no path", fatal=True))
        else:
            message = f"{path!r} leaves the data folder; write it relative to the folder of the table, without '..'"
            defects.append(Defect(OUTSIDE, where, message, fatal=True))
    return defects


def _person_defects(cells: pl.DataFrame, table: Path) -> list[Defect]:
    risk = (
        "counts as a person of its own, so photos of one person can be on both sides of a split, and scores come out "
        "too good"
    )
    if "person" not in cells.columns:
        message = f"each photo {risk}; name the column with --set data.columns.person=NAME"
        return [Defect("no person column", str(table), message)]
    nameless = cells.filter(pl.col("person").fill_null("") == "")["row"]
    return [Defect("no person", row_name(table, row), f"the person is not given; the photo {risk}") for row in nameless]


def _named_columns(
    table: pl.DataFrame, path: Path, tasks: Sequence[Task], columns: Mapping[str, str]
) -> dict[str, str]:
    """What -> the table's column; label columns may be missing only all together (a table to predict)."""
    named: dict[str, str] = {}
    for what in ("path", "person", *(task.name for task in tasks)):
        column = columns.get(what, what)
        if column in table.columns:
            named[what] = column
        elif column != what or what == "path":
            raise missing_column(table, path, what, column)
    have = [task.name for task in tasks if task.name in named]
    lacking = [task.name for task in tasks if task.name not in named]
    if have and lacking:
        raise missing_column(table, path, lacking[0], lacking[0])
    return named
