"""Settings of detection and of the crop."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from cache.config import Config

Thresholds = tuple[float, float, float]
DetectorName = Literal["mtcnn", "yunet", "retinaface"]


class DetectConfig(Config):
    """How the subject's face is found."""

    detector: DetectorName | Literal["none"] = Field(
        default="mtcnn",
        description="The first detector. none looks for no face: the photo itself is the crop, as for photos that are "
        "cut around a face already; of a table with boxes, the given boxes count. No other key of detect matters then.",
    )
    second: DetectorName | Literal["none"] = Field(
        default="yunet",
        description="The detector for photos in which the first one finds no subject; YuNet knows many masks.",
    )
    mode: Literal["exact", "portrait", "thorough"] = Field(
        default="portrait",
        description="MTCNN's mode: portrait finds only the subject, but fast; exact gives facenet-pytorch's faces; "
        "thorough adds faces that MTCNN misses.",
    )
    min_subject: float = Field(
        default=0.15,
        gt=0.01,
        le=1,
        description="Smallest face that can be the subject, as a share of the photo's shorter side.",
    )
    thresholds: Thresholds = Field(default=(0.6, 0.7, 0.7), description="Minimum scores of P-, R- and O-Net.")
    factor: float = Field(default=0.709, gt=0.3, lt=0.95, description="Ratio of one pyramid level to the one before.")
    retry_min_subject: float = Field(
        default=0.12,
        gt=0.01,
        le=1,
        description="min_subject of the later steps, for photos in which no face was found.",
    )
    retry_thresholds: Thresholds = Field(
        default=(0.4, 0.5, 0.5), description="thresholds of the last step, on more contrast."
    )
    yunet_score: float = Field(default=0.6, gt=0, lt=1, description="Minimum score of YuNet's faces.")
    retinaface_score: float = Field(default=0.6, gt=0, lt=1, description="Minimum score of RetinaFace's faces.")
    retinaface_weights: Path | None = Field(
        default=None, description="RetinaFace's weights (.onnx); without it, the uniface package downloads its own."
    )
    batch: int = Field(default=32, ge=1, le=4096, description="Maximum number of photos of one size in a batch.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("thresholds", "retry_thresholds"):
            if not all(0 < threshold < 1 for threshold in getattr(self, name)):
                raise ValueError(f"{name} must be three numbers between 0 and 1, one for each of MTCNN's networks")
        if self.second == self.detector != "none":
            raise ValueError(
                f"second is {self.second}, which is the first detector already; choose another one, or none"
            )
        return self

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the possible values of `found_by`, in the order of the ladder; given faces may also have "given"."""
        if self.detector == "none":
            return ("whole",)
        detectors = (self.detector, self.second) if self.second != "none" else (self.detector,)
        return (*detectors, "mtcnn-retry", "fallback")


class CropConfig(Config):
    """The window around the subject's face that is kept in the cache."""

    margin: float = Field(
        default=0.5, ge=0, le=3, description="Margin above and below the face, as a share of the face box's height."
    )
    align: bool = Field(default=False, description="Rotate the window so that the eyes are level.")
    max_height: int = Field(
        default=448, ge=32, le=4096, description="Taller crops are shrunk to it; smaller ones are not enlarged."
    )
    quality: int = Field(default=95, ge=50, le=100, description="JPEG quality of the crops; colour is kept at 4:4:4.")
