"""What is predicted for one photo, and for several.

In: a photo's face and each task's probabilities. Out: Prediction, PredictionList, and the rows of predictions.csv.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

import polars as pl
from PIL import Image as Pillow

from cache.errors import UsageError
from cache.sources import split_part
from classify.tasks import Task
from detect.decode import decode_content, decode_file
from detect.faces import Image
from detect.failures import Failure
from pipeline.intake.photo import Photo
from pipeline.prediction.drawing import Bar, draw_faces
from pipeline.task_names import probability_columns

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "no_face", "unreadable"]
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the upright photo
PHOTO_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("path", "status", "found_by"), pl.String),
    **dict.fromkeys(("x1", "y1", "x2", "y2", "score"), pl.Float64),
}

FOLD_COLUMNS = ("fold", "trained_on")  # of photos of the training
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
LANDMARK_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")


@dataclass(frozen=True, slots=True)
class TaskPrediction:
    """The answer to one task, such as the age, for one face.

    Attributes:
        label: the predicted class.
        probabilities: class -> probability; they add up to 1.
        is_unsure: whether the answer's probability is below `predict.unsure`.
    """

    label: str
    probabilities: Mapping[str, float]
    is_unsure: bool = False

    @property
    def probability(self) -> float:
        """The probability of the label."""
        return self.probabilities[self.label]

    def to_dict(self) -> dict[str, Any]:
        """Return label and probabilities as JSON knows them."""
        return {"label": self.label, "probabilities": dict(self.probabilities), "unsure": self.is_unsure}


@dataclass(frozen=True, slots=True)
class Schema:
    """What all predictions of a bundle have in common."""

    tasks: tuple[Task, ...] = ()  # in config order
    marks_unsure: bool = False  # whether there is a column `unsure`


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What was predicted for one photo; `prediction.age` is the answer to the task `age`.

    Attributes:
        path: the photo's name, as it was given.
        status: "ok"; "no_face" if no face was found, and the middle of the photo was predicted; "unreadable".
        box: x1, y1, x2, y2 of the face in pixels of the upright photo; of a "no_face", what was predicted; or None.
        score: the detector's, between 0 and 1; None without a face.
        landmarks: (x, y) of left eye, right eye, nose, left and right mouth corner; None without a face.
        found_by: the detector that found the face, or "fallback"; None for an unreadable photo.
        tasks: task -> answer; empty for an unreadable photo.
        joint_class: the index of the joint class; None for an unreadable photo.
        message: why the photo could not be read; else empty.
        faces: how many faces were found in the photo; None if that is not known.
        fold, trained_on: of a photo of the training, its fold and whether a network that predicts it was trained on it.
    """

    path: str
    status: Status
    box: Box | None = None
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    found_by: str | None = None
    tasks: Mapping[str, TaskPrediction] = field(default_factory=dict[str, TaskPrediction])
    joint_class: int | None = None
    message: str = ""
    faces: int | None = None
    fold: int | None = None
    trained_on: bool | None = None
    reason: str = field(default="", repr=False)  # a word for the message, one of `detect.failures.Reason`
    schema: Schema = field(default_factory=Schema, repr=False)
    photo: Photo | None = field(default=None, repr=False)  # for `draw`

    @property
    def is_readable(self) -> bool:
        """Whether anything was predicted."""
        return self.status != "unreadable"

    def __getitem__(self, task: str) -> TaskPrediction:
        """Return the answer to a task, also to one that is called as an attribute is."""
        try:
            return self.tasks[task]
        except KeyError:
            raise KeyError(self._lacks(task)) from None

    def __getattr__(self, name: str) -> TaskPrediction:
        """Return the answer to the task of this name."""
        if name.startswith("__") or name in _FIELDS or name not in self.tasks:
            raise AttributeError(self._lacks(name) if name not in _FIELDS and not name.startswith("__") else name)
        return self.tasks[name]

    def __dir__(self) -> list[str]:
        """List the tasks, too."""
        return [*object.__dir__(self), *self.tasks]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return {
            "path": self.path,
            "status": self.status,
            "found_by": self.found_by,
            "box": None if self.box is None else list(self.box),
            "score": self.score,
            "landmarks": None if self.landmarks is None else [list(point) for point in self.landmarks],
            "tasks": {name: answer.to_dict() for name, answer in self.tasks.items()},
            "class": self.joint_class,
            "faces": self.faces,
            **({"message": self.message} if self.message else {}),
        }

    def draw(self) -> Pillow.Image:
        """Return the photo with the face's box, the answers and a bar for each probability.

        Raises:
            UsageError: the photo can't be read, or not any more.
        """
        image = whole_photo(self.photo) if self.photo is not None and self.is_readable else None
        if image is None or isinstance(image, Failure):
            reason = self.message or "the file has changed or is gone"
            raise UsageError(f"{self.path} can't be drawn, since it can't be read: {reason}")
        return draw_predictions(image, [self])

    def _lacks(self, name: str) -> str:
        if not self.is_readable and name in {task.name for task in self.schema.tasks}:
            return f"{self.path} has no {name}, since it can't be read: {self.message}. See prediction.is_readable"
        return f"{self.path} has no prediction of {name!r}; the tasks are {', '.join(self.tasks) or 'none'}"


def draw_predictions(image: Image, predictions: Iterable[Prediction]) -> Pillow.Image:
    """Draw the predictions of the faces in one photo, RGB uint8 (height, width, 3) with boxes in its pixels."""
    return draw_faces(
        image,
        [
            (prediction.box, [
                Bar(f"{task} {label} {probability:.0%}", probability, label == answer.label)
                for task, answer in prediction.tasks.items()
                for label, probability in answer.probabilities.items()
            ])
            for prediction in predictions
            if prediction.box is not None
        ],
    )  # fmt: skip


def whole_photo(photo: Photo) -> Image | Failure:
    """The pixels of a photo; of a part or a face of one, those of the entire photo, in which boxes are given."""
    if photo.face is not None:
        photo = photo.face.photo
    file, _ = split_part(photo.path)
    return decode_file(file) if photo.content is None else decode_content(photo.content, file)


_FIELDS = frozenset(item.name for item in fields(Prediction))


class PredictionList(list[Prediction]):
    """Predictions in the order of their photos: a list that becomes a table.

    It can be made of any predictions, as in `PredictionList(predictor.stream("photos"))`.

    Args:
        predictions: what it holds.
        schema: the columns of its table; None to take them from the first prediction.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), schema: Schema | None = None) -> None:
        super().__init__(predictions)
        self._schema = schema

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice, /) -> "PredictionList": ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> "Prediction | PredictionList":
        """Return one prediction, or a PredictionList of a slice."""
        if isinstance(index, slice):
            return PredictionList(super().__getitem__(index), self._schema)
        return super().__getitem__(index)

    def to_polars(self) -> pl.DataFrame:
        """Return a polars table with a row per prediction and the columns of predictions.csv."""
        return predictions_table(self, self._schema)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a pandas table with a row per prediction and the columns of predictions.csv.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UsageError("to_pandas needs pandas: pip install pandas") from None
        return pd.DataFrame(self.to_polars().to_dict(as_series=False))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each prediction's `to_dict`."""
        return [prediction.to_dict() for prediction in self]


def predictions_table(
    predictions: Iterable[Prediction], schema: Schema | None = None, *, all_columns: bool = False
) -> pl.DataFrame:
    """Make the table of predictions.csv.

    Args:
        predictions: in the order of the rows.
        schema: what the bundle predicts; None to take it from the first prediction.
        all_columns: keep those on photos of the training where there are none, for a part of a larger table.
    """
    rows: list[Sequence[Any]] = []
    for prediction in predictions:
        schema = schema or prediction.schema
        rows.append(_row(prediction, schema))
    table = pl.DataFrame(rows, schema=_columns(schema or Schema()), orient="row")
    return table if all_columns or knows_folds(table) else table.drop(FOLD_COLUMNS)


def knows_folds(table: pl.DataFrame) -> bool:
    """Whether any row is of a photo of the training."""
    return bool(table["fold"].is_not_null().any())


def face_columns(predictions: Iterable[Prediction]) -> pl.DataFrame:
    """Make the further columns of predictions with a row for each face: the photo, the face's number, and landmarks."""
    rows: list[Sequence[Any]] = []
    for prediction in predictions:
        face = prediction.photo and prediction.photo.face
        landmarks = [value for point in prediction.landmarks or () for value in point] or [None] * len(LANDMARK_COLUMNS)
        rows.append([face.photo.name if face else prediction.path, face.number if face else None, *landmarks])
    schema: dict[str, Any] = {"photo": pl.String, "face": pl.Int64, **dict.fromkeys(LANDMARK_COLUMNS, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _columns(schema: Schema) -> dict[str, Any]:
    columns = dict(PHOTO_COLUMNS)
    for task in schema.tasks:
        columns[task.name] = pl.String
        columns |= dict.fromkeys(probability_columns(task), pl.Float64)
    unsure = {"unsure": pl.String} if schema.marks_unsure else {}
    return columns | {"class": pl.Int64, **unsure, "faces": pl.Int64, "fold": pl.Int64, "trained_on": pl.Boolean}


def _row(prediction: Prediction, schema: Schema) -> Sequence[Any]:
    row: list[Any] = [prediction.path, prediction.status, prediction.found_by]
    row += [*(prediction.box or [None] * 4), prediction.score]
    for task in schema.tasks:
        answer = prediction.tasks.get(task.name)
        row.append(answer and answer.label)
        row += [answer and answer.probabilities[label] for label in task.classes]
    row.append(prediction.joint_class)
    if schema.marks_unsure:
        unsure = " ".join(name for name, answer in prediction.tasks.items() if answer.is_unsure)
        row.append(unsure if prediction.is_readable else None)
    return [*row, prediction.faces, prediction.fold, prediction.trained_on]
