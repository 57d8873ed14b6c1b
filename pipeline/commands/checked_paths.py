"""Paths on the command line that must lead somewhere: each is refused before anything heavy is imported.

In: a path as the user wrote it, with ~ for the home folder. Out: the same path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import BundleError, UsageError
from cache.location import with_home

BUNDLE, VOTES = "bundle.json", "votes.json"


def _data(path: Path) -> Path:
    if not with_home(path).exists():
        raise UsageError(f"there is no folder or table {path}")
    return path


def _file(path: Path) -> Path:
    if not with_home(path).is_file():
        raise UsageError(f"there is no file {path}")
    return path


def _files(paths: Sequence[Path]) -> Sequence[Path]:
    return [_file(path) for path in paths]


def _run(path: Path) -> Path:
    if not (with_home(path) / "bundle" / BUNDLE).is_file():
        from pipeline.run_state import is_run, read_run

        if is_run(with_home(path)):
            raise BundleError(f"{path} holds no finished run: {read_run(with_home(path)).describe()}")
        raise BundleError(f"{path} holds no finished run: there is no bundle/bundle.json in it")
    return path


def _any_run(path: Path) -> Path:
    from pipeline.run_state import is_run

    if not is_run(with_home(path)):
        files = "there is neither a run.json nor a config.yaml with results in it"
        raise BundleError(f"{path} holds no finished run, and no unfinished one: {files}")
    return path


def _any_runs(paths: Sequence[Path]) -> Sequence[Path]:
    return [_any_run(path) for path in paths]


def _runs_folder(path: Path) -> Path:
    if not with_home(path).is_dir():
        raise UsageError(f"there is no folder {path}; name the one that your runs are in")
    return path


def _runs(paths: Sequence[Path]) -> Sequence[Path]:
    return [_run(path) for path in paths]


def _bundle(path: Path) -> Path:
    from classify.inference.bundle_files import is_bundle

    if (with_home(path) / VOTES).is_file() and not is_bundle(with_home(path)):
        raise BundleError(
            f"{path} weighs several bundles; name one of them. `faceline distill` trains a single network from them."
        )
    if not is_bundle(with_home(path)):
        raise BundleError(
            f"{path} is no bundle: it holds no bundle.json. A finished training run has its bundle in RUN/bundle."
        )
    return path


def _measured_bundle(path: Path | None) -> Path | None:
    return None if path is None else _bundles([path])[0]


def _bundles(paths: Sequence[Path]) -> Sequence[Path]:
    return [path if (with_home(path) / VOTES).is_file() else _bundle(path) for path in paths]


def _teachers(paths: Sequence[Path]) -> Sequence[Path]:
    from classify.inference.bundle_files import is_bundle

    for path in paths:
        files = (VOTES, f"bundle/{BUNDLE}", "validation.csv")
        if not is_bundle(with_home(path)) and not any((with_home(path) / file).is_file() for file in files):
            raise BundleError(f"--teacher {path}: it is no finished run, no folder of `vote` and no bundle")
    return paths


DataArg = Annotated[
    Path,
    typer.Argument(
        help="The competition's layout, a table, a folder per class, or a folder of photos.", callback=_data
    ),
]
ConfigsArg = Annotated[
    list[Path], typer.Argument(help="Settings, YAML files; the first is compared with each other.", callback=_files)
]
RunsArg = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Finished runs on the same folds.", callback=_runs)
]
AnyRunArg = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, in any state.", callback=_any_run)]
AnyRunsArg = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="The folders of runs, in any state.", callback=_any_runs)
]
RunsFolderArg = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A folder with runs at any depth.", callback=_runs_folder)
]
BundleArg = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="RUN/bundle of a training, or its .zip.", callback=_bundle)
]
BundlesOpt = Annotated[
    list[Path],
    typer.Option(
        "--bundle",
        help="RUN/bundle of a training, its .zip, or a folder of `vote`. Several are averaged.",
        metavar="B",
        callback=_bundles,
    ),
]
MeasuredBundleOpt = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="Measure how fast this bundle predicts, too.", metavar="B", callback=_measured_bundle
    ),
]
TeachersOpt = Annotated[
    list[Path],
    typer.Option(
        "--teacher",
        help="A run, a folder of `vote` or a bundle. Of several, the mean.",
        metavar="T",
        callback=_teachers,
    ),
]
PredictionsArg = Annotated[Path, typer.Argument(help="predictions.csv or submission.csv.", callback=_file)]
TruthOpt = Annotated[Path, typer.Option("--truth", help="A table of answers.", metavar="T", callback=_file)]
