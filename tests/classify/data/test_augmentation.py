import numpy as np
import pytest
import torch

from cache.errors import UsageError
from classify.config import AugmentConfig
from classify.data.augmentation import Augmenter, SampleDraw
from classify.data.batches import EpochOfBatches
from classify.data.training_set import TrainingSet
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.tasks import Task

TASK = Task("age", ("young", "old"))
SIZE = (32, 24)
NOISE = np.random.default_rng(0).integers(0, 255, (40, *SIZE, 3), dtype=np.uint8)
CODES = np.array([0] * 30 + [1] * 10)
GROUPS = CODES[:, None]
YOUNG, OLD = np.array([0]), np.array([1])
STRONG = ({"Affine": {"rotate": [-40, 40], "p": 1.0}}, {"RandomBrightnessContrast": {"p": 1.0}})


def augmenter(**config):
    return Augmenter([TASK], [AugmentConfig(**config)], SIZE)


def epoch_of(pixels, codes, augmenter, **keys):
    """One epoch over samples of one task."""
    codes = np.asarray(codes, np.intp)[:, None]
    targets = np.eye(codes.max() + 1, dtype=np.float32)[codes[:, 0]]
    return EpochOfBatches(TrainingSet(pixels, np.arange(len(pixels)), codes, targets), augmenter, **keys)


def test_a_multiplier_shows_a_class_that_often():
    of_old = augmenter(classes={"old": {"multiplier": 6}})
    draws = of_old.draw_epoch(GROUPS, seed=0, epoch=0)
    assert len(draws) == 90
    assert sorted(draw.copy for draw in draws if draw.row == 35) == [0, 1, 2, 3, 4, 5]


PEOPLE = np.repeat(np.arange(8), 5)


def paired_epoch(training_set=None, **keys):
    training_set = training_set or TrainingSet(
        NOISE, np.arange(40), GROUPS, np.eye(2, dtype=np.float32)[CODES], codes=GROUPS, person_ids=PEOPLE
    )
    keys = {"batch": 8, "seed": 0, "epoch": 0, "in_pairs": True, **keys}
    return EpochOfBatches(training_set, augmenter(every=()), **keys)


def rows_of(batches):
    """The rows of an epoch in order, recognised by their pixels, which are all different."""
    images = torch.cat([batches[step][0] for step in range(len(batches))]).numpy()
    number = {image.tobytes(): row for row, image in enumerate(NOISE)}
    return torch.tensor([number[image.tobytes()] for image in images])


def pair_masks_of(batches):
    return torch.cat([batches.pair_mask(step) for step in range(len(batches))])


def test_pairs_are_of_one_person_and_nobody_is_lost():
    order = [*range(3)]
    for epoch in order:
        batches = paired_epoch(epoch=epoch)
        rows = rows_of(batches)
        assert sorted(rows.tolist()) == list(range(40))
        same = PEOPLE[rows[::2]] == PEOPLE[rows[1::2]]
        assert same.sum() == 16, "of five photos, two pairs and one left over"
        assert not same[:16].all(), "those left over are not the last"
        assert pair_masks_of(batches)[:, 0].tolist() == same.tolist()
        order[epoch] = rows.tolist()
    assert order[0] != order[1] != order[2]


def test_pairs_count_only_with_one_known_label_and_when_nothing_is_mixed():
    codes = np.where(np.arange(40) % 5 == 0, -1, np.arange(40) % 2)[:, None]
    training_set = TrainingSet(
        NOISE, np.arange(40), GROUPS, np.eye(2, dtype=np.float32)[CODES], codes=codes, person_ids=PEOPLE
    )
    batches = paired_epoch(training_set)
    rows = rows_of(batches)
    of_pairs = codes[rows, 0].reshape(-1, 2)
    expected = (PEOPLE[rows[::2]] == PEOPLE[rows[1::2]]) & (of_pairs[:, 0] == of_pairs[:, 1]) & (of_pairs[:, 0] >= 0)
    assert 0 < expected.sum() < 16
    assert pair_masks_of(batches)[:, 0].tolist() == expected.tolist()
    assert not pair_masks_of(paired_epoch(training_set, mixup=1.0)).any()
    assert not pair_masks_of(paired_epoch(training_set, cutmix=1.0)).any()


def test_a_multiplier_of_zero_leaves_a_class_out():
    draws = augmenter(classes={"young": {"multiplier": 0}}).draw_epoch(GROUPS, seed=0, epoch=0)
    assert {draw.row for draw in draws} == set(range(30, 40))


@pytest.mark.parametrize("rows", [40, 0])
def test_an_epoch_without_a_photo_is_an_error_in_words(rows):
    nothing = augmenter(classes={"young": {"multiplier": 0}, "old": {"multiplier": 0}})
    codes = np.array(CODES[:rows], np.intp)[:, None]
    training_set = TrainingSet(NOISE[:rows], np.arange(rows), codes, np.zeros((rows, 2), np.float32))
    with pytest.raises(UsageError, match="no photo to train on"):
        EpochOfBatches(training_set, nothing, batch=8, seed=0, epoch=0)


def test_the_first_draw_is_plain_and_each_copy_has_its_own_transforms():
    copies = [[{"ToGray": {"p": 1.0}}], [{"InvertImg": {"p": 1.0}}]]
    augment = augmenter(every=(), classes={"old": {"multiplier": 4, "copies": copies}})
    images = [augment.apply(NOISE[0], OLD, SampleDraw(0, copy), 0, 0) for copy in range(4)]
    assert (images[0] == NOISE[0]).all()
    assert (images[1][..., 0] == images[1][..., 1]).all()
    assert (images[2] == 255 - NOISE[0]).all()
    assert (images[3] == images[1]).all(), "after the last list the first one comes again"
    assert (augment.apply(NOISE[0], YOUNG, SampleDraw(0, 1), 0, 0) == NOISE[0]).all(), "the other class has none of it"


def test_a_transform_that_changes_the_size_is_brought_back():
    augment = augmenter(every=({"CenterCrop": {"height": 16, "width": 12}},))
    assert augment.apply(NOISE[0], YOUNG, SampleDraw(0, 0), 0, 0).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("transform", "message"),
    [({"HorizontalFlop": {}}, "no transform 'HorizontalFlop'"), ({"Affine": {"rotate": "x"}}, "Affine")],
)
def test_a_wrong_transform_is_refused_with_its_place_in_the_config(transform, message):
    with pytest.raises(UsageError, match=rf"tasks\.age\.augment\.every.*{message}"):
        augmenter(every=(transform,))


def test_epochs_differ_and_so_do_seeds():
    first, *others = (
        epoch_of(NOISE, CODES, augmenter(every=STRONG), batch=8, cutmix=0.5, seed=seed, epoch=epoch)[0][0].numpy()
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    )
    assert not any((first == other).all() for other in others)


def test_swapping_halves_mixes_the_labels_as_the_pixels():
    images, shares = (part.numpy() for part in mixed_step())
    assert shares.sum(axis=1) == pytest.approx(1)
    assert sorted(images[:, 0, 7, 0]) == sorted(images[:, 0, 0, 0]) == list(range(8))
    for image, share in zip(images, shares, strict=True):
        left, right = int(image[0, 0, 0]), int(image[0, -1, 0])
        assert (image[:, :4] == left).all()
        assert (image[:, 4:] == right).all()
        assert share[left] == share[right] == (1.0 if left == right else 0.5)


def mixed_step(ranks=SINGLE_PROCESS, *, scale=1, **mixing):
    """Eight images, each of one brightness that is its class (times `scale`), all mixed."""
    images = np.stack([np.full((8, 8, 3), value * scale, np.uint8) for value in range(8)])
    task = Task("brightness", tuple("abcdefgh"))
    plain = Augmenter([task], [AugmentConfig(every=())], (8, 8))
    return epoch_of(images, np.arange(8), plain, batch=8, seed=3, epoch=0, ranks=ranks, **mixing or {"cutmix": 1})[0]


def test_blends_have_the_same_shares_of_pixels_and_labels():
    images, shares = mixed_step(scale=30, mixup=1)
    assert any(row.max() < 0.999 for row in shares), "somebody is blended with another"
    for image, share in zip(images, shares, strict=True):
        assert share.sum().item() == pytest.approx(1)
        blend = 30 * (share * torch.arange(8)).sum().item()
        assert image.float().numpy() == pytest.approx(np.full((8, 8, 3), blend), abs=0.51)


def test_three_processes_make_the_parts_of_the_step_that_one_makes():
    images, shares = mixed_step()
    for rank in range(3):
        ranks = Ranks(rank, 3)
        part, part_shares = mixed_step(ranks)
        assert torch.equal(part, images[ranks.rank_slice])
        assert torch.equal(part_shares, shares[ranks.rank_slice])


def test_a_step_with_fewer_photos_than_processes_is_refused():
    with pytest.raises(UsageError, match=r"a step of 8 photos can't be divided among 9 processes.*train\.batch"):
        mixed_step(Ranks(0, 9))


def test_balance_evens_the_classes_out_but_for_those_with_a_multiplier():
    assert augmenter(balance=1.0).multipliers(GROUPS)[[0, 35]].tolist() == [1, 3]
    assert augmenter(balance=0.5).multipliers(GROUPS)[[0, 35]].tolist() == [1, 2]
    given = augmenter(balance=1.0, classes={"old": {"multiplier": 5}})
    assert given.multipliers(GROUPS)[[0, 35]].tolist() == [1, 5]


def test_a_group_has_a_multiplier_and_copies_of_its_own():
    augment = augmenter(every=(), groups=[{"where": "true", "multiplier": 3, "copies": [[{"InvertImg": {"p": 1.0}}]]}])
    groups = GROUPS.copy()
    groups[0] = 2  # after the two classes
    assert augment.multipliers(groups)[[0, 1]].tolist() == [3, 1]
    assert (augment.apply(NOISE[0], groups[0], SampleDraw(0, 1), 0, 0) == 255 - NOISE[0]).all()


def test_with_several_tasks_a_sample_is_shown_as_often_as_the_rarest_needs():
    tasks = [TASK, Task("mask", ("on", "off"))]
    configs = [AugmentConfig(classes={"old": {"multiplier": 4}}), AugmentConfig(classes={"on": {"multiplier": 2}})]
    groups = np.array([[0, 0], [1, 0], [0, 1], [-1, 0]])
    assert Augmenter(tasks, configs, SIZE).multipliers(groups).tolist() == [2, 4, 1, 2]


def test_drawn_samples_are_as_many_and_even_the_classes_out():
    sampling_weights = 1.0 / np.bincount(CODES)[CODES]
    augment = augmenter(classes={"old": {"multiplier": 40}})
    draws = augment.draw_epoch(GROUPS, 0, 0, sampling_weights / sampling_weights.sum())
    assert len(draws) == 30 + 400
    of_old = [draw for draw in draws if draw.row >= 30]
    assert 0.4 < len(of_old) / len(draws) < 0.6
    assert len(set(draws)) == len(draws), "no draw comes twice"


def test_other_halves_come_from_the_chosen_class():
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in range(8)])
    plain = Augmenter([Task("brightness", tuple("abcdefgh"))], [AugmentConfig(every=())], (8, 8))
    keys = {"batch": 8, "cutmix": 1, "seed": 3, "epoch": 0, "cutmix_mask": np.arange(8) == 5}
    mixed, targets = epoch_of(images, np.arange(8), plain, **keys)[0]
    assert (mixed[:, :, 4:] == 5).all()
    assert (targets[:, 5] >= 0.5).all()
