"""Find people whose photos contradict each other: two genders, or ages that are far apart.

In: labelled photos and tasks. Out: a defect for each person and task.

A task is about the person, and not about the single photo, if it is called gender or age, or if almost all people have
one label in it. Numbers may differ a little, as the photos of one person can be some years apart.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from classify.tasks import Task
from pipeline.intake.photo import Defect, Photo

OF_PEOPLE = frozenset({"gender", "age"})
SHARE_OF_PEOPLE = 0.9  # of the people have one label, if a task is about people
FEWEST_PEOPLE = 5  # with several photos, to see what a task is about
YEARS_APART = 5.0  # ages of one person that differ by more are listed
SHARE_APART = 0.1  # the same for other numbers, as a share of the range that they have in the data
SHOWN_PHOTOS = 2  # of each label


def find_contradictions(photos: Sequence[Photo], tasks: Sequence[Task]) -> Iterator[Defect]:
    """Yield a defect for each person whose labels differ in a task that is about people."""
    for task in tasks:
        labels = _labels_by_person(photos, task)
        most_apart = _most_apart(task, labels)
        differing = [person for person, of_person in labels.items() if _differ(task, of_person, most_apart)]
        several = sum(sum(map(len, of_person.values())) > 1 for of_person in labels.values())
        is_of_people = several >= FEWEST_PEOPLE and several - len(differing) >= SHARE_OF_PEOPLE * several
        if task.name in OF_PEOPLE or is_of_people:
            for person in differing:
                yield Defect("labels of one person differ", person, _describe(task, labels[person]))


LabelsOfPerson = Mapping[str | float, Sequence[str]]  # class name, or number -> names of the photos


def _labels_by_person(photos: Sequence[Photo], task: Task) -> dict[str, LabelsOfPerson]:
    by_person: defaultdict[str, defaultdict[str | float, list[str]]] = defaultdict(lambda: defaultdict(list))
    for photo in photos:
        if task.name in photo.labels:
            try:
                label = photo.labels[task.name]
                label = task.number(label) if task.edges else task.normalised(label)
            except ValueError:
                continue  # an unknown label, which is a fatal defect already
            by_person[photo.person][label].append(photo.name)
    return dict(by_person)


def _most_apart(task: Task, labels: Mapping[str, LabelsOfPerson]) -> float:
    """How far apart two numbers of one person may be; 0 for classes."""
    if task.name == "age" or not task.edges:
        return YEARS_APART if task.edges else 0.0
    numbers = [float(label) for of_person in labels.values() for label in of_person]
    return SHARE_APART * (max(numbers) - min(numbers)) if numbers else 0.0


def _differ(task: Task, of_person: LabelsOfPerson, most_apart: float) -> bool:
    if not task.edges:
        return len(of_person) > 1
    numbers = [float(label) for label in of_person]
    return max(numbers) - min(numbers) > most_apart


def _describe(task: Task, of_person: LabelsOfPerson) -> str:
    """A sentence with the labels, the most frequent first; of many numbers, the lowest and the highest."""
    chosen = sorted(of_person, key=lambda label: -len(of_person[label]))
    if task.edges:
        chosen = [min(of_person, key=float), max(of_person, key=float)]
    parts: list[str] = []
    for label in chosen:
        names = of_person[label]
        more = ", ..." if len(names) > SHOWN_PHOTOS else ""
        text = f"{label:g}" if isinstance(label, float) else label
        parts.append(f"{text} in {len(names)} ({', '.join(names[:SHOWN_PHOTOS])}{more})")
    return f"{task.name} is {' and '.join(parts)}; correct the labels, or give the photos to two people"
