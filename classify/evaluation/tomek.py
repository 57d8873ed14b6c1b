"""Photos of different classes that are each other's nearest neighbour: where two classes touch.

features (N, D), class indices, the person of each photo -> Tomek links (Tomek, "Two modifications of CNN", 1976).

Such photos lie on the border of two classes, or one of the two has a wrong label. It is a list to look at: of each link
the side of the larger class is proposed for removal. Two photos of one person are no such sign, for what makes them
neighbours is the person.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from classify.tasks import UNLABELLED

DIMENSIONS = 64  # in a thousand dimensions hardly any two photos are each other's nearest


@dataclass(frozen=True, slots=True)
class TomekLink:
    """Two photos, as rows of the arrays that were given.

    Attributes:
        first, second: the photos; `first` is of the smaller class.
        distance: between their features.
        same_person: both show one person.
    """

    first: int
    second: int
    distance: float
    same_person: bool

    @property
    def removed(self) -> int | None:
        """The photo that is proposed for removal, of the larger class; None within a person."""
        return None if self.same_person else self.second


def embedding_of(features: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
    """Features (N, D) of length one, in at most `DIMENSIONS` of their principal components: (N, min(N, D, 64))."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    size = min(DIMENSIONS, *unit.shape)
    return np.asarray(PCA(size, random_state=seed).fit_transform(unit), dtype=np.float32)


def tomek_links(embedding: NDArray[np.float32], codes: NDArray[np.intp], people: Sequence[str]) -> list[TomekLink]:
    """All links, the closest first.

    Args:
        embedding: (N, D), where near is alike.
        codes: (N,) class index of each photo; `UNLABELLED` rows are passed over.
        people: (N,) who is in each photo.
    """
    rows = np.flatnonzero(codes != UNLABELLED)
    if len(rows) < 2:
        return []
    nearest = NearestNeighbors(n_neighbors=1).fit(embedding[rows])
    distances, found = nearest.kneighbors()  # without a query, no photo is its own neighbour, copies included
    distance, neighbour = distances[:, 0], found[:, 0]
    own = codes[rows]
    sizes = np.bincount(own)
    links: list[TomekLink] = []
    for here in range(len(rows)):
        there = int(neighbour[here])
        if here < there and neighbour[there] == here and own[here] != own[there]:
            first, second = sorted((here, there), key=lambda one: (sizes[own[one]], own[one]))
            pair = int(rows[first]), int(rows[second])
            links.append(TomekLink(*pair, float(distance[here]), people[pair[0]] == people[pair[1]]))
    return sorted(links, key=lambda link: (link.distance, link.first, link.second))
