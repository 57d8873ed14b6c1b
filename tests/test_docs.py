"""The documentation is true: generated pages are current, commands exist, links lead somewhere, examples run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.commands.app import app
from pipeline.settings_reference import settings_page

HOUSE = Path(__file__).parents[1]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]


def test_the_settings_page_is_what_the_classes_say():
    page = (HOUSE / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "run: python -m pipeline.settings_reference > docs/reference/settings.md"


def test_the_settings_page_has_every_section_that_it_says_is_below():
    page = settings_page()
    common = {"tasks.NAME.model", "tasks.NAME.train"}  # which are `model` and `train`
    for key in re.findall(r"^\| `(.+?)` \| section \| see below", page, re.MULTILINE):
        assert key in common or f"\n## `{key}`\n" in page, key


def anchors_of(page):
    """The anchors that a code host gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            leads_to = page.parent / target if target else page
            assert leads_to.exists(), target
            assert not anchor or anchor in anchors_of(leads_to), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_and_option_in_the_docs_exists(page):
    commands = get_command(app).commands
    for line in re.findall(r"^(?:\.venv/bin/)?faceline (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = line.split("#")[0].split()
        command = commands[words[0]]
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_every_command_is_documented():
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, HOUSE / "CHANGELOG.md"])
    for name in get_command(app).commands:
        assert f"faceline {name}" in text, name


def test_the_readmes_first_two_shell_blocks_stand_alone():
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert "faceline demo" in blocks[0]
    assert "pytest" in blocks[1]
    assert all("python3 -m venv .venv" in block for block in blocks[:2])


@pytest.mark.parametrize(
    "module", ["classify.evaluation.metrics", "classify.models.losses", "classify.inference.calibration"]
)
def test_the_examples_in_docstrings_are_right(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0, "no example"
    assert result.failed == 0
