"""Predict photos with an exported folder, without torch: detection, crop, networks, calibration and decision.

photo -> upright RGB image -> the subject's box -> window -> crop -> inputs of the networks -> mean probabilities ->
calibrated -> class of each task.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from classify.inference.decision import DecisionRule
from classify.preprocessing import decode_crop, to_input
from detect.faces import Detector, Image
from detect.ladder import Ladder, Step, WholePhotos
from detect.modes import MIN_FACE, THOROUGH_YUNET, PortraitMode, ThoroughMode
from detect.portable_mtcnn import PortableMtcnn
from detect.subject import Subject
from detect.window import cut, encode
from detect.yunet import Yunet
from pipeline.export.portable_decode import read_photo
from pipeline.export.portable_sessions import open_network

FORMAT = 1
DESCRIPTION = "export.json"
PHOTOS_AT_ONCE = 16
FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that a spreadsheet would compute
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is predicted for one photo."""

    path: str  # as it was given; of an image in memory, its number
    status: str  # ok, no_face (predicted from the window in the middle) or unreadable
    found_by: str = ""  # the detector that found the face
    box: tuple[float, ...] = ()  # x1, y1, x2, y2 of the face in pixels of the upright photo; without a face, the window
    score: float | None = None  # the detector's
    labels: Mapping[str, str] = field(default_factory=dict)  # per task
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # per task and class
    joint_class: int | None = None  # all tasks' classes as one number, the first task highest
    unsure: tuple[str, ...] = ()  # tasks whose label has a lower probability than the bundle asks for
    faces: int | None = None  # that the detector found in the photo

    def row(self) -> dict[str, Any]:
        """The prediction with the columns of faceline's predictions.csv; no cell is a formula to a spreadsheet."""
        box = dict(zip(("x1", "y1", "x2", "y2"), self.box or (None,) * 4, strict=True))
        path = f"./{self.path}" if FORMULA.match(self.path) else self.path
        row = {"path": path, "status": self.status, "found_by": self.found_by, **box, "score": self.score}
        for task, label in self.labels.items():
            row[task] = f"'{label}" if FORMULA.match(label.lstrip("'")) and not NUMBER.match(label) else label
            row |= {f"p_{task}_{name}": round(p, 6) for name, p in self.probabilities[task].items()}
        return {**row, "class": self.joint_class, "unsure": " ".join(self.unsure), "faces": self.faces}


class ExportedPredictor:
    """Predicts photos with the networks of an exported folder.

    Args:
        folder: what `faceline export` has written.
        threads: of each network; 0 for as many as the runtime finds useful.

    Raises:
        ValueError: the folder is no export, of a newer version, or one of its files is missing or was changed.
    """

    def __init__(self, folder: Path | str, threads: int = 0) -> None:
        folder = Path(folder)
        about = self._about = _read_description(folder)
        self._tasks: dict[str, list[str]] = {name: task["classes"] for name, task in about["tasks"].items()}
        self._rules = {name: DecisionRule(**rule) for name, rule in about["decision_rules"].items()}
        self._networks = [(entry, open_network(folder / entry["file"], threads)) for entry in about["networks"]]
        self._finder = _ladder(folder, about["detect"], threads)
        self._crop: Any = SimpleNamespace(**about["crop"])

    @property
    def columns(self) -> list[str]:
        """The columns of a table of predictions: those of faceline's predictions.csv."""
        columns = ["path", "status", "found_by", "x1", "y1", "x2", "y2", "score"]
        for task, classes in self._tasks.items():
            columns += [task, *(f"p_{task}_{name}" for name in classes)]
        has_threshold = any(rule.unsure_below for rule in self._rules.values())
        return [*columns, "class", *["unsure"] * has_threshold, "faces"]

    def predict(self, photos: Iterable[Path | str | Image]) -> Iterator[Prediction]:
        """Yield a prediction for each photo, in order: for a path, or for an RGB uint8 array (height, width, 3)."""
        numbered = enumerate(photos)
        while batch := list(islice(numbered, PHOTOS_AT_ONCE)):
            yield from self._predict_batch(batch)

    def _predict_batch(self, batch: Sequence[tuple[int, Path | str | Image]]) -> Iterator[Prediction]:
        found: list[tuple[str, Subject, Any, Image] | str] = []  # name, subject, window and crop; or the name alone
        for number, photo in batch:
            name = f"image {number}" if isinstance(photo, np.ndarray) else str(photo)
            image = photo if isinstance(photo, np.ndarray) else read_photo(Path(photo))
            found.append(name if image is None else (name, *self._crop_of(image)))
        crops = [item[3] for item in found if not isinstance(item, str)]
        probabilities = self._probabilities(crops) if crops else {}
        row = 0
        for item in found:
            if isinstance(item, str):
                yield Prediction(item, "unreadable")
                continue
            yield self._prediction(item[0], item[1], item[2], {task: p[row] for task, p in probabilities.items()})
            row += 1

    def _crop_of(self, image: Image) -> tuple[Subject, Any, Image]:
        """The subject of a photo, its window, and the crop as the networks know it: as a JPEG."""
        [subject] = self._finder.find([image])
        window = subject.window(image.shape[0], image.shape[1], self._crop)
        return subject, window, decode_crop(encode(cut(image, window, self._crop), self._crop))

    def _probabilities(self, crops: Sequence[Image]) -> dict[str, Any]:
        """Each task's (N, C) calibrated probabilities: the mean over its networks, then the temperature."""
        parts: dict[str, list[Any]] = {name: [] for name in self._tasks}
        for entry, run in self._networks:
            inputs = np.stack([to_input(crop, tuple(entry["input"]), entry["zoom"]) for crop in crops])
            [outputs] = run(inputs)
            ends = np.cumsum([len(self._tasks[name]) for name in entry["tasks"]])[:-1]
            for name, part in zip(entry["tasks"], np.split(outputs, ends, axis=1), strict=True):
                parts[name].append(part)
        means = {name: np.asarray(np.mean(part, axis=0, dtype=np.float64), np.float32) for name, part in parts.items()}
        return {name: self._rules[name].calibrated(mean) for name, mean in means.items()}

    def _prediction(self, name: str, subject: Subject, window: Any, probabilities: Mapping[str, Any]) -> Prediction:
        """Choose the class of each task."""
        labels: dict[str, str] = {}
        unsure: list[str] = []
        joint = 0
        for task, classes in self._tasks.items():
            rule, row = self._rules[task], probabilities[task][None]
            codes = rule.answers(row)
            labels[task] = classes[codes[0]]
            joint = joint * len(classes) + int(codes[0])
            if rule.unsure(row, codes)[0]:
                unsure.append(task)
        return Prediction(
            name,
            "no_face" if subject.box is None else "ok",
            subject.found_by,
            tuple(subject.box or window.as_list()),
            subject.score,
            labels,
            {task: dict(zip(self._tasks[task], map(float, row), strict=True)) for task, row in probabilities.items()},
            joint,
            tuple(unsure),
            subject.faces,
        )


def _ladder(folder: Path, detect: Mapping[str, Any], threads: int) -> Ladder | WholePhotos:
    """The detectors as the bundle has them, with the networks in the folder; or none, if it looks for no face."""
    if detect["detector"] == "none":
        return WholePhotos()
    networks = [open_network(folder / file, threads) for file in detect["files"]["mtcnn"]]
    yunet = folder / detect["files"]["yunet"]

    def mtcnn(thresholds: Sequence[float]) -> PortableMtcnn:
        return PortableMtcnn(lambda stage, pixels: networks[stage](pixels), thresholds, detect["factor"])

    def detector(name: str) -> Detector:
        if name == "yunet":
            return Yunet(detect["yunet_score"], weights=yunet)
        exact = mtcnn(detect["thresholds"])
        if detect["mode"] == "portrait":
            return PortraitMode(exact, MIN_FACE, detect["factor"])
        return ThoroughMode(exact, Yunet(THOROUGH_YUNET, weights=yunet)) if detect["mode"] == "thorough" else exact

    chosen = ((detect["detector"], detect["min_subject"]), (detect["second"], detect["retry_min_subject"]))
    steps = [Step(name, detector(name), min_subject) for name, min_subject in chosen if name != "none"]
    return Ladder(steps, mtcnn(detect["retry_thresholds"]), detect["retry_min_subject"])


def _read_description(folder: Path) -> dict[str, Any]:
    """Read export.json, and compare every file that it names with its hash."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"{folder} is no export: it holds no {DESCRIPTION}")
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if about["format"] > FORMAT:
        raise ValueError(f"{path} was written by a newer faceline (format {about['format']})")
    for name, digest in about["sha256"].items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing; export the bundle again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{file} is not the file that was exported (its sha256 differs); export the bundle again")
    return about
