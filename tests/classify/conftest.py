"""A task that a tiny network learns in seconds: the brightness of the upper half against the lower."""

import numpy as np
import pytest

from classify.config import TaskConfig
from classify.data.training_set import NetworkData
from classify.models.network_plan import Plan
from classify.tasks import Task

TASK = Task("half", ("upper", "lower"))
TINY = "test_resnet.r160_in1k"  # timm's own test network, 0.5 M parameters


def task_config(backbone=TINY, dropout=0.2, size=(32, 24), **train):
    return TaskConfig.model_validate(
        {
            "classes": TASK.classes,
            "model": {"backbone": backbone, "pretrained": False, "input": size, "dropout": dropout},
            "train": {"epochs": 3, "batch": 8, "lr": 0.003, "head_lr_scale": 1, "warmup": 0.0, **train},
            "augment": {"every": [{"HorizontalFlip": {"p": 0.5}}, {"RandomBrightnessContrast": {"p": 0.5}}]},
        }
    )


@pytest.fixture(scope="session")
def halves():
    return make_halves()


def make_halves():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 64)
    pixels = rng.integers(40, 120, (64, 32, 24, 3), dtype=np.uint8)
    for image, code in zip(pixels, codes, strict=True):
        image[16 * code : 16 * code + 16] += 100
    return network_data(pixels, codes, np.arange(48), np.arange(48, 64), person_ids=np.arange(64) // 4)


def network_data(pixels, codes, train, validate, **more):
    """The data of a network for one task with class labels, not numbers."""
    codes = np.asarray(codes, dtype=np.intp).reshape(-1, 1)
    numbers = np.full(codes.shape, np.nan)
    groups = more.pop("augmentation_groups", codes)
    return NetworkData(pixels, codes, numbers, codes >= 0, groups, train, validate, **more)


def plan(config, task=TASK):
    return Plan(task.name, (task,), (config,))
