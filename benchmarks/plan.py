"""Measure the planning of a run over a cache that has most of its photos.

    python benchmarks/plan.py FOLDER [--photos 10000 100000 1000000 10000000] [--plot docs/plan.png]

Writes the manifests of that many photos below FOLDER, in units of 256, with lines as long as those of portraits (550
bytes). Then plans in a new process: opens the store, finds the photos that are not committed (a tenth) and divides them
into units. There are no crops, since planning does not read them. Prints the table of docs/benchmarks.md.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from cache.config import fingerprint
from cache.index import Ids
from cache.names import unit_name
from cache.store import UNIT_SIZE, CropStore
from cache.unit import Entry, manifest_of_entries

SPEC = {"benchmark": "plan"}
NEW = 10  # one in ten photos is not committed
FACTS = {
    "box": [72.76, 131.7, 306.02, 424.64],
    "found_by": "mtcnn",
    "landmarks": [[129.46, 239.7], [244.3, 239.18], [181.64, 313.69], [143.62, 360.79], [241.67, 362.69]],
    "photo": [384, 512],
    "score": 0.99775,
    "turn": 0.0,
    "window": [-43.87, -32.84, 422.64, 589.18],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan:
        print(json.dumps(plan(args.folder, args.plan)))
        return
    points: list[tuple[int, float]] = []
    print("| photos | manifests, GB | seconds | µs a photo | peak memory, MB |\n|---|---|---|---|---|")
    for photos in sorted(args.photos):
        size = write(args.folder / str(photos), photos)
        command = [sys.executable, __file__, str(args.folder / str(photos)), "--plan", str(photos)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        micros = result["seconds"] / photos * 1e6
        print(
            f"| {photos:,} | {size / 1e9:.3f} | {result['seconds']:.2f} | {micros:.1f} | {result['peak_mb']:.0f} |",
            flush=True,
        )
        points.append((photos, micros))
        shutil.rmtree(args.folder / str(photos))
    if args.plot:
        plot(points, args.plot)


def photo_ids(photos: int) -> Ids:
    return np.frombuffer(np.random.default_rng(photos).bytes(photos * 32), np.uint8).reshape(-1, 32)


def write(root: Path, photos: int) -> int:
    """Write the manifests of nine tenths of the photos, in the units that a run makes; returns their size in bytes."""
    ids = photo_ids(photos)
    committed = ids[np.arange(photos) % NEW != 0]
    committed = committed[np.argsort(committed[:, :8].copy().view(">u8")[:, 0])]
    units, size = root / "crops" / fingerprint(SPEC)[:16] / "units", 0
    for start in range(0, len(committed), UNIT_SIZE):
        sources = [row.tobytes().hex() for row in committed[start : start + UNIT_SIZE]]
        name = unit_name(sources)
        (units / name[:2] / name).mkdir(parents=True)
        content = manifest_of_entries([entry(source) for source in sources])
        (units / name[:2] / name / "manifest.jsonl").write_bytes(content)
        size += len(content)
    return size


def entry(source: str) -> Entry:
    path = f"/data/photos/train/images/{source[:6]}_female_Asian_20/incorrect_mask.jpg"
    return Entry(source, path, "ok", FACTS, f"{source[:16]}.jpg", 0, 33508, source[::-1])


def plan(root: Path, photos: int) -> dict[str, float]:
    ids = photo_ids(photos)
    started = time.perf_counter()
    store = CropStore(root, SPEC)
    missing = ids[~store.has(ids)]
    order = np.argsort(missing[:, :8].copy().view(">u8")[:, 0])
    units = [missing[order[start : start + UNIT_SIZE]] for start in range(0, len(missing), UNIT_SIZE)]
    seconds = time.perf_counter() - started
    assert sum(map(len, units)) == len(missing) == -(-photos // NEW) and not store.damaged
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def plot(points: list[tuple[int, float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot([photos for photos, _ in points], [micros for _, micros in points], marker="o")
    axes.set(xscale="log", xlabel="photos", ylabel="µs a photo", title="Planning a run", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
