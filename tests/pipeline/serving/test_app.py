"""The endpoints over HTTP: answers, refusals, tokens, overload, and photos that are broken on purpose."""

import io
import re
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipeline.serving import connections, gate
from pipeline.serving.address import LOCAL_NAMES
from pipeline.serving.answers import PredictAnswer
from pipeline.serving.limits import Limits
from tests.pipeline.serving.stub import ask, form, running, stub_predict


def jpeg(width=80, height=100):
    file = io.BytesIO()
    Pillow.new("RGB", (width, height), "gray").save(file, "JPEG")
    return file.getvalue()


PHOTO = jpeg()
TEXT_FIELD = b'--cut\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--cut--\r\n'


@pytest.fixture(scope="module")
def port():
    with running(hosts=LOCAL_NAMES) as port:
        yield port


def predict(port, body, **more):
    return ask(port, "POST", "/predict", body, **more)


def test_one_photo_comes_as_bytes_and_several_as_files_of_a_form(port):
    status, _, answer = predict(port, PHOTO, Content_Type="image/jpeg")
    assert status == 200
    [prediction] = answer["predictions"]
    assert prediction["path"] == "photo 1"
    assert prediction["box"] == [20, 25, 60, 75]
    age = {"<30": 0.6, "30-59": 0.3, ">=60": 0.1}
    assert prediction["tasks"]["age"] == {"label": "<30", "probabilities": age, "unsure": True}
    PredictAnswer.model_validate(answer)  # what /openapi.json promises
    body, kind = form(("b.jpg", PHOTO), ("text.txt", b"no photo"), ("a.jpg#xywh=0,0,9,9", PHOTO))
    status, _, answer = predict(port, body, Content_Type=kind)
    assert status == 200
    PredictAnswer.model_validate(answer)
    assert [(photo["path"], photo["status"]) for photo in answer["predictions"]] == [
        ("b.jpg", "ok"), ("text.txt", "unreadable"), ("a.jpg#xywh=0,0,9,9", "ok"),
    ]  # fmt: skip
    assert "not an image" in answer["predictions"][1]["message"]


def test_a_request_without_a_readable_photo_says_what_is_wrong(port):
    status, _, answer = predict(port, b"no photo")
    assert status == 422
    assert "not an image" in answer["predictions"][0]["message"]
    status, _, answer = predict(port, jpeg(1200, 1000))
    assert (status, answer["predictions"][0]["message"]) == (
        422, "larger than 1 megapixels, the most that this server reads",
    )  # fmt: skip
    for body, kind, words in (
        (None, "image/jpeg", "there is no photo in the request; send photos as files of a form"),
        (form()[0], form()[1], "there is no photo in the request"),
        (TEXT_FIELD, form()[1], "the field 'x' is no file"),
        (b"no form", "multipart/form-data; boundary=cut", "the form can't be read"),
        (form(("a.jpg", PHOTO), ("b.jpg", PHOTO))[0][:-9], form()[1], "the form can't be read: it has no end"),
        (PHOTO, "multipart/form-data", "the form can't be read: Missing boundary"),
        (form(*[("a.jpg", PHOTO)] * 65)[0], form()[1], "Too many files. Maximum number of files is 64"),
    ):  # fmt: skip
        status, _, answer = predict(port, body, Content_Type=kind)
        assert status == 400
        assert words in answer["detail"]


def test_the_description_of_the_interface_is_there_and_no_page_that_needs_the_internet(port):
    status, _, schema = ask(port, path="/openapi.json")
    assert status == 200
    assert set(schema["paths"]) == {"/predict", "/health", "/metrics"}
    endpoint = schema["paths"]["/predict"]["post"]
    assert set(endpoint["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert {"200", "400", "401", "408", "413", "422", "503"} <= set(endpoint["responses"])
    assert [ask(port, path=path)[0] for path in ("/docs", "/redoc")] == [404, 404]


def test_the_page_asks_for_nothing_from_elsewhere(port):
    for path in ("/", "/page.css", "/page.js"):
        status, headers, text = ask(port, path=path)
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert not re.findall(r"https?://", text)
    folder = resources.files("pipeline.serving") / "templates"
    assert "innerHTML" not in (folder / "page.js").read_text(encoding="utf-8")


def test_metrics_count_requests_photos_and_batches():
    with running() as port:
        predict(port, PHOTO)
        predict(port, b"no photo")
        ask(port, path="/nowhere/1")
        _, headers, text = ask(port, path="/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=")
    for line in (
        'faceline_requests_total{code="200",path="/predict"} 1.0',
        'faceline_requests_total{code="422",path="/predict"} 1.0',
        'faceline_requests_total{code="404",path="other"} 1.0',
        'faceline_photos_total{status="unreadable"} 1.0',
        "faceline_batch_photos_count 2.0",
        "faceline_queue_photos 0.0",
        "faceline_upload_bytes 0.0",
        "faceline_predict_seconds_count 2.0",
    ):
        assert line in text
    assert "process_resident_memory_bytes" in text


def test_a_token_is_wanted_for_all_but_the_page_and_the_health_check():
    with running(token="se cret") as port:
        assert [ask(port, path=path)[0] for path in ("/", "/page.js", "/page.css", "/health")] == [200] * 4
        for path in ("/metrics", "/openapi.json", "/nowhere"):
            assert ask(port, path=path)[0] == 401
        for given in ("", "Bearer", "Bearer wrong", "Basic se cret", "Bearer se cret ü".encode()):
            status, headers, answer = predict(port, PHOTO, Authorization=given)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer TOKEN" in answer["detail"]
        assert predict(port, PHOTO, Authorization="Bearer se cret")[0] == 200


def test_the_token_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(gate.hmac, "compare_digest", lambda *pair: compared.append(pair) or False)
    with running(token="right") as port:
        assert predict(port, PHOTO, Authorization="Bearer right")[0] == 401
    assert compared == [(b"Bearer right", b"Bearer right")]


def test_pages_of_others_cannot_use_a_server_without_a_token(port):
    assert predict(port, PHOTO, Host="evil.example")[0] == 403
    assert predict(port, PHOTO, Host="localhost:1", Origin="http://evil.example")[0] == 403
    assert predict(port, PHOTO, Host="[::1]:1", Origin="null")[0] == 403
    assert predict(port, PHOTO, Host="localhost:1", Origin="http://localhost:1")[0] == 200
    assert ask(port, Host="[bad")[0] == 403


def test_overload_is_answered_at_once_and_waiting_requests_are_answered_later():
    go = threading.Event()

    def slow(photos):
        assert go.wait(20)
        return stub_predict(photos)

    big = PHOTO + bytes(15_000_000)  # still being sent when the answer comes
    with running(slow, Limits(queue=4, batch=1, wait_s=0, max_megapixels=1)) as port, ThreadPoolExecutor(16) as pool:
        accepted = []
        for count, line in ((2, "faceline_batch_photos_count 2.0"), (4, "faceline_queue_photos 4.0")):
            accepted += [pool.submit(predict, port, PHOTO) for _ in range(count)]
            while line not in ask(port, path="/metrics")[2]:
                time.sleep(0.01)
        for body, more in ((PHOTO, {}), (big, {}), (big, {"Connection": "close"}), (big, {"Expect": "100-continue"})):
            started = time.perf_counter()
            status, headers, answer = predict(port, body, **more)
            seconds = time.perf_counter() - started
            assert (status, headers["Retry-After"]) == (503, "1")
            assert "too many photos are waiting" in answer["detail"]
            assert seconds < 2, "benchmarks/serve.py measures how soon"
        assert ask(port)[0] == 200
        go.set()
        assert [future.result()[0] for future in accepted] == [200] * 6
        assert 'faceline_refused_total{limit="queue"} 4.0' in ask(port, path="/metrics")[2]


def test_a_fault_of_the_networks_is_an_answer_and_one_entry_in_the_log(caplog):
    def broken(photos):
        raise RuntimeError("out of memory")

    with running(broken) as port:
        status, _, answer = predict(port, PHOTO)
    assert (status, answer) == (500, {"detail": "the photos can't be predicted; the server's log says why"})
    assert caplog.text.count("RuntimeError: out of memory") == 1


def test_time_is_limited_for_uploads_and_for_answers():
    go = threading.Event()

    def slow(photos):
        assert go.wait(20)
        return stub_predict(photos)

    with running(slow, Limits(timeout_s=0.3)) as port:
        assert predict(port, PHOTO)[0] == 503
        with socket.create_connection(("127.0.0.1", port)) as sender:
            sender.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome")
            sender.settimeout(10)
            assert sender.recv(1000).startswith(b"HTTP/1.1 408")
        go.set()
        until = time.monotonic() + 10
        while predict(port, PHOTO)[0] != 200:  # on a busy machine, time may be up again
            assert time.monotonic() < until


def is_ended(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow:"])
def test_a_client_that_sends_no_request_is_let_go(sent, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with running() as port, socket.create_connection(("127.0.0.1", port)) as silent:
        silent.settimeout(10)
        silent.sendall(sent)
        assert is_ended(silent)
        assert ask(port)[0] == 200


def test_a_kept_connection_is_let_go_when_its_next_request_does_not_come(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with running() as port, socket.create_connection(("127.0.0.1", port)) as kept:
        kept.settimeout(10)
        for _ in range(2):
            kept.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += kept.recv(4000)
        kept.sendall(b"GET /heal")
        assert is_ended(kept)


def test_too_many_connections_are_refused_with_an_answer(monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with running() as port:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        status, headers, answer = predict(port, PHOTO)
        assert (status, headers["Retry-After"], answer) == (503, "1", {"detail": "too many connections"})
        for connection in idle:
            connection.close()
        until = time.monotonic() + 10
        while ask(port)[0] != 200:
            assert time.monotonic() < until


def test_an_upload_is_limited_whether_its_length_is_announced_or_not():
    limits = Limits(max_bytes=100_000)
    with running(limits=limits) as port:
        for body in (bytes(3_000_000), iter([bytes(60_000)] * 50)):  # http.client sends an iterator in chunks
            status, _, answer = predict(port, body)
            assert status == 413
            assert answer["detail"] == "the upload is larger than 0.1 MB, the most that is read"
        assert predict(port, PHOTO)[0] == 200


def test_uploads_under_way_share_a_limited_memory():
    limits = Limits(max_bytes=1000)
    with running(limits=limits) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(9)]
        for sender in slow:
            sender.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(900))
        until = time.monotonic() + 10
        while 'faceline_refused_total{limit="memory"} 1.0' not in ask(port, path="/metrics")[2]:
            assert time.monotonic() < until
        for sender in slow:
            sender.close()
        while "faceline_upload_bytes 0.0" not in ask(port, path="/metrics")[2]:
            assert time.monotonic() < until


def png_bomb(side=30_000):
    """A PNG file of some kilobytes with 900 million white pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 22)))
        + chunk(b"IEND", b"")
    )


def malformed(rng):
    """Yield (headers, body) of requests as no client should send them."""
    length = lambda body: b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)  # noqa: E731
    photo = bytearray(PHOTO)
    photo[rng.integers(20, len(photo))] ^= 0xFF
    multipart = b"Content-Type: multipart/form-data; boundary=cut\r\n"
    for body in (
        rng.bytes(rng.integers(1, 5000)), PHOTO[: rng.integers(1, len(PHOTO))], bytes(photo), png_bomb(),
        b"\xff\xd8\xff\xe1\xff\xff" + rng.bytes(2000), b"GIF89a" + b"\xff" * 100, b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    ):  # fmt: skip
        yield length(body) + b"\r\n", body
    body, _ = form(("a.jpg\x00\r\nX: y", PHOTO), ("../../etc/passwd", PHOTO))
    yield length(body) + multipart + b"\r\n", body
    yield length(body) + multipart + b"\r\n", body[:-20] + bytes(20)
    heads = b"--cut\r\n" + b"X-Long: " + b"x" * 50_000
    yield length(heads) + multipart + b"\r\n", heads
    yield b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"x" * 100_000 + b"\r\n\r\n", b""
    yield b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", b""
    yield b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\nno chunk\r\n"
    yield rng.bytes(300), b""
    yield length(b"x" * 500) + b"\r\n", b"cut off"


def send(port, head, body):
    """Send a request whatever happens, and read an answer if there is one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sender:
            sender.sendall(head + body)
            sender.shutdown(socket.SHUT_WR)
            return sender.recv(4000)
    except ConnectionError:
        return b""


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("rounds", [3, pytest.param(70, marks=pytest.mark.slow)])
def test_malformed_uploads_leave_it_serving_and_memory_flat(rounds, capsys, caplog):
    rng = np.random.default_rng(0)
    with running() as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        for sender in slow:
            sender.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome")
        memory, answers = [], []
        for _ in range(rounds):
            answers += [send(port, *request) for request in malformed(rng)]
            memory.append(resident_bytes())
            assert predict(port, PHOTO)[0] == 200
        for sender in slow:
            sender.close()
    statuses = {int(answer.split()[1]) for answer in answers if answer}
    assert statuses <= {200, 400, 413, 422}, statuses
    assert memory[-1] - memory[0] < 30e6
    assert "Traceback" not in caplog.text + "".join(capsys.readouterr())
