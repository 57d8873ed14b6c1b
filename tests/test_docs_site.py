"""The documentation site: its build fails on what leads nowhere, and its pages ask for nothing from outside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import faceline

DOCS = Path(__file__).parents[1] / "docs"
MAX_BYTES = 300_000  # of a picture


def build(folder, text):
    """Build a site of one page with the settings of ours."""
    source = folder / "docs"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text())
    (source / "_toc.yml").write_text("root: index\n")
    (source / "index.md").write_text(text)
    words = [sys.executable, "-m", "sphinx", "-q", "-W", str(source), str(folder / "site")]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["#not-there", "not-there.md"])
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path, target):
    done = build(tmp_path, f"# A page\n\n[there]({target})\n")
    assert done.returncode != 0
    assert "not-there" in done.stderr


@pytest.mark.slow
def test_a_page_of_the_site_asks_for_nothing_from_outside_and_fits(browser, tmp_path):
    done = build(tmp_path, "# A page\n\n```sh\nfaceline run DATA\n```\n\n[there](#a-page)\n")
    assert done.returncode == 0, done.stderr
    page = browser.new_page(viewport={"width": 390, "height": 800})
    requests, problems = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "site" / "index.html").as_uri())
    assert "faceline run DATA" in page.inner_text("article")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert problems == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    page.close()


def test_the_python_page_has_the_public_names_and_no_others():
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(faceline.__all__)
    described = re.findall(r"^\.\. auto(?:class|exception):: faceline\.(\w+)", page, re.MULTILINE)
    assert sorted([*described, "__version__"]) == sorted(faceline.__all__)


def test_every_picture_is_small_and_shown_somewhere():
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    pictures = [*(DOCS / "pictures").iterdir()]
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size >= MAX_BYTES] == []
    assert [path.name for path in pictures if f"pictures/{path.name})" not in text] == []
