"""The batches of a training, epoch after epoch, made ahead by processes that live as long as the training.

epoch -> (images, targets) of each step, in order.

The processes do not stop at the end of an epoch: while its network is validated and saved, they make the first batches
of the next one.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cache.errors import UsageError
from classify.data.batches import EpochOfBatches

Batch = tuple[Tensor, Tensor]  # images and targets


class BatchLoader:
    """Makes the batches of all epochs of a training.

    Args:
        make_epoch: takes the keyword `epoch`, a number from 0 on; is sent to the processes, so it must be picklable.
        epochs: of the complete training; later ones are made, but not ahead.
        workers: processes that make batches; 0 makes them in this one, when they are needed.
        pin: keep them in pinned memory, for a copy to a GPU.
    """

    def __init__(self, make_epoch: Callable[..., EpochOfBatches], epochs: int, workers: int, *, pin: bool) -> None:
        self._epochs, self._workers, self._pin = epochs, workers, pin
        self._steps = _StepsOfAllEpochs(make_epoch)
        self._made: Iterator[Batch] = iter(())
        self._next_epoch = -1  # that `_made` continues with; -1 if it stopped within an epoch

    def epoch(self, epoch: int) -> EpochOfBatches:
        """The batches of one epoch, to look at or to make in this process."""
        return self._steps.epoch(epoch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield this process's images (N, H, W, 3) uint8 and targets (N, columns) float32 of each step of an epoch.

        Raises:
            UsageError: a process that makes batches has died.
        """
        # As a new DataLoader for each epoch did: dropout draws from the same generator.
        torch.empty((), dtype=torch.int64).random_()
        if epoch != self._next_epoch:
            self._made = self._from(epoch)
        self._next_epoch = -1
        for _ in range(len(self.epoch(epoch))):
            with worker_errors_in_words():
                batch = next(self._made)
            yield batch
        if epoch + 1 < self._epochs:
            self._next_epoch = epoch + 1
        else:
            self._made = iter(())  # ends the processes

    def _from(self, first: int) -> Iterator[Batch]:
        """The batches of all epochs from `first` on, one after another."""
        loader = DataLoader(
            self._steps,
            batch_size=None,
            sampler=_Order(self._steps, range(first, max(self._epochs, first + 1))),
            num_workers=self._workers,
            pin_memory=self._pin,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # else it would draw from the one of dropout
        )
        return iter(loader)


@contextmanager
def worker_errors_in_words() -> Generator[None]:
    """Raise a UsageError that says what to do when a process that makes batches has died."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UsageError(
            f"a process that makes batches has died: {error}.\nIf memory is short, start fewer processes with "
            "--workers; a container may have little shared memory (docker run --shm-size=8g gives it more)."
        ) from error


class _StepsOfAllEpochs(Dataset[Batch]):
    """An item is the batch of one step of one epoch. The order of an epoch is computed once in each process."""

    def __init__(self, make_epoch: Callable[..., EpochOfBatches]) -> None:
        self._make_epoch = make_epoch
        self._last: tuple[int, EpochOfBatches] | None = None

    def epoch(self, epoch: int) -> EpochOfBatches:
        if self._last is None or self._last[0] != epoch:
            self._last = epoch, self._make_epoch(epoch=epoch)
        return self._last[1]

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        epoch, step = item
        return self.epoch(epoch)[step]


class _Order:
    """The items of `_StepsOfAllEpochs` in order: (epoch, step)."""

    def __init__(self, steps: _StepsOfAllEpochs, epochs: range) -> None:
        self._steps, self._epochs = steps, epochs

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for epoch in self._epochs:
            for step in range(len(self._steps.epoch(epoch))):
                yield epoch, step


def start_worker(_: int) -> None:
    """Leave the other cores to the other processes; torch's threads are limited by the DataLoader."""
    cv2.setNumThreads(0)  # not 1: OpenCV would wait for its threads to end, which a forked process does not have
