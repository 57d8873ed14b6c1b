"""What it takes to plan a run over a cache that holds most of its photos.

    python benchmarks/plan.py FOLDER [--photos 10000 100000 1000000 10000000] [--plot docs/plan.png]

Writes the manifests of that many photos below FOLDER, 256 a unit and lines as long as those of portraits (550 bytes),
then plans in a new process: opens the store, takes what is committed from what is wanted (a tenth is new), and slices
the rest into units. The crops are not there: nobody reads them to plan. Prints the table of docs/benchmarks.md.
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
from cache.store import UNIT_SIZE, CropStore
from cache.unit import Entry, manifest_of_entries, unit_name

SPEC = {"benchmark": "plan"}
NEW = 10  # one photo in so many is not committed
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
    asked = parser.parse_args()
    if asked.plan:
        print(json.dumps(plan(asked.folder, asked.plan)))
        return
    told = []
    print("| photos | manifests, GB | seconds | µs a photo | peak memory, MB |\n|---|---|---|---|---|")
    for photos in sorted(asked.photos):
        size = write(asked.folder / str(photos), photos)
        words = [sys.executable, __file__, str(asked.folder / str(photos)), "--plan", str(photos)]
        one = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        micros = one["seconds"] / photos * 1e6
        print(
            f"| {photos:,} | {size / 1e9:.3f} | {one['seconds']:.2f} | {micros:.1f} | {one['peak_mb']:.0f} |",
            flush=True,
        )
        told.append((photos, micros))
        shutil.rmtree(asked.folder / str(photos))
    if asked.plot:
        plot(told, asked.plot)


def wanted_ids(photos: int) -> Ids:
    return np.frombuffer(np.random.default_rng(photos).bytes(photos * 32), np.uint8).reshape(-1, 32)


def write(root: Path, photos: int) -> int:
    """The manifests of nine tenths of the photos, in units of neighbours as a run makes them; returns their bytes."""
    ids = wanted_ids(photos)
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
    ids = wanted_ids(photos)
    started = time.perf_counter()
    store = CropStore(root, SPEC)
    missing = ids[~store.has(ids)]
    order = np.argsort(missing[:, :8].copy().view(">u8")[:, 0])
    units = [missing[order[start : start + UNIT_SIZE]] for start in range(0, len(missing), UNIT_SIZE)]
    seconds = time.perf_counter() - started
    assert sum(map(len, units)) == len(missing) == -(-photos // NEW) and not store.damaged
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def plot(told: list[tuple[int, float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot([photos for photos, _ in told], [micros for _, micros in told], marker="o")
    axes.set(xscale="log", xlabel="photos", ylabel="µs a photo", title="Planning a run", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
