"""From samples to what a network learns from: rules, ranges left out, chances, drawn masks."""

import uuid

import numpy as np
import pytest

from cache.errors import UsageError
from classify.data.sample import Sample
from classify.models.network_plan import plan_networks
from classify.preprocessing import centre_of, margin_of
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.settings import load_settings
from pipeline.training.network_data import augmentation_groups, network_data
from pipeline.training.samples import make_samples
from tests.pipeline.conftest import TINY, drawn_data


def settings_of(*overrides):
    return load_settings(None, [*TINY, "train.epochs=1", *overrides])


def plan_of(settings, name):
    return next(plan for plan in plan_networks(settings.tasks) if plan.name == name)


def samples():
    """mask5 and normal of two people."""
    rows = [("005401_male_Asian_45", 0, 45.0), ("000001-1_female_Asian_62", 1, 62.0)]
    return [
        Sample(
            f"train/images/{person}/{stem}.jpg",
            "0" * 64,
            person,
            (mask, gender, int(age >= 60) + 1),
            (np.nan, np.nan, age),
            0,
        )
        for person, gender, age in rows
        for stem, mask in (("mask5", 0), ("normal", 2))
    ]


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("stem = 'mask5' AND id BETWEEN '005400' AND '005599'", [True, False, False, False]),
        ("age >= 60", [False, False, True, True]),
        ("gender = 'female' AND mask = 'normal'", [False, False, False, True]),
        ("folder LIKE '000001-1%'", [False, False, True, True]),
    ],
)
def test_a_rule_chooses_photos_by_name_person_and_label(rule, chosen):
    settings = settings_of(f'tasks.mask.augment.groups=[{{where: "{rule}", multiplier: 4}}]')
    kinds = augmentation_groups(plan_of(settings, "mask"), samples(), settings.task_list())[:, 0]
    assert (kinds == 3).tolist() == chosen
    assert kinds[~np.array(chosen)].tolist() == [s.codes[0] for s, c in zip(samples(), chosen, strict=True) if not c]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("stam = 'mask5'", "stem"),
        ("age +", "unable to parse"),
        ("age", "no condition"),
        ("age IN (SELECT age FROM read_csv('ages.csv'))", "'SELECT' is not allowed"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(rule, said):
    settings = settings_of(f'tasks.age.augment.groups=[{{where: "{rule}"}}]')
    with pytest.raises(UsageError, match=rf"tasks\.age\.augment\.groups.*{said}"):
        augmentation_groups(plan_of(settings, "age"), samples(), settings.task_list())


@pytest.fixture
def data_of(drawn, shared_cache, tmp_path):
    def make(settings, name, fold=0):
        context = RunContext(settings, shared_cache, "cpu")
        photos = drawn_data(drawn)
        detection = detect_photos(photos, context)
        made = make_samples(photos, detection, tmp_path / uuid.uuid4().hex, context)
        return network_data(plan_of(settings, name), made, () if fold is None else (fold,), detection, context), made

    return make


def test_ranges_left_out_are_validated_but_not_learnt(data_of):
    data, made = data_of(settings_of("tasks.age.drop=[[0, 40]]"), "age")
    ages = np.array([sample.numbers[2] for sample in made])
    folds = np.array([sample.fold for sample in made])
    assert set(data.train) == set(np.flatnonzero((ages > 40) & (folds != 0)))
    assert set(data.validate) == set(np.flatnonzero(folds == 0))


def test_a_shared_network_learns_the_other_tasks_of_photos_that_one_leaves_out(data_of):
    data, made = data_of(settings_of("tasks.age.drop=[[0, 40]]", "model.sharing=shared"), "shared")
    assert len(data.train) == sum(sample.fold != 0 for sample in made)
    assert not data.label_mask[[sample.numbers[2] <= 40 for sample in made], 2].any()
    assert data.label_mask[:, :2].all()


@pytest.mark.parametrize("sampling", ["class", "joint"])
def test_drawing_evens_out_what_it_says_among_the_photos_trained_on(data_of, sampling):
    settings = settings_of(f"train.sampling={sampling}", "tasks.age.drop=[[0, 24]]")
    data, made = data_of(settings, "age")
    everyone, _ = data_of(settings_of("train.sampling=class", "model.sharing=shared"), "shared")
    some, _ = data_of(settings_of("train.sampling=class", "model.sharing=shared", "tasks.age.drop=[[0, 24]]"), "shared")
    assert some.sampling_weights[some.train].tolist() == everyone.sampling_weights[everyone.train].tolist(), (
        "no group of those left out"
    )
    groups = {}
    for row in data.train.tolist():
        key = made[row].codes if sampling == "joint" else made[row].codes[2]
        groups[key] = groups.get(key, 0) + data.sampling_weights[row]
    assert len(groups) > 1
    assert list(groups.values()) == pytest.approx([1] * len(groups))


@pytest.mark.parametrize("more", [["train.sampling=class"], ["model.sharing=shared"], []])
def test_a_multiplier_of_0_leaves_a_class_out_of_its_task_however_samples_are_chosen(data_of, more):
    settings = settings_of("tasks.mask.augment.classes.wear.multiplier=0", *more)
    shared = "model.sharing=shared" in more
    data, made = data_of(settings, "shared" if shared else "mask")
    worn = np.array([sample.codes[0] == 0 for sample in made])
    assert not data.label_mask[worn, 0].any()
    assert data.label_mask[~worn].all()
    assert bool(set(data.train) & set(np.flatnonzero(worn))) == shared, "the other tasks learn from them"
    assert set(np.flatnonzero(worn)) & set(data.validate), "they still count at validation"


def test_masks_are_drawn_on_maskless_faces_only_and_change_the_label(data_of):
    settings = settings_of("tasks.mask.augment.masks=1.0")
    plan = plan_of(settings, "mask")
    data, _ = data_of(settings, "mask")
    bare = data.codes[:, 0] == 2
    known = ~np.isnan(data.masks.landmarks[:, 0, 0])
    assert known.any()
    assert not known[~bare].any()
    height, width = plan.model.input
    eyes = data.masks.landmarks[known][:, :2]
    assert ((eyes > 0) & (eyes < (width, height))).all(), "in pixels of the input"
    row = int(np.flatnonzero(known)[0])
    image, wearing = data.masks.draw(data.pixels[row], row, np.random.default_rng(0))
    assert wearing in {"right", "nose_out", "under_chin", None}
    if wearing:
        assert (image != data.pixels[row]).any()
    worn = data.training_set(plan.heads).worn
    assert worn["right"].argmax(1).tolist() == [0] * len(data.train)
    assert worn["nose_out"].argmax(1).tolist() == [1] * len(data.train)


def test_pixels_that_are_turned_are_packed_with_their_surroundings_and_masks_are_drawn_on_those(data_of):
    turned = "tasks.mask.augment.every=[Rotate: {limit: [-20, 20]}]"
    plain, _ = data_of(settings_of("tasks.mask.augment.masks=1.0"), "mask")
    data, _ = data_of(settings_of("tasks.mask.augment.masks=1.0", turned), "mask")
    assert plain.wide is None
    assert data.wide is not None
    assert data.margin == margin_of((32, 24), 1.3) == (4, 3)
    assert (data.pixels == plain.pixels).all(), "held-out photos are what prediction sees"
    assert (centre_of(data.wide, data.margin) == plain.pixels).all()
    assert (data.masks.landmarks - plain.masks.landmarks)[data.codes[:, 0] == 2] == pytest.approx(
        np.broadcast_to([3.0, 4.0], (int((data.codes[:, 0] == 2).sum()), 5, 2)), nan_ok=True
    )
    training_set = data.training_set(plan_of(settings_of(turned), "mask").heads)
    assert training_set.pixels.shape[1:] == (40, 30, 3)


def test_masks_are_worn_as_the_weights_say(data_of):
    settings = settings_of("tasks.mask.augment.masks=1.0", "masks.wearings={nose_out: 1}", "masks.fabrics={cloth: 1}")
    data, _ = data_of(settings, "mask")
    known = np.flatnonzero(~np.isnan(data.masks.landmarks[:, 0, 0]))
    worn = {data.masks.draw(data.pixels[row], row, np.random.default_rng(int(row)))[1] for row in known}
    assert "nose_out" in worn
    assert not worn & {"right", "under_chin"}


def test_masks_follow_the_faces_of_aligned_crops(data_of):
    data, _ = data_of(settings_of("tasks.mask.augment.masks=1.0", "crop.align=true", "model.input=[256,192]"), "mask")
    landmarks = data.masks.landmarks[~np.isnan(data.masks.landmarks[:, 0, 0])]
    assert len(landmarks), "a turned window has landmarks, too"
    left, right = landmarks[:, 0], landmarks[:, 1]
    assert np.abs(left[:, 1] - right[:, 1]).max() < 0.1, "the eyes are level"
    assert (landmarks[:, 3:, 1].mean(axis=1) > left[:, 1]).all()


def test_drawn_masks_need_the_task_that_they_change(data_of):
    with pytest.raises(UsageError, match=r"masks\.task: there is no task 'mask'"):
        data_of(settings_of("tasks.mask=null", "tasks.age.augment.masks=0.5"), "age")
    with pytest.raises(UsageError, match=r"masks\.bare: the task mask has no class 'none'"):
        data_of(settings_of("masks.bare=none", "tasks.age.augment.masks=0.5"), "age")
