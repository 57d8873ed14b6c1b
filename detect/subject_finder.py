"""Find the subject of each photo, with a ladder of detectors.

DetectConfig + device -> the detectors with their networks -> `ladder.Ladder`, which uses them; images -> Subjects.
"""

from collections.abc import Sequence

from detect.config import DetectConfig
from detect.detector import FaceDetector
from detect.faces import Detector, Image
from detect.ladder import Ladder, Step, WholePhotos
from detect.mtcnn import Mtcnn
from detect.retinaface import RetinaFace
from detect.subject import Subject
from detect.yunet import Yunet


class SubjectFinder:
    """The ladder of detectors, with their networks loaded once; or none, for photos that are faces already.

    Args:
        detect: the steps and their thresholds.
        device: "auto", "cpu", "cuda" or "cuda:n".
        threads: of YuNet, on the CPU.

    Raises:
        UsageError: a detector's weights or package are missing.
    """

    def __init__(self, detect: DetectConfig, device: str, threads: int = 1) -> None:
        self._finder: Ladder | WholePhotos = WholePhotos()
        if detect.detector == "none":
            return
        retry = Mtcnn(detect.retry_thresholds, detect.factor, device, batch=detect.batch)
        steps = [
            Step(name, _detector(name, detect, device, threads), min_subject)
            for name, min_subject in ((detect.detector, detect.min_subject), (detect.second, detect.retry_min_subject))
            if name != "none"
        ]
        self._finder = Ladder(steps, retry, detect.retry_min_subject)

    def find(self, images: Sequence[Image], are_parts: Sequence[bool] | None = None) -> list[Subject]:
        """Find the subject of each image, in order; of a part of a photo around a given face, only that face."""
        return self._finder.find(images, are_parts)


def _detector(name: str, detect: DetectConfig, device: str, threads: int) -> Detector:
    if name == "yunet":
        return Yunet(detect.yunet_score, threads)
    if name == "retinaface":
        return RetinaFace(detect.retinaface_weights, detect.retinaface_score, device)
    return FaceDetector(
        thresholds=detect.thresholds, factor=detect.factor, device=device, mode=detect.mode, batch=detect.batch
    )
