"""People drawn with OpenCV: the photos of the demo and of the tests.

In: a Person's traits, the photo's stem (what is worn on the face) and a random generator. Out: a photo (512, 384, 3),
uint8 RGB. Parts are drawn from back to front, in the face coordinates of `strokes`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.demo.mask import put_mask
from pipeline.demo.person import Person
from pipeline.demo.strokes import Colour, Face, Strokes, curve, dim

Image = NDArray[np.uint8]
HEIGHT, WIDTH = 512, 384

GREY: Colour = (196, 194, 192)


def draw_photo(person: Person, stem: str, rng: np.random.Generator) -> Image:
    """Draw one photo of a person, RGB uint8 (512, 384, 3).

    `stem` is mask1 to mask5, incorrect_mask or normal; pose, light and background are drawn from `rng`.
    """
    size = float(np.clip(rng.normal(104, 8), 84, 124))
    centre = float(rng.normal(190, 8)), float(rng.normal(252, 16))
    tilt, turn = float(rng.normal(0, 2.5)), float(rng.normal(0, 0.045))
    face = Face(centre, size, tilt, person.width * (1 - 0.02 * person.feminine), turn)
    strokes = Strokes(_background(rng), face)
    _body(strokes, person)
    _hair_behind(strokes, person)
    _head(strokes, person)
    _eyes(strokes, person)
    _nose(strokes, person)
    _mouth(strokes, person, rng)
    _wrinkles(strokes, person)
    _hair_in_front(strokes, person, rng)
    if person.glasses:
        _glasses(strokes)
    put_mask(strokes, stem, person.scarf, rng)
    return _photograph(strokes.image, rng)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the mean of two colours, with `share` of the second."""
    red, green, blue = np.array(first) * (1 - share) + np.array(second) * share
    return float(red), float(green), float(blue)


def _background(rng: np.random.Generator) -> NDArray[np.float32]:
    small = rng.uniform(80, 210) + rng.normal(0, 22, (1, 1, 3)) + rng.normal(0, 9, (6, 5, 3))
    wall = cv2.resize(small.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(wall * np.linspace(1.06, 0.88, HEIGHT, dtype=np.float32)[:, None, None], dtype=np.float32)


def _body(strokes: Strokes, person: Person) -> None:
    wide = 1.75 - 0.22 * person.feminine
    shoulders = [(-wide, 3.2), (-wide, 1.95), (-0.95 * wide + 0.1, 1.72), (-0.42, 1.5), (0.42, 1.5)]
    shoulders += [(0.95 * wide - 0.1, 1.72), (wide, 1.95), (wide, 3.2)]
    strokes.fill(curve(shoulders), person.clothes, soft=2.5)
    strokes.fill([(-0.5, 1.55), (0.5, 1.55), (0.16, 1.95), (-0.16, 1.95)], dim(person.clothes, 0.7), soft=2)
    neck = 0.5 - 0.07 * person.feminine
    skin = dim(person.skin, 0.82)
    strokes.fill([(-neck, 0.5), (neck, 0.5), (neck + 0.06, 1.55), (0.0, 1.82), (-neck - 0.06, 1.55)], skin, soft=2.5)
    shadow = [(-neck, 0.8), (neck, 0.8), (neck, 1.12), (0.0, 1.3), (-neck, 1.12)]
    strokes.fill(shadow, dim(person.skin, 0.5), 0.6, soft=7)


def _hair_colour(person: Person) -> Colour:
    return _mix(person.hair, GREY, person.grey)


def _hair_behind(strokes: Strokes, person: Person) -> None:
    colour = dim(_hair_colour(person), 0.85)
    low = 0.1 + 1.5 * person.hair_length
    side = 0.98 + 0.12 * person.hair_length
    outline = [(-side, low), (-side - 0.04, -0.2), (-0.72, -1.02), (0.0, -1.28), (0.72, -1.02)]
    outline += [(side + 0.04, -0.2), (side, low), (0.5, low + 0.06), (-0.5, low + 0.06)]
    strokes.fill(curve(outline), colour, 1.0 - 0.35 * person.thin, soft=3)


def _head(strokes: Strokes, person: Person) -> None:
    jaw = 0.66 - 0.07 * person.feminine + 0.06 * person.aged
    chin = 1.07 - 0.03 * person.feminine
    half = [(0.0, -1.12), (0.5, -1.0), (0.82, -0.55), (0.86, 0.0), (0.82, 0.38)]
    half += [(jaw, 0.76), (0.3, chin - 0.03), (0.0, chin)]
    for side in (-1, 1):
        ear = [(side * x, y) for x, y in ((0.82, -0.16), (0.97, -0.2), (0.98, 0.08), (0.88, 0.3), (0.8, 0.26))]
        strokes.fill(curve(ear), dim(person.skin, 0.8), soft=1.5)
    outline = curve([*half, *((-x, y) for x, y in reversed(half))])
    strokes.fill(outline, person.skin, soft=1.5)
    strokes.shade(outline)
    for side in (-1, 1):  # eye sockets and cheeks
        strokes.blob((side * 0.37, -0.14), (0.27, 0.17), dim(person.skin, 0.62), 0.55)
        strokes.blob((side * 0.5, 0.3), (0.24, 0.2), _mix(person.skin, (225, 90, 80), 0.5), 0.35)
    strokes.blob((0.0, 0.93), (0.3, 0.14), dim(person.skin, 1.1), 0.4)
    strokes.blob((0.0, -0.6), (0.5, 0.25), dim(person.skin, 1.12), 0.5)
    if person.beard:
        beard = [(-0.74, 0.35), (-0.5, 0.42), (0.0, 0.42), (0.5, 0.42), (0.74, 0.35)]
        beard += [(0.62, 0.85), (0.0, 1.1), (-0.62, 0.85)]
        strokes.fill(curve(beard), _mix(_hair_colour(person), person.skin, 0.35), 0.45, soft=7)


def _eyes(strokes: Strokes, person: Person) -> None:
    dark: Colour = (36.0, 26.0, 24.0)
    for side in (-1, 1):
        x, y = side * 0.375 * person.eye_distance, -0.1
        wide, tall = 0.185 * person.eye_size, 0.078 * person.eye_size * (1 - 0.12 * person.aged)
        almond = curve([(x - wide, y + 0.02), (x, y - tall), (x + wide, y + 0.005), (x, y + tall * 0.85)])
        strokes.fill(almond, (238, 234, 230), soft=0.8)
        strokes.blob((x, y), (0.082, 0.082), person.iris, 1.0, edge=0.25)
        strokes.blob((x, y), (0.04, 0.04), (12, 10, 10), 1.0, edge=0.3)
        strokes.blob((x + 0.025, y - 0.03), (0.017, 0.017), (250, 250, 250), 0.9, edge=0.4)
        lid = [(x - wide * 1.08, y + 0.02), (x - wide * 0.5, y - tall * 0.95), (x, y - tall * 1.1)]
        lid += [(x + wide * 0.55, y - tall * 0.9), (x + wide * 1.1, y + 0.01)]
        strokes.line(lid, dark, 0.034 + 0.012 * max(person.feminine, 0), 0.95)
        if person.feminine > 0:
            outer = x + side * wide
            strokes.line([(outer, y), (outer + side * 0.06, y - 0.06)], dark, 0.02, 0.8 * min(person.feminine, 1))
        crease = dim(person.skin, 0.55)
        strokes.line([(x - wide, y + 0.03), (x, y + tall), (x + wide, y + 0.02)], crease, 0.014, 0.6)
        strokes.line([(x - wide, y - 0.07), (x, y - tall - 0.07), (x + wide, y - 0.06)], crease, 0.016, 0.6)
        thick = 0.062 - 0.018 * person.feminine
        lift = -0.36 - 0.02 * person.feminine
        brow = [(x - side * 0.22, lift + 0.05), (x, lift)]
        brow += [(x + side * 0.13, lift - 0.005), (x + side * 0.26, lift + 0.06)]
        strokes.line(brow, _mix(_hair_colour(person), (30, 24, 22), 0.35), thick, 0.9)


def _nose(strokes: Strokes, person: Person) -> None:
    wide = 0.17 * person.nose
    shadow, light = dim(person.skin, 0.55), _mix(person.skin, (255, 250, 240), 0.5)
    strokes.blob((0.0, 0.12), (0.05, 0.3), light, 0.45)
    strokes.blob((0.0, 0.3), (0.075, 0.06), light, 0.5)
    for side in (-1, 1):
        strokes.blob((side * 0.12, 0.02), (0.05, 0.25), shadow, 0.3)
        nostril = [(side * wide, 0.27), (side * (wide + 0.025), 0.34), (side * wide * 0.8, 0.39)]
        strokes.line(nostril, shadow, 0.026, 0.8)
        strokes.blob((side * wide * 0.52, 0.385), (0.045, 0.024), (50, 28, 24), 0.85, edge=0.5)
    strokes.blob((0.0, 0.43), (0.17, 0.05), shadow, 0.5)


def _mouth(strokes: Strokes, person: Person, rng: np.random.Generator) -> None:
    wide = 0.29 * person.mouth
    full = 0.055 + 0.018 * person.feminine - 0.012 * person.aged
    red = _mix(person.skin, (178, 58, 66), 0.42 + 0.16 * person.feminine)
    smile = float(rng.normal(0.02, 0.02))
    y = 0.63
    left, right = (-wide, y - smile), (wide, y - smile)
    upper = [left, (-0.1, y - full), (0.0, y - full * 0.75), (0.1, y - full), right, (0.0, y + 0.012)]
    lower = [left, (0.0, y + 0.01), right, (0.15, y + full * 1.35), (0.0, y + full * 1.5), (-0.15, y + full * 1.35)]
    strokes.fill(curve(lower), _mix(red, (255, 220, 215), 0.15), soft=1.2)
    strokes.fill(curve(upper), dim(red, 0.85), soft=1.0)
    between = [left, (-0.12, y + 0.005), (0.0, y + 0.014), (0.12, y + 0.005), right]
    strokes.line(between, (70, 30, 30), 0.02, 0.85)
    strokes.blob((0.0, y + full * 1.5 + 0.06), (0.16, 0.035), dim(person.skin, 0.6), 0.5)


def _wrinkles(strokes: Strokes, person: Person) -> None:
    """Draw lines that come with `aged`: first the folds beside the nose, then eyes, forehead and neck."""
    ink = dim(person.skin, 0.5)

    def strength(start: float) -> float:
        """Return the strength of lines that begin when `aged` is `start`."""
        return float(np.clip((person.aged - start) * 1.6, 0, 0.9))

    for side in (-1, 1):
        strokes.line([(side * 0.24, 0.4), (side * 0.34, 0.54), (side * 0.37, 0.7)], ink, 0.024, strength(0.25))
        x = side * 0.375 * person.eye_distance
        strokes.line([(x - 0.15, 0.03), (x, 0.075), (x + 0.15, 0.03)], ink, 0.022, strength(0.4))
        strokes.blob((x, 0.05), (0.16, 0.05), dim(person.skin, 0.65), 0.6 * strength(0.4), edge=1.0)
        for tilt in (-0.06, 0.0, 0.06):
            start = side * (0.375 * person.eye_distance + 0.21)
            crows_foot = [(start, -0.09 + tilt * 0.5), (start + side * 0.12, -0.09 + tilt * 1.6)]
            strokes.line(crows_foot, ink, 0.014, strength(0.45))
        strokes.line([(side * 0.4, 0.74), (side * 0.44, 0.86), (side * 0.4, 0.95)], ink, 0.022, strength(0.6))
    for number, y in enumerate((-0.56, -0.66, -0.76)):
        forehead = [(-0.4, y + 0.02), (-0.15, y), (0.15, y + 0.01), (0.4, y + 0.02)]
        strokes.line(forehead, ink, 0.016, strength(0.4 + 0.12 * number))
    strokes.line([(-0.03, -0.34), (-0.035, -0.22)], ink, 0.016, strength(0.5))
    strokes.line([(0.03, -0.34), (0.035, -0.22)], ink, 0.016, strength(0.5))


def _hair_in_front(strokes: Strokes, person: Person, rng: np.random.Generator) -> None:
    colour = _hair_colour(person)
    edge = -0.78 - 0.2 * person.thin + 0.32 * person.fringe  # where the forehead ends
    corner = edge + 0.16 - 0.22 * person.thin
    top = [(-0.97, 0.02), (-0.98, -0.5), (-0.68, -1.06), (0.0, -1.3), (0.68, -1.06), (0.98, -0.5), (0.97, 0.02)]
    inner = [(0.84, -0.1), (0.8, -0.42), (0.52, corner), (0.1, edge)]
    inner += [(-0.2, edge + 0.03), (-0.52, corner), (-0.8, -0.42), (-0.84, -0.1)]
    strokes.fill(curve([*top, *inner]), colour, 1.0 - 0.25 * person.thin, soft=1.8)
    if person.hair_length > 0.45:
        low = 0.1 + 1.45 * person.hair_length
        for side in (-1, 1):
            lock = [(0.8, -0.5), (0.99, -0.3), (1.08, low * 0.6), (0.98, low), (0.8, low * 0.9), (0.84, 0.2)]
            strokes.fill(curve([(side * x, y) for x, y in lock]), colour, soft=2)
    for _ in range(26):  # strands
        x = float(rng.uniform(-0.85, 0.85))
        tone = _mix(dim(colour, float(rng.uniform(0.65, 1.35))), GREY, person.grey * float(rng.random()) * 0.7)
        crown = -1.26 + 0.3 * x * x
        strand = [(x * 0.8, crown), (x * 0.95, (crown + edge) / 2), (x, edge - 0.06)]
        strokes.line(strand, tone, 0.014, 0.5 * (1 - 0.5 * person.thin))


def _glasses(strokes: Strokes) -> None:
    ink: Colour = (40.0, 36.0, 36.0)
    for side in (-1, 1):
        x = side * 0.38
        rim = curve([(x - 0.25, -0.12), (x, -0.25), (x + 0.25, -0.12), (x + 0.18, 0.09), (x, 0.12), (x - 0.18, 0.09)])
        strokes.line([*rim, rim[0]], ink, 0.024, 0.9)
        strokes.line([(side * 0.63, -0.12), (side * 0.88, -0.15)], ink, 0.024, 0.9)
    strokes.line([(-0.13, -0.1), (0.0, -0.13), (0.13, -0.1)], ink, 0.024, 0.9)


def _photograph(image: NDArray[np.float32], rng: np.random.Generator) -> Image:
    """Add light from one side, exposure, a little blur and grain to `image` (512, 384, 3)."""
    side = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :, None] * float(rng.normal(0, 0.09))
    lit = image * (1 + side) * float(rng.uniform(0.86, 1.1))
    lit = cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.5, 1.0)))
    grain = rng.integers(-5, 6, lit.shape, dtype=np.int16)
    return np.clip(lit + grain, 0, 255).astype(np.uint8)
