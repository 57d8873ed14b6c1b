"""What `faceline predict` is to do, checked before torch is imported.

In: the options of the command. Out: PredictPlan: photos that are there, options that go together, a folder to write to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UsageError
from cache.sources import split_part
from pipeline.commands.predict_options import Engine, Faces, PredictOptions
from pipeline.context import RunContext
from pipeline.detection.shards import Shard, parse_shard
from pipeline.intake.load import load_data
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.photo_inputs import load_inputs
from pipeline.intake.sources import SourceOptions, check_sources, names_inside, not_in_a_file
from pipeline.prediction.output_folder import next_free_folder, refuse_overwriting, refuse_used_folder
from pipeline.prediction.part_store import PartPlan, PartStore, plan_parts, refuse_other_parts
from pipeline.prediction.predict_settings import refuse_training_settings


@dataclass(frozen=True, slots=True)
class PredictPlan:
    """What is predicted, and where the results go.

    Attributes:
        dataset: the inputs as they were read.
        inputs: those of them that are predicted.
        sources: how videos and URLs are read.
        out: the folder of the prediction.
        parts: how the photos are divided; None if some are in no file.
        shard: the share of the photos that this command predicts; None for all.
    """

    dataset: Dataset
    inputs: Sequence[Photo]
    sources: SourceOptions
    out: Path
    parts: PartPlan | None
    shard: Shard | None


def plan_prediction(
    options: PredictOptions, sources: SourceOptions, context: RunContext, settings: Sequence[str], *, no_cache: bool
) -> PredictPlan:
    """Check everything that can be wrong with the call, and find the photos.

    Args:
        options: of the command.
        sources: how videos and URLs are read.
        context: the settings.
        settings: as --set names them.
        no_cache: whether nothing is kept in a cache.

    Raises:
        UsageError, DataError: something is wrong, which the message names.
    """
    _refuse_contradictions(options, no_cache=no_cache)
    shard = None if options.shard is None else parse_shard(options.shard)
    dataset = _read_inputs(options, context)
    inputs = dataset.evaluation or dataset.train
    check_sources(inputs, sources)
    _refuse_unsuitable(options, dataset, inputs)
    refuse_training_settings(settings, options.bundle)

    parts = None
    if not (elsewhere := not_in_a_file(inputs)):
        which = {"faces": options.faces, "min_face": options.min_face, "min_score": options.min_score}
        parts = plan_parts(inputs, options.bundle, context.settings, which, out=options.out, size=options.part_size)
    elif options.divided_by:
        raise UsageError(
            f"{options.divided_by} is for photos in files, and {elsewhere} is none; unpack or download it first"
        )

    def is_unfinished(folder: Path) -> bool:
        return parts is not None and PartStore(folder, parts).is_unfinished()

    out = options.out
    if out is None:
        out = next_free_folder(is_unfinished)
    elif not options.overwrite:
        names, submission = [photo.name for photo in inputs], bool(dataset.submission_ids)
        refuse_overwriting(
            out, names, options.bundle, submission=submission, inside=names_inside(inputs),
            each_face=options.every_face, is_unfinished=is_unfinished(out),
        )  # fmt: skip
    refuse_other_parts(out, parts, overwrite=options.overwrite)
    return PredictPlan(dataset, inputs, sources, out, parts, shard)


def _refuse_contradictions(options: PredictOptions, *, no_cache: bool) -> None:
    """Refuse options that do not go together."""
    of_faces = {"--min-face": options.min_face, "--min-score": options.min_score}
    _refuse_idle("--faces all", of_faces, is_given=options.every_face)
    of_sorting = {"--sort-by": options.sort_by or None, "--copy": options.copy or None}
    _refuse_idle("--sort DIR", of_sorting, is_given=options.sort is not None)
    if options.keep_crops and options.every_face:
        raise UsageError("--keep-crops keeps the crops of photos' subjects; leave it out with --faces all")
    for folder, option in ((options.draw, "--draw"), (options.sort, "--sort")):
        if folder is not None:
            refuse_used_folder(folder, option)
    on_ray = options.engine is Engine.RAY
    if on_ray and options.shard is not None:
        raise UsageError("--shard and --engine ray exclude each other: Ray divides the photos by itself")
    if on_ray and no_cache:
        raise UsageError("--no-cache and --engine ray exclude each other: each machine keeps its networks in the cache")
    if options.shard is not None and options.out is None:
        raise UsageError("--shard needs --out FOLDER, the same for all shards")
    if options.divided_by and (options.draw is not None or options.sort is not None):
        raise UsageError(
            f"--draw and --sort are for photos that are predicted in one go; leave out {options.divided_by}"
        )


def _refuse_idle(option: str, parts: Mapping[str, object], *, is_given: bool) -> None:
    """Refuse options that have an effect only together with another one."""
    for name, value in parts.items():
        if value is not None and not is_given:
            raise UsageError(f"{name} has a part only in {option}; add that, or leave {name} out")


def _read_inputs(options: PredictOptions, context: RunContext) -> Dataset:
    """List the photos. Neither labels nor people are read, so a table needs no column but that of the paths."""
    columns = {what: name for what, name in context.settings.data.columns.items() if what == "path"}
    changed: dict[str, object] = {"columns": columns}
    if options.faces is not None:
        changed["boxes"] = "given" if options.faces is Faces.GIVEN else "ignored"
    config = context.settings.data.model_copy(update=changed)
    return load_inputs(options.photos, lambda path: load_data(path, (), config))


def _refuse_unsuitable(options: PredictOptions, dataset: Dataset, inputs: Sequence[Photo]) -> None:
    """Refuse photos that the options do not fit."""
    if options.faces is Faces.GIVEN and not any(split_part(photo.path)[1] for photo in inputs):
        raise UsageError("--faces given takes the faces' boxes from a table; name one with the columns x1, y1, x2, y2")
    if options.every_face and dataset.submission_ids:
        raise UsageError("a submission has a row for each photo, so --faces all can't fill it in; leave --faces out")
