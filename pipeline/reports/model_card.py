"""The model card of a bundle, README.md in it, in Hugging Face's format.

In: bundle.json. Out: Markdown with metadata on top: what the networks predict and are for, their data, their scores
with intervals, groups, limits, and licence.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from cache import atomic
from classify.inference.bundle_check import tasks_of_network
from classify.inference.bundle_files import CARD, BundleFiles, open_bundle

WORST_GROUPS = 15
FEW_PEOPLE = 30  # in a group; its accuracy says little
FEW_PHOTOS = 100  # of a class


def write_card(bundle: Path, warn: Callable[[str], None]) -> None:
    """Write README.md into a bundle's folder; if it can't be written, call `warn` and go on."""
    path = bundle / CARD
    try:
        atomic.write_text(path, model_card(open_bundle(bundle)))
    except OSError as error:
        warn(f"{path} can't be written ({error.strerror or error}); faceline bundle card makes it anew")


def model_card(files: BundleFiles) -> str:
    """Make the model card from what bundle.json says; what an older version did not record is said to be missing."""
    description = files.description
    data, groups = description.get("data", {}), description.get("groups", [])
    rules = description.get("decision_rules", description.get("verdicts", {}))
    tasks = [
        {"name": name, "decision": _decision(task, rules.get(name, {})), **task}
        for name, task in description["tasks"].items()
    ]
    networks = [
        {
            "name": name,
            "backbone": network["model"]["backbone"],
            "input": network["model"]["input"],
            "tasks": tasks_of_network(name, network),
            "origin": _origin(network),
        }
        for name, network in description["models"].items()
    ]
    sizes = [files.size(network["file"]) for network in description["models"].values()]
    name = _name(files.path)
    return _template().render(
        name=name,
        metadata=_metadata(name, description).to_yaml().strip(),
        version=description.get("written_by", {}).get("faceline", ""),
        tasks=tasks,
        networks=networks,
        megabytes=sum(sizes) / 1e6,
        card=description.get("card", {}),
        detect=description["crop"].get("detect", {}),
        crop=description["crop"].get("crop", {}),
        limits=list(_limits(description)),
        data=data,
        metrics=description["metrics"],
        groups=groups[:WORST_GROUPS],
        group_count=len(groups),
    )


def _name(path: Path) -> str:
    """The bundle's name: of RUN/bundle, the run's; of a .zip, the file's."""
    path = path.resolve()
    return path.parent.name if path.name == "bundle" else path.stem


def _metadata(name: str, description: Mapping[str, Any]) -> ModelCardData:
    """The metadata that Hugging Face's hub reads: licence, tags and scores."""
    results = [
        EvalResult(
            task_type="image-classification",
            task_name=what,
            dataset_type="held-out-people",
            dataset_name="held-out people",
            dataset_config=what,  # results of one configuration are put together
            metric_type=kind,
            metric_name=label,
            metric_value=round(score[key], 4),
        )
        for what, score in description["metrics"].items()
        for kind, label, key in (("f1", "macro-F1", "macro_f1"), ("accuracy", "accuracy", "accuracy"))
    ]
    return ModelCardData(
        license=description.get("card", {}).get("license", "unknown"),
        library_name="faceline",
        pipeline_tag="image-classification",
        tags=["faceline", "face", *description["tasks"]],
        metrics=["f1", "accuracy"],
        model_name=name,
        eval_results=results or None,
    )


def _origin(network: Mapping[str, Any]) -> str:
    """Where a network's first weights are from, and their licence; older bundles did not record it."""
    weights = network.get("weights")
    return f"{weights['source']} ({weights['licence']})" if weights else "not recorded"


def _decision(task: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    """How a task's probabilities become an answer."""
    temperature, factors = rule.get("temperature", 1.0), rule.get("factors", [])
    calibrated = f"temperature {temperature:g}" if temperature != 1 else "not calibrated"
    if not factors:
        return f"{calibrated}; the most probable class"
    pairs = ", ".join(f"{label} {factor:g}" for label, factor in zip(task["classes"], factors, strict=True))
    return f"{calibrated}; the class with the largest probability times its factor ({pairs})"


def _limits(description: Mapping[str, Any]) -> Iterator[str]:
    """What a user must know, as far as the figures say it."""
    yield (
        "The labels of the training data decide what is learned; whatever was labelled wrongly or is missing there "
        "comes out again. Look at the groups below before using it on other people."
    )
    data = description.get("data", {})
    for task, counts in data.get("classes", {}).items():
        for label, photos in counts.items():
            if photos < FEW_PHOTOS:
                yield f"{_md(task)} {_md(label)} was learned from only {photos} photos."
    small = [group for group in description.get("groups", []) if group["people"] < FEW_PEOPLE]
    if small:
        yield f"{len(small)} of {len(description['groups'])} groups have fewer than {FEW_PEOPLE} held-out people."
    if not description["metrics"]:
        yield "Nobody was held out: how good the predictions are is not known."
    yield (
        "Each photo gets one answer, for the face that it is about. Photos without a face are predicted, too, from "
        "a window in the middle; their `status` is `no_face`."
    )


def _md(text: Any) -> str:
    """A name of the user's in a line or a table of Markdown."""
    text = re.sub(r"\s+", " ", str(text)).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "\\<", text)  # would begin an HTML tag; "<30" does not


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.reports"),
        autoescape=False,
        keep_trailing_newline=True,
        undefined=jinja2.ChainableUndefined,
    )
    environment.filters["md"] = _md
    environment.filters["number"] = lambda value: f"{value:g}"
    return environment.get_template("model_card.md.j2")
