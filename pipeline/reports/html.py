"""HTML pages that need nothing else: one file, no network, no script."""

import base64
import io

import jinja2
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def page_template(name: str) -> jinja2.Template:
    """Load a template of pipeline/reports/templates; its filter `data_uri` embeds the bytes of a JPEG file."""
    # autoescape: file names and class names come from the user and may hold markup.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(name)


def svg_element(figure: Figure) -> str:
    """A figure as an <svg> element."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
