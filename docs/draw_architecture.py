"""Draw docs/architecture.svg: the way of a photo through the rooms, and the rooms in the order of their imports.

Run `python docs/draw_architecture.py` after changing ROOMS or WAYS; until then, a test fails.
"""

from html import escape
from pathlib import Path

# Package -> room -> what it does, in the order in which rooms may import each other. "" is the ground floor: the
# modules that stand in the package itself. tests/test_architecture.py compares the order with tests/test_house.py.
ROOMS: dict[str, dict[str, str]] = {
    "cache": {"": "crops on disk, checked on every read"},
    "detect": {"": "photo -> faces -> the subject -> its crop"},
    "classify": {
        "": "tasks, settings, network inputs, processes",
        "evaluation": "metrics, intervals, doubtful labels",
        "masks": "masks drawn on maskless faces",
        "models": "backbones, heads, targets, losses",
        "data": "folds, augmentation, batches",
        "inference": "probabilities, answers, bundles",
        "training": "the loop, optimiser, checkpoints",
    },
    "pipeline": {
        "": "settings, context, console, run record",
        "intake": "folders and tables -> Photos",
        "detection": "crops, here or on many machines",
        "prediction": "photos and a bundle -> rows",
        "evaluation": "rows and true labels -> scores",
        "training": "labelled crops -> bundle",
        "reports": "run -> pages and pictures",
        "export": "bundle -> a folder without torch",
        "serving": "photos over HTTP -> JSON, a page",
        "labels": "suspects, Tomek links",
        "chain": "all stages of a run, in order",
        "experiments": "settings compared",
        "demo": "drawn people",
        "commands": "parse, call one function, print",
        "__main__": "python -m pipeline",
    },
}
# What happens -> the values on the way, each followed by the room that makes the next one of it.
WAYS: dict[str, tuple[str, ...]] = {
    "Find each face once": (
        "photo file", "pipeline/intake", "Photo", "pipeline/detection", "source id", "detect", "Subject", "detect",
        "Crop", "cache", "cached crop",
    ),
    "Train": (
        "cached crop", "pipeline/training", "Sample", "classify/data", "batch", "classify/models", "logits",
        "classify/training", "bundle",
    ),
    "Predict": (
        "cached crop", "classify/models", "logits", "classify/inference", "probabilities", "classify/inference",
        "answer", "pipeline/prediction", "row",
    ),
    "Score": ("row", "pipeline/evaluation", "scores", "pipeline/reports", "report.html"),
}  # fmt: skip
COLOURS = {  # fill, border
    "cache": ("#e6edf7", "#6b8cc0"),
    "detect": ("#e4f2e7", "#5fa071"),
    "classify": ("#fbeedb", "#c8924a"),
    "pipeline": ("#f0e8f6", "#9474b4"),
}
INK, QUIET, PAPER, LINE = "#1f2430", "#5a6272", "#fcfcfa", "#c9ccd3"

MARGIN, WIDTH = 30, 1220
PILL, GAP, WAY_HEIGHT = 100, 112, 84  # a value, the space for the room between two values, one way
CARD, CARD_HEIGHT, SPACE, CARDS_PER_LINE = 154, 72, 10, 7


def draw() -> str:
    """Return the picture as SVG text; the same text on every machine."""
    y = MARGIN + 10
    parts = [_text(MARGIN, y, "The way of a photo", size=20, weight=700)]
    y += 18
    for title, way in WAYS.items():
        parts += _way(title, way, y)
        y += WAY_HEIGHT
    y += 26
    parts.append(_text(MARGIN, y, "The rooms", size=20, weight=700))
    rule = (
        "detect and classify import only cache; pipeline imports all three; "
        "inside a package, a room imports only the rooms before it"
    )
    parts.append(_text(MARGIN + 130, y, rule, size=13, colour=QUIET))
    y += 14
    for package, rooms in ROOMS.items():
        band, height = _band(package, rooms, y)
        parts += band
        y += height
    height = y + MARGIN - 10
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    title = "<title>The rooms of faceline and the values that pass between them</title>"
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{QUIET}"/></marker></defs>'
    )
    paper = f'<rect width="{WIDTH}" height="{height}" rx="12" fill="{PAPER}" stroke="{LINE}"/>'
    return "\n".join([head, title, arrow, paper, *parts, "</svg>"]) + "\n"


def _way(title: str, way: tuple[str, ...], y: int) -> list[str]:
    """Draw one line of values as pills, with the room that makes the next value on the arrow between two of them."""
    parts = [_text(MARGIN, y + 16, title, size=13, weight=600, colour=QUIET)]
    middle = y + 50
    for number, name in enumerate(way):
        x = MARGIN + number // 2 * (PILL + GAP)
        if number % 2:  # a room
            x += PILL
            parts.append(
                f'<path d="M{x} {middle}H{x + GAP - 1}" stroke="{QUIET}" stroke-width="1.5" marker-end="url(#arrow)"/>'
            )
            package, _, room = name.partition("/")
            parts.append(_box(x + 11, middle - 21, GAP - 24, 42, package, radius=6))
            centre = x + 11 + (GAP - 24) // 2
            if room:
                parts.append(_text(centre, middle - 4, package, size=11, colour=QUIET, anchor="middle"))
            parts.append(_text(centre, middle + (12 if room else 5), room or package, weight=600, anchor="middle"))
        else:  # a value
            parts.append(
                f'<rect x="{x}" y="{middle - 15}" width="{PILL}" height="30" rx="15" fill="#ffffff" stroke="{INK}"/>'
            )
            parts.append(_text(x + PILL // 2, middle + 5, name, anchor="middle", value=name))
    return parts


def _band(package: str, rooms: dict[str, str], y: int) -> tuple[list[str], int]:
    """Draw the rooms of a package as numbered cards; return the parts and their height."""
    parts: list[str] = []
    if rooms.keys() == {""}:  # one room: its card is as wide as the page
        parts.append(_box(MARGIN, y, WIDTH - 2 * MARGIN, 34, package))
        parts.append(_text(MARGIN + 12, y + 22, package, size=15, weight=700, room=package))
        parts.append(_text(MARGIN + 112, y + 22, rooms[""]))
        return parts, 34 + SPACE
    lines = -(-len(rooms) // CARDS_PER_LINE)
    height = 34 + lines * (CARD_HEIGHT + SPACE)
    parts.append(_box(MARGIN, y, WIDTH - 2 * MARGIN, height, package))
    parts.append(_text(MARGIN + 12, y + 22, package, size=15, weight=700))
    for number, (room, what) in enumerate(rooms.items()):
        line, column = divmod(number, CARDS_PER_LINE)
        x, top = MARGIN + SPACE + column * (CARD + SPACE), y + 34 + line * (CARD_HEIGHT + SPACE)
        parts.append(
            f'<rect x="{x}" y="{top}" width="{CARD}" height="{CARD_HEIGHT}" rx="6" fill="#ffffff" '
            f'stroke="{COLOURS[package][1]}"/>'
        )
        name = f"{number}  {room or 'ground floor'}"
        parts.append(_text(x + 10, top + 19, name, weight=600, room=f"{package}/{room}" if room else package))
        for row, words in enumerate(_wrapped(what, 22)):
            parts.append(_text(x + 10, top + 35 + 14 * row, words, size=12, colour=QUIET))
    return parts, height + SPACE


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _box(x: int, y: int, width: int, height: int, package: str, radius: int = 8) -> str:
    fill, border = COLOURS[package]
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}" stroke="{border}"/>'


def _text(
    x: int,
    y: int,
    words: str,
    *,
    size: int = 13,
    weight: int = 400,
    colour: str = INK,
    anchor: str = "start",
    room: str = "",
    value: str = "",
) -> str:
    """Return a text element; `room` and `value` mark what it names, for the test."""
    mark = f' data-room="{room}"' if room else f' data-value="{value}"' if value else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"{mark}>'
        f"{escape(words.replace('->', '→'), quote=False)}</text>"
    )


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(draw(), encoding="utf-8")
