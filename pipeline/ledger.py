"""The ledger of submissions: what was handed in, by which bundle, and how it scored, in a file that is only added to.

In: a run and the scores of its submission. Out: a line of submissions.jsonl, and all lines, read back and checked.

Each line holds the hash of the line before, so that a line that was changed, removed or moved later does not fit its
neighbours. That lines at the end were removed can't be seen from the file: `submit` prints the last hash to note.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cache import atomic
from cache.errors import BundleError, DataError, UsageError
from pipeline.run_state import BUNDLE_JSON, read_run

LEDGER = Path("submissions.jsonl")
SUBMISSION, PREDICTIONS_JSON, VOTES = "submission.csv", "predictions.json", "votes.json"
FIRST = "0" * 64  # the hash before the first line


@dataclass(frozen=True, slots=True)
class Submission:
    """One line: a file that was handed in, or its scores that became known later."""

    number: int  # from 1
    time: str  # when the line was written, UTC
    run: str
    file: str
    sha256: str  # of the file
    bundles: tuple[str, ...]  # sha256 of each bundle.json, or of votes.json
    data: str | None  # data, folds: fingerprints from data.json
    folds: str | None
    validation: Mapping[str, float]  # macro-F1 on held-out people, by "joint" and task; empty if not known
    public: float | None  # public, private: the leaderboard's scores
    private: float | None
    note: str
    previous: str  # the hash of the line before
    hash: str  # of this line, without this field

    def as_json(self) -> dict[str, Any]:
        """The line's content."""
        return asdict(self) | {"bundles": list(self.bundles), "validation": dict(self.validation)}


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger's lines, and what is wrong with them."""

    path: Path
    submissions: tuple[Submission, ...]  # of all lines that can be read
    problems: tuple[str, ...]  # each names its line

    @property
    def last_hash(self) -> str:
        """The hash that the next line will hold."""
        return self.submissions[-1].hash if self.submissions else FIRST

    def by_file(self) -> list[Submission]:
        """One entry per file that was handed in: its first line, with the scores that its later lines have added."""
        files: dict[str, Submission] = {}
        for line in self.submissions:
            first = files.setdefault(line.sha256, line)
            public = first.public if line.public is None else line.public
            private = first.private if line.private is None else line.private
            note = "; ".join(dict.fromkeys(filter(None, (first.note, line.note))))
            files[line.sha256] = replace(first, public=public, private=private, note=note)
        return list(files.values())


def read_ledger(path: Path) -> Ledger:
    """Read a ledger and check the chain of its hashes; a file that is not there is an empty ledger."""
    if not path.exists():
        return Ledger(path, (), ())
    try:
        return _parse(path, path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error})") from None


def record_submission(
    run: Path,
    ledger: Path,
    *,
    file: Path | None = None,
    public: float | None = None,
    private: float | None = None,
    note: str = "",
) -> tuple[Submission, list[str]]:
    """Add a line for a run's submission.

    Args:
        run: a run, a folder of `vote`, or one of `predict`.
        ledger: the file, which is made if it is not there.
        file: what was handed in; RUN/submission.csv by default.
        public, private: the leaderboard's scores, as far as they are known.
        note: in the user's words.

    Returns:
        The line, and warnings.

    Raises:
        BundleError: the folder holds nothing that was handed in.
        DataError: the ledger is damaged; nothing is added then.
        UsageError: a score is not between 0 and 1.
    """
    for name, score in (("public", public), ("private", private)):
        if score is not None and not 0 <= score <= 1:
            raise UsageError(f"--{name} {score:g}: write a score between 0 and 1, as in 0.77 for 77%")
    file = file or run / SUBMISSION
    if not file.is_file():
        raise BundleError(f"there is no {file}; name the file that was handed in with --file")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    made_by, warnings = _described(run, file)
    if not made_by["validation"]:
        warnings.append(f"{run} has no validation score, so this line has none to set beside the leaderboard's")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a+b") as opened:
        atomic.lock(opened)  # until it is closed: two commands at once must not add to the same line
        opened.seek(0)
        before = _parse(ledger, opened.read())
        if before.problems:
            raise DataError(
                f"{before.problems[0]}. Nothing was added: put the ledger's file back as it was, or name another one "
                "with --ledger"
            )
        number = len(before.submissions) + 1
        if earlier := next((line.number for line in before.submissions if line.sha256 == sha256), None):
            warnings.append(f"the same file is in line {earlier}; scores of this line are added to it in the list")
        time = datetime.now(UTC).isoformat(timespec="seconds")
        line = {
            "number": number, "time": time, "run": str(run), "file": str(file), "sha256": sha256, **made_by,
            "public": public, "private": private, "note": note, "previous": before.last_hash,
        }  # fmt: skip
        line = {key: _text(value) for key, value in line.items()}
        line["hash"] = _hash(line)
        opened.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return _submission(line), warnings


def _described(run: Path, file: Path) -> tuple[dict[str, Any], list[str]]:
    """What is known of a submission's origin: bundles, fingerprints and validation scores; and warnings."""
    predicted_by = _bundles_of(file.parent / PREDICTIONS_JSON)
    bundles: list[str] = []
    data: dict[str, Any] = {"data": None, "folds": None}
    scores: dict[str, Any] = {}
    if (run / BUNDLE_JSON).is_file():
        state = read_run(run)
        bundles = [hashlib.sha256((run / BUNDLE_JSON).read_bytes()).hexdigest()]
        data = {name: state.data.get(f"{name}_fingerprint") for name in ("data", "folds")}
        scores = state.scores
    elif (run / VOTES).is_file():
        content = (run / VOTES).read_bytes()
        bundles = [hashlib.sha256(content).hexdigest()]
        scores = _scores_of_votes(content)
    elif not predicted_by:
        raise BundleError(f"{run} holds no finished run, no votes.json and no predictions")
    warnings: list[str] = []
    if bundles and predicted_by and predicted_by != bundles:
        warnings.append(f"{file} was predicted by another bundle than that of {run}: its scores are not this run's")
    macro_f1 = {name: figures["macro_f1"] for name, figures in scores.items() if "macro_f1" in figures}
    return {"bundles": bundles or predicted_by, **data, "validation": macro_f1}, warnings


def _bundles_of(record: Path) -> list[str]:
    try:
        return sorted(str(entry["sha256"]) for entry in json.loads(record.read_text(encoding="utf-8"))["bundles"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _scores_of_votes(content: bytes) -> dict[str, Any]:
    """The scores of the fitted weights, which are the last ones in votes.json."""
    try:
        return dict(json.loads(content)["scores"][-1]["scores"])
    except (ValueError, KeyError, TypeError, IndexError):
        return {}


def _parse(path: Path, content: bytes) -> Ledger:
    submissions: list[Submission] = []
    problems: list[str] = []
    lines = content.split(b"\n")
    if lines.pop():
        problems.append(f"{path}, line {len(lines) + 1} is incomplete")
    expected = FIRST
    for number, text in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
            submission = _submission(line)
        except (ValueError, TypeError, KeyError, AttributeError):
            problems.append(f"{where} is no submission")
            continue
        if _hash(line) != submission.hash:
            problems.append(f"{where} was changed after it was written")
        elif submission.previous != expected or submission.number != number:
            problems.append(f"{where} does not follow the line before it: lines were removed, added or moved")
        submissions.append(submission)
        expected = submission.hash
    return Ledger(path, tuple(submissions), tuple(problems))


def _submission(line: Mapping[str, Any]) -> Submission:
    values: dict[str, Any] = {field.name: line[field.name] for field in fields(Submission)}
    values["bundles"], values["validation"] = tuple(values["bundles"]), dict(values["validation"])
    return Submission(**values)


def _hash(line: Mapping[str, Any]) -> str:
    without = {key: value for key, value in line.items() if key != "hash"}
    text = json.dumps(without, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _text(value: Any) -> Any:
    """Text without bytes that are no UTF-8, as a file's name can have."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation of two lists of scores; None for fewer than three pairs, or where all are equal."""
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy.stats import spearmanr

    result: Any = spearmanr(first, second)
    return float(result.statistic)
