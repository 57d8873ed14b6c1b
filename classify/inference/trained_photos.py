"""Which photos a bundle's networks are from: the run's photos and the fold of each, without the photos.

source ids and folds <-> a small file in the bundle; source id -> fold, or "not one of them".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class TrainedPhotos:
    """The photos of a run; in each fold are those that some networks may not have been trained on."""

    keys: NDArray[np.uint64]  # (N,) rising: the first 64 bits of each source id, too few to make up a photo from
    folds: NDArray[np.int16]  # (N,)

    @classmethod
    def of(cls, sources: Sequence[str], folds: Sequence[int]) -> "TrainedPhotos":
        """Make the record of photos with these source ids; identical files are in one fold."""
        keys, first = np.unique(_keys(sources), return_index=True)
        return cls(keys, np.array(folds, np.int16)[first])

    @classmethod
    def from_bytes(cls, content: bytes) -> "TrainedPhotos":
        """Read what `to_bytes` wrote; raises SafetensorError or KeyError if it is something else."""
        arrays = load(content)
        return cls(arrays["keys"], arrays["folds"])

    def to_bytes(self) -> bytes:
        """The content of the file, 10 bytes a photo."""
        return save({"keys": self.keys, "folds": self.folds})

    def folds_of(self, sources: Sequence[str]) -> NDArray[np.intp]:
        """(M,) the fold of each photo, or UNKNOWN if it is not one of the run's; an empty id is no photo's."""
        if not len(self.keys) or not len(sources):
            return np.full(len(sources), UNKNOWN, np.intp)
        keys = _keys(sources)
        rows = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        is_known = (self.keys[rows] == keys) & np.array([bool(source) for source in sources])
        return np.where(is_known, self.folds[rows], UNKNOWN).astype(np.intp)


def _keys(sources: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(source[:16] or "0", 16) for source in sources], np.uint64)
