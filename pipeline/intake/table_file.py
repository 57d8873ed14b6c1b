"""Read a table of any kind as text: CSV (separated by commas, semicolons or tabs), Parquet, Excel, or lines of JSON.

In: a file. Out: a polars frame of strings, whose column names are in one Unicode form and without surrounding blanks.

All tables are read here, those of labels, answers, corrections and folds, so that all may be written in the same ways.
"""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from cache.errors import DataError, UsageError
from classify.tasks import comparable

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".xlsx", ".jsonl"})
SEPARATORS = ",;\t"
WITHOUT_A_HEADER = frozenset({".parquet", ".jsonl"})  # their first row is row 1


def read_table(path: Path) -> pl.DataFrame:
    """Read a table with all columns as text, unchanged; columns of lists, structures and bytes are left out.

    Raises:
        UsageError: there is no such file, or reading this kind of file needs a package that is not installed.
        DataError: it can't be read, is empty, is not in UTF-8, or has two columns of one name.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    suffix = path.suffix.lower()
    try:
        match suffix:
            case ".parquet":
                names, table = _typed(pl.read_parquet(path))
            case ".jsonl":
                names, table = _typed(pl.read_ndjson(path, infer_schema_length=None))
            case ".xlsx":
                names, table = _read_excel(path)
            case _:
                names, table = _read_csv(path)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; it needs a line of column names and a line per photo") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a readable table ({reason}); save it as CSV in UTF-8, or as Parquet") from None
    names = [comparable(name.lstrip("\ufeff")) for name in names]
    if any("\ufffd" in name or "\0" in name for name in names):
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8, or as Parquet")
    _refuse_repeated(names, path)
    # A spreadsheet's blank columns, and the row numbers that pandas writes, have no name.
    return pl.DataFrame([table.to_series(index).alias(name) for index, name in enumerate(names) if name])


def row_location(path: Path, index: int) -> str:
    """The table and the row at `index` (from 0) as the user counts it: a CSV's row 1 holds its column names."""
    return f"{path}, row {index + (1 if path.suffix.lower() in WITHOUT_A_HEADER else 2)}"


def missing_columns(table: pl.DataFrame, path: Path, missing: Sequence[tuple[str, str]]) -> DataError:
    """The error to raise when the table lacks columns; `missing` has what each would hold, and its name."""
    names = " and ".join(repr(column) for _, column in missing)
    tasks = [what for what, _ in missing if what not in {"path", "person", "split"}]
    leave_out = " ".join(f"--set tasks.{task}=null" for task in tasks)
    return DataError(
        f"{path} has no column{'s' if len(missing) > 1 else ''} {names}; it has {', '.join(table.columns)}.\n"
        f"Name the right one with --set data.columns.{missing[0][0]}=NAME"
        + (f", or leave the task{'s' if len(tasks) > 1 else ''} out with {leave_out}." if tasks else ".")
    )


def _typed(table: pl.DataFrame) -> tuple[list[str], pl.DataFrame]:
    """Column names, and the columns as text, of a table whose columns have types."""
    plain = [name for name, dtype in table.schema.items() if not dtype.is_nested() and dtype != pl.Binary]
    return plain, table.select(pl.col(name).cast(pl.String) for name in plain)


def _read_excel(path: Path) -> tuple[list[str], pl.DataFrame]:
    """Column names and cells of a workbook's first sheet."""
    try:
        table = pl.read_excel(path, has_header=False, infer_schema_length=0, drop_empty_rows=False)
    except ModuleNotFoundError:
        raise UsageError(
            f"{path} is a workbook, which the extra `xlsx` reads: pip install 'faceline[xlsx]'. "
            "Without it, save the sheet as CSV."
        ) from None
    except Exception as error:  # fastexcel has its own errors, which can't be named where it is not installed
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a readable workbook ({reason}); save the sheet as CSV in UTF-8") from error
    return [name or "" for name in table.row(0)], table[1:]


def _read_csv(path: Path) -> tuple[list[str], pl.DataFrame]:
    """Column names and cells of a text file. The names are read apart, as polars renames repeated ones."""
    separator, names = _header(path)
    try:
        table = pl.read_csv(path, infer_schema=False, separator=separator)
    except pl.exceptions.ComputeError:
        for number, cells in enumerate(_records(path, separator), start=1):
            if len(cells) > len(names):
                raise DataError(
                    f"{path}, row {number} has {len(cells)} cells, but there are {len(names)} columns; put quotes "
                    "around a cell that holds the separator"
                ) from None
        raise
    if table.width != len(names):
        raise csv.Error("its line of column names is not separated like its other lines")
    return names, table


def _header(path: Path) -> tuple[str, list[str]]:
    """The separator and the column names: the separator is the one that makes the most columns of the first line."""
    separators = sorted(SEPARATORS, key=lambda mark: mark != "\t") if path.suffix.lower() == ".tsv" else SEPARATORS
    headers = {mark: next(filter(any, _records(path, mark)), []) for mark in separators}
    separator = max(headers, key=lambda mark: sum(bool(name.strip()) for name in headers[mark]))
    return separator, headers[separator]


def _records(path: Path, separator: str) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.reader(file, delimiter=separator)


def _refuse_repeated(names: Iterable[str], path: Path) -> None:
    """Refuse two columns of one name; columns without a name are no columns."""
    counts = Counter(name.casefold() for name in names if name)
    for first, second in itertools.combinations([name for name in names if counts[name.casefold()] > 1], 2):
        if first == second:
            raise DataError(f"{path} has two columns called {first!r}; rename one of them")
        if first.casefold() == second.casefold():
            message = f"{path} has the columns {first!r} and {second!r}, which differ in capitals only"
            raise DataError(f"{message}; rename one of them")
