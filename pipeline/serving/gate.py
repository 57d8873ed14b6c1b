"""Let in the requests that may come in, and make sure that each refusal reaches its client.

In: requests as uvicorn hands them on. Out: the same for the application behind it, or a refusal.
"""

import asyncio
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.metrics import Metrics

OPEN = frozenset({"/", "/page.css", "/page.js", "/health"})  # without a token: they show nothing of the bundle
LINGER_S = 1.0  # how long the rest of a refused upload is read and forgotten


class Gate:
    """Checks who asks, before anything of a request's body is read.

    Args:
        app: what answers.
        token: what clients must send, as "Authorization: Bearer TOKEN"; None to ask for none.
        hosts: names under which the server is reached, for its own page alone; empty for any names and pages. Without
            a token, they keep out the web pages that the user of this machine looks at: these can send requests to
            it and, under a name that they point to it, read the answers.
        metrics: counts the requests.
        paths: that the application answers; requests for others are counted together.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: frozenset[str], metrics: Metrics, paths: Sequence[str]
    ) -> None:
        self._app, self._token, self._hosts, self._metrics, self._paths = app, token, hosts, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)

        async def send_and_linger(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in self._paths else "other"
                self._metrics.requests.labels(path, message["status"]).inc()
            elif not message.get("more_body") and not body.is_read:
                # Closing a connection on a client that is still sending takes the answer from it.
                await send({**message, "more_body": True})
                await body.forget_rest()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["path"])
        await (refusal or self._app)(scope, body.receive, send_and_linger)

    def _refusal(self, headers: Headers, path: str) -> JSONResponse | None:
        host = _name(f"//{headers.get('host', '')}")
        if self._hosts and host not in self._hosts:
            return JSONResponse({"detail": f"this server is not called {host}"}, 403)
        if self._hosts and "origin" in headers and headers["origin"] != f"http://{headers['host']}":
            return JSONResponse({"detail": "only this server's own page may use it from a browser"}, 403)
        if self._token is not None and path not in OPEN:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                detail = "the token is missing or wrong; send it as the header Authorization: Bearer TOKEN"
                return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
        return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _Body:
    """The body of a request, and whether it has been read to its end."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self.is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._receive = receive

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_read = not message.get("more_body", False)
        return message

    async def forget_rest(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.is_read:
                    await self.receive()
        except TimeoutError:
            pass
