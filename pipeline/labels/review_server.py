"""The server behind the page of a review, for this machine alone.

In: a Review and the file of decisions. Out: a page on a loopback address, which only whoever knows its token can open.

Every page in a browser can send requests to a loopback address. What they lack is the token, and a name of another
machine that leads here (DNS rebinding) is refused by the Host header.
"""

import json
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from cache.errors import UsageError
from pipeline.intake.decision_log import KINDS, DecisionLog, Kind, Line
from pipeline.labels.review_cases import Case, Review
from pipeline.labels.review_page import CONTENT_POLICY, case_as_json, photo_as_json
from pipeline.labels.review_pictures import ReviewPictures
from pipeline.serving.address import listen

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = "127.0.0.1"
HOSTS = frozenset({LOOPBACK, "localhost", "[::1]"})
MOST_CASES = 20_000  # that a page lists
MOST_BYTES = 4_000_000  # of a request
HEADERS = {
    "content-security-policy": f"{CONTENT_POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ReviewApi:
    """What the page asks for, without the web."""

    def __init__(self, review: Review, log: DecisionLog) -> None:
        self._review = review
        self._log = log
        self._rows = {photo.name: row for row, photo in enumerate(review.held_out.photos)}
        self._tasks = {task.name: task for task in review.tasks}
        self._cases: dict[tuple[str, str], list[Case]] = {}

    def cases(self, show: str, query: str = "") -> dict[str, Any]:
        """The cases of a view: suspects, mistakes, or what a query finds; UsageError if there is no such view."""
        found = self._cases.get((show, query))
        if found is None:
            if len(self._cases) > 20:  # queries
                self._cases.clear()
            found = self._cases[show, query] = self._review.cases(show, query)
        return {"cases": [case_as_json(case, self._review) for case in found[:MOST_CASES]], "found": len(found)}

    def photos(self, rows: list[int]) -> dict[int, Any]:
        """What is known of photos: row -> facts."""
        known = len(self._review.held_out.photos)
        return {row: photo_as_json(row, self._review) for row in rows if 0 <= row < known}

    def decisions(self, after: int) -> dict[str, Any]:
        """The decisions in the file but the first `after` lines, each with the row of its photo.

        All of them, if there are fewer: then somebody has removed or shortened the file.
        """
        lines = self._log.lines()
        after = after if after <= len(lines) else 0
        lines = lines[after:]
        with_rows = [{**line, "row": self._rows.get(line.get("path", ""), -1)} for line in lines]
        return {"lines": with_rows, "from": after, "next": after + len(lines)}

    def decide(self, body: Any) -> dict[str, Any]:
        """Add a decision to the file, and return what is new in it and the decision's entry.

        Raises:
            ValueError: it is none.
            OSError: it can't be written.
        """
        kind, undoes, after = body["kind"], str(body.get("undoes", "")), int(body["after"])
        changes = (
            self._undone(undoes) if kind == "undo" else [self._change(kind, body["task"], c) for c in body["changes"]]
        )
        if kind not in KINDS or not changes:
            raise ValueError("it is no decision")
        accepted: Kind = kind
        entry = self._log.append(accepted, changes, undoes)
        return {**self.decisions(after), "entry": entry}

    def _change(self, kind: str, task_name: str, change: Any) -> Line:
        """A line's task, path, label and given label."""
        task, row = self._tasks[task_name], change["row"]
        if not isinstance(row, int) or not 0 <= row < len(self._rows):
            raise ValueError(f"there is no row {row!r}")
        photo = self._review.held_out.photos[row]
        label = photo.labels.get(task.name, "")
        given = f"{label:g}" if isinstance(label, float) else str(label)
        corrected = {"fix": change.get("label"), "drop": ""}.get(kind, given)
        if kind == "fix" and corrected not in task.classes:
            raise ValueError(f"{task.name} has no class {corrected!r}")
        return {"task": task.name, "path": photo.name, "label": str(corrected), "given": given}

    def _undone(self, entry: str) -> list[Line]:
        """The lines of the decision with this entry, as lines that undo it."""
        kept = ("task", "path", "given")
        lines = [line for line in self._log.lines() if line.get("entry") == entry and line["decision"] != "undo"]
        return [{**{key: line.get(key, "") for key in kept}, "label": line.get("given", "")} for line in lines]


def review_app(api: ReviewApi, pictures: ReviewPictures, page: str, token: str) -> Callable[..., Awaitable[None]]:
    """The web application; all its addresses begin with /TOKEN/.

    Raises:
        UsageError: the extra `ui` is not installed.
    """
    try:
        return Guard(_routes(api, pictures, page), token)
    except ImportError:
        raise UsageError(
            "faceline review needs an extra: pip install 'faceline[ui]'. Without it, --static FILE writes the page as "
            "a file."
        ) from None


def _routes(api: ReviewApi, pictures: ReviewPictures, page: str) -> "Starlette":
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def show_page(_: "Request") -> "Response":
        return HTMLResponse(page, headers={"cache-control": "no-store"})

    def show_cases(request: "Request") -> "Response":
        try:
            return JSONResponse(api.cases(request.query_params.get("show", ""), request.query_params.get("query", "")))
        except UsageError as error:
            return JSONResponse({"error": str(error)})

    def show_photos(request: "Request") -> "Response":
        rows = [int(row) for row in request.query_params.get("rows", "").split(",") if row.isdecimal()]
        return JSONResponse(api.photos(rows))

    def show_picture(request: "Request") -> "Response":
        row, view = request.path_params["row"], request.query_params.get("view")
        is_known = bool(api.photos([row]))
        jpeg = pictures.jpeg(row, "photo" if view == "photo" else "crop") if is_known else None
        if jpeg is None:  # no error, which the browser's console would show
            return Response(status_code=204)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    def show_decisions(request: "Request") -> "Response":
        after = request.query_params.get("after", "0")
        try:
            return JSONResponse(api.decisions(int(after) if after.isdecimal() else 0))
        except OSError as error:
            return JSONResponse({"error": f"{error.filename} can't be read: {error.strerror or error}"})

    async def add_decision(request: "Request") -> "Response":
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                return PlainTextResponse("too large", status_code=413)
        try:
            return JSONResponse(await run_in_threadpool(api.decide, json.loads(content)))
        except OSError as error:
            return JSONResponse({"error": f"it can't be written: {error.strerror or error}"})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return PlainTextResponse(f"no decision: {error}", status_code=400)

    return Starlette(
        routes=[
            Route("/{token}/", show_page),
            Route("/{token}/cases", show_cases),
            Route("/{token}/photos", show_photos),
            Route("/{token}/picture/{row:int}", show_picture),
            Route("/{token}/decisions", show_decisions),
            Route("/{token}/decisions", add_decision, methods=["POST"]),
        ]
    )


class Guard:
    """Answers only requests to this machine's loopback names whose path begins with the token."""

    def __init__(self, app: "Starlette", token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        headers = {name: value for name, value in scope["headers"] if name in {b"host", b"origin"}}
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        given = scope["path"].encode("utf-8", "surrogateescape").split(b"/")[1:2]

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        if host.rsplit(":", 1)[0] not in HOSTS or origin not in {"", f"http://{host}"}:
            await PlainTextResponse("This page is for this machine alone.", status_code=403)(
                scope, receive, send_with_headers
            )
        elif not secrets.compare_digest(b"".join(given), self._token):
            text = "The address lacks the right token: open the address that `faceline review` has printed."
            await PlainTextResponse(text, status_code=403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def bind(port: int) -> socket.socket:
    """A socket on the loopback address; port 0 takes a free one.

    Raises:
        UsageError: the port can't be had.
    """
    try:
        return listen(LOOPBACK, port)  # who reads the address can come; the first answer waits for the server
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror or error}; leave it out to take a free one") from None


def serve_until_stopped(app: Callable[..., Awaitable[None]], bound: socket.socket) -> None:
    """Answer requests until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=1
    )
    # Ctrl-C is how a review ends: once it has stopped, uvicorn sends the signal again to whoever had it before.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        signal.signal(signal.SIGINT, before)
