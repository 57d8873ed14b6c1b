"""Augmented views of the photos of a training set, for a last layer that is fitted on a fixed number of them.

TrainingSet + Augmenter -> (images, targets) per batch, view after view, each with the photos in their order.

Views 0 and 1 are the photo as it is and its mirror image; they need no batches of their own. From view 2 on, a photo is
augmented as in an epoch of a training, with the copies' transforms of its class in turn, and may get a drawn mask.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from classify.data.augmentation import Augmenter, SampleDraw
from classify.data.batches import make_sample
from classify.data.loader import start_worker, worker_errors_in_words
from classify.data.training_set import TrainingSet
from classify.distributed import Ranks

UNAUGMENTED = 2  # the photo and its mirror image
Batch = tuple[Tensor, Tensor]  # images (N, H, W, 3) uint8 and targets (N, columns) float32


class AugmentedViews(Dataset[Batch]):
    """An item is one batch of one view: this process's part of the photos.

    Args:
        training_set: what is trained on.
        augmenter: of its tasks.
        views: of each photo, with the two that are not augmented.
        batch: images at once.
        seed: decides the augmentation.
        ranks: the processes that share the photos.
    """

    def __init__(
        self, training_set: TrainingSet, augmenter: Augmenter, *, views: int, batch: int, seed: int, ranks: Ranks
    ) -> None:
        self._training_set, self._augmenter, self._seed = training_set, augmenter, seed
        self._views = range(UNAUGMENTED, views)
        self._times = augmenter.multipliers(training_set.augmentation_groups)
        rows = np.arange(len(training_set.rows))[ranks.rank_slice].tolist()
        self._batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]

    def __len__(self) -> int:
        """Batches of all augmented views."""
        return len(self._views) * len(self._batches)

    def __getitem__(self, item: int) -> Batch:
        """The images and targets of one batch."""
        view, batch = divmod(item, len(self._batches))
        number = self._views[view]
        samples = [
            make_sample(
                self._training_set,
                self._augmenter,
                SampleDraw(row, (number - 1) % max(int(self._times[row]), 1)),  # copy 0 has been seen unaugmented
                seed=self._seed,
                epoch=number,
            )
            for row in self._batches[batch]
        ]
        images, targets = zip(*samples, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))

    def load(self, workers: int) -> Iterator[Batch]:
        """Yield all batches in order.

        Args:
            workers: processes that make them; 0 makes them in this one.

        Raises:
            UsageError: a process that makes batches has died.
        """
        loader = DataLoader(
            self,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),
        )
        with worker_errors_in_words():
            yield from loader
