"""Keep converted networks on disk, since converting one takes seconds.

TrainedNetwork -> `openvino.Model`, from CACHE/networks if an earlier process has put it there.

The name of a conversion depends on everything that decides it, so none can be outdated. Its files are checked against
their sha256 before they are used; the folder may be deleted at any time.
"""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save

from cache import atomic
from cache.config import fingerprint
from classify.inference.bundle import TrainedNetwork
from classify.inference.conversion import CONVERSION_VERSION, to_openvino
from classify.tasks import describe_task

FOLDER = "networks"  # in the cache
MODEL, WEIGHTS, SUMS = "network.xml", "network.bin", "sha256.json"


def converted(trained: TrainedNetwork, *, flip: bool, cache: Path | None) -> Any:
    """Return the network as an `openvino.Model`; it is kept in the cache, unless that can't be written.

    Args:
        trained: the network.
        flip: average over each input and its mirror image.
        cache: the cache's folder; None to keep nothing.
    """
    if cache is None:
        return to_openvino(trained, flip=flip)
    folder = cache / FOLDER / conversion_key(trained, flip=flip)
    if (kept := _read(folder)) is not None:
        return kept
    model = to_openvino(trained, flip=flip)
    with suppress(OSError):  # a full disk or a read-only cache: the next process converts again
        _write(model, folder, cache)
    return model


def conversion_key(trained: TrainedNetwork, *, flip: bool) -> str:
    """Return what identifies a conversion: weights, heads, input, and the versions of what converts."""
    plan = trained.plan
    weights = save({name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()})
    return fingerprint(
        {
            "conversion": CONVERSION_VERSION,
            "openvino": version("openvino"),
            "timm": version("timm"),
            "weights": hashlib.sha256(weights).hexdigest(),
            "tasks": [{"name": task.name, **describe_task(task)} for task in plan.tasks],
            "heads": [{**config.head.model_dump(mode="json"), "top": config.head.open_end} for config in plan.configs],
            "joint": plan.joint,
            "model": trained.model.model_dump(mode="json"),
            "mean": list(trained.normalise.mean),
            "std": list(trained.normalise.std),
            "flip": flip,
        }
    )[:32]


def _read(folder: Path) -> Any | None:
    """Read a kept conversion; None if there is none, or a file is not what was written."""
    import openvino

    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        if any(_sum_of(folder / name) != sums[name] for name in (MODEL, WEIGHTS)):
            return None
        return openvino.Core().read_model(folder / MODEL)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _write(model: Any, folder: Path, cache: Path) -> None:
    import openvino

    if folder.is_dir():  # damaged
        for name in (SUMS, MODEL, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    with atomic.staged_folder(folder, cache) as staging:
        openvino.save_model(model, staging / MODEL, compress_to_fp16=False)
        sums = {name: _sum_of(staging / name) for name in (MODEL, WEIGHTS)}
        atomic.write_synced(staging / SUMS, json.dumps(sums).encode())


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
