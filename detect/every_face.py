"""Find all faces in photos, not only the subject's, as in photos of groups and of streets.

images -> YuNet's faces, in MTCNN's framing, plus those of MTCNN with a high score that YuNet misses -> Subjects of each
image, the largest first. Each has a window as the subject of a portrait has, so a network gets the crops it knows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detect.config import DetectConfig
from detect.faces import Faces, Image
from detect.ladder import in_mtcnns_framing
from detect.modes import THOROUGH_MTCNN, is_new
from detect.mtcnn import Mtcnn
from detect.subject import Subject
from detect.yunet import Yunet

# On street photos, 92% of the masked faces of 32 pixels and more have a YuNet score of 0.7, at a precision of 0.96.
MIN_FACE, MIN_SCORE = 32, 0.7


class EveryFaceFinder:
    """The detectors, with their networks loaded once.

    Args:
        detect: MTCNN's settings.
        device: "auto", "cpu", "cuda" or "cuda:n".
        threads: of YuNet, on the CPU.
        min_face: shorter side of the smallest face to find, in pixels.
        min_score: YuNet's score of a face; MTCNN's must also be 0.9 at least.
    """

    def __init__(
        self,
        detect: DetectConfig,
        device: str,
        threads: int = 1,
        *,
        min_face: float = MIN_FACE,
        min_score: float = MIN_SCORE,
    ) -> None:
        self._mtcnn = Mtcnn(detect.thresholds, detect.factor, device, batch=detect.batch)
        self._yunet = Yunet(min_score, threads)
        self._min_face, self._min_mtcnn_score = min_face, max(min_score, THOROUGH_MTCNN)

    def find(self, images: Sequence[Image]) -> list[list[Subject]]:
        """Find the faces of each image, in order; none where there is none."""
        min_faces = [self._min_face] * len(images)
        subjects: list[list[Subject]] = []
        pairs = zip(self._yunet.detect(images, min_faces), self._mtcnn.detect(images, min_faces), strict=True)
        for image, (yunet, mtcnn) in zip(images, pairs, strict=True):
            certain = mtcnn[mtcnn.scores >= self._min_mtcnn_score]
            further = certain[is_new(certain, yunet)]
            single = [yunet[index : index + 1] for index in range(len(yunet))]
            framed = in_mtcnns_framing("yunet", [image] * len(single), single, self._mtcnn)
            faces = [("yunet", face) for face in framed]
            faces += [("mtcnn", further[index : index + 1]) for index in range(len(further))]
            # MTCNN's smallest face is that of its pyramid, and not exact.
            faces = [item for item in faces if _sides(item[1]).min() >= self._min_face]
            faces.sort(key=lambda item: -_sides(item[1]).prod())
            subjects.append([Subject.of_face(name, face, len(faces)) for name, face in faces])
        return subjects


def _sides(face: Faces) -> NDArray[np.float32]:
    return face.boxes[0, 2:] - face.boxes[0, :2]
