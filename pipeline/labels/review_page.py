"""The page of a review, as a server shows it or as one file that holds its cases and pictures.

In: a Review. Out: HTML. The page's script reads what it shows from the server, or from the page.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from classify.tasks import UNLABELLED
from pipeline.labels.review_cases import Case, Review
from pipeline.labels.review_pictures import ReviewPictures
from pipeline.reports.html import data_uri, page_template

STATIC_BYTES = 24_000_000  # of the pictures in a page that is one file
STATIC_LARGE, STATIC_SMALL = ((330, 440), 80), ((150, 200), 70)  # size and quality; of photos in question, and others


def _script() -> str:
    return page_template("review.js.j2").render()


def _policy(connect: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


CONTENT_POLICY = _policy("'self'")


def case_as_json(case: Case, review: Review) -> dict[str, Any]:
    """A case as the page's script reads it."""
    return {
        "task": review.tasks.index(case.task),
        "rows": case.rows,
        "given": int(review.codes[case.task.name][case.rows[0]]),
        "suggested": case.suggested,
        "others": review.others(case),
        "score": round(case.score, 4),
    }


def photo_as_json(row: int, review: Review) -> dict[str, Any]:
    """What the page shows of a photo: by task, the given label (a class index, and its number) and probabilities."""
    photo, held_out = review.held_out.photos[row], review.held_out
    labels = [photo.labels.get(task.name) for task in review.tasks]
    return {
        "path": photo.name,
        "person": photo.person,
        "given": [int(review.codes[task.name][row]) for task in review.tasks],
        "label": ["" if label is None else label if isinstance(label, str) else f"{label:g}" for label in labels],
        "p": [[round(float(p), 4) for p in held_out.probabilities[task.name][row]] for task in review.tasks],
    }


def review_page(review: Review, file: str, views: Mapping[str, str], show: str, query: str = "") -> str:
    """The page that a server shows.

    Args:
        review: what there is to review.
        file: where decisions go, as the page says it.
        views: the names of the views, and why one can't be had, if so.
        show: the view to begin with.
        query: with the view "query".
    """
    config = {"views": views, "show": show, "query": query, **_config(review, file)}
    return _render(review, config, CONTENT_POLICY)


def static_page(
    review: Review, cases: Sequence[Case], pictures: ReviewPictures, top: int, file: str
) -> tuple[str, int]:
    """The page as one file, with the first cases up to `top` or as many as there is room for; and their number."""
    uris: dict[int, str] = {}
    sizes: dict[int, int] = {}
    shown: list[Case] = []
    room = STATIC_BYTES
    for case in cases[:top]:
        others = review.others(case)
        for row, (size, quality) in [
            *((row, STATIC_LARGE) for row in case.rows),
            *((row, STATIC_SMALL) for row in others),
        ]:
            if row in uris and sizes[row] >= size[0]:
                continue
            jpeg = pictures.thumbnail(row, size, quality)
            before = len(uris.get(row, ""))
            uris[row], sizes[row] = "" if jpeg is None else data_uri(jpeg), size[0]
            room -= len(uris[row]) - before
        if room < 0 and shown:
            break
        shown.append(case)
    rows = {row for case in shown for row in [*case.rows, *review.others(case)]}
    config = {
        **_config(review, file),
        "cases": [case_as_json(case, review) for case in shown],
        "found": len(cases),
        "photos": {row: photo_as_json(row, review) for row in sorted(rows)},
        "pictures": {row: uris[row] for row in sorted(rows)},
    }
    # Decisions that the browser keeps belong to this list of cases, and to no other page that is read from a disk.
    config["key"] = hashlib.sha256(json.dumps([config["cases"], config["photos"]]).encode()).hexdigest()[:16]
    return _render(review, config, _policy("'none'")), len(shown)


def _config(review: Review, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "tasks": [{"name": task.name, "classes": task.classes} for task in review.tasks],
        "unlabelled": UNLABELLED,
    }


def _render(review: Review, config: Mapping[str, Any], policy: str) -> str:
    # "<" would end the element that holds the JSON.
    text = json.dumps(config, separators=(",", ":")).replace("<", "\\u003c")
    title = f"Review of {', '.join(run.resolve().name for run in review.runs)}"
    page = page_template("review.html.j2").render(title=title, policy=policy, config=text, script=_script())
    return page.encode("utf-8", "backslashreplace").decode()
