"""Compare how fast training gets its inputs: from photos, from the cache's crops, from a pack.

    python benchmarks/loader.py DATA [--photos 1000] [--workers 2] [--size 256 192] [--rounds 3]

PyTorch's loader with batches of 64 and no augmentation, and three ways to make a sample: facenet-pytorch's MTCNN inside
the dataset for each sample, as the competition's teams did; the cached JPEG crop, checked, decoded and resized; a row
of the array that `faceline cache pack` writes. They take turns within each round, and the best round counts. Memory is
what only the workers hold. Prints the table of docs/benchmarks.md.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `cache` would be looked for beside this file

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cache.pack import pack
from cache.store import CropStore
from classify.config import AugmentConfig
from classify.data.augmentation import Augmenter
from classify.data.batches import EpochOfBatches
from classify.data.loader import BatchLoader
from classify.data.training_set import TrainingSet
from classify.preprocessing import decode_crop, to_input
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.intake.load import load_data
from pipeline.settings import load_settings

BATCH = 64


class FromPhotos(Dataset):
    """Reads a photo, finds the face, cuts 10% more than its box and resizes, for each sample."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths, self.size, self.finder = paths, size, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        if self.finder is None:
            torch.set_num_threads(1)
            self.finder = MTCNN(min_face_size=60)
        image = Image.open(self.paths[row]).convert("RGB")
        boxes, _ = self.finder.detect(image)
        if boxes is None:
            x, y, half = image.width / 2, image.height / 2, min(image.size) / 2
            box = (x - half, y - half, x + half, y + half)
        else:
            x1, y1, x2, y2 = boxes[0]
            box = (x1 - 0.1 * (x2 - x1), y1 - 0.1 * (y2 - y1), x2 + 0.1 * (x2 - x1), y2 + 0.1 * (y2 - y1))
        return torch.from_numpy(np.asarray(image.crop(box).resize(self.size[::-1], Image.Resampling.BILINEAR)).copy())


class FromCrops(Dataset):
    def __init__(self, store: CropStore, sources: list[str], size: tuple[int, int]) -> None:
        self.store, self.sources, self.size = store, sources, size

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row: int) -> torch.Tensor:
        cv2.setNumThreads(0)
        return torch.from_numpy(to_input(decode_crop(self.store.read(self.sources[row])), self.size, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    size = tuple(args.size)
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(load_settings(), Path(folder), "auto", os.cpu_count() or 1, Console(quiet=True))
        photos = load_data(args.data, context.settings.task_list(), context.settings.data).train[: args.photos]
        detection = detect_photos(photos, context)
        photos = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
        sources = [detection.sources[photo.path] for photo in photos]
        started = time.perf_counter()
        pixels = pack(
            detection.store, sources, (*size, 3), {}, lambda b, _: to_input(decode_crop(b), size, 1.0), threads=2
        )
        packing = time.perf_counter() - started
        order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1)).tolist()
        ways = {
            "MTCNN in the dataset": items(FromPhotos([photo.path for photo in photos], size), order, args.workers),
            "cached JPEG crops": items(FromCrops(detection.store, sources, size), order, args.workers),
            "pack": packed(pixels, size, args.workers),
        }
        rates = dict.fromkeys(ways, 0.0)
        memory = dict.fromkeys(ways, 0.0)
        for _ in range(args.rounds):
            for name, way in ways.items():
                rate, private = measure(way)
                rates[name], memory[name] = max(rates[name], rate), max(memory[name], private)
        print(f"{len(photos)} photos, {size[0]}x{size[1]}, {args.workers} workers, batches of {BATCH}")
        print("| | samples/s | pack is faster by | MB of its own |\n|---|---|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} | {rates['pack'] / rate:.1f}x | {memory[name]:,.0f} |")
        print(f"Packing took {packing:.1f} s once; the pack has {pixels.nbytes / 1e6:.0f} MB, shared by all workers.")


def items(dataset: Dataset, order: list[int], workers: int) -> Callable[[], DataLoader]:
    return lambda: DataLoader(dataset, batch_size=BATCH, sampler=order, num_workers=workers, drop_last=True)


def packed(pixels: np.ndarray, size: tuple[int, int], workers: int) -> Callable:
    task = load_settings().task_list()[1]
    rows = np.arange(len(pixels), dtype=np.intp)
    training_set = TrainingSet(pixels, rows, rows[:, None] % 2, np.eye(2, dtype=np.float32)[rows % 2])
    augmenter = Augmenter([task], [AugmentConfig(every=())], size)

    def batches():
        make_epoch = partial(EpochOfBatches, training_set, augmenter, batch=BATCH, seed=1)
        return (images for images, _ in BatchLoader(make_epoch, 1, workers, pin=False).batches(0))

    return batches


def measure(way: Callable) -> tuple[float, float]:
    """Return samples per second, from the first batch to the last, and MB that only the workers hold."""
    batches = iter(way())
    next(batches)  # starting the workers is not the loader's speed
    started, count, private = time.perf_counter(), 0, 0.0
    for images in batches:
        count += len(images)
        if not private:
            private = private_memory()
    return count / (time.perf_counter() - started), private


def private_memory() -> float:
    """Return the MB that only this process's children hold."""
    kilobytes = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text():
                words = (status.parent / "smaps_rollup").read_text().split()
                kilobytes += sum(int(words[i + 1]) for i, word in enumerate(words) if word.startswith("Private_"))
        except OSError:
            continue
    return kilobytes / 1000


if __name__ == "__main__":
    main()
