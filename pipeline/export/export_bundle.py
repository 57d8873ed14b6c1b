"""Write a folder that predicts without torch.

In: a bundle. Out: its networks and the detectors for ONNX Runtime or OpenVINO; export.json, which says how they are
used; a small Python package and a script that use them; requirements.txt, README.md and the model card.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from cache.errors import BundleError, UsageError
from classify.inference.bundle import Bundle, load_bundle
from classify.inference.bundle_files import open_bundle
from classify.tasks import describe_task
from detect.fingerprints import YUNET, yunet_weights
from pipeline.export.network_files import Format, refuse_missing_packages, write_detection, write_network
from pipeline.export.portable_predictor import DESCRIPTION, FORMAT
from pipeline.export.runtime_files import PACKAGE, runtime_files
from pipeline.prediction.crop_settings import read_crop_settings
from pipeline.reports.model_card import model_card
from pipeline.run_record import versions

CARD = "MODEL_CARD.md"
DETECTORS = {"mtcnn", "yunet", "none"}  # those that the runtime has
PACKAGES: Mapping[Format, str] = {"onnx": "onnxruntime>=1.18", "openvino": "openvino>=2024.4"}


@dataclass(frozen=True, slots=True)
class Export:
    """What was written."""

    folder: Path
    files: int
    megabytes: float


def export_bundle(path: Path, form: Format, out: Path, progress: Callable[[str], None]) -> Export:
    """Write the folder `out` for a bundle; it must not exist, or be empty.

    Args:
        path: the bundle, a folder or a .zip.
        form: onnx or openvino.
        out: the folder.
        progress: called with the name of each network before it is converted.

    Raises:
        UsageError: a package is missing, or the folder is there already.
        BundleError: the bundle is damaged, would get other crops today, or has a network that can't be exported.
    """
    refuse_missing_packages(form)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; delete it, or name another folder with --out")
    bundle, files = load_bundle(path), open_bundle(path)
    detect, crop = read_crop_settings(bundle.crop)
    if others := {detect.detector, detect.second} - DETECTORS:
        raise BundleError(f"{path} finds faces with {', '.join(others)}, which can't be exported: mtcnn and yunet can")

    # Written beside the folder and renamed, so that an interruption leaves nothing that looks finished.
    staged = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        (staged / "detection").mkdir(parents=True)
        progress("detection")
        detectors = write_detection(staged / "detection", form)
        shutil.copyfile(yunet_weights(), staged / "detection" / YUNET)
        networks = [staged / "detection" / YUNET, *(file for net in detectors for file in net)]
        entries: list[dict[str, Any]] = []
        for trained in bundle.networks:
            progress(trained.name)
            written = write_network(trained, staged / "networks", form, flip=bundle.flip)
            networks += written
            entries.append(
                {
                    "file": written[0].relative_to(staged).as_posix(),
                    "tasks": [task.name for task in trained.heads.tasks],
                    "input": list(trained.model.input),
                    "zoom": trained.model.zoom,
                }
            )
        about = {
            "format": FORMAT,
            "runtime": form,
            "bundle": files.digest,
            "written_by": versions(),
            "tasks": {task.name: describe_task(task) for task in bundle.tasks},
            "decision_rules": {task.name: bundle.decision_rule(task.name).as_json() for task in bundle.tasks},
            "networks": entries,
            "detect": {
                **detect.model_dump(mode="json"),
                "files": {
                    "mtcnn": [net[0].relative_to(staged).as_posix() for net in detectors],
                    "yunet": f"detection/{YUNET}",
                },
            },
            "crop": crop.model_dump(mode="json"),
            "sha256": {
                file.relative_to(staged).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in networks
            },
        }
        texts = {
            DESCRIPTION: json.dumps(about, indent=1),
            CARD: model_card(files),
            "README.md": _readme(bundle, form, files.path.name),
            "requirements.txt": f"numpy\nopencv-python-headless<5\n{PACKAGES[form]}\n",
            **dict(runtime_files()),
        }
        (staged / PACKAGE).mkdir()
        for name, text in texts.items():
            (staged / name).write_text(text, encoding="utf-8")
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            out.rmdir()
        staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    written_files = [file for file in out.rglob("*") if file.is_file()]
    return Export(out, len(written_files), sum(file.stat().st_size for file in written_files) / 1e6)


def _readme(bundle: Bundle, form: Format, name: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.export"),
        autoescape=False,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    classes = {task.name: ", ".join(task.classes) for task in bundle.tasks}
    return environment.get_template("README.md.j2").render(
        name=name, runtime={"onnx": "ONNX Runtime", "openvino": "OpenVINO"}[form], classes=classes
    )
