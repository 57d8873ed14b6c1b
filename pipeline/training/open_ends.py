"""Labels that stand for themselves and all above: 60 in a table that calls everybody of 60 and over 60.

In: labelled photos and settings in which `head.top` may be auto. Out: the same settings with a number, or none.
"""

from collections.abc import Sequence
from dataclasses import replace

from classify.models.targets import find_open_end
from classify.tasks import Task
from pipeline.context import RunContext
from pipeline.intake.photo import Photo


def with_open_ends(context: RunContext, photos: Sequence[Photo]) -> RunContext:
    """Replace `head.top: auto` in the settings by what the labels show, and print what was found.

    Of several processes, rank 0 reads the labels; the others, whose `photos` are ignored, receive what it found.
    """
    found = context.ranks.broadcast(lambda: _find_open_ends(context, photos))
    tasks = {
        name: config.model_copy(update={"head": config.head.model_copy(update={"top": found[name]})})
        for name, config in context.settings.tasks.items()
    }
    return replace(context, settings=context.settings.model_copy(update={"tasks": tasks}))


def _find_open_ends(context: RunContext, photos: Sequence[Photo]) -> dict[str, int | None]:
    """Return the open end of each task, None for those without one."""
    found: dict[str, int | None] = {}
    for name, config in context.settings.tasks.items():
        found[name] = config.head.open_end
        if config.head.top == "auto" and (top := _largest_label(config.task(name), photos)) is not None:
            found[name] = top
            context.console.line(
                f"{name}: {top} is the largest label and the only one in its bin, so it is taken as '{top} and over' "
                f"(set tasks.{name}.head.top to change this)"
            )
    return found


def _largest_label(task: Task, photos: Sequence[Photo]) -> int | None:
    labelled = [photo for photo in photos if task.name in photo.labels]
    numbers = [task.number(photo.labels[task.name]) for photo in labelled]
    return find_open_end(task, numbers, [photo.person for photo in labelled])
