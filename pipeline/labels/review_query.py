"""Queries of a review, as in "gender = female AND p < 0.6".

In: held-out photos with labels and probabilities, and a query. Out: for each task, the photos for which it holds.

A query is an SQL condition. A class may stand in it without quotes. What a column such as `p` says is of one task: the
one that the query names, as this one names gender; where it names none or several, it is applied to each task.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.out_of_fold import OutOfFold
from pipeline.sql_condition import rows_where
from pipeline.task_names import probability_columns

OF_ONE_TASK = ("task", "given", "predicted", "p", "p_predicted", "right")
TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|[^\W\d]\w*|.""", re.DOTALL)
SQL_WORDS = frozenset({
    "and", "or", "not", "in", "is", "null", "true", "false", "like", "ilike", "between", "case", "when", "then", "else",
    "end", "as", "cast",
})  # fmt: skip
EXAMPLE = "gender = female AND p < 0.6"


class QueryTable:
    """The columns that a query can use, a row for each held-out photo."""

    def __init__(self, held_out: OutOfFold, tasks: Sequence[Task], codes: Mapping[str, NDArray[np.intp]]) -> None:
        self._tasks = tasks
        self._columns = _columns(held_out, tasks, codes)
        self._of_task = {task.name: _columns_of(task, held_out, codes[task.name]) for task in tasks}

    @property
    def names(self) -> list[str]:
        """The columns in the order in which they are documented."""
        return [*OF_ONE_TASK, *self._columns]

    def rows(self, query: str) -> dict[str, list[int]]:
        """Task -> the photos for which the query holds, as rows.

        Raises:
            UsageError: it is no condition on these columns; the message says what is wrong with it.
        """
        text, used = self._with_quoted_classes(query)
        named = [task for task in self._tasks if used & self._names_of(task)]
        found: dict[str, list[int]] = {}
        for task in named if len(named) == 1 else self._tasks:
            table = pl.DataFrame(self._of_task[task.name] | self._columns)
            try:
                chosen = rows_where(table, text, query)
            except UsageError as error:
                # Polars lists its columns and the expression; the first line is what matters.
                reason = str(error).removeprefix(query).lstrip(": ").split("\n")[0].split("; ")[0]
                raise UsageError(
                    f"{query!r} can't be answered: {reason}. Write a condition as in {EXAMPLE!r}, on the columns "
                    f"{', '.join(self.names)}."
                ) from None
            found[task.name] = chosen.arg_true().to_list()
        return found

    def _with_quoted_classes(self, query: str) -> tuple[str, set[str]]:
        """The query with quotes around the names of classes, and the columns that it uses."""
        classes = {name.casefold(): name for task in self._tasks for name in task.classes}
        names = set(self.names)
        used: set[str] = set()
        parts: list[str] = []
        tokens: list[str] = TOKEN.findall(query)
        for token in tokens:
            plain = token.strip('"')
            if token in names and token.casefold() in classes:
                raise UsageError(
                    f"{query!r} can't be answered: {token} is a class and a column. Write '{token}' for the class, "
                    f'"{token}" for the column.'
                )
            if token[0] != "'" and plain in names:
                used.add(plain)
                parts.append(token)
            elif token[0] == '"' or (token.casefold() in classes and token.casefold() not in SQL_WORDS):
                parts.append(_quoted(classes.get(plain.casefold(), plain)))
            else:
                parts.append(token)
        return "".join(parts), used

    def _names_of(self, task: Task) -> set[str]:
        return {*_names_of_task(task.name), *probability_columns(task)}


def _names_of_task(name: str) -> tuple[str, str, str, str]:
    return name, f"given_{name}", f"predicted_{name}", f"p_{name}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(held_out: OutOfFold, tasks: Sequence[Task], codes: Mapping[str, NDArray[np.intp]]) -> dict[str, pl.Series]:
    """What is known of each photo whatever the task."""
    paths = [PurePosixPath(photo.name) for photo in held_out.photos]
    columns: dict[str, Any] = {
        "path": [str(path) for path in paths],
        "folder": [path.parent.name for path in paths],
        "stem": [path.stem for path in paths],
        "person": [photo.person for photo in held_out.photos],
        "id": [photo.person.split("_")[0] for photo in held_out.photos],
    }
    for task in tasks:
        of_task = _columns_of(task, held_out, codes[task.name])
        labels = [photo.labels.get(task.name) for photo in held_out.photos]
        numbers = [None if label is None else task.number(label) for label in labels] if task.edges else None
        shown = (numbers or of_task["given"], of_task["given"], of_task["predicted"], of_task["p"])
        probabilities = dict(zip(probability_columns(task), held_out.probabilities[task.name].T, strict=True))
        columns |= probabilities | dict(zip(_names_of_task(task.name), shown, strict=True))
    return {name: pl.Series(name, values) for name, values in columns.items()}


def _columns_of(task: Task, held_out: OutOfFold, codes: NDArray[np.intp]) -> dict[str, pl.Series]:
    """The columns `OF_ONE_TASK`."""
    probabilities = held_out.probabilities[task.name]
    predicted = probabilities.argmax(axis=1)
    rows = np.arange(len(codes))
    given = [None if code == UNLABELLED else task.classes[code] for code in codes]
    p = [None if code == UNLABELLED else float(probabilities[row, code]) for row, code in enumerate(codes)]
    names = [task.classes[code] for code in predicted]
    right = [None if label is None else label == name for label, name in zip(given, names, strict=True)]
    columns: dict[str, tuple[Any, Any]] = {
        "task": ([task.name] * len(codes), pl.String),
        "given": (given, pl.String),
        "predicted": (names, pl.String),
        "p": (p, pl.Float64),
        "p_predicted": (probabilities[rows, predicted], pl.Float64),
        "right": (right, pl.Boolean),
    }
    return {name: pl.Series(name, values, dtype) for name, (values, dtype) in columns.items()}
