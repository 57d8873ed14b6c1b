"""Predict photos without torch: python predict.py PHOTO_OR_FOLDER ... > predictions.csv

Needs numpy, OpenCV (opencv-python-headless) and the runtime in requirements.txt. In your own program:

    from faceline_runtime.predictor import ExportedPredictor
    predictor = ExportedPredictor("this folder")
    for prediction in predictor.predict(["a.jpg", "b.jpg"]):
        print(prediction.path, prediction.labels, prediction.probabilities)
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.export.portable_predictor import ExportedPredictor

FOLDER = Path(__file__).resolve().parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def find_photos(paths: Sequence[str]) -> Iterator[Path]:
    """Yield the files that are named, and those with a photo's suffix in the folders that are named."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def main() -> int:
    """Print a row for each photo; returns 1 if one can't be read."""
    parser = argparse.ArgumentParser(description="Predict photos; prints a table with a row for each.")
    parser.add_argument("photos", nargs="+", help="photos, and folders of photos")
    parser.add_argument("--threads", type=int, default=0, help="of each network; as many as are useful by default")
    options = parser.parse_args()

    try:
        predictor = ExportedPredictor(FOLDER, options.threads)
    except ValueError as error:  # a file is missing or damaged
        raise SystemExit(f"predict.py: {error}") from None
    except ImportError as error:
        raise SystemExit(f"predict.py: {error}; pip install -r {FOLDER / 'requirements.txt'}") from None
    table = csv.DictWriter(sys.stdout, predictor.columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    unreadable = 0
    for prediction in predictor.predict(find_photos(options.photos)):
        table.writerow(prediction.row())
        unreadable += prediction.status == "unreadable"
    if unreadable:
        sys.stderr.write(f"{unreadable} photos can't be read\n")
    return 1 if unreadable else 0


if __name__ == "__main__":
    raise SystemExit(main())
