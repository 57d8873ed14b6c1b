"""The web application: the page, /predict, /health, /metrics and /openapi.json.

In: HTTP requests. Out: predictions as JSON. `server.py` runs it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from importlib import resources

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from pipeline.intake.photo import Photo
from pipeline.prediction.prediction import Prediction
from pipeline.reports.html import page_template
from pipeline.serving.answers import PROBLEMS, PredictAnswer, predict_description
from pipeline.serving.batching import PhotoQueue, QueueFull
from pipeline.serving.gate import Gate
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.uploads import Uploads

PATHS = ("/", "/page.css", "/page.js", "/predict", "/health", "/metrics", "/openapi.json")
# The page loads nothing from elsewhere, and a browser holds it to that.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(
    predict: Callable[[Sequence[Photo]], Sequence[Prediction]],
    limits: Limits,
    *,
    version: str,
    token: str | None = None,
    hosts: frozenset[str] = frozenset(),
) -> FastAPI:
    """Make the application.

    Args:
        predict: photos -> their predictions, in order; called in threads.
        limits: of uploads, batches, queue and time.
        version: of faceline.
        token: that clients must send; None for none.
        hosts: names under which the server may be reached; empty for any.
    """
    metrics = Metrics()
    queue = PhotoQueue(predict, limits, metrics)
    uploads = Uploads(limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        batches = asyncio.create_task(queue.run())
        yield
        batches.cancel()

    # The usual pages about the API load their scripts from a CDN: /openapi.json alone is there.
    app = FastAPI(title="faceline", version=version, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Gate, token=token, hosts=hosts, metrics=metrics, paths=PATHS)

    @app.post("/predict", response_model=PredictAnswer, responses=PROBLEMS, openapi_extra=predict_description(limits))
    async def predict_photos(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Predict the photos of a request, in their order."""
        deadline = asyncio.get_running_loop().time() + limits.timeout_s
        with metrics.seconds.time(), uploads.upload(request) as upload:
            try:
                queue.require_room()  # before anything is read
                async with asyncio.timeout_at(deadline):
                    photos = await upload.photos()
            except TimeoutError:
                metrics.refused.labels("time").inc()
                raise HTTPException(408, f"the upload took longer than {limits.timeout_s:g} s") from None
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except QueueFull as full:
                raise _unavailable(full) from None
            try:
                async with asyncio.timeout_at(deadline):
                    predictions = await queue.predict(photos)
            except TimeoutError:
                metrics.refused.labels("time").inc()
                raise _unavailable(QueueFull(queue.retry_after_s)) from None
            except QueueFull as full:
                raise _unavailable(full) from None
            except Exception:  # the queue has logged it
                raise HTTPException(500, "the photos can't be predicted; the server's log says why") from None
        for prediction in predictions:
            metrics.photos.labels(prediction.status).inc()
        answer = {"predictions": [_answer(prediction, limits) for prediction in predictions]}
        return JSONResponse(answer, 200 if any(prediction.is_readable for prediction in predictions) else 422)

    @app.get("/health")
    async def health() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        """Say that the server is up."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Show the counters in Prometheus's format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    for path, response in _page():
        app.add_route(path, partial(_show, response), include_in_schema=False)
    return app


async def _show(response: Response, _: Request) -> Response:
    return response


def _unavailable(full: QueueFull) -> HTTPException:
    return HTTPException(503, str(full), {"Retry-After": str(full.retry_after_s)})


def _answer(prediction: Prediction, limits: Limits) -> dict[str, object]:
    """A prediction as JSON knows it; what the message of a large photo advises can only be done at the command line."""
    answer = prediction.to_dict()
    if prediction.reason == "too_large":
        answer["message"] = f"larger than {limits.max_megapixels:g} megapixels, the most that this server reads"
    return answer


def _page() -> list[tuple[str, Response]]:
    """The page's files."""
    folder = resources.files("pipeline.serving") / "templates"
    page, style, script = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    style = page_template("page.css.j2").render() + style  # the look of all pages
    files = [("/", page, "text/html"), ("/page.css", style, "text/css"), ("/page.js", script, "text/javascript")]
    return [(path, Response(text, media_type=kind, headers=PAGE_HEADERS)) for path, text, kind in files]
