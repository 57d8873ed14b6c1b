"""The pages as a browser shows them: Debian's Chromium, driven by Playwright."""

import re

import polars as pl
import pytest

from pipeline.reports.run_report import write_report
from tests.axe import serious_faults
from tests.pipeline.conftest import faceline
from tests.pipeline.runs import write_run

pytestmark = pytest.mark.slow
MARKUP = '"><script>alert(1)</script>.jpg'


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The report of a run with mistakes, one of a photo whose name holds a script."""
    folder = tmp_path_factory.mktemp("browser")
    run = write_run(folder / "run", answers=[0, 1, 2, 0, 1, 2, 1], truth=[0, 1, 2, 1, 1, 0, 2])
    table = pl.read_csv(run / "validation.csv")
    names = [MARKUP if row == 3 else name for row, name in enumerate(table["path"])]
    table.with_columns(path=pl.Series(names)).write_csv(run / "validation.csv")
    return write_report(run, folder / "cache")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_fits_asks_for_nothing_and_runs_no_name(browser, page_file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert MARKUP in page.locator("#mistakes").inner_text()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    page.close()


@pytest.fixture(scope="module")
def pages(finished, drawn, tmp_path_factory):
    """The page of a data set, a comparison of two runs, and a report in which the photos of a number are shown."""
    folder = tmp_path_factory.mktemp("pages")
    faceline("check", drawn, "--html", folder / "check.html", "--cache", finished.cache)
    runs = [write_run(folder / name, answers=[0, 1, 2, 0], truth=[0, 1, 2, number]) for number, name in enumerate("ab")]
    faceline("report", *runs)
    report = finished.run / "report.html"
    [opened, *_] = re.findall(r'href="(#task\d+-\d+-\d+)"', report.read_text())
    return {
        "report": report.as_uri() + opened,
        "check": (folder / "check.html").as_uri(),
        "comparison": (runs[0] / "comparison.html").as_uri(),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "check", "comparison"])
def test_axe_finds_no_serious_fault(browser, pages, name, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto(pages[name])
    assert serious_faults(page) == []
    page.close()


def test_axe_finds_what_is_wrong(browser):
    page = browser.new_page()
    page.set_content("<p style='color: #aaa; background: #fff'>pale</p><img src='data:,'>")
    assert {"color-contrast", "image-alt"} <= {rule for rule, _ in serious_faults(page)}
    page.close()


def test_a_number_opens_its_photos_without_a_script(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    gallery = page.locator(".gallery", has_text="incorrect, predicted as wear").last
    assert not gallery.is_visible()
    page.locator(f'a[href="#{gallery.get_attribute("id")}"]').first.click()
    assert gallery.is_visible()
    assert MARKUP in gallery.inner_text()
    context.close()
