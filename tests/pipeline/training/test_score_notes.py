import pytest

from pipeline.settings import load_settings
from pipeline.training.score_notes import final_notes


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["predict.flip=false"], ""),
        ([], "unlike the scores after each epoch, these average each crop and its mirror image (predict.flip)"),
        (
            ["split.held_out=all", "predict.decide=f1", "predict.flip=false"],
            "unlike the scores after each epoch, these are over all networks and choose classes with factors "
            "(predict.decide=f1)",
        ),
        (["split.held_out=null"], ""),
    ],
)
def test_the_scores_at_the_end_say_in_what_they_differ_from_those_after_an_epoch(settings, expected):
    assert final_notes(load_settings(None, ["train.keep=last", *settings])) == expected


def test_the_kept_epoch_is_mentioned_too():
    assert final_notes(load_settings(None, [])).endswith("with train.keep=last, nothing is chosen on them")
