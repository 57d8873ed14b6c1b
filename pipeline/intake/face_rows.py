"""Tables with a row for each face and its box, x1, y1, x2, y2 in pixels of the upright photo.

In: a photo and the box of one of its faces. Out: the part of the photo around this face, which stands for the photo
from here on, and the name of the row.

The part is 3:4, with the box in its middle and room around it. The face is found in it as in any other photo, so that
all crops are framed in the same way. A face beside the box is another one; if there are only such, the window of a
photo without a face is cut, which is 86% of the part.
"""

from collections.abc import Mapping
from pathlib import Path

from cache.sources import part_path
from detect.faces import GIVEN_PART_HEIGHT

BOX_COLUMNS = ("x1", "y1", "x2", "y2")
ASPECT = 3 / 4  # width to height
FARTHEST = 1e6  # pixels

Box = tuple[float, float, float, float]


def parse_box(cells: Mapping[str, str | None]) -> Box:
    """Return the box in a row's cells.

    Raises:
        ValueError: a cell is no number, or the box is empty; the message says so.
    """
    text = ", ".join(cells[name] or "nothing" for name in BOX_COLUMNS)
    try:
        x1, y1, x2, y2 = (float(cells[name] or "") for name in BOX_COLUMNS)
    except ValueError:
        raise ValueError(f"the box is {text}, which is not four numbers") from None
    if not (all(abs(edge) < FARTHEST for edge in (x1, y1, x2, y2)) and x1 < x2 and y1 < y2):
        raise ValueError(f"the box is {text}, but it must be in pixels, with x1 below x2 and y1 below y2")
    return x1, y1, x2, y2


def face_name(name: str, box: Box) -> str:
    """The name of a row whose photo has several: the photo's, and the box."""
    return f"{name}#{','.join(f'{value:g}' for value in box)}"


def face_path(path: Path, box: Box) -> Path:
    """The part of a photo that stands for the face in `box`."""
    x1, y1, x2, y2 = box
    # A window of 2.2 heights stays inside, also if the face that is found is larger.
    height = max(round(max(y2 - y1, (x2 - x1) / ASPECT) * GIVEN_PART_HEIGHT), 4)
    width = max(round(height * ASPECT), 3)
    return part_path(path, (round((x1 + x2 - width) / 2), round((y1 + y2 - height) / 2), width, height))
