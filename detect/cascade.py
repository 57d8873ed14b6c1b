"""MTCNN's three stages over images of one size.

images (B, H, W, 3) uint8 -> P-Net's candidates on all pyramid levels -> R-Net -> O-Net -> Faces of each image.

The arithmetic is facenet-pytorch's, so the answers are; the candidates of all images and levels go through each stage
in one operation.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from detect.areas import Grids, Room, Tables
from detect.faces import Faces, Image
from detect.networks import LARGE, OUTPUT, PROPOSE, REFINE, SIDES, Networks

NET_SIDE = SIDES[PROPOSE]  # a face of min_face pixels is shrunk to it
STRIDE = 2  # from one of P-Net's windows to the next

# Inputs of a network in one pass. A processor is fastest while what a layer hands to the next fits into its cache.
CELLS_AT_ONCE = {"cpu": 18_432, "cuda": 1 << 24}


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The sizes at which photos of one size are searched.

    Attributes:
        grids: how to shrink a photo to each of the large levels, and to all small ones.
        windows: (n, 4) float32, the photo's pixels behind each of P-Net's n answers, all levels one after the other.
        levels: (n,) int64, the level of each.
    """

    grids: list[Grids]
    windows: Tensor
    levels: Tensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be faces: boxes (n, 4) float32, scores (n,) float32 and the image of each (n,) int64, ascending."""

    boxes: Tensor
    scores: Tensor
    owner: Tensor

    def __getitem__(self, chosen: Tensor) -> "Candidates":
        return Candidates(self.boxes[chosen], self.scores[chosen], self.owner[chosen])


class Cascade:
    """The three stages.

    Args:
        networks: P-, R- and O-Net.
        thresholds: the score that each network asks for.
        factor: ratio of the sizes of neighbouring pyramid levels.
        together: all images in one operation wherever that is possible; None for where it is faster, on a GPU.
    """

    def __init__(
        self,
        networks: Networks,
        thresholds: tuple[float, float, float],
        factor: float,
        *,
        together: bool | None = None,
    ) -> None:
        self._networks, self._thresholds, self._factor = networks, thresholds, factor
        self._together = networks.device.type != "cpu" if together is None else together
        self._own = local()

    @torch.inference_mode()
    def detect(self, images: Sequence[Image], min_face: float) -> list[Faces]:
        """The faces of images of one size, the most certain first."""
        height, width = images[0].shape[:2]
        scales = pyramid_scales(height, width, min_face, self._factor)
        if not scales:
            return [Faces.none()] * len(images)
        tables = self._tables(images)
        found = self._propose(tables, plan_pyramid(height, width, tuple(scales), self._networks.device))
        if len(found.scores):
            found = self._refine(tables, found)
        return self._output(tables, found, self._thresholds[2]) if len(found.scores) else [Faces.none()] * len(images)

    @torch.inference_mode()
    def settle(self, images: Sequence[Image], boxes: NDArray[np.float32], score: float) -> list[Faces]:
        """O-Net alone on one box (B, 4) of each image of one size; none where its score is lower than `score`."""
        device = self._networks.device
        start = torch.from_numpy(boxes).to(device)
        found = Candidates(
            _square(start), torch.ones(len(start), device=device), torch.arange(len(start), device=device)
        )
        return self._output(self._tables(images), found, score)

    def _tables(self, images: Sequence[Image]) -> Tables:
        if not hasattr(self._own, "room"):
            self._own.room = Room()
        return Tables(images, self._networks.device, self._own.room, together=self._together)

    def _propose(self, tables: Tables, pyramid: Pyramid) -> Candidates:
        answers = [self._in_parts(PROPOSE, level) for level in tables.shrunk(pyramid.grids)]
        scores = torch.cat([one.flatten(1) for one, _ in answers], 1)
        owner, window = (scores >= self._thresholds[0]).nonzero(as_tuple=True)
        corrections = torch.cat([one.flatten(1, 2) for _, one in answers], 1)[owner, window]
        found = Candidates(pyramid.windows[window], scores[owner, window], owner)
        levels = pyramid.levels[window]
        kept = suppress(found, 0.5, levels, together=self._together)
        found, corrections = found[kept], corrections[kept]
        # Then all levels together. Of equal scores that of the finest level stays, as with facenet-pytorch.
        kept = suppress(found, 0.7, together=self._together)
        found, corrections = found[kept], corrections[kept]
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        return Candidates(_square(found.boxes + corrections * sides.repeat(1, 2)), found.scores, found.owner)

    def _refine(self, tables: Tables, found: Candidates) -> Candidates:
        squares, inside = _cut(tables, found, SIDES[REFINE])
        scores, corrections = self._in_parts(REFINE, squares)
        passed = (inside & (scores > self._thresholds[1])).nonzero().squeeze(1)
        found = Candidates(found.boxes[passed], scores[passed], found.owner[passed])
        kept = suppress(found, 0.7, together=self._together)
        found, corrections = found[kept], corrections[passed[kept]]
        return Candidates(_square(_corrected(found.boxes, corrections)), found.scores, found.owner)

    def _output(self, tables: Tables, found: Candidates, score: float) -> list[Faces]:
        squares, inside = _cut(tables, found, SIDES[OUTPUT])
        scores, corrections, landmarks = self._in_parts(OUTPUT, squares)
        passed = (inside & (scores > score)).nonzero().squeeze(1)
        boxes, owner = found.boxes[passed], found.owner[passed]
        starts, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = landmarks[passed].unflatten(1, (2, 5)).transpose(1, 2) * sides + starts - 1
        found = Candidates(_corrected(boxes, corrections[passed]), scores[passed], owner)
        kept = suppress_nested(found, 0.7)
        return _faces_of_each(found[kept], points[kept], len(tables.sums))

    def _in_parts(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """One network's answers, with no more in one pass than suits the device."""
        size = max(1, CELLS_AT_ONCE[self._networks.device.type] // (pixels.shape[1] * pixels.shape[2]))
        answers = [self._networks.run(stage, part) for part in pixels.split(size)]
        return [torch.cat(one) for one in zip(*answers, strict=True)]


def pyramid_scales(height: int, width: int, min_face: float, factor: float) -> list[float]:
    """The sizes of the pyramid's levels as shares of the photo's, the largest first; none when no face fits."""
    scale, side = NET_SIDE / min_face, min(height, width) * (NET_SIDE / min_face)
    scales: list[float] = []
    while side >= NET_SIDE:
        scales.append(scale)
        scale, side = scale * factor, side * factor
    return scales


@lru_cache(maxsize=4)  # of a photo of twelve megapixels it takes 140 MB
def plan_pyramid(height: int, width: int, scales: tuple[float, ...], device: torch.device) -> Pyramid:
    """What is the same for all photos of one size."""
    sizes = [(int(height * s + 1), int(width * s + 1)) for s in scales]
    large = sum(math.prod(size) >= LARGE for size in sizes)
    parts = [*([size] for size in sizes[:large]), sizes[large:]]
    grids = [Grids.over((height, width), part, device) for part in parts if part]
    windows = [_windows(*size, scale) for size, scale in zip(sizes, scales, strict=True)]
    levels = torch.arange(len(scales)).repeat_interleave(torch.tensor([len(one) for one in windows]))
    return Pyramid(grids, torch.cat(windows).to(device), levels.to(device))


def _windows(height: int, width: int, scale: float) -> Tensor:
    """What each of P-Net's answers on a level has seen, in pixels of the photo."""
    down, across = torch.arange(_answers(height)), torch.arange(_answers(width))
    first = torch.stack(torch.meshgrid(across, down, indexing="xy"), 2).flatten(0, 1).float() * STRIDE + 1
    return torch.cat([(first / scale).floor(), ((first + NET_SIDE - 1) / scale).floor()], 1)


def _answers(side: int) -> int:
    """P-Net's answers along a side: a convolution of 3, a pool of 2 that rounds up, two more convolutions of 3."""
    return -(-(side - 2) // 2) - 4


def suppress(found: Candidates, threshold: float, group: Tensor | None = None, *, together: bool = False) -> Tensor:
    """Indices of the candidates that no better one of the same image (and group) overlaps by more than `threshold`.

    Those of an image follow one another, the best first.
    """
    if not len(found.scores):
        return found.owner
    boxes = found.boxes
    if group is not None:  # moved apart, candidates of different groups do not overlap
        boxes = boxes + (group * (boxes.max() + 1))[:, None]
    if together:
        apart = boxes.double() + (found.owner * (boxes.max().double() + 1))[:, None]
        kept = nms(apart, found.scores.double(), threshold)
        return kept[found.owner[kept].argsort(stable=True)]
    sizes = found.owner.bincount().tolist()
    parts = zip(boxes.split(sizes), found.scores.split(sizes), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True)
    return torch.cat([nms(box, score, threshold) + start for box, score, start in parts])


def suppress_nested(found: Candidates, threshold: float) -> Tensor:
    """Like `suppress`, but the overlap is a share of the smaller box, so that a box within another goes, too."""
    # Scores are often equal, 1 in float32. Of equal ones facenet-pytorch takes that which numpy's argsort puts last,
    # and where that is depends on how many there are: so image by image.
    ends = found.owner.bincount().cumsum(0)[:-1].tolist()
    scores = np.split(found.scores.cpu().numpy(), ends)
    best_first = [start + np.argsort(one)[::-1] for start, one in zip([0, *ends], scores, strict=True)]
    order = torch.from_numpy(np.concatenate(best_first)).to(found.owner)
    x1, y1, x2, y2 = found.boxes[order].T
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    wide = torch.minimum(x2[:, None], x2) - torch.maximum(x1[:, None], x1) + 1
    high = torch.minimum(y2[:, None], y2) - torch.maximum(y1[:, None], y1) + 1
    shared = wide.clamp(min=0) * high.clamp(min=0) / torch.minimum(area[:, None], area)
    owner = found.owner[order]
    beaten = ((shared > threshold) & (owner[:, None] == owner)).tril(-1)
    kept, before = torch.ones_like(owner, dtype=torch.bool), None
    while before is None or not kept.equal(before):  # what a suppressed one suppressed comes back
        kept, before = ~(beaten & kept).any(1), kept
    return order[kept]


def _cut(tables: Tables, found: Candidates, side: int) -> tuple[Tensor, Tensor]:
    """The candidates' pixels as squares, and which candidates lie in their image at all."""
    edges = found.boxes.trunc().int()
    size = edges.new_tensor([tables.width, tables.height])
    starts, ends = (edges[:, :2] - 1).clamp(min=0), edges[:, 2:].minimum(size)  # MTCNN counts pixels from 1
    inside = (ends > starts).all(1)
    starts = starts.minimum(size - 1)
    return tables.squares(found.owner, torch.cat([starts, ends.maximum(starts + 1)], 1), side), inside


def _square(boxes: Tensor) -> Tensor:
    """Boxes made square around their middles by lengthening the shorter sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.amax(1, keepdim=True)
    starts = boxes[:, :2] + sides * 0.5 - side * 0.5
    return torch.cat([starts, starts + side], 1)


def _corrected(boxes: Tensor, corrections: Tensor) -> Tensor:
    return boxes + corrections * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _faces_of_each(found: Candidates, points: Tensor, count: int) -> list[Faces]:
    owner = found.owner.cpu().numpy()
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=count))[:-1]
    parts = [np.split(one.cpu().numpy()[order].astype(np.float32), ends) for one in (found.boxes, found.scores, points)]
    return [Faces(*one) for one in zip(*parts, strict=True)]
