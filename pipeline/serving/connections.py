"""uvicorn's HTTP/1.1, with an end to connections on which nothing comes.

uvicorn waits for the head of a request as long as its client likes, and for as many clients as files can be opened.
h11 is the parser because it limits the size of a head.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.serving.limits import HEAD_S, MAX_CONNECTIONS

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Type: application/json\r\nContent-Length: 34\r\n\r\n{"detail":"too many connections"}\n'
)
REFUSED_S = 1.0  # in which a client that was refused may read why


class TimedProtocol(H11Protocol):
    """One connection."""

    _ending: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        if len(self.connections) >= MAX_CONNECTIONS:
            self._is_refused, self.transport = True, transport
            transport.write(BUSY)
            transport.write_eof()
            self._ending = self.loop.call_later(REFUSED_S, transport.abort)
            return
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Go on with the request, or forget what a refused client sends."""
        if self._is_refused:
            return
        super().data_received(data)
        self._expect_request()

    def handle_events(self) -> None:
        """See uvicorn; what follows an answer may be no HTTP any more, and uvicorn would answer it again."""
        try:
            super().handle_events()
        except h11.LocalProtocolError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._expect_nothing()
        if not self._is_refused:
            super().connection_lost(exc)

    def _expect_request(self) -> None:
        """End the connection unless the head of a request, or the rest of an answered one, comes soon."""
        is_answering = self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]
        if is_answering:
            self._expect_nothing()
        elif self._ending is None:
            self._ending = self.loop.call_later(HEAD_S, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
