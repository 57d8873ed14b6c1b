"""A server whose answers need no network: it reads the photos, and finds a face in the middle of each."""

import http.client
import json
import socket
from contextlib import contextmanager

from detect.decode import decode_content
from detect.failures import Failure
from pipeline.prediction.prediction import Prediction, TaskPrediction
from pipeline.serving.address import Address
from pipeline.serving.app import make_app
from pipeline.serving.limits import Limits
from pipeline.serving.server import Server

MASK = TaskPrediction("wear", {"wear": 0.75, "incorrect": 0.2, "normal": 0.05})
AGE = TaskPrediction("<30", {"<30": 0.6, "30-59": 0.3, ">=60": 0.1}, is_unsure=True)


def stub_predict(photos):
    predictions = []
    for photo in photos:
        image = decode_content(photo.content, photo.path, max_megapixels=1)
        if isinstance(image, Failure):
            predictions.append(Prediction(photo.name, "unreadable", message=image.message, reason=image.reason))
            continue
        height, width = image.shape[:2]
        box = (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
        predictions.append(
            Prediction(photo.name, "ok", box, 0.9, ((1.0, 2.0),) * 5, "mtcnn", {"mask": MASK, "age": AGE}, 0, faces=1)
        )
    return predictions


@contextmanager
def running(predict=stub_predict, limits=None, token=None, hosts=frozenset()):
    """Yield the port of a server that runs in this process."""
    limits = limits or Limits(max_megapixels=1)
    address = Address(socket.create_server(("127.0.0.1", 0), backlog=512), "", token, hosts=hosts)
    app = make_app(predict, limits, version="1", token=address.token, hosts=address.hosts)
    server = Server(app, address.listener, limits)
    port = address.listener.getsockname()[1]
    server.start()
    try:
        yield port
    finally:
        server.stop()
        server.join()


def ask(port, method="GET", path="/health", body=None, timeout=20, **headers):
    """Status, headers and body of an answer; the body is read as JSON if it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        content = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, response.headers, json.loads(content) if is_json else content.decode()
    finally:
        connection.close()


def form(*files, field="photo"):
    """The body of a form with files (name, content), and its type."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, b"--cut--\r\n"]), "multipart/form-data; boundary=cut"
