import multiprocessing
import os
import pickle
import signal
import time
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from cache.errors import UsageError
from classify.config import AugmentConfig
from classify.data.augmentation import Augmenter
from classify.data.batches import EpochOfBatches
from classify.data.loader import BatchLoader
from classify.data.training_set import TrainingSet
from classify.tasks import Task

SIZE = (32, 24)
NOISE = np.random.default_rng(0).integers(0, 255, (40, *SIZE, 3), dtype=np.uint8)
CODES = np.array([0] * 30 + [1] * 10, np.intp)[:, None]
STRONG = ({"Affine": {"rotate": [-40, 40], "p": 1.0}}, {"RandomBrightnessContrast": {"p": 1.0}})


def training_set(pixels=NOISE):
    return TrainingSet(pixels, np.arange(40), CODES, np.eye(2, dtype=np.float32)[CODES[:, 0]])


def loader(workers, epochs=3, pixels=NOISE, epoch_type=EpochOfBatches):
    augmenter = Augmenter([Task("age", ("young", "old"))], [AugmentConfig(every=STRONG)], SIZE)
    make_epoch = partial(epoch_type, training_set(pixels), augmenter, batch=8, cutmix=0.5, seed=0)
    return BatchLoader(make_epoch, epochs, workers, pin=False)


def images_of(loader, epochs):
    return [images.numpy().copy() for epoch in epochs for images, _ in loader.batches(epoch)]


def same(first, second):
    return all((a == b).all() for a, b in zip(first, second, strict=True))


class WithProcess(EpochOfBatches):
    """The targets of a batch are the process that made it, OpenCV's threads there, and the epoch."""

    def __getitem__(self, step):
        images, _ = super().__getitem__(step)
        return images, torch.tensor([os.getpid(), cv2.getNumThreads(), self._epoch])


class Killed(EpochOfBatches):
    def __getitem__(self, step):
        os.kill(os.getpid(), signal.SIGBUS)


def test_batches_are_the_same_for_any_number_of_workers():
    assert same(images_of(loader(0), range(3)), images_of(loader(2), range(3)))


def test_a_training_that_goes_on_gets_the_batches_of_an_uninterrupted_one():
    uninterrupted = images_of(loader(2), range(3))
    stopped = loader(2)
    next(stopped.batches(0))
    assert same(images_of(stopped, range(1, 3)), uninterrupted[5:])
    assert same(images_of(loader(2), range(1, 3)), uninterrupted[5:])


def test_no_augmented_image_comes_twice_over_workers_and_epochs():
    # albumentations 2.0.8 alone repeats all of them: every worker and every epoch draws the same.
    batches = images_of(loader(2, pixels=np.repeat(NOISE[:1], 40, axis=0)), range(3))
    assert len({image.tobytes() for images in batches for image in images}) > 0.95 * 3 * 40


def test_the_same_processes_make_all_epochs_on_one_core_each_and_end_with_the_last():
    batches = loader(2, epoch_type=WithProcess)
    made = torch.stack([targets for epoch in range(3) for _, targets in batches.batches(epoch)])
    assert made[:, 2].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert made[:, 1].tolist() == [1] * 15
    workers = set(made[:, 0].tolist())
    assert len(workers) == 2
    assert not workers & {process.pid for process in multiprocessing.active_children()}


def test_the_next_epoch_is_begun_while_the_network_is_validated(tmp_path):
    class Noting(EpochOfBatches):
        def __getitem__(self, step):
            (tmp_path / f"{self._epoch}-{step}").touch()
            return super().__getitem__(step)

    batches = loader(1, epoch_type=Noting)
    images_of(batches, [0])
    deadline = time.monotonic() + 20
    while not (tmp_path / "1-0").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_making_batches_ahead_leaves_the_random_numbers_of_dropout_alone():
    drawn = []
    for workers in (0, 2):
        torch.manual_seed(3)
        images_of(loader(workers), range(2))
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]


def test_a_process_that_died_is_reported_with_what_to_do():
    with pytest.raises(UsageError, match=r"has died.*\n.*--workers"):
        images_of(loader(1, epoch_type=Killed), [0])


@pytest.fixture
def mapped(tmp_path):
    pixels = np.repeat(NOISE, 50, axis=0)
    np.save(tmp_path / "pixels.npy", pixels)
    return np.load(tmp_path / "pixels.npy", mmap_mode="r")


def test_a_process_gets_the_place_of_mapped_pixels_and_not_the_pixels(mapped):
    content = pickle.dumps(training_set(mapped))
    assert len(content) < 20_000 < mapped.nbytes
    received = pickle.loads(content)
    assert isinstance(received.pixels, np.memmap)
    assert (received.pixels == mapped).all()
    assert not received.pixels.flags.writeable
    assert (received.targets == training_set().targets).all()


@pytest.mark.parametrize("part", [np.s_[5:], np.s_[:, 4:-4], np.s_[::2]])
def test_a_part_of_mapped_pixels_arrives_unchanged(mapped, part):
    assert (pickle.loads(pickle.dumps(training_set(mapped[part]))).pixels == mapped[part]).all()


@pytest.fixture
def spawned_processes():
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)  # as on macOS and Windows
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("spawned_processes")
def test_batches_are_the_same_from_processes_that_start_afresh(mapped):
    assert same(images_of(loader(1, 1, mapped), [0]), images_of(loader(0, 1, mapped), [0]))
