import hashlib
import json
import threading

import pytest

from cache.errors import BundleError, DataError, UsageError
from pipeline.ledger import rank_correlation, read_ledger, record_submission
from tests.pipeline.runs import write_run


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "run", answers=[0, 1, 2, 0])
    (folder / "data.json").write_text(json.dumps({"data_fingerprint": "dd", "folds_fingerprint": "ff"}))
    (folder / "submission.csv").write_text("ImageID,ans\na.jpg,3\n")
    return folder


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "book" / "submissions.jsonl"


def filled(run, ledger, lines=3):
    for number in range(lines):
        (run / "submission.csv").write_text(f"ImageID,ans\na.jpg,{number}\n")
        record_submission(run, ledger, public=number / 10, note=f"number {number}")
    return ledger.read_text().splitlines()


def test_a_line_has_the_hashes_of_file_bundle_data_and_folds_and_the_scores(run, ledger):
    line, warnings = record_submission(run, ledger, public=0.77, note="first")
    assert warnings == []
    assert (line.number, line.run, line.note, line.public, line.private) == (1, str(run), "first", 0.77, None)
    assert line.sha256 == hashlib.sha256((run / "submission.csv").read_bytes()).hexdigest()
    assert (line.data, line.folds) == ("dd", "ff")
    assert line.validation == {"joint": 1.0, "mask": 1.0}
    assert line.bundles == (hashlib.sha256((run / "bundle" / "bundle.json").read_bytes()).hexdigest(),)
    assert read_ledger(ledger).submissions == (line,)


def test_the_chain_of_untouched_lines_is_whole(run, ledger):
    filled(run, ledger)
    book = read_ledger(ledger)
    assert book.problems == ()
    assert [line.number for line in book.submissions] == [1, 2, 3]
    assert book.last_hash == book.submissions[-1].hash


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda lines: [lines[0], lines[1].replace('"public": 0.1', '"public": 0.9'), lines[2]], "line 2 was changed"),
        (lambda lines: [lines[0], lines[2]], "line 2 does not follow"),
        (lambda lines: lines[1:], "line 1 does not follow"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1 does not follow"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2 does not follow"),
        (lambda lines: [lines[0], "{}", lines[2]], "line 2 is no submission"),
        (lambda lines: [lines[0], "[3]", lines[2]], "line 2 is no submission"),
        (lambda lines: [lines[0], "", lines[2]], "line 2 is no submission"),
    ],
)
def test_a_line_that_was_changed_removed_added_or_moved_is_named_and_nothing_is_added_after_it(
    run, ledger, harm, problem
):
    harmed = "\n".join(harm(filled(run, ledger))) + "\n"
    ledger.write_text(harmed)
    assert any(problem in found for found in read_ledger(ledger).problems)
    with pytest.raises(DataError, match=r"Nothing was added"):
        record_submission(run, ledger)
    assert ledger.read_text() == harmed


def test_a_line_that_was_cut_off_while_it_was_written_is_named(run, ledger):
    filled(run, ledger)
    ledger.write_text(ledger.read_text()[:-20])
    assert read_ledger(ledger).problems == (f"{ledger}, line 3 is incomplete",)


def test_a_hash_that_was_made_to_fit_a_changed_line_does_not_fit_the_next_one(run, ledger):
    from pipeline.ledger import _hash

    lines = [json.loads(line) for line in filled(run, ledger)]
    lines[1]["public"] = 0.9
    lines[1]["hash"] = _hash(lines[1])
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "line 3 does not follow" in read_ledger(ledger).problems[0]


def test_scores_that_become_known_later_belong_to_the_same_file(run, ledger):
    record_submission(run, ledger, public=0.7, note="first")
    _, warnings = record_submission(run, ledger, private=0.6)
    assert "the same file is in line 1" in warnings[0]
    [submission] = read_ledger(ledger).by_file()
    assert (submission.public, submission.private, submission.note) == (0.7, 0.6, "first")


def test_a_file_that_another_bundle_has_predicted_is_a_warning(run, ledger, tmp_path):
    (run / "predictions.json").write_text(json.dumps({"bundles": [{"path": "b", "sha256": "other"}]}))
    _, warnings = record_submission(run, ledger)
    assert "predicted by another bundle" in warnings[0]


def test_a_weighted_ensemble_and_predictions_of_several_bundles_can_be_submitted(run, ledger, tmp_path):
    votes, predictions = tmp_path / "votes", tmp_path / "predictions"
    for folder in (votes, predictions):
        folder.mkdir()
        (folder / "submission.csv").write_text(f"ImageID,ans\n{folder.name},1\n")
    scores = [{"scores": {"joint": {"macro_f1": value}}} for value in (0.4, 0.5)]
    (votes / "votes.json").write_text(json.dumps({"scores": scores}))
    assert record_submission(votes, ledger)[0].validation == {"joint": 0.5}
    bundles = [{"path": "b", "sha256": "bb"}, {"path": "a", "sha256": "aa"}]
    (predictions / "predictions.json").write_text(json.dumps({"bundles": bundles}))
    line, warnings = record_submission(predictions, ledger)
    assert line.bundles == ("aa", "bb")
    assert "no validation score" in warnings[0]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BundleError, match="holds no finished run"):
        record_submission(tmp_path / "nothing", ledger, file=run / "submission.csv")


def test_what_cannot_be_recorded_is_refused_and_leaves_no_ledger(run, ledger):
    with pytest.raises(UsageError, match=r"--private 77: write a score between 0 and 1"):
        record_submission(run, ledger, private=77)
    with pytest.raises(UsageError, match="--public nan"):
        record_submission(run, ledger, public=float("nan"))
    (run / "submission.csv").unlink()
    with pytest.raises(BundleError, match=r"there is no .*submission\.csv; name the file"):
        record_submission(run, ledger)
    assert not ledger.exists()


def test_lines_that_are_added_at_once_make_one_chain(run, ledger):
    threads = [threading.Thread(target=record_submission, args=(run, ledger)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book = read_ledger(ledger)
    assert book.problems == ()
    assert len(book.submissions) == 8


def test_names_that_are_no_text_can_be_recorded(run, ledger):
    record_submission(run, ledger, note="caf\udce9 얼굴")
    [line] = read_ledger(ledger).submissions
    assert line.note == "caf\\udce9 얼굴"
    assert read_ledger(ledger).problems == ()


def test_the_rank_correlation_needs_three_different_pairs():
    assert rank_correlation([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.9]) == pytest.approx(0.8)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
