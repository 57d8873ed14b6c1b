"""The page of a data set before training: is it worth training on?

In: a checked data set, its photos, and what the cache knows of them. Out: one self-contained HTML file.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cache import atomic
from cache.store import CropStore
from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from detect.decode import decode_file
from detect.failures import Failure
from detect.fingerprints import crop_spec
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.intake.check import DEFECT_KINDS, CheckResult
from pipeline.intake.photo import Defect, Photo
from pipeline.reports.contact_sheets import Image
from pipeline.reports.data_section import DataFacts, data_facts
from pipeline.reports.html import page_template
from pipeline.reports.photo_quality import Finding, findings, measure
from pipeline.reports.pictures import Pictures

SHOWN = 24  # photos of a finding
PER_CLASS = 8  # photos of a class
DEFECTS_SHOWN = 50  # of a kind
FEW_PEOPLE = 20  # in a class


def write_data_page(checked: CheckResult, sources: Mapping[Path, str], file: Path, context: RunContext) -> Path:
    """Write the page.

    Args:
        checked: the data set with its defects.
        sources: file -> source id, of the files that can be read.
        file: the page.
        context: settings, cache and threads.

    Raises:
        UsageError: the extra `html` is not installed.
    """
    dataset, settings = checked.dataset, context.settings
    tasks, megapixels = settings.task_list(), settings.data.max_megapixels
    photos = [*dataset.train, *dataset.evaluation]
    store = CropStore(context.cache, crop_spec(settings.detect, settings.crop))
    paths = {source: path for path, source in sources.items()}

    def read(source: str) -> Image | None:
        image = decode_file(paths[source], max_megapixels=megapixels)
        return None if isinstance(image, Failure) else image

    pictures = Pictures(read)
    with context.console.progress("Looking at photos", len(photos)) as advance:
        measured = []
        for each in measure(photos, sources, store, max_megapixels=megapixels, threads=context.workers):
            measured.append(each)
            advance(1)
    found = findings(measured)
    facts = data_facts(dataset.train, tasks)
    faces = sum(each.face is not None for each in measured)
    shown = [
        (finding, [(pictures.name(m.source), m.photo.name, why) for m, why in finding.photos[:SHOWN]])
        for finding in found
    ]
    page = page_template("data.html.j2").render(
        title=f"faceline: {dataset.root.resolve().name}",
        verdict=list(verdict(checked, facts, found)),
        facts=facts if dataset.train else None,
        predict=len(dataset.evaluation),
        notes=[
            *dataset.notes,
            *(f"{reason}: {count:,} passed over" for reason, count in dataset.skipped.items()),
        ],
        faces=faces,
        measured=len(measured),
        findings=shown,
        defects=[
            (kind, DEFECT_KINDS.get(kind, ""), each[:DEFECTS_SHOWN], len(each))
            for kind, each in _by_kind(checked.defects)
        ],
        sheets=_sheets(dataset.train, tasks, sources, pictures.name),
        pictures=pictures,
    )
    atomic.write_text(file, page.encode("utf-8", "backslashreplace").decode())
    return file


def verdict(checked: CheckResult, facts: DataFacts, found: Sequence[Finding]) -> Iterator[str]:
    """Say whether the data set is worth training on, and what to look at before."""
    fatal = sum(defect.fatal for defect in checked.defects)
    empty = [f"{task} {each.name}" for task, classes in facts.tasks.items() for each in classes if not each.photos]
    if fatal:
        yield f"Not yet: {counted(fatal, 'defect')} must be mended before anything can be trained."
    elif not facts.photos:
        yield "There is nothing to train on: no photo has a label."
    elif empty:
        yield f"Not for all classes: there is no photo of {', '.join(empty)}."
    else:
        yield f"Yes: {facts.photos:,} labelled photos of {facts.people:,} people, and every class has some."
    small = [
        f"{task} {each.name} ({each.people:,})"
        for task, classes in facts.tasks.items()
        for each in classes
        if 0 < each.people < FEW_PEOPLE
    ]
    if small:
        yield f"Scores of classes with fewer than {FEW_PEOPLE} people mean little: {', '.join(small)}."
    others = len(checked.defects) - fatal
    if others:
        yield f"{counted(others, 'defect is', 'defects are')} not fatal, and listed below."
    if found:
        yield "To look at: " + ", ".join(f"{each.name.lower()} {len(each.photos):,}" for each in found) + "."


def _by_kind(defects: Sequence[Defect]) -> list[tuple[str, list[Defect]]]:
    kinds: defaultdict[str, list[Defect]] = defaultdict(list)
    for defect in defects:
        kinds[defect.kind].append(defect)
    return sorted(kinds.items(), key=lambda pair: not pair[1][0].fatal)


def _sheets(
    photos: Sequence[Photo], tasks: Sequence[Task], sources: Mapping[Path, str], picture: Callable[[str], str]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Joint class -> thumbnails and names of a few photos, each of another person where there are enough."""
    names = joint_names(tasks)
    chosen: defaultdict[int, dict[str, Photo]] = defaultdict(dict)
    for photo in photos:
        try:
            joint = joint_class(tasks, encode_labels(tasks, photo.labels))
        except ValueError:
            continue
        if joint != UNLABELLED and len(chosen[joint]) < PER_CLASS and photo.path in sources:
            chosen[joint].setdefault(photo.person, photo)
    return [
        (names[joint], [(picture(sources[photo.path]), photo.name) for photo in of_class.values()])
        for joint, of_class in sorted(chosen.items())
    ]
