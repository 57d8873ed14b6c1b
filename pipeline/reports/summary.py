"""The report in words: how good the run is, where it is weakest, and what to look at.

In: the sections of the report. Out: sentences.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.console import counted
from pipeline.reports.detection_section import DetectionFacts
from pipeline.reports.held_out import Section

FEW_PEOPLE = 10  # a group of fewer says little


def summary(
    sections: Sequence[Section],
    groups: Sequence[Mapping[str, Any]],
    people: int,
    calibration: Mapping[str, Mapping[str, Any]],
    detection: DetectionFacts | None,
) -> Iterator[str]:
    """Yield the sentences.

    Args:
        sections: "joint" first.
        groups: rows of groups.csv, the least accurate first.
        people: held out.
        calibration: calibration.json.
        detection: of the labelled photos.
    """
    if not sections:
        yield "All photos were trained on, so there is nobody to score the networks on."
    for section in sections[:1]:
        score = section.score
        name = "Joint" if section.name == "joint" else section.name
        text = (
            f"{name} macro-F1 {score.macro_f1:.2f} ({score.low:.2f} to {score.high:.2f}) on "
            f"{counted(people, 'person', 'people')} held out"
        )
        enough = [group for group in groups if group["people"] >= FEW_PEOPLE] or list(groups)
        if enough:
            worst = enough[0]
            text += (
                f"; weakest group: {worst['group']}, with all tasks right in {worst['accuracy']:.0%} of the photos of "
                f"{counted(worst['people'], 'person', 'people')}"
            )
        yield text + "."
    for section in sections[1:]:
        weakest = section.weakest
        text = f"{section.name}: macro-F1 {section.score.macro_f1:.2f} ({section.score.low:.2f} to "
        text += f"{section.score.high:.2f}), accuracy {section.score.accuracy:.0%}"
        if weakest is not None:
            text += f"; weakest class: {weakest.name}, F1 {weakest.f1:.2f} on {counted(weakest.photos, 'photo')}"
        yield text + "."
    unsure = {name: facts["error"] for name, facts in calibration.items() if facts.get("error", 0) > 0.05}
    if unsure:
        named = ", ".join(f"{name} by {error:.2f}" for name, error in unsure.items())
        yield f"Probabilities are off on average: {named}."
    if detection is not None:
        total = sum(count for _, count in detection.steps)
        yield f"The first detection step found no face in {detection.missed:,} of {total:,} labelled photos."


def circumstances(status: str, record: Mapping[str, Any]) -> str:
    """How and when the run was made, from what run.json has of it."""
    parts = [" ".join(str(part) for part in (status, record.get("end")) if part)]
    if record.get("device"):
        parts[0] += f" on {record['device']}"
    seeds, git, versions = (record.get(name) or {} for name in ("seeds", "git", "versions"))
    if "seed" in seeds:
        parts.append(f"seed {seeds['seed']}")
    if "commit" in git:
        parts.append(f"commit {str(git['commit'])[:10]}{' with changes' if git.get('dirty') else ''}")
    parts += [f"{name} {versions[name]}" for name in ("faceline", "torch") if name in versions]
    seconds = record.get("seconds") or {}
    stages = ", ".join(f"{stage} {value:.0f} s" for stage, value in seconds.items() if isinstance(value, int | float))
    return ", ".join(parts) + (f". Time: {stages}" if stages else "")
