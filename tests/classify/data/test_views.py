import numpy as np
import pytest
import torch

from classify.config import AugmentConfig
from classify.data.augmentation import Augmenter
from classify.data.training_set import DrawnMasks, TrainingSet
from classify.data.views import AugmentedViews
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.tasks import Task

TASK = Task("age", ("young", "old"))


def views(number=4, photos=5, ranks=SINGLE_PROCESS, masks=None, **augment):
    pixels = np.arange(photos * 32 * 24 * 3, dtype=np.uint64).reshape(photos, 32, 24, 3) % 251
    codes = np.array([0, 1, 0, 1, 1][:photos])[:, None]
    targets = np.eye(2, dtype=np.float32)[codes[:, 0]]
    worn = {"right": 1 - targets, "nose_out": 1 - targets, "under_chin": 1 - targets}
    training_set = TrainingSet(pixels.astype(np.uint8), np.arange(photos), codes, targets, masks=masks, worn=worn)
    augmenter = Augmenter([TASK], [AugmentConfig.model_validate(augment)], (32, 24))
    made = list(AugmentedViews(training_set, augmenter, views=number, batch=2, seed=0, ranks=ranks).load(0))
    images, all_targets = (torch.cat([batch[i] for batch in made]) for i in (0, 1))
    return images.numpy(), all_targets.numpy(), training_set


def test_each_view_has_all_photos_in_order_and_augments_them_anew():
    images, targets, training_set = views(every=[{"RandomBrightnessContrast": {"p": 1}}])
    assert len(images) == 2 * 5
    assert (targets == np.tile(training_set.targets, (2, 1))).all()
    first, second = images[:5], images[5:]
    assert all((a != b).any() for a, b in zip(first, second, strict=True))
    plain, _, _ = views(every=[])
    assert (plain == np.concatenate([training_set.pixels] * 2)).all()
    again, _, _ = views(every=[{"RandomBrightnessContrast": {"p": 1}}])
    assert (again == images).all()


def test_a_class_has_the_transforms_of_its_copies_in_turn():
    invert, grey = [{"InvertImg": {"p": 1}}], [{"ToGray": {"p": 1}}]
    images, _, training_set = views(5, every=[], classes={"old": {"multiplier": 3, "copies": [invert, grey]}})
    old = training_set.pixels[1]
    by_view = images.reshape(3, 5, 32, 24, 3)[:, 1]
    assert (by_view[0] == 255 - old).all()
    assert (by_view[1] == by_view[1][..., :1]).all()
    assert (by_view[2] == old).all()
    assert (images.reshape(3, 5, 32, 24, 3)[:, 0] == training_set.pixels[0]).all(), "young: no copies"


def test_a_drawn_mask_changes_the_label():
    face = np.array([[6, 10], [18, 10], [12, 17], [8, 22], [16, 22]], np.float32)
    images, targets, training_set = views(3, masks=DrawnMasks(np.tile(face, (5, 1, 1)), 1.0), every=[])
    changed = (images != training_set.pixels).any(axis=(1, 2, 3))
    assert changed.any()
    assert (targets[changed] == 1 - training_set.targets[changed]).all()
    assert (targets[~changed] == training_set.targets[~changed]).all()


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_the_photos_of_every_view(rank):
    every = [{"RandomBrightnessContrast": {"p": 1}}]
    alone, _, _ = views(every=every)
    ours, _, _ = views(every=every, ranks=Ranks(rank, 2, rank, 2))
    assert (ours == np.concatenate([view[rank::2] for view in np.split(alone, 2)])).all()
