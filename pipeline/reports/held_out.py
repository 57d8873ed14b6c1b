"""What the report shows of the held-out people: scores, classes, confusion, calibration, and the photos behind them.

In: RUN/validation.csv. Out: a Section for the joint class and for each task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.evaluation.metrics import ClassScore, Score, class_intervals, class_table, score
from classify.tasks import UNLABELLED, Task, joint_names
from pipeline.evaluation.validation_table import Validation
from pipeline.reports.pictures import Pictures
from pipeline.reports.plots import reliability
from pipeline.task_names import probability_columns

WRONG_SHOWN, RIGHT_SHOWN = 24, 8  # photos that a cell of a confusion matrix opens
RELIABILITY_BINS = 10
WIDE_MATRIX = 6  # a matrix of more classes names its columns upright


@dataclass(frozen=True, slots=True)
class GalleryPhoto:
    """A photo in the gallery of a cell."""

    picture: str  # the CSS class of its thumbnail; empty without one
    path: str
    probability: float  # of its true class


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a confusion matrix, and the photos that it opens."""

    anchor: str  # of its gallery; empty where there is no photo
    true: str
    predicted: str
    photos: int
    shade: int  # the share of the true class's photos, in percent
    is_right: bool
    rows: Sequence[int]  # of validation.csv, those with the least probable true class first


@dataclass(frozen=True, slots=True)
class Section:
    """The joint class or a task."""

    name: str
    anchor: str
    score: Score
    classes: Sequence[tuple[ClassScore, tuple[float, float] | None]]  # with the interval of F1
    names: Sequence[str]
    matrix: Sequence[Sequence[Cell]]
    true_probability: NDArray[np.float64]  # (N,) of the true class, for all rows of validation.csv; NaN if unlabelled
    reliability: str  # a drawing; empty for the joint class

    @property
    def is_wide(self) -> bool:
        """Whether the matrix has many columns."""
        return len(self.names) > WIDE_MATRIX

    @property
    def weakest(self) -> ClassScore | None:
        """The class with the lowest F1 among those that have photos."""
        return min((row for row, _ in self.classes if row.photos), key=lambda row: row.f1, default=None)


def score_sections(validation: Validation, tasks: Sequence[Task]) -> list[Section]:
    """Make the sections of the joint class and of each task; those without a labelled photo are left out."""
    names = {"joint": joint_names(tasks), **{task.name: list(task.classes) for task in tasks}}
    probabilities = {task.name: validation.table.select(probability_columns(task)).to_numpy() for task in tasks}
    of_true = {task.name: _pick(probabilities[task.name], validation.codes[task.name][0]) for task in tasks}
    of_true["joint"] = np.prod([of_true[task.name] for task in tasks], axis=0)
    people = np.array(validation.people)
    sections: list[Section] = []
    for name, (true_codes, predicted_codes) in validation.codes.items():
        rows = np.flatnonzero(true_codes != UNLABELLED)
        if not len(rows):
            continue
        true, predicted, classes = true_codes[rows], predicted_codes[rows], names[name]
        who = people[rows].tolist()
        anchor = f"task{len(sections)}"
        drawing = ""
        if name in probabilities:
            confidence = _pick(probabilities[name], predicted_codes)[rows]
            drawing = reliability(_reliability_bins(confidence, true == predicted), name)
        sections.append(
            Section(
                name,
                anchor,
                score(true, predicted, who, len(classes)),
                list(
                    zip(
                        class_table(true, predicted, classes),
                        class_intervals(true, predicted, who, len(classes)),
                        strict=True,
                    )
                ),
                classes,
                list(_matrix(true_codes, predicted_codes, classes, of_true[name], anchor)),
                of_true[name],
                drawing,
            )
        )
    return sections


def galleries(sections: Sequence[Section], validation: Validation, pictures: Pictures) -> dict[str, list[GalleryPhoto]]:
    """The photos of every cell by its anchor; where there is no room for all, mistakes come before correct answers."""
    sources, paths = validation.table["source"].to_list(), validation.table["path"].to_list()
    cells = [
        (cell.is_right, section.name == "joint", section, cell)
        for section in sections
        for row in section.matrix
        for cell in row
        if cell.photos
    ]
    cells.sort(key=lambda each: each[:2])
    return {
        cell.anchor: [
            GalleryPhoto(pictures.name(sources[row]), paths[row], float(section.true_probability[row]))
            for row in cell.rows[: RIGHT_SHOWN if cell.is_right else WRONG_SHOWN]
        ]
        for *_, section, cell in cells
    }


def _matrix(
    true: NDArray[np.intp],
    predicted: NDArray[np.intp],
    names: Sequence[str],
    probability: NDArray[np.float64],
    anchor: str,
) -> Iterator[list[Cell]]:
    for t, true_name in enumerate(names):
        of_class = np.flatnonzero(true == t)
        row: list[Cell] = []
        for p, predicted_name in enumerate(names):
            chosen = of_class[predicted[of_class] == p]
            ordered = chosen[np.argsort(probability[chosen], kind="stable")].tolist()
            target = f"{anchor}-{t}-{p}" if ordered else ""
            shade = round(100 * len(ordered) / max(len(of_class), 1))
            row.append(Cell(target, true_name, predicted_name, len(ordered), shade, t == p, ordered))
        yield row


def _pick(probabilities: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """The probability of each row's class; NaN where it has none."""
    return np.where(codes >= 0, probabilities[np.arange(len(codes)), np.maximum(codes, 0)], np.nan)


def _reliability_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """(mean confidence, share of correct answers, photos) of each bin of equal width that has photos."""
    bins = np.minimum((confidence * RELIABILITY_BINS).astype(np.intp), RELIABILITY_BINS - 1)
    found: list[tuple[float, float, int]] = []
    for number in range(RELIABILITY_BINS):
        chosen = bins == number
        if chosen.any():
            found.append((float(confidence[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())))
    return found
