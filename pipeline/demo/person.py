"""Who is drawn: a person's traits.

In: age, gender and a random generator. Out: a Person.

Age and gender decide how likely each trait is, not the trait itself, so that no classifier can always be right.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.demo.strokes import Colour

SKINS: tuple[Colour, ...] = (
    (244, 214, 190), (232, 190, 160), (214, 166, 130), (200, 150, 114), (170, 122, 92), (250, 224, 204),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = ((28, 24, 24), (52, 36, 28), (92, 60, 36), (150, 108, 62), (120, 60, 30))
IRISES: tuple[Colour, ...] = ((58, 38, 24), (84, 58, 34), (70, 92, 70), (70, 96, 126))
CLOTHES: tuple[Colour, ...] = (
    (70, 90, 130), (140, 60, 60), (60, 110, 80), (190, 190, 196), (40, 40, 48), (200, 160, 90),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """What a person looks like in all photos.

    Attributes:
        age: in years, 18 to 60.
        gender: "male" or "female".
        feminine: how feminine brows, jaw, lips and lashes are, about -1 to 1.
        aged: how aged the skin is, about 0 to 1.
        grey: share of grey hair.
        thin: how far the hair has receded, 0 to 1.
        hair_length: 0 cropped to 1 over the shoulders.
        fringe: 0 none to 1 down to the brows.
        skin, hair, iris, clothes: RGB.
        width, eye_distance, eye_size, nose, mouth: proportions around 1.
        beard, glasses: whether the person has them.
        scarf: whether the mask of photo mask5 is a scarf.
    """

    age: int
    gender: str
    feminine: float
    aged: float
    grey: float
    thin: float
    hair_length: float
    fringe: float
    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    width: float
    eye_distance: float
    eye_size: float
    nose: float
    mouth: float
    beard: bool
    glasses: bool
    scarf: bool


def draw_person(rng: np.random.Generator, age: int, gender: str) -> Person:
    """Draw the traits of someone who is `age` years old and, by `gender`, "male" or "female"."""
    female = gender == "female"
    feminine = (0.75 if female else -0.75) + rng.normal(0, 0.4)
    aged = float(np.clip((age - 18) / 42 + rng.normal(0, 0.1), 0, 1.15))
    return Person(
        age=age,
        gender=gender,
        feminine=float(np.clip(feminine, -1.4, 1.4)),
        aged=aged,
        hair_length=float(np.clip((0.75 if female else 0.12) + rng.normal(0, 0.24), 0, 1)),
        grey=float(np.clip((aged - 0.55) * 2.0 + rng.normal(0, 0.15), 0, 0.95)),
        thin=float(np.clip((aged - 0.5) * (0.5 if female else 1.7) + rng.normal(0, 0.15), 0, 1)),
        fringe=float(np.clip(0.35 + 0.25 * feminine - 0.3 * aged + rng.normal(0, 0.25), 0, 0.8)),
        skin=_pick(SKINS, rng),
        hair=_pick(HAIRS, rng),
        iris=_pick(IRISES, rng),
        clothes=_pick(CLOTHES, rng),
        width=float(rng.normal(1.0, 0.04)),
        eye_distance=float(rng.normal(1.0, 0.03)),
        eye_size=float(rng.normal(1.0 + 0.06 * feminine, 0.05)),
        nose=float(rng.normal(1.0 - 0.05 * feminine + 0.06 * aged, 0.05)),
        mouth=float(rng.normal(1.0, 0.05)),
        beard=bool(rng.random() < (0.0 if female else 0.3)),
        glasses=bool(rng.random() < 0.08 + 0.12 * aged),
        scarf=bool(rng.random() < 0.08),
    )


def _pick(choices: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """Draw one of the colours, with a slight variation."""
    jitter = rng.normal(0, 5, 3)
    red, green, blue = np.clip(np.array(choices[rng.integers(len(choices))]) + jitter, 0, 255)
    return float(red), float(green), float(blue)
