"""How often an epoch shows each class: the figures that are printed, kept and reported."""

import numpy as np
import pytest

from classify.data.training_set import DrawnMasks, NetworkData
from classify.models.network_plan import plan_networks
from pipeline.settings import load_settings
from pipeline.training.class_counts import class_counts

WEAR, INCORRECT, NORMAL = range(3)
CODES = np.array([WEAR] * 5 + [INCORRECT] + [NORMAL] * 4 + [WEAR, NORMAL, NORMAL])[:, None]  # the last three held out
WORN = {"right": WEAR, "nose_out": INCORRECT, "under_chin": INCORRECT}


def counts_of(*settings, **more):
    """`photos`, `shown` and `held_out` of each class of the task mask."""
    tasks = load_settings(None, ["tasks.gender=null", "tasks.age=null", *settings]).tasks
    [plan] = plan_networks(tasks)
    rows = np.arange(len(CODES))
    data = NetworkData(
        np.zeros((len(CODES), 8, 6, 3), np.uint8), CODES, np.full(CODES.shape, np.nan), np.ones(CODES.shape, bool),
        CODES, rows[:10], rows[10:], **more,
    )  # fmt: skip
    return [(count.photos, count.shown, count.held_out) for count in class_counts(plan, data, "mask")]


def test_without_augmentation_each_photo_is_shown_once():
    assert counts_of() == [(5, 5, 1), (1, 1, 0), (4, 4, 2)]


def test_a_multiplier_shows_a_class_that_much_more_often():
    assert counts_of("tasks.mask.augment.classes.incorrect.multiplier=3") == [(5, 5, 1), (1, 3, 0), (4, 4, 2)]


def test_drawing_by_weight_evens_classes_out():
    weights = np.choose(CODES[:, 0], [1 / 5, 1, 1 / 4])
    assert counts_of(sampling_weights=weights) == [(5, 3, 1), (1, 3, 0), (4, 3, 2)]


@pytest.mark.parametrize(
    ("wearings", "shown"), [({"right": 1}, (7, 1, 2)), ({"under_chin": 3, "nose_out": 1}, (5, 3, 2))]
)
def test_drawn_masks_move_maskless_faces_to_the_class_of_the_mask(wearings, shown):
    landmarks = np.full((len(CODES), 5, 2), np.nan, np.float32)
    landmarks[CODES[:, 0] == NORMAL] = 3
    masks = DrawnMasks(landmarks, 0.5, wearings=wearings, task=0, codes=WORN)
    assert tuple(count[1] for count in counts_of(masks=masks)) == shown
