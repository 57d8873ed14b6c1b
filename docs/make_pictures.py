"""Make docs/pictures from the demo: python docs/make_pictures.py [DEMO].

DEMO is the folder of a `faceline demo`, which is finished first if need be; without it, a temporary one is made, which
takes minutes. Needs the extra `dev` and Debian's chromium.
"""

import re
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
WIDTH = 1000  # of the screenshots, in pixels
LABEL = re.compile(r"(?P<photos>\d+) photos of (?P<true>.+) predicted as (?P<predicted>.+)")


def main(demo: Path) -> None:
    """Write all pictures anew."""
    faceline("demo", demo)
    faceline("check", demo, "--html", demo / "check.html")
    faceline("detect", demo, "--sheet", demo / "missed.png")
    for name, sheet in {"crops": demo / "run" / "crops.png", "missed": demo / "missed.png"}.items():
        picture = Image.open(sheet).convert("RGB")
        picture.thumbnail((WIDTH, WIDTH))
        picture.save(PICTURES / f"{name}.jpg", quality=80, optimize=True)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 720}, color_scheme="light")
        page.goto((demo / "check.html").as_uri())
        save("check", page.screenshot())
        page.goto((demo / "run" / "report.html").as_uri())
        page.locator("header .note").evaluate("line => line.remove()")  # dates and times, which are different each time
        save("report", page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": 1250}, full_page=True))
        save("confusion", opened_number(page))
        browser.close()


def faceline(*words: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "faceline", *map(str, words)], check=True, cwd=PICTURES.parents[1])


def opened_number(page: Page) -> bytes:
    """A confusion matrix of one task, and below it the photos in its cell with the most mistakes."""
    mistakes: dict[int, Locator] = {}
    for number in page.locator(".matrix:not(.wide) a").all():
        label = LABEL.fullmatch(number.get_attribute("aria-label") or "")
        if label and label["true"] != label["predicted"]:
            mistakes[int(label["photos"])] = number
    most = mistakes[max(mistakes)]
    most.click()
    most.evaluate("cell => scrollTo(0, cell.closest('.side').previousElementSibling.offsetTop - 60)")
    return page.screenshot()


def save(name: str, screenshot: bytes) -> None:
    """Write a screenshot as small as PNG allows."""
    Image.open(BytesIO(screenshot)).convert("RGB").save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "demo")
