"""What to know about the scores that a training ends with.

In: settings. Out: a sentence without its full stop; empty if there is nothing to say.
"""

from pipeline.settings import Settings


def final_notes(settings: Settings) -> str:
    """In what the scores at the end differ from those after each epoch, and what was chosen on the same people."""
    if settings.split.held_out is None:
        return ""
    differences: list[str] = []
    if settings.predict.flip:
        differences.append("average each crop and its mirror image (predict.flip)")
    if settings.split.held_out == "all" or settings.split.repeats > 1:
        differences.append("are over all networks")
    if settings.predict.decide != "probable":
        differences.append(f"choose classes with factors (predict.decide={settings.predict.decide})")
    unlike = f"unlike the scores after each epoch, these {' and '.join(differences)}" if differences else ""
    return "; ".join(filter(None, (unlike, settings.held_out_note)))
