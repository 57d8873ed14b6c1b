"""HTML pages that need nothing else: one file, no network."""

import base64
from collections.abc import Callable

import jinja2


def page_template(name: str) -> jinja2.Template:
    """Load a template of pipeline/reports/templates; its filters write pictures and figures."""
    # autoescape: file names and class names come from the user and may hold markup.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(name)


def data_uri(jpeg: bytes) -> str:
    """The bytes of a JPEG file as the address of a picture."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _text(value: str) -> str:
    """Text that can be written as UTF-8: bytes of file names that are none become escapes."""
    return value.encode("utf-8", "backslashreplace").decode()


FILTERS: dict[str, Callable[..., str]] = {
    "data_uri": data_uri,
    "count": _count,
    "share": _share,
    "percent": _percent,
    "text": _text,
}
