"""Weights & Biases, TensorBoard and MLflow as trackers of a run: what of each package's calls we need.

In: settings, figures, pictures and the bundle of a run. Out: RUN/wandb, RUN/tensorboard, or an MLflow database.
Each may raise its package's errors.
"""

import io
import os
import re
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.intake.own_files import marked
from pipeline.run_record import dotted
from pipeline.settings import Settings

PROJECT = "faceline"
CONNECT_S = 30.0  # to wait for Weights & Biases before recording offline
MLFLOW_VALUE = 6000  # characters, which is the most that a parameter can have
MLFLOW_BATCH = 100  # parameters in one call


class Tracker(Protocol):
    """What each of the three can do; `memory` is kept in trackers.json from start to start."""

    def start(self, run: Path, settings: Settings, memory: dict[str, Any]) -> str:
        """Open the run, or open it again; returns where the record is, in words."""
        ...

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """Add figures of one epoch, or with epoch 0 the final ones."""
        ...

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """Add a picture, RGB (H, W, 3)."""
        ...

    def bundle(self, folder: Path) -> None:
        """Add the run's bundle as an artifact."""
        ...

    def finish(self, *, succeeded: bool) -> None:
        """Close the run."""
        ...


class WeightsAndBiases:
    """Online where there is a key, else offline; WANDB_MODE decides where it is set."""

    def start(self, run: Path, settings: Settings, memory: dict[str, Any]) -> str:
        """See `Tracker`."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = None if os.environ.get("WANDB_MODE") else "online"
        if mode and not wandb.login(prompt=False, verify=False):
            mode = "offline"
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "name": run.resolve().name,
            "id": memory.setdefault("id", uuid.uuid4().hex[:12]),
            "resume": "allow",
            "dir": str(run),
            "config": dotted(settings.model_dump(mode="json")),
        }
        quiet: dict[str, Any] = {"silent": True, "console": "off", "init_timeout": CONNECT_S}
        try:
            self._run = wandb.init(**arguments, mode=mode, settings=wandb.Settings(**quiet))
        except Exception:
            if mode != "online":
                raise
            self._run = wandb.init(**arguments, mode="offline", settings=wandb.Settings(**quiet))  # no connection
        self._run.define_metric("*", step_metric="epoch")
        if self._run.offline:
            return f"{run / 'wandb'}, offline; `wandb sync {run / 'wandb' / 'offline-run-*'}` uploads it"
        return str(self._run.url)

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """See `Tracker`."""
        if epoch:
            self._run.log({**figures, "epoch": epoch})
        else:
            self._run.summary.update(dict(figures))

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """See `Tracker`."""
        import wandb

        self._run.log({name: wandb.Image(image)})

    def bundle(self, folder: Path) -> None:
        """See `Tracker`."""
        import wandb

        artifact = wandb.Artifact(f"bundle-{self._run.id}", "model")
        for file in sorted(folder.iterdir()):  # not add_dir, which prints
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def finish(self, *, succeeded: bool) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=0 if succeeded else 1)


class TensorBoard:
    """Event files in RUN/tensorboard. It keeps no files: of the bundle, it has the list with their hashes."""

    def start(self, run: Path, settings: Settings, memory: dict[str, Any]) -> str:
        """See `Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run / "tensorboard"
        self._writer = SummaryWriter(str(folder))
        self._text("settings", settings.as_yaml())
        return f"{folder}; `tensorboard --logdir {folder}` shows it"

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """See `Tracker`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """See `Tracker`."""
        self._writer.add_image(name, image, dataformats="HWC")

    def bundle(self, folder: Path) -> None:
        """See `Tracker`."""
        self._text("bundle", f"{folder}\n{(folder / 'bundle.json').read_text(encoding='utf-8')}")

    def finish(self, *, succeeded: bool) -> None:
        """See `Tracker`."""
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        # Four blanks make Markdown show the text as it is.
        self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))


class MLflow:
    """At MLFLOW_TRACKING_URI, else in mlflow.db and mlflow-artifacts beside the run's folder."""

    def start(self, run: Path, settings: Settings, memory: dict[str, Any]) -> str:
        """See `Tracker`."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        folder = run.resolve().parent
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        artifacts = None if uri else (folder / "mlflow-artifacts").as_uri()
        uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            experiment_id = self._client.create_experiment(name, artifact_location=artifacts)
        else:
            experiment_id = experiment.experiment_id
        if "id" not in memory:
            memory["id"] = self._client.create_run(experiment_id, run_name=run.resolve().name).info.run_id
            values = dotted(settings.model_dump(mode="json")).items()
            parameters = [Param(self._key(key), str(value)[:MLFLOW_VALUE]) for key, value in values]
            for start in range(0, len(parameters), MLFLOW_BATCH):
                self._client.log_batch(memory["id"], params=parameters[start : start + MLFLOW_BATCH])
            self._client.log_artifact(memory["id"], str(run / "config.yaml"))
        self._id = memory["id"]
        self._client.update_run(self._id, status="RUNNING")
        return f"{uri}; `mlflow ui --backend-store-uri {uri}` shows it"

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(self._key(name), value, now, epoch) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """See `Tracker`."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        with tempfile.TemporaryDirectory() as folder:
            # Marked as no photo: the artifacts may lie in a folder of photos, beside the run.
            (Path(folder) / f"{name}.png").write_bytes(marked(buffer.getvalue()))
            self._client.log_artifact(self._id, f"{folder}/{name}.png")

    def bundle(self, folder: Path) -> None:
        """See `Tracker`."""
        self._client.log_artifacts(self._id, str(folder), "bundle")

    def finish(self, *, succeeded: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._id, "FINISHED" if succeeded else "FAILED")

    @staticmethod
    def _key(name: str) -> str:
        return re.sub(r"[^\w./ -]", "_", name)  # what MLflow allows in a name
