"""Tables of photos: a table with a path column, label columns, a person column, and a column with a split.

In: a table, read as a polars frame of strings. Out: a Photo for each usable row, and the defects of the others.

A table may have a million rows, so checks work on columns where they can, each folder that the paths name is listed
once instead of checking every file, and the loop over the rows does little.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from classify.tasks import EMPTY_CELLS, Task, comparable
from pipeline.intake.defects import ALLOW_LINKS
from pipeline.intake.face_rows import BOX_COLUMNS, face_name, face_path, parse_box
from pipeline.intake.folder_index import printable_name
from pipeline.intake.given_split import Part, part_of, shared_people, split_note, split_photos
from pipeline.intake.label_columns import find_boxes, find_split, has_single_rows, named_columns
from pipeline.intake.photo import OUTSIDE, Dataset, Defect, Photo
from pipeline.intake.table_file import read_table, row_location
from pipeline.intake.table_paths import LEAVES_THE_FOLDER, TablePaths, has_bad_path
from pipeline.intake.unknown_labels import UnknownLabels
from pipeline.settings import DataConfig

SHOWN_MISSING = 3
UNKNOWN_REMEDY = "Correct the cells, or leave them empty to train without them."


def load_table(path: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset:
    """Load the photos that a table lists; `tasks` and `config` are as in `load_data`.

    A table with label columns is to train on, one without is to predict. With a column `split`, the rows of its test
    part are to predict.

    Raises:
        DataError: a required column is missing; the message names it and the existing ones.
        UsageError: there is no folder `data.images`.
    """
    table = read_table(path)
    named = named_columns(table, path, tasks, config.columns)
    paths = TablePaths(path, config.images, follow_links=config.follow_links)
    labelled = [task for task in tasks if task.name in named]
    notes = [*find_split(table, named, labelled), *find_boxes(table, path, named, config.boxes)]
    cells = _cells(table, named, paths)
    defects = [*_path_defects(cells, path), *_person_defects(cells, path)]
    rows = _Rows(path, labelled, paths, has_single_rows=has_single_rows(table, named["path"]))
    rows.add(cells.filter(~has_bad_path()))
    notes += [*paths.reading_notes(), *rows.notes()]
    defects += rows.defects

    # Photos with a missing file are kept: training leaves them out, and their prediction says so.
    photos = tuple(rows.photos.values())
    train, evaluation = (photos, ()) if labelled else ((), photos)
    if labelled and rows.parts:
        divided: list[tuple[Photo, Part]] = [(photo, rows.parts[key]) for key, photo in rows.photos.items()]
        train, evaluation = split_photos(divided)
        notes.append(split_note(f"the column {named['split']!r}", rows.parts.values()))
        defects += shared_people(divided, str(path)) if "person" in named else []
    defects.sort(key=lambda defect: not defect.fatal)
    unnamed = paths.count_unnamed()
    skipped = {"photos that the table does not name": unnamed} if unnamed else {}
    return Dataset(paths.root, "table", train, evaluation, skipped=skipped, defects=tuple(defects), notes=tuple(notes))


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

    def __init__(self, table: Path, tasks: Sequence[Task], paths: TablePaths, *, has_single_rows: bool) -> None:
        self._has_single_rows = has_single_rows
        self.photos: dict[str, Photo] = {}
        self.parts: dict[str, Part] = {}  # of the photos, if the table has a split
        self.defects: list[Defect] = []
        self._table, self._tasks, self._paths = table, tasks, paths
        self._spellings: defaultdict[str, dict[str, str]] = defaultdict(dict)  # task -> label as written -> as kept
        self._missing: list[str] = []
        self._unknown_labels = UnknownLabels()
        self._rows = self._without_part = 0

    def add(self, cells: pl.DataFrame) -> None:
        """Add rows whose paths have passed `has_bad_path`."""
        nothing = [None] * len(cells)
        people = cells["person"].to_list() if "person" in cells.columns else nothing
        parts = cells["split"].to_list() if "split" in cells.columns else nothing
        label_cells = cells.select(task.name for task in self._tasks).rows() if self._tasks else [()] * len(cells)
        # Many rows have the same label cells, which are parsed once.
        parsed: dict[tuple[str | None, ...], tuple[dict[str, str | float], list[tuple[Task, str]]]] = {}
        root, has_split = str(self._paths.root), "split" in cells.columns
        boxes = cells.select(BOX_COLUMNS).rows(named=True) if BOX_COLUMNS[0] in cells.columns else None
        columns = zip(cells["row"], cells["path"], people, parts, label_cells, strict=True)
        for number, (row, path, person, word, texts) in enumerate(columns):
            if texts not in parsed:
                parsed[texts] = self._parse_labels(texts)
            labels, problems = parsed[texts]
            found = self._paths.find(path)
            if found.outside:
                message = f"{found.key!r} leads outside the data folder; copy the photo into it, or {ALLOW_LINKS}"
                self._add_defect(OUTSIDE, row, message)
                continue
            known = person or printable_name(found.key)
            photo = Photo(Path(f"{root}/{found.key}"), printable_name(found.name), known, labels)
            for task, text in problems:
                self._unknown_labels.add(task, text, str(row), UNKNOWN_REMEDY)
            key = found.key
            if boxes is not None:
                key, photo = self._face(key, photo, boxes[number], row)
            first = self.photos.setdefault(key, photo)
            if first is not photo:
                self._add_duplicate(first, photo, row)
            elif not found.exists:
                could_be = f"; it could be {' or '.join(found.several[:3])}" if found.several else ""
                self._add_defect("missing file", row, f"there is no file {root}/{found.key}{could_be}", fatal=False)
                self._missing.append(path)
            if has_split and first is photo:
                self.parts[key] = self._part(word, row)
        self._summarise(len(cells))

    def notes(self) -> list[str]:
        """Sentences on how cells were read that are not written as the settings have them."""
        notes = [
            f"{task}: " + ", ".join(f"{text} is read as {meaning}" for text, meaning in sorted(spellings.items()))
            for task, spellings in self._spellings.items()
        ]
        if self._without_part:
            notes.append(f"rows that name no part of the split and are in train: {self._without_part:,}")
        if self._missing:
            notes.append(self._missing_text())
        return notes

    def _face(self, key: str, photo: Photo, cells: Mapping[str, str | None], row: int) -> tuple[str, Photo]:
        """Narrow a photo down to one of its faces."""
        try:
            box = parse_box(cells)
        except ValueError as error:
            self._add_defect("no box", row, f"{error}. Correct it, or remove the row.")
            return key, photo
        if self._has_single_rows:
            return key, replace(photo, path=face_path(photo.path, box))
        name = face_name(photo.name, box)
        person = name if photo.person == printable_name(key) else photo.person
        return face_name(key, box), replace(photo, path=face_path(photo.path, box), name=name, person=person)

    def _part(self, word: str | None, row: int) -> Part:
        if word is None or word in EMPTY_CELLS:
            self._without_part += 1
            return "train"
        part = part_of(word)
        if part is None:
            self._add_defect("unknown split", row, f"the split is {word!r}; write train, val or test")
        return part or "train"

    def _parse_labels(self, cells: Sequence[str | None]) -> tuple[dict[str, str | float], list[tuple[Task, str]]]:
        """A row's labels by task, and the invalid ones."""
        labels: dict[str, str | float] = {}
        problems: list[tuple[Task, str]] = []
        for task, text in zip(self._tasks, cells, strict=True):
            if text is None or task.is_empty(text):
                self._note_spelling(task, text or "", "an empty cell")
                continue
            try:
                labels[task.name] = task.normalised(text)
                self._note_spelling(task, text, str(labels[task.name]))
            except ValueError:
                labels[task.name] = text
                problems.append((task, text))
        return labels, problems

    def _note_spelling(self, task: Task, text: str, meaning: str) -> None:
        """Remember that the table writes a label in another way than the settings."""
        if text and text != comparable(meaning):
            self._spellings[task.name][text] = meaning

    def _add_duplicate(self, first: Photo, photo: Photo, row: int) -> None:
        """Record that `photo` repeats `first`, which is fatal if the two rows disagree."""
        same_labels = all(same_label(t, first.labels.get(t.name), photo.labels.get(t.name)) for t in self._tasks)
        if same_labels and first.person == photo.person:
            message = f"{photo.name} has a row already, with the same labels; this one is ignored"
            self._add_defect("duplicate row", row, message, fatal=False)
            return
        what = "another person" if first.person != photo.person else "other labels"
        self._add_defect("duplicate row", row, f"{photo.name} has a row already, with {what}; keep one of the two")

    def _summarise(self, rows: int) -> None:
        """Record what is wrong with the table and not with a single row."""
        self._rows = rows
        self.defects += self._unknown_labels.defects(self._place)
        if len(self._missing) * 2 > rows:
            message = f"{self._missing_text()}.\nName the folder that they start from with --set data.images=FOLDER"
            self.defects.append(Defect("paths without a file", str(self._table), message, fatal=True))

    def _place(self, rows: Sequence[str]) -> str:
        """The table and the rows, as the user counts them."""
        numbers = [row_location(self._table, int(row)).rpartition(" ")[2] for row in rows]
        return f"{self._table}, {'row' if len(numbers) == 1 else 'rows'} {', '.join(numbers)}"

    def _missing_text(self) -> str:
        """A sentence on the paths that lead to no photo, with the nearest names that do."""
        shown: list[str] = []
        for path in self._missing[:SHOWN_MISSING]:
            nearest = self._paths.nearest(path)
            shown.append(f"{path!r}" + (f" (the nearest name is {nearest})" if nearest else ""))
        return (
            f"{self._rows - len(self._missing):,} of {self._rows:,} paths lead to a photo in {self._paths.root}; not "
            f"found: {', '.join(shown)}" + (" and others" if len(self._missing) > SHOWN_MISSING else "")
        )

    def _add_defect(self, kind: str, row: int, message: str, *, fatal: bool = True) -> None:
        self.defects.append(Defect(kind, row_location(self._table, row), message, fatal))


def _cells(table: pl.DataFrame, named: Mapping[str, str], paths: TablePaths) -> pl.DataFrame:
    """The columns that are read, under the names of what they hold, without blank rows; `row` is the row's index."""
    # Spaces around a label mean nothing; around a path they may be part of the file's name.
    cells = table.select(
        (pl.col(column) if what == "path" else pl.col(column).str.normalize("NFC").str.strip_chars()).alias(what)
        for what, column in named.items()
    ).with_row_index("row")
    cells = cells.filter(~pl.all_horizontal(pl.exclude("row").fill_null("").str.strip_chars() == ""))
    if "person" in named:
        empty = pl.col("person").is_in(list(EMPTY_CELLS))
        cells = cells.with_columns(pl.when(empty).then(None).otherwise(pl.col("person")).alias("person"))
    leaves = cells["path"].fill_null("").str.contains(LEAVES_THE_FOLDER)
    if leaves.any():
        pairs = zip(cells["path"], leaves, strict=True)
        inside = [path if not leaves_it else paths.below_root(path) or path for path, leaves_it in pairs]
        cells = cells.with_columns(pl.Series("path", inside, dtype=pl.String))
    return cells


def _path_defects(cells: pl.DataFrame, table: Path) -> list[Defect]:
    defects: list[Defect] = []
    for row, path in cells.filter(has_bad_path()).select("row", "path").rows():
        if not (path or "").strip():
            message = "the path is empty; fill it in or remove the row"
        elif "\0" in path:
            message = f"{path!r} holds a NUL character and is no path"
        else:
            message = (
                f"{path!r} leaves the data folder; write it relative to the folder of the table, without '..', or name "
                "the folder that holds the photos with --set data.images=FOLDER"
            )
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
