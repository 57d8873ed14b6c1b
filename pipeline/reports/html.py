"""HTML pages that need nothing else: one file, no network, no script.

template name -> jinja2 template that escapes what is the user's, with JPEG bytes as data URIs.
"""

import base64

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template of pipeline/reports/templates; the filter `data_uri` puts a JPEG file into the page."""
    # autoescape: file names and class names are the user's and may hold markup.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(name)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
