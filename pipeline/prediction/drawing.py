"""Draw predictions into a photo: the face's box, the answers, and a bar for each probability.

In: RGB pixels, and the boxes and bars of the faces. Out: a picture of the same size or, for small photos, larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from detect.faces import Image

SMALLEST = 480  # pixels of the longer side; smaller photos are enlarged, so that the text can be read
COLOURS = ("#2a9d8f", "#e76f51", "#457b9d", "#f4a261", "#8e5ea2", "#e9c46a")  # of the faces
PANEL = (0, 0, 0, 150)
FONT_SHARE, SMALLEST_FONT = 1 / 36, 12  # text height: of the longer side, and in pixels


@dataclass(frozen=True, slots=True)
class Bar:
    """One class of one task, as it is drawn below a face."""

    text: str
    probability: float  # the length of the bar, in [0, 1]
    is_answer: bool


def draw_faces(image: Image, faces: Sequence[tuple[tuple[float, float, float, float], Sequence[Bar]]]) -> Pillow.Image:
    """Draw the faces of one photo.

    Args:
        image: RGB uint8 (height, width, 3).
        faces: the box of each, x1, y1, x2, y2 in pixels of the image, and its bars from top to bottom.
    """
    factor = max(1.0, SMALLEST / max(image.shape[:2]))
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    picture = Pillow.fromarray(image).resize(size) if factor > 1 else Pillow.fromarray(image)
    font_size = max(round(max(size) * FONT_SHARE), SMALLEST_FONT)
    font = ImageFont.load_default(font_size)
    draw = ImageDraw.Draw(picture, "RGBA")
    for number, (box, bars) in enumerate(faces):
        colour = COLOURS[number % len(COLOURS)]
        x1, y1, x2, y2 = (edge * factor for edge in box)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=max(font_size // 6, 2))
        _draw_bars(draw, bars, (x1, y2), size, font, colour)
    return picture


def _draw_bars(
    draw: ImageDraw.ImageDraw,
    bars: Sequence[Bar],
    corner: tuple[float, float],
    size: tuple[int, int],
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    colour: str,
) -> None:
    """Draw bars with text, with the upper left corner at `corner` or, where they would leave the picture, nearer."""
    if not bars:
        return
    boxes = [draw.textbbox((0, 0), bar.text, font=font) for bar in bars]
    height = max(bottom for _, _, _, bottom in boxes) * 1.15
    width = max(right for _, _, right, _ in boxes) + height
    left = max(min(corner[0], size[0] - width), 0)
    top = max(min(corner[1], size[1] - height * len(bars)), 0)
    draw.rectangle((left, top, left + width, top + height * len(bars)), fill=PANEL)
    for number, bar in enumerate(bars):
        y = top + number * height
        opacity, ink = ("c0", "white") if bar.is_answer else ("50", "#c8c8c8")
        draw.rectangle((left, y, left + width * bar.probability, y + height - 1), fill=colour + opacity)
        draw.text((left + height / 3, y), bar.text, fill=ink, font=font)
