"""Serve a bundle over HTTP until the process gets a signal to stop.

In: a bundle and an address. Out: answers; at SIGINT or SIGTERM, those to the requests under way, and then the end.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI

from classify.inference.ensemble import load_ensemble
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction.engine import Engine
from pipeline.prediction.photo_like import photo_of
from pipeline.prediction.prediction import Prediction
from pipeline.serving.address import BACKLOG, Address
from pipeline.serving.app import make_app
from pipeline.serving.connections import TimedProtocol
from pipeline.serving.limits import HEAD_BYTES, Limits

SAME_STOP_S = 1.0  # a process that started this one may pass on the signal that this one got, too


def load_predict(bundle: Path, context: RunContext) -> Callable[[Sequence[Photo]], Sequence[Prediction]]:
    """Load a bundle and return what predicts photos with it, warm.

    Raises:
        BundleError: the bundle is damaged, incomplete or of another version.
    """
    engine = Engine(load_ensemble([bundle]), context, use_cache=False)

    def predict(photos: Sequence[Photo]) -> Sequence[Prediction]:
        return list(engine.predict(photos))

    predict([photo_of(np.full((512, 384, 3), 128, np.uint8))])
    return predict


class Server:
    """A running server.

    Args:
        app: what answers.
        listener: the socket to listen on.
        limits: of the time to answer, which is also that of stopping.
    """

    def __init__(self, app: FastAPI, listener: socket.socket, limits: Limits) -> None:
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            lifespan="on",
            h11_max_incomplete_event_size=HEAD_BYTES,
            backlog=BACKLOG,
            timeout_graceful_shutdown=round(limits.timeout_s) + 1,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        # In a thread, since uvicorn ends a process whose main thread it runs in with the signal that it got.
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="serve")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def stop(self, *, wait: bool = True) -> None:
        """Take no more requests, and answer those under way unless `wait` is false."""
        self._server.should_exit = True
        if not wait:
            self._server.force_exit = True

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join()


def serve_until_stopped(server: Server, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; a second one stops without waiting for answers. Only in the main thread."""
    stopped_at = 0.0

    def stop(*_: object) -> None:
        nonlocal stopped_at
        if stopped_at and time.monotonic() - stopped_at < SAME_STOP_S:
            return
        server.stop(wait=not stopped_at)
        if not stopped_at:
            say("stopping; requests under way are answered first")
        stopped_at = time.monotonic()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def app_of(bundle: Path, context: RunContext, limits: Limits, address: Address) -> FastAPI:
    """Load a bundle into an application."""
    from faceline import __version__

    predict = load_predict(bundle, context)
    return make_app(predict, limits, version=__version__, token=address.token, hosts=address.hosts)
