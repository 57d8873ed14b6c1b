"""Prediction in parts: shards, killed runs and a single process make the same files, and nothing stale is mixed in."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from cache.errors import UsageError
from classify.inference.ensemble import load_ensemble
from detect.decode import read_file
from detect.failures import Failure
from pipeline.context import RunContext
from pipeline.detection.ray_worker import WorkerFailure
from pipeline.detection.shards import parse_shard
from pipeline.intake.photo import Photo
from pipeline.prediction.output_folder import bundle_digest
from pipeline.prediction.part_predictor import PartPredictor, PredictedPart
from pipeline.prediction.ray_predictor import PartActor, PredictorSettings
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

HOUSE = Path(__file__).parents[3]
SIZE = 8  # photos in a part


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory) -> Path:
    """Photos whose crops are in the cache, one of the training, and one that can't be read: five parts, one short."""
    folder = tmp_path_factory.mktemp("parts") / "photos"
    folder.mkdir()
    for file in sorted((finished.data / "eval" / "images").iterdir())[:34]:
        shutil.copy(file, folder)
    shutil.copy(next((finished.data / "train" / "images").rglob("normal.*")), folder)
    (folder / "text.jpg").write_text("no photo")
    return folder


@pytest.fixture
def predict(finished, place, tmp_path):
    def run(*words, out="out", photos=None, size=SIZE):
        part_size = [] if size is None else ["--part-size", size]
        printed = faceline(*words_for(finished, photos or place), "--out", tmp_path / out, *part_size, *words, "--json")
        return SimpleNamespace(**json.loads(printed.stdout.splitlines()[-1]))

    return run


def words_for(finished, photos):
    bundle = finished.run / "bundle"
    return ["predict", photos, "--bundle", bundle, "--cache", finished.cache, "--device", "cpu"]


@pytest.fixture(scope="module")
def single(finished, place, tmp_path_factory) -> dict[str, bytes]:
    """The files that one process writes."""
    out = tmp_path_factory.mktemp("single")
    faceline(*words_for(finished, place), "--out", out, "--part-size", SIZE, "--format", "jsonl", "--format", "parquet")
    assert not (out / "parts").exists()
    return contents(out)


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def part_files(out):
    return sorted(path.name for path in (out / "parts").glob("*"))


def test_a_shard_is_as_many_consecutive_numbers_as_any_other():
    for count, shards in ((10, 3), (2, 5), (0, 2)):
        shares = [parse_shard(f"{number}/{shards}").share(count) for number in range(1, shards + 1)]
        assert [number for share in shares for number in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shards_make_the_files_of_one_process_and_no_photo_is_predicted_twice(predict, single, tmp_path, monkeypatch):
    formats = ["--format", "jsonl", "--format", "parquet"]
    shards = [predict("--shard", f"{number}/3", *formats) for number in (3, 1, 2)]
    assert [shard.shard for shard in shards] == ["3/3", "1/3", "2/3"]
    assert sum(shard.photos for shard in shards) == sum(shard.predicted_now for shard in shards) == 36
    assert not (tmp_path / "out" / "predictions.csv").exists()
    monkeypatch.setattr("pipeline.prediction.engine.Engine.predict", lambda *_: pytest.fail("it was predicted again"))
    joined = predict(*formats, size=None)
    assert (joined.photos, joined.predicted_now, joined.unreadable, joined.reasons) == (36, 0, 1, {"not_an_image": 1})
    assert contents(tmp_path / "out") == single


def test_a_run_that_was_killed_goes_on_with_the_parts_that_are_left(finished, predict, place, single, tmp_path):
    out = tmp_path / "out"
    words = [*words_for(finished, place), "--out", out, "--part-size", SIZE]
    code = (  # killed when the rows of the third part are written, and nothing says yet what they are of
        "import os, signal, sys\n"
        "from pipeline.commands.app import app\n"
        "from pipeline.prediction.part_store import atomic\n"
        "write = atomic.write_text\n"
        "def kill(path, text):\n"
        "    if path.name == 'part-000002.json': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(path, text)\n"
        "atomic.write_text = kill\n"
        "app()"
    )
    killed = subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=HOUSE, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert part_files(out)[-2:] == ["part-000001.parquet", "part-000002.parquet"]
    (out / "parts" / ".part-000004.parquet.1234").write_bytes(b"what is left when a file was being written")
    assert predict("--format", "jsonl", "--format", "parquet").predicted_now == 36 - 2 * SIZE
    assert contents(out) == single
    assert not (out / "parts").exists()


def test_a_run_that_was_killed_before_it_wrote_predictions_json_goes_on(predict, single, tmp_path, monkeypatch):
    formats = ["--format", "jsonl", "--format", "parquet"]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.prediction.prediction_files.write_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict(*formats)
    assert (tmp_path / "out" / "predictions.csv").is_file()
    assert predict(*formats).predicted_now == 0
    assert contents(tmp_path / "out") == single


def test_without_out_a_killed_run_is_continued_where_it_began(finished, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.prediction.part_store.PART_PHOTOS", SIZE)
    words = words_for(finished, place)
    faceline(*words, "--shard", "1/2", "--out", "predictions-2")
    Path("predictions").mkdir()
    Path("predictions/notes.txt").write_text("the user's own")
    assert "Predictions: predictions-2/predictions.csv" in faceline(*words).stdout
    assert "Predictions: predictions-3/predictions.csv" in faceline(*words).stdout


def test_parts_stay_as_the_result_on_request_and_all_have_the_same_columns(predict, single, tmp_path):
    (tmp_path / "out" / "parts").mkdir(parents=True)
    (tmp_path / "out" / "parts" / "part-000009.parquet").write_bytes(b"of a killed run with more photos")
    result = predict("--format", "parts")
    assert result.predictions == str(tmp_path / "out" / "parts")
    assert sorted(contents(tmp_path / "out")) == ["predictions.json"]
    rows = pl.scan_parquet(tmp_path / "out" / "parts" / "*.parquet").collect()
    (tmp_path / "single.parquet").write_bytes(single["predictions.parquet"])
    assert rows.equals(pl.read_parquet(tmp_path / "single.parquet"))
    assert rows["trained_on"].is_not_null().sum() == 1
    assert predict("--format", "parts").predicted_now == 0
    predict()
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == single["predictions.csv"]


def test_parts_of_other_photos_settings_or_bundles_are_refused_or_replaced(predict, place, finished, tmp_path):
    predict("--shard", "1/2")
    before = part_files(tmp_path / "out")
    few = shutil.copytree(place, tmp_path / "few")
    (few / "text.jpg").unlink()
    bundle = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    described = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(described, indent=3))
    for words in (
        {"photos": few}, {"size": 4}, {"set": ["--set", "predict.flip=true"]}, {"set": ["--faces", "all"]},
        {"set": ["--bundle", bundle]},
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"holds parts of a prediction of other photos.*--overwrite"):
            predict(*words.pop("set", ()), **words)
    assert part_files(tmp_path / "out") == before
    assert predict("--overwrite", photos=few).predicted_now == 35


def test_a_part_is_predicted_again_if_a_photo_changed_or_its_bytes_did(predict, place, tmp_path):
    photos = shutil.copytree(place, tmp_path / "photos")
    predict("--shard", "1/1", photos=photos)
    parts = tmp_path / "out" / "parts"
    first, second = (sorted(photos.iterdir())[number] for number in (0, SIZE))
    os.utime(first, ns=(1, 1))
    second.write_bytes(sorted(photos.iterdir())[1].read_bytes())
    (parts / "part-000002.parquet").write_bytes(b"torn")
    assert predict(photos=photos).predicted_now == 3 * SIZE
    rows = pl.read_csv(tmp_path / "out" / "predictions.csv")
    assert rows.drop("path").row(1) == rows.drop("path").row(SIZE)


def test_a_part_is_predicted_again_if_a_photo_could_not_be_read_for_a_passing_fault(predict, place, single, tmp_path):
    away = sorted(place.iterdir())[0]

    def read(path):
        return Failure(path, "missing", "cannot be read: Input/output error") if path == away else read_file(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.prediction.photo_crops.read_file", read)
        first = predict("--shard", "1/1")
    assert first.reasons == {"missing": 1, "not_an_image": 1}
    assert predict("--format", "jsonl", "--format", "parquet").predicted_now == SIZE
    assert contents(tmp_path / "out") == single


def test_rows_of_faces_are_divided_by_their_photos(finished, predict, photos, tmp_path):
    folder = tmp_path / "street"
    folder.mkdir()
    for name in ("a", "b"):
        Pillow.fromarray(np.concatenate([photos[0], photos[7]], axis=1)).save(folder / f"{name}.png")
    for number in (2, 1):
        predict("--faces", "all", "--shard", f"{number}/2", photos=folder, size=1)
    joined = predict("--faces", "all", photos=folder, size=None)
    assert (joined.photos, joined.rows, joined.predicted_now) == (2, 4, 0)
    predict("--faces", "all", photos=folder, size=1, out="one")
    one, two = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("one", "out"))
    assert one == two


def test_the_submission_of_shards_is_that_of_one_process(finished, predict, tmp_path):
    predict("--shard", "2/2", photos=finished.data)
    predict("--shard", "1/2", photos=finished.data)
    predict(photos=finished.data)
    assert (tmp_path / "out" / "submission.csv").read_bytes() == (finished.run / "submission.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "3/2"], "--shard 3/2"),
        (["--shard", "1/2", "--engine", "ray"], "--shard and --engine ray exclude each other"),
        (["--engine", "ray", "--no-cache"], "--no-cache and --engine ray exclude each other"),
        (["--format", "parts", "--draw", "drawn"], "leave out --format parts"),
        (["--engine", "ray"], "RAY_ADDRESS"),
    ],
)
def test_options_that_do_not_go_together_are_refused(finished, place, tmp_path, monkeypatch, words, message):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cache = [] if "--no-cache" in words else ["--cache", finished.cache]
    call = ["predict", place, "--bundle", finished.run / "bundle", "--out", tmp_path / "out", *cache]
    with pytest.raises(UsageError, match=message):
        faceline(*call, *words)


def test_a_shard_needs_a_folder_and_photos_in_files(finished, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--shard needs --out"):
        faceline(*words_for(finished, place), "--shard", "1/2")
    shutil.make_archive("some", "zip", place)
    with pytest.raises(UsageError, match=r"--part-size is for photos in files, and some\.zip is none"):
        faceline(*words_for(finished, "some.zip"), "--part-size", "8")


@pytest.fixture
def actor(finished, place):
    bundle = finished.run / "bundle"
    settings = load_settings()
    made = PredictorSettings(
        str(place), str(finished.cache), [(str(bundle), bundle_digest(bundle))], settings, None, False, "cpu", 1
    )
    return lambda **changes: PartActor(replace(made, **changes))


def test_an_actor_makes_the_part_that_one_process_makes(actor, finished, place):
    names = [path.name for path in sorted(place.iterdir())[:3]]
    made = actor().predict_part((0, [Photo(Path(name), name, name) for name in names]))
    context = RunContext(load_settings(), finished.cache, "cpu", 1)
    local = PartPredictor(load_ensemble([finished.run / "bundle"]), context)
    assert made == local.predict([Photo(place / name, name, name) for name in names], lambda _: None)
    assert (made.facts.photos, made.facts.is_final) == (3, True)


def test_an_actor_names_files_that_it_can_not_see(actor, place):
    made = actor().predict_part((0, [Photo(Path("gone.jpg"), "gone.jpg", "")]))
    assert isinstance(made, PredictedPart)
    assert made.missing == (place / "gone.jpg",)
    assert made.facts.is_final, "a file that is not there need not be looked for again until it is"


def test_an_actor_with_another_bundle_takes_no_part(actor, finished):
    failure = actor(bundles=[(str(finished.run / "bundle"), "another")]).begin()
    assert isinstance(failure, WorkerFailure)
    assert "is another bundle there" in failure.message
    failure = actor(bundles=[("nowhere", "")]).begin()
    assert isinstance(failure, WorkerFailure)
