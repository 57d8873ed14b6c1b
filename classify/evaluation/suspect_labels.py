"""Which labels are doubtful, the most doubtful first.

In: out-of-fold probabilities (N, C), the labels as class indices, the person in each photo. Out: ranked Suspects of one
task.

A label's score is cleanlab's normalised margin: 0 is certainly wrong, 1 certainly right, 0.5 where the given class and
the best other class are equally probable. Labels that are wrong together share a rank: all photos of a person, if the
label describes the person and not the photo; and two photos of a person that seem to have each other's label.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.tasks import UNLABELLED

CONSISTENT_SHARE = 0.95  # of the people, for a label that describes the person
MIN_PROBABILITY = 1e-3  # keeps a single photo with a probability of 0 from deciding for all photos of its person


@dataclass(frozen=True, slots=True)
class Suspect:
    """Labels that are doubtful together."""

    rows: tuple[int, ...]  # the photos, as rows of the arrays that were passed in
    suggested: tuple[int, ...]  # a class index for each of them
    score: float  # from 0, certainly wrong, to 0.5


@dataclass(frozen=True, slots=True)
class Suspects:
    """The doubtful labels of one task."""

    ranked: tuple[Suspect, ...]  # the most doubtful first
    by_person: bool  # whether each suspect is a person; otherwise, it is a photo, or two photos that were swapped


def find_suspects(probabilities: NDArray[np.float64], given: NDArray[np.intp], people: Sequence[str]) -> Suspects:
    """Rank the labels that the networks contradict.

    Args:
        probabilities: (N, C) of networks that were not trained on these photos.
        given: (N,) class index of each label; `UNLABELLED` rows are skipped.
        people: (N,) the person in each photo.

    Raises:
        UsageError: cleanlab is not installed.
    """
    labelled = np.flatnonzero(given != UNLABELLED).tolist()
    if not labelled:
        return Suspects((), by_person=False)

    # Units: the rows that share a label. Each gets the probabilities of all its photos together.
    by_person = is_label_of_person(given, people)
    units = _rows_by_person_and_label(labelled, given, people) if by_person else [(row,) for row in labelled]
    combined = np.stack([_combine(probabilities[list(rows)]) for rows in units])
    if by_person:
        # A person with two labels is two units; both are judged by all photos of the person.
        combined = _combine_units_of_person(combined, units, people)

    # The units whose label is not the most probable class.
    codes = np.array([given[rows[0]] for rows in units], dtype=np.intp)
    quality, predicted = label_quality(combined, codes), combined.argmax(axis=1)
    doubtful = np.flatnonzero(predicted != codes).tolist()

    # Two photos with exchanged labels are one suspect.
    swaps = [] if by_person else _swaps([units[i][0] for i in doubtful], probabilities, given, people)
    swapped = {row for swap in swaps for row in swap.rows}
    suspects = [
        Suspect(units[i], (int(predicted[i]),) * len(units[i]), float(quality[i]))
        for i in doubtful
        if units[i][0] not in swapped
    ]
    ranked = sorted([*swaps, *suspects], key=lambda suspect: (suspect.score, -len(suspect.rows), suspect.rows))
    return Suspects(tuple(ranked), by_person)


def is_label_of_person(given: NDArray[np.intp], people: Sequence[str]) -> bool:
    """Whether a label describes the person (gender) and not the photo (mask), judged by the labels themselves.

    True when nearly all people with several labelled photos have the same label in all of them; the rest are mistakes.
    """
    labels: defaultdict[str, list[int]] = defaultdict(list)
    for person, code in zip(people, given.tolist(), strict=True):
        if code != UNLABELLED:
            labels[person].append(code)
    consistent = [len(set(codes)) == 1 for codes in labels.values() if len(codes) > 1]
    return bool(consistent) and sum(consistent) >= CONSISTENT_SHARE * len(consistent)


def label_quality(probabilities: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return cleanlab's normalised margin of the labels `codes`, (N,), given `probabilities`, (N, C): (N,) in [0, 1].

    Raises:
        UsageError: cleanlab is not installed.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        raise UsageError("doubtful labels are found with cleanlab; pip install 'faceline[clean]'") from None
    return np.asarray(get_label_quality_scores(codes, probabilities, method="normalized_margin"), dtype=np.float64)


def _rows_by_person_and_label(
    labelled: Sequence[int], given: NDArray[np.intp], people: Sequence[str]
) -> list[tuple[int, ...]]:
    """Group the labelled rows that have the same person and the same label."""
    rows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row in labelled:
        rows[people[row], int(given[row])].append(row)
    return list(map(tuple, rows.values()))


def _combine(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combine the predictions (N, C) for photos with the same true label into one, (C,), by their mean log."""
    if len(probabilities) == 1:
        return probabilities[0]
    mean = np.log(np.maximum(probabilities, MIN_PROBABILITY)).mean(axis=0)
    likelihood = np.exp(mean - mean.max())
    return likelihood / likelihood.sum()


def _combine_units_of_person(
    probabilities: NDArray[np.float64], units: Sequence[tuple[int, ...]], people: Sequence[str]
) -> NDArray[np.float64]:
    """Give all units of a person the same probabilities, (units, C), weighted by their numbers of photos."""
    combined = probabilities.copy()
    person_of_unit = [people[rows[0]] for rows in units]
    for person, count in Counter(person_of_unit).items():
        if count > 1:
            same = [i for i, other in enumerate(person_of_unit) if other == person]
            combined[same] = _combine(np.repeat(probabilities[same], [len(units[i]) for i in same], axis=0))
    return combined


def _swaps(
    doubtful: Sequence[int], probabilities: NDArray[np.float64], given: NDArray[np.intp], people: Sequence[str]
) -> list[Suspect]:
    """Pair doubtful photos of a person that are predicted to have each other's label; no photo is in two pairs."""
    predicted = probabilities.argmax(axis=1)
    rows_by_codes: defaultdict[tuple[str, int, int], list[int]] = defaultdict(list)
    for row in sorted(doubtful, key=lambda row: probabilities[row, given[row]]):
        rows_by_codes[people[row], int(given[row]), int(predicted[row])].append(row)

    # The most certain photo of one direction with the most certain of the other.
    pairs: list[tuple[int, int]] = []
    for (person, label, prediction), rows in rows_by_codes.items():
        if label < prediction:
            pairs += zip(rows, rows_by_codes.get((person, prediction, label), []), strict=False)
    if not pairs:
        return []

    # The margin of "as given" against "exchanged", as of a label with two classes.
    first, second = np.array(pairs, dtype=np.intp).T
    as_given = probabilities[first, given[first]] * probabilities[second, given[second]]
    exchanged = probabilities[first, given[second]] * probabilities[second, given[first]]
    both = np.stack([as_given, exchanged], axis=1)
    quality = label_quality(both / both.sum(axis=1, keepdims=True), np.zeros(len(both), dtype=np.intp))
    return [
        Suspect((a, b), (int(given[b]), int(given[a])), float(score))
        for (a, b), score in zip(map(sorted, pairs), quality, strict=True)
    ]
