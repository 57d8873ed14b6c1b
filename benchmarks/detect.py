"""Compare the speed of faceline's face detection with other packages, on the same photos in one run.

    python benchmarks/detect.py PHOTOS [--count 500] [--rounds 3]

PHOTOS is a folder; takes its photos of the most common size, spread evenly. Each row is timed once per round, in turn,
and its fastest round counts. Prints the table of docs/benchmarks.md.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `detect` would be benchmarks/detect.py

import torch
from facenet_pytorch import MTCNN
from photos_of_one_size import chosen

from cache.sources import hash_files
from cache.store import CropStore, FactStore
from detect import FaceDetector
from detect.config import CropConfig, DetectConfig
from detect.crops import fill_cache
from detect.decode import decode_file
from detect.faces import Image
from detect.fingerprints import crop_spec, detector_spec
from detect.networks import OpenVinoNetworks, TorchNetworks
from detect.subject_finder import SubjectFinder
from detect.yunet import Yunet

Row = tuple[str, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    threads = torch.get_num_threads()
    paths, images = chosen(args.photos, args.count)
    print(
        f"{len(images)} photos of {images[0].shape[1]}x{images[0].shape[0]}, "
        f"{threads} threads, torch {torch.__version__}"
    )
    rows = [*other_packages(paths, images, threads), *faceline(paths, images, threads)]
    fastest = dict.fromkeys((name for name, _ in rows), float("inf"))
    for _, work in rows:
        work()  # loads weights, fills caches
    for _ in range(args.rounds):
        for name, work in rows:
            started = time.perf_counter()
            work()
            fastest[name] = min(fastest[name], (time.perf_counter() - started) * 1000 / len(images))
    table(fastest)


def other_packages(paths: Sequence[Path], images: Sequence[Image], threads: int) -> list[Row]:
    facenet = MTCNN(keep_all=True, device="cpu")

    def loop() -> None:
        for image in images:
            facenet.detect(image, landmarks=True)

    def loop_from_files() -> None:
        for path in paths:
            facenet.detect(decode_file(path), landmarks=True)

    def batches() -> None:
        for start in range(0, len(images), 32):
            facenet.detect(list(images[start : start + 32]), landmarks=True)

    rows: list[Row] = []
    for count in dict.fromkeys((1, threads)):
        rows.append((f"facenet-pytorch, loop, threads={count}", with_threads(count, loop)))
        rows.append((f"facenet-pytorch, batches of 32, threads={count}", with_threads(count, batches)))
    rows.append((f"facenet-pytorch, loop, decoding included, threads={threads}", loop_from_files))
    if importlib.util.find_spec("mtcnn"):
        mtcnn = importlib.import_module("mtcnn").MTCNN()
        rows.append(("ipazc's mtcnn, loop", lambda: [mtcnn.detect_faces(image) for image in images]))
    if importlib.util.find_spec("uniface"):
        retina = importlib.import_module("uniface").RetinaFace()
        rows.append(("uniface RetinaFace, loop", lambda: [retina.detect(image[..., ::-1]) for image in images]))
    if importlib.util.find_spec("insightface"):
        scrfd = importlib.import_module("insightface.app").FaceAnalysis(allowed_modules=["detection"])
        scrfd.prepare(ctx_id=-1)
        rows.append(("insightface SCRFD, loop", lambda: [scrfd.get(image[..., ::-1]) for image in images]))
    return rows


def faceline(paths: Sequence[Path], images: Sequence[Image], threads: int) -> list[Row]:
    plain = exact_with(TorchNetworks(torch.device("cpu")))
    portrait, yunet = FaceDetector(device="cpu", mode="portrait"), Yunet(threads=threads)
    pool = ThreadPoolExecutor(threads)

    def portrait_from_files() -> None:
        for start in range(0, len(paths), 128):
            portrait.detect(list(pool.map(decode_file, paths[start : start + 128])))  # pyright: ignore

    rows: list[Row] = [(f"faceline exact, torch, threads={threads}", lambda: plain.detect(images))]
    if importlib.util.find_spec("openvino"):
        fast = exact_with(OpenVinoNetworks())
        rows.append((f"faceline exact, OpenVINO, threads={threads}", lambda: fast.detect(images)))
    rows += [
        (f"faceline portrait, threads={threads}", lambda: portrait.detect(images)),
        (f"faceline portrait, decoding included, threads={threads}", portrait_from_files),
        (f"YuNet at the ladder's size, threads={threads}", lambda: yunet.detect(images, [46.0] * len(images))),
        (f"decoding alone, threads={threads}", lambda: list(pool.map(decode_file, paths))),
        (f"files to crops in the cache, threads={threads}", lambda: files_to_crops(paths, threads, "cpu")),
    ]
    if torch.cuda.is_available():
        gpu, facenet = FaceDetector(device="cuda"), MTCNN(keep_all=True, device="cuda")
        rows += [
            ("GPU: facenet-pytorch, loop", lambda: [facenet.detect(image, landmarks=True) for image in images]),
            ("GPU: faceline exact", lambda: gpu.detect(images)),
            ("GPU: files to crops in the cache", lambda: files_to_crops(paths, 16, "cuda")),
        ]
    return rows


def exact_with(networks: Any) -> FaceDetector:
    """Return the detector in exact mode with the given networks."""
    import detect.mtcnn

    installed, detect.mtcnn.networks_on = detect.mtcnn.networks_on, lambda *_, **__: networks
    try:
        return FaceDetector(device="cpu")
    finally:
        detect.mtcnn.networks_on = installed


def files_to_crops(paths: Sequence[Path], threads: int, device: str) -> None:
    settings, crop = DetectConfig(), CropConfig()
    sources = {source: path for path, source in hash_files(paths).items()}
    with tempfile.TemporaryDirectory() as folder:
        facts = FactStore(Path(folder), detector_spec(settings))
        crops = CropStore(Path(folder), crop_spec(settings, crop))

        def load() -> SubjectFinder:
            return SubjectFinder(settings, device, threads)

        fill_cache(sources, facts, crops, load, crop, threads=threads, progress=lambda _: None)  # pyright: ignore


def with_threads(count: int, work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            work()
        finally:
            torch.set_num_threads(before)

    return run


def table(fastest: dict[str, float]) -> None:
    loop = min(v for name, v in fastest.items() if name.startswith("facenet-pytorch, loop, threads"))
    batch = min(v for name, v in fastest.items() if name.startswith("facenet-pytorch, batches"))
    decoded = next(v for name, v in fastest.items() if name.startswith("facenet-pytorch, loop, decoding"))
    print("\n| | ms a photo | times facenet-pytorch's loop | times its batches of 32 |\n|---|---|---|---|")
    for name, spent in fastest.items():
        if "decoding included" in name:
            print(f"| {name} | {spent:.2f} | {decoded / spent:.1f} (decoding included) | |")
        else:
            print(f"| {name} | {spent:.2f} | {loop / spent:.1f} | {batch / spent:.1f} |")
    for package in ("mtcnn", "uniface", "insightface"):
        if not importlib.util.find_spec(package):
            print(f"| {package} | not installed | | |")
    if not torch.cuda.is_available():
        print("| GPU: files to crops in the cache | not run: no GPU | | |")


if __name__ == "__main__":
    main()
