"""Photos of different classes that are each other's nearest neighbour: where two classes touch.

In: features (N, D), class indices, the person in each photo. Out: Tomek links (Tomek, "Two Modifications of CNN",
1976).

Such photos lie on the border of two classes, or one of them has a wrong label. The links are a list to look through; of
each, the photo of the larger class is proposed for removal. Links within a person are no evidence of either, since the
photos are neighbours because of the person, so nothing is proposed for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from classify.tasks import UNLABELLED

DIMENSIONS = 64  # with a thousand dimensions, hardly any two photos are each other's nearest neighbour


@dataclass(frozen=True, slots=True)
class TomekLink:
    """Two photos, as rows of the arrays that were passed in."""

    first: int  # first, second: the photos; `first` is of the smaller class
    second: int
    distance: float  # between their embeddings
    same_person: bool  # whether both show the same person

    @property
    def removed(self) -> int | None:
        """The photo that is proposed for removal, of the larger class; None if both show the same person."""
        return None if self.same_person else self.second


def embedding_of(features: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
    """Scale features (N, D) to length 1 and keep their first principal components, (N, min(N, D, DIMENSIONS))."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    size = min(DIMENSIONS, *unit.shape)
    return np.asarray(PCA(size, random_state=seed).fit_transform(unit), dtype=np.float32)


def tomek_links(embedding: NDArray[np.float32], codes: NDArray[np.intp], people: Sequence[str]) -> list[TomekLink]:
    """Return all links, the closest first.

    Args:
        embedding: (N, D), in which similar photos are close.
        codes: (N,) class index of each photo; `UNLABELLED` rows are skipped.
        people: (N,) the person in each photo.
    """
    rows = np.flatnonzero(codes != UNLABELLED)
    if len(rows) < 2:
        return []
    nearest = NearestNeighbors(n_neighbors=1).fit(embedding[rows])
    # Without a query, no photo is its own neighbour, even if there is a copy of it.
    distances, neighbours = (column[:, 0] for column in nearest.kneighbors())
    sizes = np.bincount(codes[rows])
    links: list[TomekLink] = []
    for i, j in enumerate(neighbours.tolist()):
        if i < j and neighbours[j] == i and codes[rows[i]] != codes[rows[j]]:
            pair = int(rows[i]), int(rows[j])
            first, second = sorted(pair, key=lambda row: (sizes[codes[row]], codes[row]))
            links.append(TomekLink(first, second, float(distances[i]), people[first] == people[second]))
    return sorted(links, key=lambda link: (link.distance, link.first, link.second))
