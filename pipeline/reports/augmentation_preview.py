"""What training will see: each class's photos as they are shown, before anything is trained.

the settings + some crops -> one contact sheet per network: RUN/preview-NETWORK.png.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classify.data.augmentation import augmenter_of
from classify.data.batches import EpochOfBatches
from classify.models.plan import plan_networks
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import Image, contact_sheet, write_sheet
from pipeline.training.network_data import network_data
from pipeline.training.samples import make_samples
from pipeline.training.train import show_counts

SHOWN = 8  # of each kind


def write_previews(photos: Sequence[Photo], detection: Detection, run: Path, context: RunContext) -> list[Path]:
    """The counts on the terminal, and a sheet per network: a row of showings for every class and group.

    Raises:
        DataError: a task has no labelled photo to train on.
        UsageError: the settings make no sense.
    """
    samples = make_samples(photos, detection, None, context)  # the settings may change before the training
    settings, paths = context.settings, list[Path]()
    for plan in plan_networks(settings.tasks):
        data = network_data(plan, samples, settings.split.held_out_folds[0], detection, context)
        show_counts(plan, data, context)
        training_set = data.training_set(plan.heads)
        augmenter = augmenter_of(plan)
        turns = augmenter.epoch(training_set.kinds, settings.seed, 0, training_set.sampling_weights)
        epoch = EpochOfBatches(training_set, augmenter, batch=max(len(turns), 1), seed=settings.seed, epoch=0)
        pictures: list[Image] = []
        captions: list[str] = []
        for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
            names = [*task.classes, *(group.where for group in config.augment.groups)]
            for kind, name in enumerate(names):
                shown = [turn for turn in turns if training_set.kinds[turn.row, column] == kind]
                # From the first showings to the last copies: each has transforms of its own.
                shown = sorted(shown, key=lambda turn: (turn.copy, turn.row))
                chosen = [shown[i] for i in np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)]
                blank = np.full((*plan.model.input, 3), 245, np.uint8)
                pictures += [epoch.shown(turn)[0] for turn in chosen] + [blank] * (SHOWN - len(chosen))
                captions += [f"{name} {turn.copy + 1}" for turn in chosen] + [""] * (SHOWN - len(chosen))
        path = run / f"preview-{plan.name}.png"
        write_sheet(contact_sheet(pictures, captions, columns=SHOWN), path)
        paths.append(path)
    return paths
