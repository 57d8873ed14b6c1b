"""Resize many images and parts of images at once, by averaging over full pixels.

images (B, H, W, 3) uint8 -> summed-area tables -> pyramid levels and squares, (n, h, w, 4) float32 in [-127.5, 127.5].

The results equal `torch.nn.functional.interpolate(mode="area")`: a cell's value is the mean of all pixels that it
touches. With a summed-area table, the sum over a rectangle of any size takes four look-ups.

Each pixel has a fourth channel of zeros: gathering sixteen bytes is several times faster than gathering twelve.

Source: Crow, "Summed-area tables for texture mapping", 1984.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from detect.faces import Image

PIXEL = torch.complex128  # one element holds the four int32 sums of a pixel
MIDDLE = 127.5  # subtracted, since the networks take pixels around zero
KEPT_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Grids:
    """The cells of an image that is shrunk to several sizes, as positions in its summed-area table, size by size."""

    sizes: tuple[tuple[int, int], ...]  # (height, width) of the shrunk images
    corners: tuple[Tensor, ...]  # four (n,) int32: bottom right, top right, bottom left, top left of all cells
    pixels: Tensor  # (n, 4) float32, the number of pixels in each cell, repeated for each channel

    @classmethod
    def over(cls, image: tuple[int, int], sizes: Sequence[tuple[int, int]], device: torch.device) -> "Grids":
        """Return the grids that shrink images of (height, width) `image` to `sizes`, each (height, width)."""
        corners: list[list[Tensor]] = [[], [], [], []]
        pixels: list[Tensor] = []
        for height, width in sizes:
            tops, bottoms = _bins(torch.tensor(image[0]), height)
            lefts, rights = _bins(torch.tensor(image[1]), width)
            for k, (rows, columns) in enumerate(_corners(tops, bottoms, lefts, rights)):
                corners[k].append((rows[:, None] * (image[1] + 1) + columns).flatten().int())
            pixels.append(((bottoms - tops)[:, None] * (rights - lefts)).flatten().float())
        joined = tuple(torch.cat(parts).to(device) for parts in corners)
        return cls(tuple(sizes), joined, torch.cat(pixels)[:, None].repeat(1, 4).to(device))


class ScratchMemory:
    """Memory that one thread reuses: allocating megabytes takes longer than computing what goes into them."""

    def __init__(self) -> None:
        self._kept: dict[object, Tensor] = {}

    def take(self, name: object, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised tensor; the next call with the same `name` overwrites it."""
        needed = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.numel() < needed or kept.dtype != like.dtype:
            kept = like.new_empty(needed)
            if needed * like.element_size() <= KEPT_BYTES:
                self._kept[name] = kept
        return kept[:needed].view(shape)


class Tables:
    """The summed-area tables of images of one size.

    Args:
        images: RGB uint8 of one size.
        together: sum up all images in one operation, which suits a GPU. A CPU's cache holds only one table, so there
            each image is summed up when it is needed.
    """

    def __init__(
        self, images: Sequence[Image], device: torch.device, scratch: ScratchMemory, *, together: bool
    ) -> None:
        self.height, self.width = images[0].shape[:2]
        self._scratch, self._images, self._together = scratch, images, together
        self._summed = len(images) if together else 0
        if together:
            self.sums = _sum_up_together(images, device)
        else:
            shape = (len(images), (self.height + 1) * (self.width + 1))
            self.sums = scratch.take("sums", shape, torch.empty(0, dtype=PIXEL))

    def shrunk(self, grids_of_levels: Sequence[Grids]) -> list[Tensor]:
        """Shrink the images to all sizes of the grids; each result is (B, height, width, 4) in [-127.5, 127.5]."""
        count, like = len(self._images), self.sums.new_empty(0, dtype=torch.float32)
        levels = [
            [self._scratch.take((i, j), (count, *size, 4), like) for j, size in enumerate(grids.sizes)]
            for i, grids in enumerate(grids_of_levels)
        ]
        step = count if self._together else 1
        for start in range(0, count, step):
            part = slice(start, start + step)
            self._sum_up_to(part.stop)
            for grids, outs in zip(grids_of_levels, levels, strict=True):
                sizes = [height * width for height, width in grids.sizes]
                inside = self._inside(self.sums[part].squeeze(0), grids.corners).split(sizes, -2)
                for sums, number, out in zip(inside, grids.pixels.split(sizes), outs, strict=True):
                    torch.div(sums, number, out=out[part].view(sums.shape)).sub_(MIDDLE)
        return [level for outs in levels for level in outs]

    def _sum_up_to(self, stop: int) -> None:
        for k in range(self._summed, stop):
            _sum_up(self._images[k], self.sums[k], self.height, self.width)
        self._summed = max(self._summed, stop)

    def squares(self, owner: Tensor, edges: Tensor, side: int) -> Tensor:
        """Resize rectangles of the images to squares, (n, side, side, 4) in [-127.5, 127.5].

        Args:
            owner: (n,) int, the index of each rectangle's image.
            edges: (n, 4) int32: left, top, right, bottom in pixels; right and bottom exclusive, all within the image.
            side: of the squares, in pixels.
        """
        lefts, rights = _bins(edges[:, 2] - edges[:, 0], side)
        tops, bottoms = _bins(edges[:, 3] - edges[:, 1], side)
        pixels = ((bottoms - tops)[:, :, None] * (rights - lefts)[:, None, :]).float()
        stride = self.width + 1
        first = (owner.int() * self.sums.shape[1] + edges[:, 1] * stride + edges[:, 0])[:, None]
        tops, bottoms = tops * stride + first, bottoms * stride + first
        pairs = _corners(tops, bottoms, lefts, rights)
        corners = [(rows[:, :, None] + columns[:, None, :]).flatten() for rows, columns in pairs]
        self._sum_up_to(len(self._images))
        inside = self._inside(self.sums.view(-1), corners)
        return (inside / pixels.flatten()[:, None]).sub_(MIDDLE).view(-1, side, side, 4)

    def _inside(self, tables: Tensor, corners: Sequence[Tensor]) -> Tensor:
        """Return the sums over cells, (..., 4) int32, from the (..., N) tables' entries at their corners.

        The entries of large images overflow int32, but their differences are still correct.
        """
        shape = (*tables.shape[:-1], len(corners[0]))
        first, other = (self._scratch.take(k, shape, tables) for k in range(2))
        total, part = (sums.view(torch.int32).unflatten(-1, (-1, 4)) for sums in (first, other))
        torch.index_select(tables, -1, corners[0], out=first)
        for corner, add in zip(corners[1:], (total.sub_, total.sub_, total.add_), strict=True):
            torch.index_select(tables, -1, corner, out=other)
            add(part)
        return total


def _corners(tops: Tensor, bottoms: Tensor, lefts: Tensor, rights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows and columns of the four corners, in the order that `_inside` expects."""
    return zip((bottoms, tops, bottoms, tops), (rights, rights, lefts, lefts), strict=True)


def _bins(length: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return start and end of `count` bins of full pixels over `length` pixels; neighbours share one pixel or none."""
    number = torch.arange(count, device=length.device)
    starts = number * length[..., None] // count
    ends = ((number + 1) * length[..., None] + count - 1) // count
    return starts, ends


def _sum_up(image: Image, sums: Tensor, height: int, width: int) -> None:
    """Write an image's summed-area table into `sums`, ((height + 1) * (width + 1),) of `PIXEL`."""
    table = sums.view(torch.int32).view(height + 1, width + 1, 4).numpy()
    cv2.integral(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), sum=table, sdepth=cv2.CV_32S)


def _sum_up_together(images: Sequence[Image], device: torch.device) -> Tensor:
    stacked = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
    np.stack(images, out=stacked.numpy())
    pixels = stacked.to(device, non_blocking=True)
    sums = pixels.new_zeros((len(pixels), pixels.shape[1] + 1, pixels.shape[2] + 1, 4), dtype=torch.int32)
    sums[:, 1:, 1:, :3] = pixels.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return sums.view(PIXEL).flatten(1)
