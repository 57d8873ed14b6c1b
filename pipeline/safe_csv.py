"""CSV in which no cell is a formula to a spreadsheet, whatever files, people and classes are called.

In: a table. Out: CSV text; and a table that was read from such text, as it was before.

A spreadsheet computes a cell that begins with =, +, - or @, and a formula can read other cells and open addresses. A
path gets "./" before it, which leads to the same file for any program. Other text gets an apostrophe, by which
spreadsheets know text. Numbers stay as they are.
"""

import polars as pl

PATHS = ("path", "crop")  # columns
FORMULA = r"[=+\-@\t\r]"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def csv_text(
    table: pl.DataFrame, *, float_precision: int | None = None, quote_text: bool = False, header: bool = True
) -> str:
    """Format a table as CSV without formulas.

    Args:
        table: with any columns.
        float_precision: decimals of floats; all that are needed by default.
        quote_text: put quotes around all cells that are not numbers.
        header: begin with a line of column names.
    """
    text_columns = [name for name, dtype in table.schema.items() if dtype == pl.String]
    table = table.with_columns(_safe(name) for name in text_columns)
    style = "non_numeric" if quote_text else "necessary"
    return table.write_csv(float_precision=float_precision, quote_style=style, include_header=header)


def read_back(table: pl.DataFrame) -> pl.DataFrame:
    """Undo what `csv_text` did to the cells of a table; cells that it did not change stay as they are."""
    return table.with_columns(_plain(name) for name, dtype in table.schema.items() if dtype == pl.String)


def plain_path(path: str) -> str:
    """A path as it was before `csv_text`; of other paths, the same file."""
    return path.removeprefix("./")


def safe_text(text: str) -> str:
    """A text as `csv_text` writes it in a column that holds no paths."""
    return pl.select(_safe_text(pl.lit(text))).item()


def _safe(name: str) -> pl.Expr:
    cell = pl.col(name)
    if name in PATHS:
        return pl.when(cell.str.contains(f"^{FORMULA}")).then(pl.lit("./") + cell).otherwise(cell).alias(name)
    return _safe_text(cell).alias(name)


def _safe_text(cell: pl.Expr) -> pl.Expr:
    # Apostrophes before such a sign get another one, so that each can be taken away again.
    is_formula = cell.str.contains(f"^'*{FORMULA}") & ~cell.str.contains(NUMBER)
    return pl.when(is_formula).then(pl.lit("'") + cell).otherwise(cell)


def _plain(name: str) -> pl.Expr:
    cell = pl.col(name)
    if name in PATHS:
        return cell.str.replace(rf"^\./({FORMULA})", "$1")
    return pl.when(cell.str.contains(f"^'+{FORMULA}")).then(cell.str.slice(1)).otherwise(cell).alias(name)
