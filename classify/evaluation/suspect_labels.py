"""Which labels are doubtful, the most doubtful first.

out-of-fold probabilities (N, C), the labels as class indices, the person of each photo -> ranked Suspects of one task.

A label is scored by cleanlab's normalised margin: 0 is surely wrong, 1 surely right, 0.5 where the given class and
the best other one are equally probable. What belongs together has one rank: all photos of a person, where the label is
the person's and not the photo's, and two photos of a person that seem to have each other's label.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.tasks import UNLABELLED

SHARE_OF_ONE_LABEL = 0.95
SMALLEST = 1e-3  # keeps one photo with a probability of 0 from deciding for all photos of its person


@dataclass(frozen=True, slots=True)
class Suspect:
    """Labels that are doubtful together.

    Attributes:
        rows: the photos, as rows of the arrays that were given.
        suggested: a class index for each of them.
        score: from 0, surely wrong, to 0.5.
    """

    rows: tuple[int, ...]
    suggested: tuple[int, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Suspects:
    """The doubtful labels of one task.

    Attributes:
        ranked: the most doubtful first.
        by_person: each of them is a person; else a photo, or two photos that were swapped.
    """

    ranked: tuple[Suspect, ...]
    by_person: bool


def find_suspects(probabilities: NDArray[np.float64], given: NDArray[np.intp], people: Sequence[str]) -> Suspects:
    """Rank the labels that the networks contradict.

    Args:
        probabilities: (N, C) of networks that were not trained on these photos.
        given: (N,) class index of each label; `UNLABELLED` rows are passed over.
        people: (N,) who is in each photo.

    Raises:
        UsageError: cleanlab is not installed.
    """
    labelled = np.flatnonzero(given != UNLABELLED)
    if not len(labelled):
        return Suspects((), by_person=False)
    units = [(int(row),) for row in labelled]
    by_person = is_label_of_person(given, people)
    if by_person:
        units = _people_with_one_label(labelled, given, people)
    told = np.stack([_together(probabilities[list(rows)]) for rows in units])
    if by_person:
        # A person with two labels is two units; the evidence for both is all that is known of the person.
        told = _pooled(told, units, people)
    codes = np.array([given[rows[0]] for rows in units], dtype=np.intp)
    quality, answers = label_quality(told, codes), told.argmax(axis=1)
    doubtful = np.flatnonzero(answers != codes).tolist()
    swaps = [] if by_person else _swaps([units[i][0] for i in doubtful], probabilities, given, people)
    swapped = {row for swap in swaps for row in swap.rows}
    suspects = [
        Suspect(units[i], (int(answers[i]),) * len(units[i]), float(quality[i]))
        for i in doubtful
        if units[i][0] not in swapped
    ]
    ranked = sorted([*swaps, *suspects], key=lambda one: (one.score, -len(one.rows), one.rows))
    return Suspects(tuple(ranked), by_person)


def is_label_of_person(given: NDArray[np.intp], people: Sequence[str]) -> bool:
    """Whether a label says something of the person (gender) and not of the photo (mask), as the labels tell.

    True when nearly all people of whom there are several labelled photos have one label only: the few others are
    mistakes.
    """
    labels: defaultdict[str, list[int]] = defaultdict(list)
    for person, code in zip(people, given.tolist(), strict=True):
        if code != UNLABELLED:
            labels[person].append(code)
    several = [len(set(codes)) == 1 for codes in labels.values() if len(codes) > 1]
    return bool(several) and sum(several) >= SHARE_OF_ONE_LABEL * len(several)


def label_quality(probabilities: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N,) in [0, 1]: cleanlab's normalised margin of the labels `codes`, (N,), under `probabilities`, (N, C).

    Raises:
        UsageError: cleanlab is not installed.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        raise UsageError("doubtful labels are found with cleanlab; pip install 'faceline[clean]'") from None
    return np.asarray(get_label_quality_scores(codes, probabilities, method="normalized_margin"), dtype=np.float64)


def _people_with_one_label(
    labelled: NDArray[np.intp], given: NDArray[np.intp], people: Sequence[str]
) -> list[tuple[int, ...]]:
    rows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row in map(int, labelled):
        key: tuple[str, int] = (people[row], int(given[row]))
        rows[key].append(row)
    return [tuple(one) for one in rows.values()]


def _together(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,): what several photos of one thing tell, as the mean of their log-probabilities."""
    if len(probabilities) == 1:
        return probabilities[0]
    mean = np.log(np.maximum(probabilities, SMALLEST)).mean(axis=0)
    likelihood = np.exp(mean - mean.max())
    return likelihood / likelihood.sum()


def _pooled(told: NDArray[np.float64], units: Sequence[tuple[int, ...]], people: Sequence[str]) -> NDArray[np.float64]:
    pooled = told.copy()
    owners = [people[rows[0]] for rows in units]
    for owner, count in Counter(owners).items():
        if count > 1:
            own = [i for i, one in enumerate(owners) if one == owner]
            pooled[own] = _together(np.repeat(told[own], [len(units[i]) for i in own], axis=0))
    return pooled


def _swaps(
    doubtful: Sequence[int], probabilities: NDArray[np.float64], given: NDArray[np.intp], people: Sequence[str]
) -> list[Suspect]:
    """Pairs of a person's doubtful photos, each told to be what the other is said to be; a photo is in one at most."""
    answers = probabilities.argmax(axis=1)
    waiting: defaultdict[tuple[str, int, int], list[int]] = defaultdict(list)
    for row in doubtful:
        waiting[people[row], int(given[row]), int(answers[row])].append(row)
    pairs: list[tuple[int, int]] = []
    for (person, said, told), firsts in waiting.items():
        if said < told:
            seconds = waiting.get((person, told, said), [])
            # The surest of the one kind with the surest of the other.
            one, other = (sorted(rows, key=lambda row: probabilities[row, given[row]]) for rows in (firsts, seconds))
            pairs += zip(one, other, strict=False)
    if not pairs:
        return []
    first, second = np.array(pairs, dtype=np.intp).T
    as_given = probabilities[first, given[first]] * probabilities[second, given[second]]
    exchanged = probabilities[first, given[second]] * probabilities[second, given[first]]
    both = np.stack([as_given, exchanged], axis=1)
    quality = label_quality(both / both.sum(axis=1, keepdims=True), np.zeros(len(both), dtype=np.intp))
    ordered = [tuple(sorted(pair)) for pair in pairs]
    return [
        Suspect(pair, (int(given[pair[1]]), int(given[pair[0]])), float(score))
        for pair, score in zip(ordered, quality, strict=True)
    ]
