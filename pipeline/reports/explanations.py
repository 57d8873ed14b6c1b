"""Why the worst mistakes may have happened: where the network looked, and the training photos it finds most similar.

In: mistakes, the run's bundle and folds, and the crops. Out: an Explanation for each mistake.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from cache.errors import CacheError, FacelineError, UsageError
from classify.inference.bundle import TrainedNetwork, load_trained_network
from classify.inference.bundle_check import tasks_of_network
from classify.inference.bundle_files import BundleFiles, open_bundle
from classify.inference.saliency import saliency_maps
from classify.models.backbones import features_of
from classify.preprocessing import to_input
from classify.tasks import Task, read_task
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import Image, encode_image
from pipeline.reports.html import data_uri
from pipeline.reports.mistakes import Mistake
from pipeline.reports.pictures import LARGE_HEIGHT, LARGE_WIDTH, QUALITY, Pictures, fit
from pipeline.safe_csv import read_back

NEIGHBOURS = 3
SECONDS = 20.0  # for the features of training photos, of all networks: a report stays a matter of a minute
AT_ONCE = 32  # photos
MAX_NETWORKS = 6  # of an ensemble


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A photo that the network was trained on."""

    picture: str  # the CSS class of its thumbnail
    path: str
    label: str  # of the mistake's task; empty if it has none
    similarity: float  # cosine of the network's features, at most 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is shown beside a mistake."""

    saliency: str  # the address of a picture; empty without one
    neighbours: Sequence[Neighbour]


@dataclass(frozen=True, slots=True)
class Explanations:
    """Those of all mistakes, and what is missing, in sentences."""

    by_mistake: Mapping[tuple[str, int], Explanation]  # task and row of validation.csv
    notes: Sequence[str]


def explain(
    run: Path,
    mistakes: Mapping[str, Sequence[Mistake]],
    tasks: Sequence[Task],
    photos: Sequence[Photo],
    pictures: Pictures,
    *,
    device: str = "cpu",
    seconds: float = SECONDS,
) -> Explanations:
    """Explain each mistake with the first network of its task that held the photo's fold out.

    Args:
        run: its folder.
        mistakes: by task.
        tasks: of the run.
        photos: the labelled ones, for the labels of neighbours; none if the data set is gone.
        pictures: of the page.
        device: as torch names it.
        seconds: for the features of training photos; those that were reached in this time are searched.
    """
    notes: list[str] = []
    if not any(mistakes.values()):
        return Explanations({}, notes)
    try:
        files = open_bundle(run / "bundle")
        in_bundle = tuple(read_task(name, entry) for name, entry in files.description["tasks"].items())
        chosen = _by_network(files, tasks, mistakes)
        training = _training_photos(run)
    except (FacelineError, pl.exceptions.PolarsError, OSError, KeyError, ValueError) as error:
        return Explanations({}, [f"mistakes are not explained: {str(error).splitlines()[0]}"])
    if not chosen:
        return Explanations({}, ["mistakes are not explained: no network in the bundle has held these photos out"])
    labels = {photo.name: photo.labels for photo in photos}
    found: dict[tuple[str, int], Explanation] = {}
    if len(chosen) > MAX_NETWORKS:
        notes.append(f"explained are the mistakes of {MAX_NETWORKS} of {len(chosen)} networks")
        chosen = chosen[:MAX_NETWORKS]
    for name, of_network in chosen:
        crops = [(task, m, crop) for task, m in of_network if (crop := pictures.read(m.source)) is not None]
        if not crops:
            continue
        try:
            network = load_trained_network(files, name, in_bundle)  # one at a time: an ensemble may be large
        except FacelineError as error:
            notes.append(str(error).splitlines()[0])
            continue
        network.network.to(device)
        inputs = np.stack([_input(network, crop) for _, _, crop in crops])
        saliency = _saliency(network, [(task, m) for task, m, _ in crops], inputs, device, notes)
        pool = training.filter(~pl.col("fold").is_in(network.held_out)).sample(fraction=1, shuffle=True, seed=0)
        sources, share = pool["source"].to_list(), seconds / len(chosen)
        try:
            searched, features = _features_within(network, sources, pictures, device, share)
        except CacheError as error:
            notes.append(f"{network.name}: no nearest training photos: {error}")
            searched, features = [], None
        if features is not None and len(searched) < len(pool):
            notes.append(
                f"{network.name}: nearest of {len(searched):,} of its {len(pool):,} training photos, drawn at random"
            )
        of_mistakes = _features(network, inputs, device)
        for row, (task, mistake, _) in enumerate(crops):
            similarity = of_mistakes[row] @ features.T if features is not None else np.zeros(0)
            nearest = np.argsort(-similarity, kind="stable")[:NEIGHBOURS].tolist()
            neighbours = [
                _neighbour(pool.row(searched[index], named=True), task, labels, float(similarity[index]), pictures)
                for index in nearest
            ]
            found[task.name, mistake.row] = Explanation(saliency[row], neighbours)
    return Explanations(found, list(dict.fromkeys(notes)))


def _by_network(
    files: BundleFiles, tasks: Sequence[Task], mistakes: Mapping[str, Sequence[Mistake]]
) -> list[tuple[str, list[tuple[Task, Mistake]]]]:
    """The name of a network -> the mistakes that it has not been trained on; that with the most comes first."""
    chosen: dict[str, list[tuple[Task, Mistake]]] = {}
    for task in tasks:
        for mistake in mistakes.get(task.name, ()):
            for name, entry in files.description["models"].items():
                if task.name in tasks_of_network(name, entry) and mistake.fold in entry.get("held_out", ()):
                    chosen.setdefault(name, []).append((task, mistake))
                    break
    return sorted(chosen.items(), key=lambda each: -len(each[1]))


def _training_photos(run: Path) -> pl.DataFrame:
    """path, source, fold of the labelled photos that have a crop."""
    photos = read_back(pl.read_csv(run / "photos.csv", infer_schema=False)).select("path", "source")
    folds = read_back(pl.read_csv(run / "folds.csv", infer_schema=False)).select("path", pl.col("fold").cast(pl.Int64))
    return photos.join(folds, on="path", maintain_order="left").filter(pl.col("source") != "")


def _saliency(
    network: TrainedNetwork,
    shown: Sequence[tuple[Task, Mistake]],
    inputs: NDArray[np.uint8],
    device: str,
    notes: list[str],
) -> list[str]:
    """The address of a picture for each mistake: what speaks for the wrong answer."""
    pictures = [""] * len(shown)
    for task in dict.fromkeys(task for task, _ in shown):
        rows = [row for row, (each, _) in enumerate(shown) if each == task]
        codes = [task.classes.index(shown[row][1].predicted) for row in rows]
        try:
            maps = saliency_maps(network, task.name, inputs[rows], codes, device)
        except UsageError as error:
            notes.append(str(error))
            break
        if maps is None:
            notes.append(f"no layer of {network.model.backbone} has a map of the picture, so saliency is not shown")
            break
        for row, each in zip(rows, maps, strict=True):
            pictures[row] = data_uri(encode_image(_overlay(inputs[row], each), quality=QUALITY))
    return pictures


def _overlay(image: Image, strength: NDArray[np.float32]) -> Image:
    from pytorch_grad_cam.utils.image import show_cam_on_image

    shown: Any = show_cam_on_image(image.astype(np.float32) / 255, strength, use_rgb=True, image_weight=0.6)
    return fit(shown, LARGE_WIDTH, LARGE_HEIGHT)


def _features_within(
    network: TrainedNetwork, sources: Sequence[str], pictures: Pictures, device: str, seconds: float
) -> tuple[list[int], NDArray[np.float32]]:
    """Features of the photos that are reached in time, at least AT_ONCE: their indices, and (N, D) of length 1.

    Raises:
        CacheError: none of the photos has a crop.
    """
    started = time.monotonic()
    indices: list[int] = []
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(sources), AT_ONCE):
        if start and time.monotonic() - started > seconds:
            break
        crops = [(i, pictures.read(sources[i])) for i in range(start, min(start + AT_ONCE, len(sources)))]
        read = [(i, _input(network, crop)) for i, crop in crops if crop is not None]
        if read:
            indices += [i for i, _ in read]
            parts.append(_features(network, np.stack([pixels for _, pixels in read]), device))
    if not parts:
        raise CacheError("the cache has no crop of the photos that the network was trained on")
    return indices, np.concatenate(parts)


@torch.inference_mode()
def _features(network: TrainedNetwork, inputs: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """(N, H, W, 3) -> (N, D), each of length 1."""
    images = network.normalise(torch.from_numpy(inputs).to(device))
    features = features_of(network.network, images).flatten(1).float()
    return torch.nn.functional.normalize(features, dim=1).cpu().numpy()


def _input(network: TrainedNetwork, crop: Image) -> Image:
    return to_input(crop, network.model.input, network.model.zoom)


def _neighbour(
    row: Mapping[str, Any],
    task: Task,
    labels: Mapping[str, Mapping[str, str | float]],
    similarity: float,
    pictures: Pictures,
) -> Neighbour:
    label = labels.get(row["path"], {}).get(task.name)
    text = ""
    if label is not None:
        text = task.classes[task.encode(label)] + (f" ({task.number(label):g})" if task.edges else "")
    return Neighbour(pictures.name(row["source"]), row["path"], text, similarity)
