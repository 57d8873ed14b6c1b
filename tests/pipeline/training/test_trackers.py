"""Each tracker with its real package, offline, on disk."""

import gc
import json
import os

import numpy as np
import pytest

from cache.errors import UsageError
from pipeline.console import Console
from pipeline.intake.own_files import is_own_picture
from pipeline.settings import load_settings
from pipeline.training import trackers as trackers_module
from pipeline.training.trackers import Trackers, refuse_missing_trackers, tracked_run

HISTORY = [
    {"task": "mask", "epoch": 1, "train_loss": 0.9, "macro_f1": 0.5},
    {"task": "mask", "epoch": 2, "train_loss": 0.7, "macro_f1": 0.6},
]
SCORES = {"joint": {"macro_f1": 0.6, "low": 0.5}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no netrc
    folder = tmp_path / "runs" / "run"
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "bundle.json").write_text('{"format": 3}')
    (folder / "config.yaml").write_text("seed: 0\n")
    yield folder
    gc.collect()  # what the packages leave open is their matter, and not that of a later test


def settings_with(*names):
    return load_settings(None, [f"train.trackers=[{', '.join(names)}]", "tasks.age.augment.classes={'>=60': {}}"])


def record(run, name, history=HISTORY, succeeded=True):
    with tracked_run(run, settings_with(name), Console(quiet=True)) as trackers:
        trackers.log_epochs("mask", history)
        trackers.picture("crops", lambda: np.zeros((20, 30, 3), np.uint8))
        if succeeded:
            trackers.log_outcome(SCORES, run / "bundle")
        assert trackers, "none has failed"
        if not succeeded:
            raise KeyboardInterrupt


def record_in_two_parts(run, name):
    with pytest.raises(KeyboardInterrupt):
        record(run, name, HISTORY[:1], succeeded=False)
    record(run, name)


@pytest.mark.filterwarnings("ignore")  # the packages' own
def test_tensorboard_has_settings_curves_pictures_scores_and_the_bundle_s_files(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record_in_two_parts(run, "tensorboard")
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("mask/train_loss")] == [
        (1, pytest.approx(0.9)),
        (2, pytest.approx(0.7)),
    ], "the epoch before the interruption is there once"
    assert events.Scalars("final/joint/macro_f1")[-1].value == pytest.approx(0.6)
    assert {"settings/text_summary", "bundle/text_summary"} <= set(events.Tags()["tensors"])
    assert events.Tags()["images"] == ["crops"]


def records_of(content):
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    block, position, record = 32768, 7, b""
    while position + 7 <= len(content):
        if block - position % block < 7:
            position += block - position % block
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind, start = content[position + 6], position + 7  # 1: complete; 2, 3, 4: first, middle, last part
        record += content[start : start + length]
        position = start + length
        if kind in (1, 4):
            yield record
            record = b""


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_records_offline_without_a_key(run):
    from wandb.proto import wandb_internal_pb2

    record_in_two_parts(run, "wandb")
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    assert len({file.stem for file in files}) == 1, "the second part belongs to the same run"
    curves, summary, artifacts, config = {}, {}, [], {}
    for file in files:
        for data in records_of(file.read_bytes()):
            written = wandb_internal_pb2.Record()
            written.ParseFromString(data)
            for item in written.history.item:
                curves.setdefault(item.key or item.nested_key[0], []).append(json.loads(item.value_json))
            for item in written.summary.update:
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
            for item in written.run.config.update:
                config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            if written.HasField("artifact"):
                artifacts.append(written.artifact)
            elif written.request.HasField("log_artifact"):
                artifacts.append(written.request.log_artifact.artifact)
    assert curves["mask/train_loss"] == [0.9, 0.7]
    assert summary["final/joint/macro_f1"] == 0.6
    assert config["train.epochs"] == 4
    assert "crops" in curves
    [artifact] = {artifact.name: artifact for artifact in artifacts if artifact.type == "model"}.values()
    assert [entry.path for entry in artifact.manifest.contents] == ["bundle.json"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_run_in_a_database_beside_the_run_s_folder(run):
    from mlflow import MlflowClient

    record_in_two_parts(run, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    [experiment] = [e for e in client.search_experiments() if e.name == "faceline"]
    [tracked] = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["train.epochs"] == "4"
    assert tracked.data.params["tasks.age.augment.classes.__60.multiplier"] == "1"
    assert tracked.data.metrics["final/joint/macro_f1"] == 0.6
    history = client.get_metric_history(tracked.info.run_id, "mask/macro_f1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.6)]
    paths = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
    assert paths == {"bundle", "config.yaml", "crops.png"}
    [picture] = run.parent.glob("mlflow-artifacts/**/crops.png")
    assert is_own_picture(picture), "no photo of a data set that the run's folder lies in"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


class Broken:
    """Fails in the method that is named."""

    def __init__(self, method):
        self.method, self.calls = method, []

    def __getattr__(self, name):
        def call(*_, **__):
            self.calls.append(name)
            if name == self.method:
                raise RuntimeError("no connection\nand more")
            return "somewhere"

        return call


@pytest.mark.parametrize("method", ["start", "log", "picture", "bundle", "finish"])
def test_a_tracker_that_fails_is_a_warning_and_the_run_goes_on_without_it(run, monkeypatch, capsys, method):
    broken = Broken(method)
    monkeypatch.setattr(trackers_module, "MAKE", {"mlflow": lambda: broken})
    with tracked_run(run, settings_with("mlflow"), Console()) as trackers:
        trackers.log_epochs("mask", HISTORY)
        trackers.picture("crops", lambda: np.zeros((2, 2, 3), np.uint8))
        trackers.log_outcome(SCORES, run / "bundle")
    warning = "train.trackers: mlflow has failed (no connection); the run goes on without it"
    assert capsys.readouterr().err.count(warning) == 1
    assert broken.calls[-1] == method, "nothing is called after it has failed"


def test_a_picture_that_cannot_be_made_is_a_warning(run, monkeypatch, capsys):
    monkeypatch.setattr(trackers_module, "MAKE", {"mlflow": lambda: Broken("")})
    trackers = Trackers(run, settings_with("mlflow"), Console())
    trackers.picture("crops", lambda: 1 / 0)
    assert "the picture crops can't be made (division by zero)" in capsys.readouterr().err
    assert trackers


def test_a_run_that_has_succeeded_is_not_tracked_again(run, monkeypatch):
    made = []
    monkeypatch.setattr(trackers_module, "MAKE", {"mlflow": lambda: made.append(Broken("")) or made[-1]})
    for _ in range(2):
        with tracked_run(run, settings_with("mlflow"), Console(quiet=True)):
            pass
    assert len(made) == 1


def test_of_each_network_the_epochs_are_added_once(run, monkeypatch):
    added = []
    tracker = Broken("")
    tracker.log = lambda figures, epoch: added.append((epoch, sorted(figures)))
    monkeypatch.setattr(trackers_module, "MAKE", {"mlflow": lambda: tracker})
    trackers = Trackers(run, settings_with("mlflow"), Console(quiet=True))
    two_tasks = [{"task": task, "epoch": 1, "loss": 0.1, "network": "shared-fold0"} for task in ("mask", "age")]
    for _ in range(2):
        trackers.log_epochs("shared-fold0", two_tasks)
        trackers.log_epochs("mask", HISTORY[:1])
    both = ["shared-fold0/age/loss", "shared-fold0/mask/loss"]
    assert added == [(1, both), (1, ["mask/macro_f1", "mask/train_loss"])]


def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(UsageError, match=r"wandb is not installed; pip install 'faceline\[wandb\]'.*=\[mlflow\]"):
        refuse_missing_trackers(settings_with("mlflow", "wandb"))


def test_trackers_belong_to_the_run_and_to_no_task():
    settings = settings_with("mlflow")
    assert settings.train.trackers == ("mlflow",)
    assert "trackers" not in settings.model_dump()["tasks"]["mask"]["train"]
    assert load_settings(None, []).tasks == load_settings(None, ["train.trackers=[wandb]"]).tasks
    with pytest.raises(UsageError, match=r"did you mean train\.trackers"):
        load_settings(None, ["tasks.mask.train.trackers=[wandb]"])
    with pytest.raises(UsageError, match=r"train\.trackers.*'wandb', 'tensorboard' or 'mlflow'"):
        load_settings(None, ["train.trackers=[neptune]"])
