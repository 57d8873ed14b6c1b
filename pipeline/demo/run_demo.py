"""The demo: draw people, run the chain on them, and score its predictions against labels that it did not see."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import UsageError
from pipeline.chain import Finished, run_chain
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.intake.load import load_data

if TYPE_CHECKING:
    from classify.evaluation.metrics import Score

PEOPLE_ON_THE_SHEET = 4


def run_demo(out: Path, people: int, seed: int, context: RunContext) -> tuple[Finished, Mapping[str, "Score"]]:
    """Draw a data set into `out` unless it is there, run the chain into `out/run`, and score its eval photos.

    Returns:
        The finished run, and the scores on the eval photos: "joint" first, then one per task.

    Raises:
        UsageError: `out` holds something other than this demo.
    """
    _draw_once(out, people, seed, context)
    from pipeline.evaluation.score_predictions import evaluate
    from pipeline.reports.contact_sheets import crop_sheet, write_sheet

    finished = run_chain(out, out / "run", context)
    tasks = context.settings.task_list()
    photos = load_data(out, tasks, context.settings.data).train[: 7 * PEOPLE_ON_THE_SHEET]
    write_sheet(crop_sheet(photos, detect_photos(photos, context)), finished.run / "crops.png")
    return finished, evaluate(finished.run / "predictions.csv", out / "truth" / "eval.csv", tasks).scores


def _draw_once(out: Path, people: int, seed: int, context: RunContext) -> None:
    """Draw the data set unless an earlier call with the same arguments has, so that its run can be resumed."""
    marker, arguments = out / "demo.txt", f"{people} people, seed {seed}\n"
    if marker.is_file() and marker.read_text(encoding="utf-8") == arguments:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and holds something else; name a new folder for the demo")
    from pipeline.demo.dataset import draw_data_set

    context.console.line(f"Drawing {people} people to train on and {max(2, people // 2)} to predict, 7 photos each")
    draw_data_set(out, people=people, seed=seed)
    marker.write_text(arguments, encoding="utf-8")
