"""Apply a condition in SQL to the rows of a table, as rules in settings and queries have them.

In: a polars table and a condition on its columns. Out: whether the condition holds, per row.
"""

import re

import polars as pl

from cache.errors import UsageError

# Polars' SQL opens any file or URL that a subquery names, and settings may come from anyone.
FORBIDDEN = re.compile(r"\b(?:select|table|values|read_\w*|scan_\w*)\b", re.IGNORECASE)


def rows_where(table: pl.DataFrame, condition: str, where: str) -> pl.Series:
    """Return (N,) booleans; a row for which the condition is neither true nor false counts as false.

    Args:
        table: (N rows).
        condition: SQL on the columns of the table.
        where: names the condition in errors.

    Raises:
        UsageError: it is no condition on these columns.
    """
    if match := FORBIDDEN.search(condition):
        raise UsageError(f"{where}: {match[0]!r} is not allowed; a rule can use a photo's columns only")
    try:
        expression = pl.sql_expr(condition)
        if expression.meta != expression.meta.undo_aliases():  # SQL takes a word after an expression for its name
            raise ValueError(f"an AND or OR is missing before {expression.meta.output_name()!r}")
        is_chosen = table.select(expression.alias("chosen"))["chosen"].fill_null(value=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}; there are the columns {', '.join(table.columns)}") from error
    if is_chosen.dtype != pl.Boolean or len(is_chosen) != len(table):
        raise UsageError(f"{where} is no condition: it must be true or false for every photo")
    return is_chosen
