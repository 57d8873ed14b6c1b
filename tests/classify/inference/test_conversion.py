import pytest

from classify.inference.conversion import TRIES, until_traces_agree

DIFFER = RuntimeError("Tracing failed sanity checks!\nERROR: Graphs differed across invocations!")


@pytest.mark.parametrize(
    ("errors", "calls", "raised"),
    [([], 1, None), ([DIFFER] * 3, 4, None), ([DIFFER] * 99, TRIES, "differed"), ([RuntimeError("other")], 1, "other")],
)
def test_a_conversion_whose_traces_differ_since_another_thread_changed_a_setting_is_tried_again(errors, calls, raised):
    left, made = list(errors), []

    def convert():
        made.append(1)
        if left:
            raise left.pop()
        return "model"

    if raised is None:
        assert until_traces_agree(convert) == "model"
    else:
        with pytest.raises(RuntimeError, match=raised):
            until_traces_agree(convert)
    assert len(made) == calls
