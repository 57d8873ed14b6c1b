"""A whole run on drawn people with a tiny network, made once."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from pipeline.commands.app import app
from pipeline.intake.load import load_data
from pipeline.settings import DataConfig, load_settings

TINY = ["model.backbone=test_resnet", "model.pretrained=false", "model.input=[32,24]", "train.epochs=1",
        "train.batch=16"]  # fmt: skip


def tiny_options() -> list[str]:
    return [word for setting in TINY for word in ("--set", setting)]


def faceline(*words: object, ok: bool = True):
    """Run a command in this process; returns the result with `stdout` and the exception, if any."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if ok and result.exception is not None:
        raise result.exception
    return result


def drawn_data(data: Path):
    """The labelled photos of a drawn data set."""
    return load_data(data, load_settings().task_list(), DataConfig()).train


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shared") / "cache"


@pytest.fixture(scope="session")
def finished(drawn, shared_cache, tmp_path_factory) -> SimpleNamespace:
    """`faceline run` on the drawn people: `data`, `run`, `cache` and what was printed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    printed = faceline(
        "run", drawn, "--out", run, "--cache", shared_cache, "--device", "cpu", "--json", *tiny_options()
    )
    return SimpleNamespace(data=drawn, run=run, cache=shared_cache, stdout=printed.stdout)


@pytest.fixture
def some_data(drawn, tmp_path) -> Path:
    """A copy of the drawn data set that a test may harm."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))
