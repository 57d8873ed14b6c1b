"""The demo: drawn people, then the whole chain on them, scored with the answers that were kept apart."""

from collections.abc import Mapping
from pathlib import Path

from cache.errors import UsageError
from classify.evaluation.metrics import Score
from pipeline.chain import Finished, run_chain
from pipeline.intake.load import load_data
from pipeline.detection.detect import detect_photos
from pipeline.demo.dataset import draw_data_set
from pipeline.evaluation.score_predictions import evaluate
from pipeline.context import RunContext
from pipeline.reports.contact_sheets import crop_sheet, write_sheet

PEOPLE_ON_THE_SHEET = 4


def run_demo(out: Path, people: int, seed: int, context: RunContext) -> tuple[Finished, Mapping[str, Score]]:
    """Draw a data set into `out` (once), run the chain into `out/run`, score its eval photos.

    Returns:
        The finished run, and the scores on the eval photos: "joint" first, then one per task.

    Raises:
        UsageError: `out` holds something that is no demo.
    """
    _draw_once(out, people, seed, context)
    finished = run_chain(out, out / "run", context)
    tasks = context.settings.task_list()
    photos = load_data(out, tasks, {}).train[: 7 * PEOPLE_ON_THE_SHEET]
    write_sheet(crop_sheet(photos, detect_photos(photos, context)), finished.run / "crops.png")
    return finished, evaluate(finished.run / "predictions.csv", out / "truth" / "eval.csv", tasks).scores


def _draw_once(out: Path, people: int, seed: int, context: RunContext) -> None:
    # The mark says which people are there: a second call with the same ones goes on with the run.
    mark, wanted = out / "demo.txt", f"{people} people, seed {seed}\n"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and holds something else; name a new folder for the demo")
    context.console.line(f"Drawing {people} people to train on and {max(2, people // 2)} to predict, 7 photos each")
    draw_data_set(out, people=people, seed=seed)
    mark.write_text(wanted, encoding="utf-8")
