"""Run MTCNN's three stages over images of one size.

images (B, H, W, 3) uint8 -> P-Net's candidates on all pyramid levels -> R-Net -> O-Net -> Faces of each image.

Arithmetic and results are those of facenet-pytorch, but each stage takes the candidates of all images and levels at
once. Boxes are x1, y1, x2, y2 in pixels of the image.

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

from detect.areas import Grids, ScratchMemory, Tables
from detect.faces import Faces, Image
from detect.networks import LARGE, OUTPUT, PROPOSE, REFINE, SIDES, Networks
from detect.portable_mtcnn import best_unnested, pyramid_scales

NET_SIDE = SIDES[PROPOSE]  # a face of `min_face` pixels is shrunk to this
STRIDE = 2  # between P-Net's windows, in pixels of a level

# Input pixels of a network in one pass. A CPU is fastest while the output of a layer fits into its cache; on a GPU, the
# windows of a layer's inputs take up to 400 MB.
CELLS_AT_ONCE = {"cpu": 18_432, "cuda": 1 << 21}


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The sizes at which photos of one size are searched."""

    grids: list[Grids]  # to shrink a photo to each of the large levels, and to all small levels at once
    windows: Tensor  # (n, 4) float32, the box in the photo of each of P-Net's n outputs, one level after another
    levels: Tensor  # (n,) int64, the level of each output


@dataclass(frozen=True, slots=True)
class Candidates:
    """Possible faces: boxes (n, 4) float32, scores (n,) float32 and owner (n,) int64, each one's image, ascending."""

    boxes: Tensor
    scores: Tensor
    owner: Tensor

    def __getitem__(self, chosen: Tensor) -> "Candidates":
        """Select candidates by index."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.owner[chosen])


class Cascade:
    """The three stages.

    Args:
        thresholds: the score that each network requires.
        factor: ratio of the sizes of neighbouring pyramid levels.
        together: process all images in one operation where possible; by default only on a GPU, where it is faster.
    """

    def __init__(
        self, networks: Networks, thresholds: tuple[float, float, float], factor: float, *, together: bool | None = None
    ) -> None:
        self._networks, self._thresholds, self._factor = networks, thresholds, factor
        self._together = networks.device.type != "cpu" if together is None else together
        self._local = local()

    @torch.inference_mode()
    def detect(self, images: Sequence[Image], min_face: float) -> list[Faces]:
        """Find the faces of images of one size, by descending score; `min_face` is in pixels."""
        height, width = images[0].shape[:2]
        scales = pyramid_scales(height, width, min_face, self._factor)
        if not scales:
            return [Faces.none()] * len(images)
        tables = self._tables(images)
        found = self._propose(tables, plan_pyramid(height, width, tuple(scales), self._networks.device))
        if len(found.scores):
            found = self._refine(tables, found)
        if not len(found.scores):
            return [Faces.none()] * len(images)
        return self._output(tables, found, self._thresholds[2])

    @torch.inference_mode()
    def refine_boxes(self, images: Sequence[Image], boxes: NDArray[np.float32], score: float) -> list[Faces]:
        """Run O-Net on one box per image, (B, 4), images of one size; no face where its score is below `score`."""
        device = self._networks.device
        scores, owner = torch.ones(len(boxes), device=device), torch.arange(len(boxes), device=device)
        found = Candidates(_square(torch.from_numpy(boxes).to(device)), scores, owner)
        return self._output(self._tables(images), found, score)

    def free_memory(self) -> None:
        """Give a GPU's memory back that this thread keeps for its next batch, or that torch does."""
        self._local.scratch = ScratchMemory()
        torch.cuda.empty_cache()

    def _tables(self, images: Sequence[Image]) -> Tables:
        if not hasattr(self._local, "scratch"):
            self._local.scratch = ScratchMemory()
        return Tables(images, self._networks.device, self._local.scratch, together=self._together)

    def _propose(self, tables: Tables, pyramid: Pyramid) -> Candidates:
        """Run P-Net on all pyramid levels and merge overlapping candidates."""
        outputs = [self._in_parts(PROPOSE, level) for level in tables.shrunk(pyramid.grids)]
        scores = torch.cat([level_scores.flatten(1) for level_scores, _ in outputs], 1)
        owner, window = (scores >= self._thresholds[0]).nonzero(as_tuple=True)
        corrections = torch.cat([level_corrections.flatten(1, 2) for _, level_corrections in outputs], 1)[owner, window]
        found = Candidates(pyramid.windows[window], scores[owner, window], owner)
        levels = pyramid.levels[window]
        kept = suppress(found, 0.5, levels, together=self._together)
        found, corrections = found[kept], corrections[kept]
        # Then across levels. Of equal scores, the one of the finest level is kept, as in facenet-pytorch.
        kept = suppress(found, 0.7, together=self._together)
        found, corrections = found[kept], corrections[kept]
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        return Candidates(_square(found.boxes + corrections * sides.repeat(1, 2)), found.scores, found.owner)

    def _refine(self, tables: Tables, found: Candidates) -> Candidates:
        """Run R-Net on the candidates; keeps those that pass its threshold, with corrected boxes."""
        squares, inside = _cut(tables, found, SIDES[REFINE])
        scores, corrections = self._in_parts(REFINE, squares)
        passed = (inside & (scores > self._thresholds[1])).nonzero().squeeze(1)
        found = Candidates(found.boxes[passed], scores[passed], found.owner[passed])
        kept = suppress(found, 0.7, together=self._together)
        found, corrections = found[kept], corrections[passed[kept]]
        return Candidates(_square(_corrected(found.boxes, corrections)), found.scores, found.owner)

    def _output(self, tables: Tables, found: Candidates, score: float) -> list[Faces]:
        """Run O-Net on the candidates; returns the faces of each image, with landmarks."""
        squares, inside = _cut(tables, found, SIDES[OUTPUT])
        outputs = self._in_parts(OUTPUT, squares)
        # Few are left: from here on, the CPU is faster than a GPU that is waited for after every operation.
        boxes, owner, inside, scores, corrections, landmarks = _on_cpu(found.boxes, found.owner, inside, *outputs)
        passed = (inside & (scores > score)).nonzero().squeeze(1)
        boxes, owner = boxes[passed], owner[passed]
        starts, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = landmarks[passed].unflatten(1, (2, 5)).transpose(1, 2) * sides + starts - 1
        found = Candidates(_corrected(boxes, corrections[passed]), scores[passed], owner)
        kept = suppress_nested(found, 0.7)
        return _faces_of_each(found[kept], points[kept], len(tables.sums))

    def _in_parts(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """Run one network on parts of its input that suit the device."""
        size = max(1, CELLS_AT_ONCE[self._networks.device.type] // (pixels.shape[1] * pixels.shape[2]))
        outputs = [self._networks.run(stage, part) for part in pixels.split(size)]
        return [torch.cat(parts) for parts in zip(*outputs, strict=True)]


@lru_cache(maxsize=4)  # 140 MB for a photo of twelve megapixels
def plan_pyramid(height: int, width: int, scales: tuple[float, ...], device: torch.device) -> Pyramid:
    """Return the pyramid for all photos of one size."""
    sizes = [(int(height * s + 1), int(width * s + 1)) for s in scales]
    large = sum(math.prod(size) >= LARGE for size in sizes)
    parts = [*([size] for size in sizes[:large]), sizes[large:]]
    grids = [Grids.over((height, width), part, device) for part in parts if part]
    windows = [_windows(*size, scale) for size, scale in zip(sizes, scales, strict=True)]
    levels = torch.arange(len(scales)).repeat_interleave(torch.tensor([len(boxes) for boxes in windows]))
    return Pyramid(grids, torch.cat(windows).to(device), levels.to(device))


def _windows(height: int, width: int, scale: float) -> Tensor:
    """Return the box in the photo that each of P-Net's outputs on a level stands for, (n, 4)."""
    down, across = torch.arange(_outputs_along(height)), torch.arange(_outputs_along(width))
    first = torch.stack(torch.meshgrid(across, down, indexing="xy"), 2).flatten(0, 1).float() * STRIDE + 1
    return torch.cat([(first / scale).floor(), ((first + NET_SIDE - 1) / scale).floor()], 1)


def _outputs_along(side: int) -> int:
    """Count P-Net's outputs along a side: a convolution of 3, a pool of 2 that rounds up, two convolutions of 3."""
    return -(-(side - 2) // 2) - 4


def suppress(found: Candidates, threshold: float, group: Tensor | None = None, *, together: bool = False) -> Tensor:
    """Return the indices of candidates that no better one overlaps, image by image, by descending score.

    Two candidates overlap if their image and their group, (n,) int, are equal and their IoU is above `threshold`. With
    `together`, all images are processed in one operation.
    """
    if not len(found.scores):
        return found.owner
    boxes = found.boxes
    if group is not None:  # shifted apart, so that groups do not overlap
        boxes = boxes + (group * (boxes.max() + 1))[:, None]
    if together:
        apart = boxes.double() + (found.owner * (boxes.max().double() + 1))[:, None]
        kept = nms(apart, found.scores.double(), threshold)
        return kept[found.owner[kept].argsort(stable=True)]
    sizes = found.owner.bincount().tolist()
    parts = zip(boxes.split(sizes), found.scores.split(sizes), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True)
    return torch.cat([nms(box, score, threshold) + start for box, score, start in parts])


def suppress_nested(found: Candidates, threshold: float) -> Tensor:
    """Like `suppress`, on the CPU, but with the overlap as a share of the smaller box: nested boxes are dropped."""
    ends = found.owner.bincount().cumsum(0)[:-1].tolist()
    parts = zip(np.split(found.boxes.numpy(), ends), np.split(found.scores.numpy(), ends), [0, *ends], strict=True)
    kept = [best_unnested(boxes, scores, threshold) + start for boxes, scores, start in parts]
    return torch.from_numpy(np.concatenate(kept))


def _cut(tables: Tables, found: Candidates, side: int) -> tuple[Tensor, Tensor]:
    """Return the candidates' pixels as squares, (n, side, side, 4), and which of them lie in their image, (n,) bool."""
    edges, width, height = found.boxes.trunc().int(), tables.width, tables.height
    starts = (edges[:, :2] - 1).clamp(min=0)  # MTCNN counts pixels from 1
    ends = torch.stack([edges[:, 2].clamp(max=width), edges[:, 3].clamp(max=height)], 1)
    inside = (ends > starts).all(1)
    starts = torch.stack([starts[:, 0].clamp(max=width - 1), starts[:, 1].clamp(max=height - 1)], 1)
    return tables.squares(found.owner, torch.cat([starts, ends.maximum(starts + 1)], 1), side), inside


def _square(boxes: Tensor) -> Tensor:
    """Make boxes square around their centres by lengthening the shorter sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.amax(1, keepdim=True)
    starts = boxes[:, :2] + sides * 0.5 - side * 0.5
    return torch.cat([starts, starts + side], 1)


def _corrected(boxes: Tensor, corrections: Tensor) -> Tensor:
    return boxes + corrections * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _faces_of_each(found: Candidates, points: Tensor, count: int) -> list[Faces]:
    """Split candidates and their landmarks, (n, 5, 2), by image."""
    owner = found.owner.numpy()
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=count))[:-1]
    columns = (found.boxes, found.scores, points)
    parts = [np.split(column.numpy()[order].astype(np.float32), ends) for column in columns]
    return [Faces(*arrays) for arrays in zip(*parts, strict=True)]


def _on_cpu(*columns: Tensor) -> Sequence[Tensor]:
    """Copy tensors of n rows to the CPU; from a GPU at once, since each copy waits for all that was queued there."""
    return columns if columns[0].device.type == "cpu" else _copied_together(columns)


def _copied_together(columns: Sequence[Tensor]) -> list[Tensor]:
    sizes = [math.prod(column.shape[1:]) for column in columns]
    flat = [column.reshape(-1, size).double() for column, size in zip(columns, sizes, strict=True)]  # exact for all
    parts = torch.cat(flat, 1).cpu().split(sizes, 1)
    return [part.reshape(column.shape).to(column.dtype) for part, column in zip(parts, columns, strict=True)]
