"""faceline's extras: which packages each of them installs, and which of these are there.

In: what the installed distribution, or the checkout that this code is in, declares. Out: Extra, one for each.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "faceline"
NOT_FOR_USERS = frozenset({"dev"})
PURPOSES = {
    "fast": "detection and networks in OpenVINO, faster on a CPU",
    "offline": "ImageNet weights without a model hub",
    "faces": "dlib's face network, for model.backbone=face_dlib",
    "onnx": "faceline export --format onnx",
    "serve": "faceline serve",
    "ui": "faceline review",
    "heic": "HEIC photos",
    "objects": "a cache at s3://, gs:// or az://",
    "ray": "--engine ray",
    "xlsx": "tables in Excel's format",
    "wandb": "records of runs in Weights & Biases",
    "tensorboard": "records of runs in TensorBoard",
    "mlflow": "records of runs in MLflow",
    "explain": "saliency pictures in the report",
    "html": "faceline check --html",
    "clean": "faceline labels suspects",
}


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra.

    Attributes:
        name: of the extra.
        packages: what it installs -> the version that is there, or None.
    """

    name: str
    packages: Mapping[str, str | None]

    @property
    def is_installed(self) -> bool:
        """Whether all of its packages are there."""
        return None not in self.packages.values()

    @property
    def purpose(self) -> str:
        """What it is for."""
        return PURPOSES.get(self.name, "")

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install '{DISTRIBUTION}[{self.name}]'"

    def as_json(self) -> dict[str, object]:
        """The entry in `doctor --json`."""
        entry: dict[str, object] = {
            "installed": self.is_installed,
            "packages": dict(self.packages),
            "for": self.purpose,
        }
        return entry if self.is_installed else {**entry, "install": self.command}


def extras() -> list[Extra]:
    """Return all extras but those for developers, in the order in which they are declared."""
    return [
        Extra(name, {package: _version(package) for package in map(_package, requirements)})
        for name, requirements in _declared().items()
        if name not in NOT_FOR_USERS
    ]


def _declared() -> dict[str, list[str]]:
    """Extra -> its requirements: of the checkout, whose metadata may be older, or else of the distribution."""
    try:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            return dict(project["optional-dependencies"])
    except (OSError, ValueError, KeyError):
        pass
    try:
        return _by_extra(importlib.metadata.requires(DISTRIBUTION) or ())
    except importlib.metadata.PackageNotFoundError:
        return {}


def _by_extra(requirements: Iterable[str]) -> dict[str, list[str]]:
    declared: dict[str, list[str]] = {}
    for requirement in requirements:
        if extra := re.search(r"""extra *== *['"]([^'"]+)['"]""", requirement):
            declared.setdefault(extra[1], []).append(requirement)
    return declared


def _package(requirement: str) -> str:
    """The name of the distribution that a requirement is for."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
