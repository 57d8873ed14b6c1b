"""Where predictions are written, so that none are replaced by those of other photos or of another bundle.

In: the folder that the user names, or none. Out: the folder to write into, or an error.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import polars as pl

from cache.errors import DataError, UsageError
from classify.inference.bundle_files import open_bundle
from pipeline.intake.table_file import read_table
from pipeline.prediction.prediction_record import PREDICTIONS, SUBMISSION, has_submission, recorded_bundles
from pipeline.safe_csv import plain_path

DEFAULT = "predictions"
FACE_NUMBER = re.compile(r"#\d+$")
NO_PATHS = pl.Series("path", [], pl.String)


def next_free_folder(is_unfinished: Callable[[Path], bool] = lambda _: False) -> Path:
    """The first of predictions, predictions-2, predictions-3, ... that does not exist, or is an empty folder.

    Or one in which this prediction `is_unfinished`.
    """
    names = itertools.chain([DEFAULT], (f"{DEFAULT}-{number}" for number in itertools.count(2)))
    folders = map(Path, names)
    return next(path for path in folders if _is_free(path) or is_unfinished(path))


def refuse_overwriting(
    out: Path,
    names: Collection[str],
    bundles: Sequence[Path],
    *,
    submission: bool,
    inside: tuple[str, ...] = (),
    each_face: bool = False,
    is_unfinished: bool = False,
) -> None:
    """Refuse a folder with predictions of photos that are not predicted now, or by another bundle.

    Predictions that the same bundles have made of the same photos, or of some of them, may be replaced.

    Args:
        out: the folder.
        names: of the photos to predict now.
        bundles: the folders of what predicts them.
        submission: whether a submission.csv will be written.
        inside: beginnings of the names of further photos, those in archives and videos.
        each_face: whether the rows are faces, called after their photo and their number.
        is_unfinished: whether a run of this prediction was killed there, perhaps while predictions.json was replaced.

    Raises:
        UsageError: something would be lost; the message says what, and how to replace it nevertheless.
    """
    remedy = "Name another folder with --out, or replace them with --overwrite."
    table = out / PREDICTIONS
    if submission and (out / SUBMISSION).is_file() and not has_submission(out):
        raise UsageError(f"{out / SUBMISSION} belongs to no predictions of faceline's. {remedy.replace('them', 'it')}")
    if not table.is_file():
        return
    try:
        recorded = recorded_bundles(table)
        earlier = [plain_path(path or "") for path in read_table(table).get_column("path", default=NO_PATHS)]
    except DataError as error:
        raise UsageError(f"{error}\n{remedy}") from None
    if recorded is None and is_unfinished:
        return
    if recorded is None:
        raise UsageError(f"{table} is there, and no predictions.json says which bundle has made it. {remedy}")
    if sorted(recorded.values()) != sorted(map(bundle_digest, bundles)):
        raise UsageError(f"{out} holds predictions of another bundle, {' and '.join(recorded)}. {remedy}")
    if each_face:
        earlier = [FACE_NUMBER.sub("", name) for name in earlier]
    lost = sorted(name for name in set(earlier) - set(map(plain_path, names)) if not name.startswith(inside or ("\0",)))
    if lost:
        raise UsageError(
            f"{out} holds predictions of other photos: {lost[0]}"
            + (f" and {len(lost) - 1:,} more are" if len(lost) > 1 else " is")
            + f" not predicted now. {remedy}"
        )


def refuse_used_folder(folder: Path, option: str) -> None:
    """Raise UsageError if something is in the folder, or it is none."""
    if folder.exists() and not _is_free(folder):
        raise UsageError(f"{option} {folder}: there is something already; name a folder that is new or empty")


def bundle_digest(bundle: Path) -> str:
    """The sha256 that identifies a bundle, or a folder of `vote`, in predictions.json."""
    votes = bundle / "votes.json"
    return hashlib.sha256(votes.read_bytes()).hexdigest() if votes.is_file() else open_bundle(bundle).digest


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
