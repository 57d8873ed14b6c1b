"""What the lists of transforms in the settings become: refused ones, compositions, and what stands at the edges."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from cache.errors import UsageError
from classify.config import AugmentConfig
from classify.data.augmentation import Augmenter, SampleDraw, build_augmenter, needed_margin
from classify.data.batches import EpochOfBatches
from classify.data.training_set import DrawnMasks, TrainingSet
from classify.models.network_plan import plan_networks
from classify.preprocessing import centre_of, margin_of, to_input, with_surroundings
from classify.tasks import Task
from pipeline.settings import load_settings

BEST_CPU = Path(__file__).parents[3] / "examples" / "best-cpu.yaml"
TASK = Task("age", ("young", "old"))
SIZE, ZOOM = (96, 72), 1.7
MARGIN = margin_of(SIZE, ZOOM)
FIRST = SampleDraw(0, 0)
GROUPS = np.array([0])


def augmenter(*every, size=SIZE, margin=MARGIN, **config):
    return Augmenter([TASK], [AugmentConfig(every=every, **config)], size, margin)


def augmented(image, *every, number=0, **keys):
    return augmenter(*every, **keys).apply(image, GROUPS, SampleDraw(number, 0), 0, 0)


def crop_of(rng=None):
    """A crop of coarse noise without a dark pixel."""
    rng = rng or np.random.default_rng(0)
    small = rng.integers(60, 256, (56, 42, 3), dtype=np.uint8)
    return cv2.resize(small, (336, 448), interpolation=cv2.INTER_LINEAR)


WIDE = with_surroundings(crop_of(), SIZE, ZOOM, MARGIN)
INPUT = to_input(crop_of(), SIZE, ZOOM)


@pytest.mark.parametrize("zoom", [1.0, 1.3, 1.7])
def test_the_affine_of_best_cpu_paints_no_black(zoom):
    settings = load_settings(BEST_CPU, ["model.input=[96,72]", f"model.zoom={zoom}"])
    [plan] = plan_networks(settings.tasks)
    [affine] = [entry for entry in plan.configs[0].augment.every if "Affine" in entry]
    margin = needed_margin(plan)
    assert margin == margin_of((96, 72), zoom)
    augment = augmenter(affine, margin=margin)
    image = with_surroundings(crop_of(), SIZE, zoom, margin)
    black = [(augment.apply(image, GROUPS, SampleDraw(row, 0), 0, 0).max(axis=2) == 0).mean() for row in range(200)]
    assert sum(share > 0.005 for share in black) == 0


GEOMETRIC = [
    {"Affine": {"rotate": [40, 40], "p": 1}}, {"Rotate": {"limit": [40, 40], "p": 1}},
    {"SafeRotate": {"limit": [40, 40], "p": 1}}, {"ShiftScaleRotate": {"p": 1}}, {"Perspective": {"p": 1}},
    {"ElasticTransform": {"alpha": 300, "sigma": 8, "p": 1}}, {"GridDistortion": {"p": 1}},
    {"OpticalDistortion": {"distort_limit": [0.6, 0.6], "p": 1}}, {"PiecewiseAffine": {"p": 1}},
    {"ThinPlateSpline": {"p": 1}}, {"CropAndPad": {"percent": [0.1, 0.2], "p": 1}},
    {"PadIfNeeded": {"min_height": 120, "min_width": 100, "p": 1}}, {"Pad": {"padding": 9, "p": 1}},
    {"RandomCrop": {"height": 120, "width": 100, "pad_if_needed": True, "p": 1}},
    {"OneOf": {"transforms": [{"Affine": {"rotate": [40, 40]}}, {"Rotate": {"limit": [40, 40]}}], "p": 1}},
    {"Sequential": {"transforms": [{"SomeOf": {"transforms": [{"Affine": {"rotate": [40, 40], "p": 1}}]}}], "p": 1}},
    {"OneOrOther": {"first": {"Affine": {"rotate": [40, 40]}}, "second": {"Rotate": {"limit": [40, 40]}}}},
]  # fmt: skip


@pytest.mark.parametrize("margin", [(0, 0), MARGIN])
@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda transform: next(iter(transform)))
def test_no_geometric_transform_paints_black(transform, margin):
    image = centre_of(WIDE, (MARGIN[0] - margin[0], MARGIN[1] - margin[1]))
    augment = augmenter(transform, margin=margin)
    for row in range(6):
        result = augment.apply(image, GROUPS, SampleDraw(row, 0), 0, 0)
        assert result.shape == (*SIZE, 3)
        assert (result.max(axis=2) < 20).mean() < 0.002


def test_a_fill_or_a_border_of_the_users_stays():
    for arguments in ({"fill": 0}, {"border_mode": 0}, {"border_mode": 0, "fill": 0}):
        turned = augmented(INPUT, {"Affine": {"rotate": [40, 40], "p": 1, **arguments}}, margin=(0, 0))
        assert (turned.max(axis=2) == 0).mean() > 0.1


def test_a_shift_brings_the_real_surroundings_in_and_is_a_share_of_the_input():
    rows = 12  # of 96
    shift = {"translate_percent": {"x": [0, 0], "y": [rows / 96, rows / 96]}, "p": 1, "interpolation": 0}
    expected = centre_of(np.roll(WIDE, rows, axis=0), MARGIN)
    assert np.abs(augmented(WIDE, {"Affine": shift}).astype(int) - expected).mean() < 0.5
    nested = {"OneOf": {"transforms": [{"Affine": shift}], "p": 1}}
    assert np.abs(augmented(WIDE, nested).astype(int) - expected).mean() < 0.5
    wide_only = expected[:rows].astype(int) - INPUT[:rows]
    assert np.abs(wide_only).mean() > 10, "these rows are not in the input"


def test_the_input_is_cut_after_the_last_geometric_transform_and_the_order_is_kept():
    half = {key: [0.5, 0.5] for key in ("hole_height_range", "hole_width_range")}
    wiped = {"CoarseDropout": {"num_holes_range": [1, 1], **half, "p": 1}}
    turn, flip = {"Affine": {"rotate": [90, 90], "p": 1}}, {"HorizontalFlip": {"p": 1}}
    holes = (augmented(np.full_like(WIDE, 200), turn, wiped).max(axis=2) == 0).mean()
    assert holes == pytest.approx(0.25, abs=0.01), "a quarter of the input, not of its surroundings"
    turned_first = augmented(WIDE, turn, flip)
    flipped_first = augmented(WIDE, flip, turn)
    assert (turned_first == flipped_first[::-1, ::-1]).mean() > 0.95


def test_a_transform_that_sets_a_size_before_a_geometric_one_gets_the_input():
    crop = {"CenterCrop": {"height": 48, "width": 36, "p": 1}}
    halved = augmented(WIDE, crop, {"Rotate": {"limit": [0, 0], "p": 1}})
    expected = cv2.resize(INPUT[24:72, 18:54], SIZE[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(halved.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("every", [(), ({"HorizontalFlip": {"p": 0}},), ({"Affine": {"rotate": [9, 9], "p": 0}},)])
def test_without_augmentation_training_sees_what_prediction_sees(every):
    assert (augmented(WIDE, *every) == INPUT).all()


def test_a_geometric_copy_is_enough_for_surroundings():
    turned = {"old": {"multiplier": 2, "copies": [[{"Rotate": {"limit": [40, 40], "p": 1}}]]}}
    assert augmenter(classes=turned).is_geometric
    assert augmenter({"OneOf": {"transforms": [{"Rotate": {}}]}}).is_geometric
    flips = [[{"HorizontalFlip": {}}, {"CenterCrop": {"height": 9, "width": 9}}, {"CropAndPad": {"percent": 0.1}}]]
    assert not augmenter(*flips[0], classes={"old": {"multiplier": 2, "copies": flips}}).is_geometric


def test_a_plan_needs_surroundings_only_where_pixels_are_turned():
    def margin(*options):
        [plan] = plan_networks(load_settings(BEST_CPU, options).tasks)
        assert build_augmenter(plan, needed_margin(plan))
        return needed_margin(plan)

    assert margin() == (40, 30)
    flips = ["age", "gender", "mask"]
    assert margin(*(f"tasks.{task}.augment.every=[HorizontalFlip: {{}}]" for task in flips)) == (0, 0)
    assert margin("train.probe=false", "train.freeze=true", "train.views=3") == (40, 30)
    assert margin("train.probe=false", "train.freeze=true", "train.views=2") == (0, 0)


def test_a_drawn_mask_goes_on_beyond_the_edge_of_the_input():
    # A face whose chin is at the lower edge of the input: what is shifted in from below is mask, not its end.
    points = np.array([[[24, 50], [48, 50], [36, 66], [26, 80], [46, 80]]], np.float32)
    landmarks = points + np.array(MARGIN[::-1], np.float32)
    masks = DrawnMasks(landmarks, 1.0, {"kf94": 1.0}, {"right": 1.0})
    face = np.full_like(WIDE, 110)
    targets = np.zeros((1, 2), np.float32)
    training_set = TrainingSet(face[None], np.arange(1), GROUPS[None], targets, masks=masks, worn={"right": targets})
    rows = 16
    shift = {"Affine": {"translate_percent": {"x": [0, 0], "y": [-rows / 96, -rows / 96]}, "p": 1}}
    epoch = EpochOfBatches(training_set, augmenter(shift), batch=1, seed=0, epoch=0)
    image, _ = epoch.image_and_targets(FIRST)
    drawn = np.abs(image.astype(int) - 110).max(axis=2) > 8
    assert drawn[-rows:, 30:42].any(), "the mask ends at the edge of the input"
    assert image.max(axis=2).min() > 0


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"ToTensorV2": {}}, r"ToTensorV2 leaves torch\.uint8 \(3, 96, 72\)"),
        ({"Normalize": {}}, r"Normalize leaves float32 \(96, 72, 3\)"),
        ({"ToFloat": {"p": 0.1}}, "ToFloat leaves float32"),
        ({"FromFloat": {}}, "FromFloat"),
        ({"ToGray": {"num_output_channels": 1}}, r"ToGray leaves uint8 \(96, 72\)"),
        ({"CenterCrop": {"height": 200, "width": 200, "p": 0.01}}, r"CenterCrop fails on a picture of 96x72"),
        ({"CoarseDropout": {"max_holes": 1}}, "CoarseDropout does not take {'max_holes': 1}.*max_holes"),
        ({"HorizontalFlop": {}}, "no transform 'HorizontalFlop'; the nearest names are HorizontalFlip"),
        ({"Task": {}}, "no transform 'Task'"),
        ({"MixUp": {}}, "no transform 'MixUp'"),
        ({"MaskDropout": {}}, "MaskDropout"),
        ({"Affine": {"rotate": "x"}}, "Affine does not take"),
        ({"OneOf": {"transforms": [{"HorizontalFlip": {}}, {"Normalize": {}}], "p": 0.1}}, "Normalize leaves float32"),
        ({"SomeOf": {"transforms": [{"HorizontalFlip": {}}], "n": 2}}, "SomeOf does not take"),
        ({"SomeOf": {"transforms": [{"ToTensorV2": {}}]}}, "ToTensorV2 leaves"),
        ({"Sequential": {"transforms": [{"CoarseDropout": {"max_holes": 1}}]}}, "CoarseDropout does not take"),
        ({"OneOf": {"transforms": [{"HorizontalFlip": {"p": 0}}]}}, "OneOf does not take"),
        ({"OneOf": {"transforms": "HorizontalFlip"}}, "OneOf has transforms inside; write them as in transforms: "),
        ({"OneOf": {}}, "OneOf does not take"),
        ({"OneOf": {"transforms": []}}, "OneOf has transforms inside"),
    ],
)
def test_a_transform_that_training_can_not_use_is_refused_by_name(transform, message):
    with pytest.raises(UsageError, match=r"tasks\.age\.augment\.every: .*" + message):
        augmenter(transform)
    with pytest.raises(UsageError, match=r"tasks\.age\.augment\.classes\.old\.copies: .*" + message):
        augmenter(classes={"old": {"multiplier": 2, "copies": [[transform]]}})


def test_a_transform_is_tried_on_the_sizes_that_those_before_it_leave():
    padded, cropped = {"min_height": 200, "min_width": 200}, {"CenterCrop": {"height": 150, "width": 150}}
    augmenter({"PadIfNeeded": {**padded, "p": 1}}, cropped)
    augmenter({"OneOf": {"transforms": [{"PadIfNeeded": {**padded, "p": 0.3}}], "p": 1}}, cropped)
    with pytest.raises(UsageError, match="CenterCrop fails on a picture of 96x72"):
        augmenter({"PadIfNeeded": {**padded, "p": 0.9}}, cropped)
    with pytest.raises(UsageError, match="CenterCrop fails on a picture of 96x72"):
        augmenter({"OneOf": {"transforms": [{"PadIfNeeded": padded}, {"HorizontalFlip": {}}], "p": 1}}, cropped)


@pytest.mark.parametrize(
    "transform",
    [
        {"RandomResizedCrop": {"size": [40, 30], "scale": [0.5, 1.0], "p": 1}},
        {"RandomRotate90": {"p": 1}},
        {"OneOf": {"transforms": [{"HorizontalFlip": {}}], "p": 1}},
        {"OneOf": {"transforms": [{"GaussianBlur": {"p": 1}}, {"OneOf": {"transforms": [{"ToGray": None}]}}]}},
        {"SomeOf": {"transforms": [{"HorizontalFlip": {}}, {"ToGray": {}}, {"Affine": {}}], "n": 2, "p": 0.7}},
        {"RandomOrder": {"transforms": [{"HorizontalFlip": {}}, {"CenterCrop": {"height": 40, "width": 40}}], "n": 2}},
        {"Sequential": {"transforms": [{"Resize": {"height": 300, "width": 300, "p": 1}}, {"RandomCrop": {"height": 250, "width": 250, "p": 1}}], "p": 0.5}},  # noqa: E501
        {"OneOrOther": {"first": {"HorizontalFlip": {}}, "second": {"ToGray": {"p": 1}}}},
        {"SelectiveChannelTransform": {"transforms": [{"GaussianBlur": {"p": 1}}], "channels": [0], "p": 0.5}},
        {"Compose": {"transforms": [{"ColorJitter": {}}, {"ISONoise": {}}]}},
        {"Affine": {"translate_percent": {"x": [-0.1, 0.1], "y": [-0.1, 0.1]}, "scale": {"x": [0.9, 1]}}},
    ],
    ids=lambda transform: next(iter(transform)),
)  # fmt: skip
def test_any_transform_that_leaves_a_picture_works_and_its_result_is_a_function_of_the_draw(transform):
    results = []
    for _ in range(2):
        augment = augmenter(transform, {"RandomBrightnessContrast": {"p": 0.5}})
        order = [*range(8)] if not results else random.Random(0).sample(range(8), 8)
        made = {row: augment.apply(WIDE, GROUPS, SampleDraw(row, 0), 0, 0) for row in order}
        results.append([made[row] for row in range(8)])
    assert all(image.shape == (*SIZE, 3) and image.dtype == np.uint8 for image in results[0])
    assert all((a == b).all() for a, b in zip(*results, strict=True))
    assert len({image.tobytes() for image in results[0]}) > 2


def test_whether_one_transform_is_applied_says_nothing_about_the_next():
    # With one seed for each, albumentations 2.0.8 applies all transforms of equal p to the same images.
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :36] = 10
    augment = augmenter({"HorizontalFlip": {"p": 0.5}}, {"InvertImg": {"p": 0.5}}, margin=(0, 0))
    made = [augment.apply(image, GROUPS, SampleDraw(row, 0), 0, 0) for row in range(400)]
    inverted = np.array([result.max() > 100 for result in made])
    flipped = np.array([result[0, 0, 0] in {0, 255} for result in made])
    assert 0.4 < inverted.mean() < 0.6
    assert 0.4 < flipped.mean() < 0.6
    assert 0.4 < (inverted == flipped).mean() < 0.6
