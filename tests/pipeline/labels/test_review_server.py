"""The server of a review: whom it answers, and what becomes of decisions."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import uvicorn

from cache.errors import UsageError
from pipeline.context import RunContext
from pipeline.intake.corrections import apply_corrections, load_labelled
from pipeline.intake.decision_log import DecisionLog
from pipeline.labels.review_page import review_page
from pipeline.labels.review_pictures import ReviewPictures
from pipeline.labels.review_server import ReviewApi, bind, review_app
from tests.pipeline.conftest import faceline
from tests.pipeline.labels.conftest import MARKUP, load

TOKEN = "t0ken"


@pytest.fixture(scope="module")
def served(reviewed, tmp_path_factory):
    """A server on a thread; `port`, and the file of decisions as `file`."""
    folder = tmp_path_factory.mktemp("served")
    review = load(reviewed, folder)
    log = DecisionLog(folder / "corrections.jsonl")
    pictures = ReviewPictures(review, RunContext(reviewed.settings, folder / "cache"))
    page = review_page(review, str(log.path), {"suspects": "", "mistakes": "", "query": ""}, "suspects")
    app = review_app(ReviewApi(review, log), pictures, page, TOKEN)
    with bind(0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield SimpleNamespace(port=bound.getsockname()[1], file=log.path, review=review, reviewed=reviewed)
        server.should_exit = True
        thread.join()


def ask(served, path, body=None, method=None, token=TOKEN, **headers):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    method = method or ("GET" if body is None else "POST")
    connection.request(method, f"/{token}/{path}", body and json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def got(served, path, body=None):
    status, _, content = ask(served, path, body)
    assert status == 200, content
    return json.loads(content)


def row_of(served, name):
    return [photo.name for photo in served.review.held_out.photos].index(name)


def decide(served, kind, task, *changes, after=0):
    body = {"kind": kind, "task": task, "changes": [{"row": r, "label": label} for r, label in changes], "after": after}
    return got(served, "decisions", body)["lines"]


def test_only_who_knows_the_token_and_the_name_of_this_machine_is_answered(served):
    assert ask(served, "")[0] == 200
    for token in ("", "t0keN", "t0ken0", "%ff"):
        status, _, content = ask(served, "", token=token)
        assert status == 403
        assert b"open the address that" in content
    assert ask(served, "cases?show=mistakes", token="x")[0] == 403
    assert ask(served, "", Host=f"attacker.example:{served.port}")[0] == 403
    assert ask(served, "", Host="")[0] == 403
    assert ask(served, "", Host=f"localhost:{served.port}")[0] == 200
    body = {"kind": "keep", "task": "mask", "changes": [{"row": 0}], "after": 0}
    assert ask(served, "decisions", body, Origin="http://attacker.example")[0] == 403
    assert not served.file.exists()


def test_the_page_may_load_nothing_and_holds_no_markup_of_names(served):
    _, headers, content = ask(served, "")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe-inline'; script-src" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert b"<script>alert" not in content


def test_a_picture_comes_alone_and_one_that_is_gone_is_no_error(served, tmp_path):
    status, headers, content = ask(served, f"picture/{row_of(served, MARKUP)}")
    assert (status, headers["content-type"], content[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert ask(served, f"picture/{len(served.review.held_out.photos)}")[0] == 204


def test_decisions_are_corrections_at_once_and_two_pages_see_each_others(served):
    first, last = row_of(served, "p00/wear.jpg"), row_of(served, "p01/wear.jpg")
    seen = len(got(served, "decisions")["lines"])
    decide(served, "fix", "gender", (first, "female"))
    lines = decide(served, "drop", "age", (last, ""), after=seen)
    assert [(line["decision"], line["row"]) for line in lines] == [("fix", first), ("drop", last)]
    dataset = load_labelled(served.reviewed.data, served.reviewed.settings)
    _, changes = apply_corrections(dataset, str(served.file), served.reviewed.settings)
    assert {(change.photo, change.task): change.after for change in changes} == {
        ("p00/wear.jpg", "gender"): "female",
        ("p01/wear.jpg", "age"): None,
    }
    undone = got(served, "decisions", {"kind": "undo", "undoes": lines[0]["entry"], "after": seen + 2})["lines"]
    assert [(line["decision"], line["label"], line["undoes"]) for line in undone] == [
        ("undo", "male", lines[0]["entry"])
    ]
    _, changes = apply_corrections(dataset, str(served.file), served.reviewed.settings)
    assert [change.photo for change in changes] == ["p01/wear.jpg"]


def test_a_page_knows_its_own_decision_among_those_of_others_and_a_file_that_was_removed(served):
    seen = got(served, "decisions")["next"]
    other = {"task": "mask", "path": "p02/wear.jpg", "label": "wear", "given": "wear"}
    DecisionLog(served.file).append("keep", [other])
    body = {"kind": "drop", "task": "mask", "changes": [{"row": 0}], "after": seen}
    found = got(served, "decisions", body)
    assert (found["from"], [line["decision"] for line in found["lines"]]) == (seen, ["keep", "drop"])
    assert found["entry"] == found["lines"][1]["entry"]
    served.file.unlink()
    assert got(served, f"decisions?after={found['next']}") == {"lines": [], "from": 0, "next": 0}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"kind": "fix", "task": "gender", "changes": [{"row": 0, "label": "neither"}], "after": 0},
        {"kind": "fix", "task": "smile", "changes": [{"row": 0, "label": "male"}], "after": 0},
        {"kind": "keep", "task": "gender", "changes": [{"row": 10**9}], "after": 0},
        {"kind": "keep", "task": "gender", "changes": [{"row": -1}], "after": 0},
        {"kind": "keep", "task": "gender", "changes": [], "after": 0},
        {"kind": "burn", "task": "gender", "changes": [{"row": 0}], "after": 0},
        {"kind": "undo", "undoes": "nothing", "after": 0},
        {"kind": "keep", "task": "gender", "changes": [{"row": 0}]},
        {"kind": "keep", "task": "gender", "changes": [{"row": 0}], "after": "all"},
    ],
)
def test_what_is_no_decision_is_refused_and_writes_nothing(served, body):
    before = served.file.read_bytes() if served.file.exists() else b""
    assert ask(served, "decisions", body, method="POST")[0] == 400
    assert (served.file.read_bytes() if served.file.exists() else b"") == before


def test_a_decision_that_can_not_be_written_is_not_confirmed(served, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.intake.decision_log.os.fsync", full)
    body = {"kind": "keep", "task": "mask", "changes": [{"row": 0}], "after": 0}
    assert got(served, "decisions", body) == {"error": "it can't be written: No space left on device"}


def test_a_file_that_can_not_be_read_any_more_is_a_message(served):
    decide(served, "keep", "mask", (0, ""))
    aside = served.file.rename(served.file.with_suffix(".aside"))
    served.file.mkdir()
    try:
        assert got(served, "decisions") == {"error": f"{served.file} can't be read: Is a directory"}
    finally:
        served.file.rmdir()
        aside.rename(served.file)


def test_decisions_go_to_no_table_of_another_kind(reviewed, tmp_path):
    table = tmp_path / "corrections.csv"
    for options in ([], ["--static", tmp_path / "page.html"]):
        with pytest.raises(UsageError, match=r"--out .*corrections\.csv: decisions are lines of JSON; .* \.jsonl"):
            faceline("review", reviewed.run, "--show", "mistakes", "--out", table, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_query_is_a_message(served):
    assert "unable to find column" in got(served, "cases?show=query&query=colour%20%3D%20red")["error"]
    assert got(served, "cases?show=query&query=gender%3Dfemale%20AND%20p%3C0.6")["found"] == 1
    assert "there are no 'wishes'" in got(served, "cases?show=wishes")["error"]


def test_the_command_prints_the_address_serves_and_ends_with_ctrl_c(reviewed, tmp_path):
    out = tmp_path / "mine.jsonl"
    words = ["-m", "pipeline", "review", reviewed.run, "--out", out, "--show", "mistakes", "--json"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed = json.loads(process.stdout.readline())
        host, token = printed["address"].removeprefix("http://").rstrip("/").split("/")
        assert host.startswith("127.0.0.1:")
        assert len(token) >= 32
        connection = http.client.HTTPConnection(host, timeout=60)
        body = {"kind": "drop", "task": "mask", "changes": [{"row": 0}], "after": 0}
        connection.request("POST", f"/{token}/decisions", json.dumps(body))
        assert len(json.loads(connection.getresponse().read())["lines"]) == 1
        connection.close()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, rest) == (0, "")
    assert errors.strip() == f"decisions in {out}: 1"
    result = faceline("labels", "apply", out, reviewed.data)
    assert "labels corrected: mask 1" in result.stdout


def test_what_is_missing_is_one_line(reviewed, tmp_path, monkeypatch):
    words = ["review", reviewed.run, "--show", "mistakes"]
    with bind(0) as taken:
        taken.listen()
        with pytest.raises(UsageError, match=r"--port \d+: Address already in use"):
            faceline(*words, "--port", taken.getsockname()[1])
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(UsageError, match=r"pip install 'faceline\[ui\]'"):
        faceline(*words)
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    with pytest.raises(UsageError, match=r"pip install 'faceline\[clean\]'"):
        faceline("review", reviewed.run, "--show", "suspects", "--static", tmp_path / "page.html")
    result = faceline("review", reviewed.run, "--static", tmp_path / "page.html")
    assert "The worst mistakes are shown instead" in result.stderr
