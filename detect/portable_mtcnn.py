"""MTCNN in numpy and OpenCV, without torch: what the runtime of `faceline export` detects with.

images -> P-Net on all pyramid levels -> R-Net -> O-Net -> Faces of each image, one image after another.

Arithmetic and results are those of `cascade.py`, which takes many images at once, on a GPU too. The networks come in
as a function. Boxes are x1, y1, x2, y2 in pixels of the image.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detect.faces import Faces, Image

Floats = NDArray[np.float32]
# (0, 1 or 2 for P-, R- or O-Net; pixels (n, h, w, 3) in [-127.5, 127.5]) -> scores (n,), corrections (n, 4) in shares
# of the box's sides; of P-Net (n, h', w') and (n, h', w', 4); of O-Net also landmarks (n, 10), five x, then five y.
RunNetwork = Callable[[int, Floats], Sequence[Floats]]

PROPOSE, REFINE, OUTPUT = 0, 1, 2
SIDES = (12, 24, 48)  # of the networks' input windows, in pixels
STRIDE = 2  # between P-Net's windows, in pixels of a level
MIDDLE = 127.5  # subtracted, since the networks take pixels around zero


class PortableMtcnn:
    """The cascade for single images.

    Args:
        run: runs one of the three networks.
        thresholds: the score that each network requires.
        factor: ratio of the sizes of neighbouring pyramid levels.
    """

    def __init__(self, run: RunNetwork, thresholds: Sequence[float], factor: float) -> None:
        self._run, self._thresholds, self._factor = run, thresholds, factor

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, by descending score, none smaller than its `min_faces` pixels."""
        return [self._detect(image, min_face) for image, min_face in zip(images, min_faces, strict=True)]

    def refine_boxes(self, images: Sequence[Image], boxes: Sequence[Floats], score: float) -> list[Faces]:
        """Run O-Net on one box (4,) per image; returns its face, or none where its score is below `score`."""
        return [
            self._output(Table(image), _square(box[None].astype(np.float32)), score)
            for image, box in zip(images, boxes, strict=True)
        ]

    def _detect(self, image: Image, min_face: float) -> Faces:
        scales = pyramid_scales(image.shape[0], image.shape[1], min_face, self._factor)
        if not scales:
            return Faces.none()
        table = Table(image)
        boxes = self._propose(table, scales)
        if len(boxes):
            boxes = self._refine(table, boxes)
        return self._output(table, boxes, self._thresholds[OUTPUT]) if len(boxes) else Faces.none()

    def _propose(self, table: "Table", scales: Sequence[float]) -> Floats:
        """Run P-Net on all pyramid levels and merge overlapping candidates: square boxes (n, 4), best first."""
        found: list[tuple[Floats, Floats, Floats]] = []  # boxes, scores and corrections of each level
        for scale in scales:
            size = (int(table.height * scale + 1), int(table.width * scale + 1))
            level_scores, level_corrections = self._run(PROPOSE, table.shrunk(*size)[None])
            rows, columns = np.nonzero(level_scores[0] >= self._thresholds[PROPOSE])
            first = np.stack([columns, rows], 1).astype(np.float32) * STRIDE + 1
            boxes = np.floor(np.concatenate([first, first + (SIDES[PROPOSE] - 1)], 1) / scale)
            scores = level_scores[0, rows, columns]
            kept = suppress(boxes, scores, 0.5)
            found.append((boxes[kept], scores[kept], level_corrections[0, rows, columns][kept]))
        boxes, scores, corrections = (np.concatenate(parts) for parts in zip(*found, strict=True))
        # Of equal scores, the one of the finest level is kept.
        kept = suppress(boxes, scores, 0.7)
        boxes = boxes[kept]
        return _square(boxes + corrections[kept] * np.tile(boxes[:, 2:] - boxes[:, :2], 2))

    def _refine(self, table: "Table", boxes: Floats) -> Floats:
        """Run R-Net on the candidates; keeps those that pass its threshold, with corrected boxes."""
        squares, inside = _cut(table, boxes, SIDES[REFINE])
        scores, corrections = self._run(REFINE, squares)
        passed = inside & (scores > self._thresholds[REFINE])
        boxes, corrections = boxes[passed], corrections[passed]
        kept = suppress(boxes, scores[passed], 0.7)
        return _square(_corrected(boxes[kept], corrections[kept]))

    def _output(self, table: "Table", boxes: Floats, score: float) -> Faces:
        """Run O-Net on the candidates; returns the faces, with landmarks."""
        squares, inside = _cut(table, boxes, SIDES[OUTPUT])
        scores, corrections, landmarks = self._run(OUTPUT, squares)
        passed = inside & (scores > score)
        boxes, scores = boxes[passed], scores[passed]
        starts, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = landmarks[passed].reshape(-1, 2, 5).transpose(0, 2, 1) * sides + starts - 1
        boxes = _corrected(boxes, corrections[passed])
        kept = best_unnested(boxes, scores, 0.7)
        boxes, scores, points = (column[kept].astype(np.float32) for column in (boxes, scores, points))
        return Faces(boxes, scores, points)


class Table:
    """An image's summed-area table: the sum over a rectangle of any size takes four look-ups.

    Its entries overflow in large images, but their differences are still right.
    """

    def __init__(self, image: Image) -> None:
        self.height, self.width = image.shape[:2]
        sums: Any = cv2.integral(np.ascontiguousarray(image), sdepth=cv2.CV_32S)
        self._sums: NDArray[np.int32] = sums  # (height + 1, width + 1, 3)

    def shrunk(self, height: int, width: int) -> Floats:
        """Shrink the image to (height, width, 3) in [-127.5, 127.5]: each pixel is the mean of all that it touches."""
        tops, bottoms = _bins(np.array([self.height]), height)
        lefts, rights = _bins(np.array([self.width]), width)
        return self._means(tops, bottoms, lefts, rights)[0]

    def squares(self, edges: NDArray[np.int32], side: int) -> Floats:
        """Rectangles of the image, resized to (n, side, side, 3) in [-127.5, 127.5].

        Args:
            edges: (n, 4) left, top, right, bottom in pixels; right and bottom exclusive, all within the image.
            side: of the squares, in pixels.
        """
        lefts, rights = _bins(edges[:, 2] - edges[:, 0], side)
        tops, bottoms = _bins(edges[:, 3] - edges[:, 1], side)
        left, top = edges[:, :1], edges[:, 1:2]
        return self._means(tops + top, bottoms + top, lefts + left, rights + left)

    def _means(self, tops: NDArray[Any], bottoms: NDArray[Any], lefts: NDArray[Any], rights: NDArray[Any]) -> Floats:
        """The means over cells, whose rows and columns are (n, h) and (n, w): (n, h, w, 3), minus the middle."""
        pixels = (bottoms - tops)[:, :, None] * (rights - lefts)[:, None, :]
        tops, bottoms, lefts, rights = tops[:, :, None], bottoms[:, :, None], lefts[:, None, :], rights[:, None, :]
        table = self._sums
        sums = table[bottoms, rights] - table[tops, rights] - table[bottoms, lefts] + table[tops, lefts]
        means = sums.astype(np.float32) / pixels[..., None].astype(np.float32)
        return means - np.float32(MIDDLE)


def pyramid_scales(height: int, width: int, min_face: float, factor: float) -> list[float]:
    """Return the sizes of the pyramid's levels as shares of the photo's size, descending; empty if no face fits."""
    scale, side = SIDES[PROPOSE] / min_face, min(height, width) * (SIDES[PROPOSE] / min_face)
    scales: list[float] = []
    while side >= SIDES[PROPOSE]:
        scales.append(scale)
        scale, side = scale * factor, side * factor
    return scales


def suppress(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Return the indices of the boxes that no better one overlaps, by descending score."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        starts = np.maximum(boxes[best, :2], boxes[order, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[order, 2:]) - starts).clip(min=0)
        shared = sides[:, 0] * sides[:, 1]
        order = order[shared / (areas[best] + areas[order] - shared) <= threshold]
    return np.array(kept, np.intp)


def best_unnested(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Like `suppress`, but with the overlap as a share of the smaller box: nested boxes are dropped."""
    # Scores are often equal, 1 in float32. Of equal ones, facenet-pytorch keeps the one that numpy's argsort puts last,
    # which depends on how many there are.
    order = np.argsort(scores)[::-1]
    if len(order) < 2:
        return order
    x1, y1, x2, y2 = boxes[order].T
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    wide = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1) + 1
    high = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1) + 1
    shared = wide.clip(min=0) * high.clip(min=0) / np.minimum(area[:, None], area)
    beaten = np.tril(shared > threshold, -1)
    kept, before = np.ones(len(order), np.bool_), None
    while before is None or (kept != before).any():  # a suppressed box no longer suppresses others
        kept, before = ~(beaten & kept).any(axis=1), kept
    return order[kept]


def _bins(lengths: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Start and end of `count` bins of full pixels over each length, (n, count); neighbours share one pixel or none."""
    number, lengths = np.arange(count), lengths[:, None].astype(np.int64)
    return number * lengths // count, ((number + 1) * lengths + count - 1) // count


def _cut(table: Table, boxes: Floats, side: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the boxes' pixels as squares, (n, side, side, 3), and which of them lie in the image, (n,)."""
    edges = np.trunc(boxes).astype(np.int32)
    starts = (edges[:, :2] - 1).clip(min=0)  # MTCNN counts pixels from 1
    ends = np.minimum(edges[:, 2:], [table.width, table.height])
    inside = np.logical_and(ends[:, 0] > starts[:, 0], ends[:, 1] > starts[:, 1])
    starts = np.minimum(starts, [table.width - 1, table.height - 1])
    return table.squares(np.concatenate([starts, np.maximum(ends, starts + 1)], 1), side), inside


def _square(boxes: Floats) -> Floats:
    """Make boxes square around their centres by lengthening the shorter sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(1, keepdims=True)
    starts = boxes[:, :2] + sides * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([starts, starts + side], 1)


def _corrected(boxes: Floats, corrections: Floats) -> Floats:
    sides = np.asarray(boxes[:, 2:] - boxes[:, :2] + 1, np.float32)
    return np.asarray(boxes + corrections * np.tile(sides, 2), np.float32)
