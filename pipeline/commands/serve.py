"""`faceline serve`: an upload page and a JSON endpoint for a bundle."""

import importlib.util
import sys
from dataclasses import replace
from typing import Annotated, Literal

import typer

from cache.errors import UsageError
from pipeline.commands.checked_paths import BundleArg
from pipeline.commands.options import SharedOptions, with_shared_options

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@with_shared_options("cache", "device", "workers", "json", "quiet")
def serve(
    shared: SharedOptions,
    bundle: BundleArg,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; other machines reach 0.0.0.0, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="FACELINE_TOKEN", help="What clients must send; made up where it is needed."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=256, help="Most photos predicted together.")] = 16,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=1000, help="Milliseconds that a photo waits for others.", metavar="MS")
    ] = 3.0,
    queue: Annotated[int, typer.Option("--queue", min=1, max=10_000, help="Photos that may wait; then 503.")] = 64,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.001, max=1000, help="Size of the largest request.", metavar="MB")
    ] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option("--max-megapixels", min=0.01, help="Size of the largest photo.", metavar="N")
    ] = 50.0,
    precision: Annotated[
        Literal["fp32", "bf16"],
        typer.Option("--precision", help="bf16 is faster on processors that have it, with OpenVINO."),
    ] = "fp32",
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds until a request is answered.", metavar="S")
    ] = 30.0,
) -> None:
    """Serve a page to drop photos on, and JSON for programs."""
    if any(importlib.util.find_spec(package) is None for package in PACKAGES):
        raise UsageError('faceline serve needs an extra: pip install "faceline[serve]"')
    from pipeline.serving.address import open_address

    given = (token or "").strip()
    address = open_address(host, port, given or None)  # before torch is imported, which takes seconds
    from pipeline.prediction.predict import warn_of_precision
    from pipeline.serving.limits import Limits
    from pipeline.serving.server import Server, app_of, serve_until_stopped

    limits = Limits(batch, wait / 1000, queue, round(max_mb * 1e6), max_megapixels, timeout)
    settings = [f"data.max_megapixels={max_megapixels}", f"predict.precision={precision}"]
    context = replace(shared, settings=settings).context()
    warn_of_precision(context)
    server = Server(app_of(bundle, context, limits, address), address.listener, limits)
    server.start()
    new_token = address.token if address.is_token_new else None
    text = [f"Serving {bundle} at {address.url}"]
    if new_token:
        text += [f"Token: {new_token}", f"Page: {address.url}#token={new_token}"]
    record = {"url": address.url, "token": new_token, "bundle": str(bundle)}
    context.console.done(record, text="\n".join([*text, "Ctrl-C stops it."]))
    sys.stdout.flush()
    serve_until_stopped(server, context.console.line)
