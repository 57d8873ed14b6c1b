"""Show what training will see of each class, before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classify.data.augmentation import build_augmenter
from classify.data.batches import EpochOfBatches
from classify.models.network_plan import plan_networks
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import Image, contact_sheet, write_sheet
from pipeline.training.class_counts import class_counts, show_counts
from pipeline.training.network_data import network_data
from pipeline.training.open_ends import with_open_ends
from pipeline.training.samples import make_samples

PICTURES = 8  # of each class and augmentation group


def write_previews(photos: Sequence[Photo], detection: Detection, run: Path, context: RunContext) -> list[Path]:
    """Print the number of samples, and write RUN/preview-NETWORK.png: a row for each class and augmentation group.

    Raises:
        DataError: a task has no labelled photo to train on.
        UsageError: the settings contradict each other.
    """
    context = with_open_ends(context, photos)
    settings = context.settings
    samples = make_samples(photos, detection, None, context)  # without a run folder: the settings may still change
    paths: list[Path] = []
    plans = [(kind, plan) for kind, configs in settings.task_configs.items() for plan in plan_networks(configs)]
    for kind, plan in plans:
        data = network_data(plan, samples, settings.split.held_out_folds[0], detection, context)
        show_counts(class_counts(plan, data, plan.name), context)

        # The first epoch, as training will draw and augment it
        training_set = data.training_set(plan.heads)
        groups = training_set.augmentation_groups
        augmenter = build_augmenter(plan, data.margin)
        draws = augmenter.draw_epoch(groups, settings.seed, 0, training_set.sampling_weights)
        epoch = EpochOfBatches(training_set, augmenter, batch=max(len(draws), 1), seed=settings.seed, epoch=0)
        draws.sort(key=lambda draw: (draw.copy, draw.row))

        # A row of pictures for each class and group: from first copies to last ones, which have other transforms
        blank = np.full((*plan.model.input, 3), 245, np.uint8)
        pictures: list[Image] = []
        captions: list[str] = []
        for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
            names = [*task.classes, *(group.where for group in config.augment.groups)]
            for group, name in enumerate(names):
                members = [draw for draw in draws if groups[draw.row, column] == group]
                spaced = np.linspace(0, len(members) - 1, min(PICTURES, len(members))).astype(int)
                missing = PICTURES - len(spaced)
                pictures += [epoch.image_and_targets(members[i])[0] for i in spaced] + [blank] * missing
                captions += [f"{name} {members[i].copy + 1}" for i in spaced] + [""] * missing
        path = run / f"preview-{'-'.join(filter(None, [plan.name, kind]))}.png"
        write_sheet(contact_sheet(pictures, captions, columns=PICTURES), path)
        paths.append(path)
    return paths
