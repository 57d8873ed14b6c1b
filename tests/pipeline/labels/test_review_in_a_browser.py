"""A review in a browser, with the keyboard alone: Debian's Chromium, driven by Playwright."""

import json
import re
import statistics
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

from pipeline.context import RunContext
from pipeline.intake.corrections import apply_corrections, load_labelled
from pipeline.intake.decision_log import DecisionLog, read_rows
from pipeline.labels.review_page import review_page
from pipeline.labels.review_pictures import ReviewPictures
from pipeline.labels.review_server import ReviewApi, bind, review_app
from tests.axe import serious_faults
from tests.pipeline.conftest import faceline
from tests.pipeline.labels.conftest import MARKUP, load, write_review_run

PEOPLE = 62


@pytest.fixture(scope="module")
def many(tmp_path_factory, drawn):
    """A run in which the gender of 60 of 62 people is doubtful, and its server."""
    folder = tmp_path_factory.mktemp("browser")
    made = write_review_run(folder, drawn, people=PEOPLE, wrong=PEOPLE - 2)
    review = load(made, folder)
    log = DecisionLog(made.run / "corrections.jsonl")
    page = review_page(review, str(log.path), {"suspects": "", "mistakes": "", "query": ""}, "mistakes")
    app = review_app(ReviewApi(review, log), ReviewPictures(review, RunContext(made.settings, folder / "c")), page, "t")
    with bind(0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/t/"
        yield SimpleNamespace(url=url, log=log, review=review, made=made)
        server.should_exit = True
        thread.join()


@pytest.fixture
def opened(browser):
    """Open a page; at the end, no error was on its console and no request has left."""
    messages, requests, pages = [], [], []

    def open_page(url, **options):
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        page = context.new_page()
        pages.append((page, url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on(
            "dialog", lambda dialog: dialog.accept() if dialog.type == "beforeunload" else messages.append("dialog")
        )
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        page.wait_for_selector(".photos img")
        return page

    yield open_page
    assert messages == []
    origins = tuple(url.rsplit("/", 1)[0] for _, url in pages)
    assert [url for url in requests if not url.startswith(("data:", "blob:", *origins))] == []
    for page, _ in pages:
        page.context.close()


def heading(page):
    return page.locator("#case h2").inner_text()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    page.evaluate("chain")  # until all of them were obeyed


def standing(many):
    return {(row["task"], row["path"]): (row["decision"], row["label"]) for _, row in read_rows(many.log.path).rows}


def test_sixty_people_are_decided_with_a_key_each(many, opened):
    page = opened(many.url)
    page.select_option("#task", label="gender")
    press(page, "Escape")
    assert "1 of 60, 0 decided" in page.locator("#count").inner_text()
    seconds = []
    for number in range(60):
        started = time.perf_counter()
        press(page, "f" if number % 3 else "k")
        page.evaluate("Promise.all([...document.querySelectorAll('.in-question img')].map((image) => image.decode()))")
        seconds.append(time.perf_counter() - started)
    assert "All 60 cases here are decided" in page.locator("#message").inner_text()
    assert statistics.median(seconds) < 2, "200 people an hour leave 18 seconds for each"
    print(f"60 keys, 60 people; seconds to the next pictures: {statistics.median(seconds):.3f}, {max(seconds):.3f}")
    dataset = load_labelled(many.made.data, many.made.settings)
    _, changes = apply_corrections(dataset, str(many.log.path), many.made.settings)
    assert len(changes) == 40 * 3


def test_keys_choose_classes_photos_and_tasks_undo_and_ask(many, opened):
    many.log.path.unlink(missing_ok=True)
    page = opened(many.url)
    # The swapped masks of the first person are two cases of the view; a query finds the one photo.
    press(page, "/")
    page.keyboard.type("person = '<b>00</b>' AND NOT right AND task = 'mask'")
    press(page, "Enter")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('1 of 2')")
    assert heading(page) == "mask of <b>00</b>"
    press(page, "3")
    assert list(standing(many).values()) == [("fix", "normal")]
    press(page, "u")
    assert standing(many) == {}
    assert "Undone: mask was fixed to normal" in page.locator("#message").inner_text()
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ㅇ', code: 'KeyD', bubbles: true}))")
    press(page, "s")
    assert list(standing(many).values()) == [("drop", "")]
    press(page, "u")
    assert page.locator("#count").inner_text() == "2 of 2, 1 decided"
    # Another photo of the person, and another task
    press(page, "ArrowRight", "1")
    assert "mask: kept" in page.locator("#message").inner_text(), "its label is the first class already"
    press(page, "t", "a", "2")
    genders = {path: decision for (task, path), decision in standing(many).items() if task == "gender"}
    assert genders == {f"p00/{name}.jpg": ("fix", "female") for name in ("wear", "incorrect", "normal")}
    # A label that the networks agree with has no suggestion; a bad query is a message.
    press(page, "/")
    page.keyboard.type("gender = female AND p > 0.8")
    press(page, "Enter")
    page.wait_for_function("document.querySelector('#case h2').textContent.startsWith('gender')")
    press(page, "f")
    assert "choose another one, or keep it" in page.locator("#message").inner_text()
    press(page, "/")
    page.keyboard.type("colour = red")
    press(page, "Enter")
    page.wait_for_selector("#message.wrong")
    assert 'unable to find column "colour"' in page.locator("#message").inner_text()


def test_two_tabs_lose_nothing_and_a_reload_remembers(many, opened):
    many.log.path.unlink(missing_ok=True)
    first, second = opened(many.url), opened(many.url)
    total = int(re.search(r"of (\d+)", first.locator("#count").inner_text())[1])
    press(first, "k")
    press(second, "d")
    press(first, "u")
    assert list(dict.fromkeys(line["decision"] for line in many.log.lines())) == ["keep", "drop", "undo"]
    press(first, "ArrowDown", "f")
    press(second, "ArrowDown")
    assert {decision for decision, _ in standing(many).values()} == {"drop", "fix"}
    first.reload()
    first.wait_for_selector(".photos img")
    assert f"of {total - 2}, 0 decided" in first.locator("#count").inner_text()
    press(first, "u")
    press(first, "u")
    assert {decision for decision, _ in standing(many).values()} == {"drop"}, "a tab undoes its own decisions"
    assert "nothing of this tab to undo" in first.locator("#message").inner_text()
    press(first, "ArrowRight", "k", "d")
    first.select_option("#state", "drop")
    press(first)
    assert first.locator("#count").inner_text() == "1 of 2, 2 decided", "one photo was kept, two were dropped"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_page_fits_loads_one_person_and_runs_no_name(many, opened, width, scheme):
    page = opened(many.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert (
        page.evaluate("performance.getEntriesByType('resource').filter((r) => r.name.includes('picture')).length") < 12
    )
    press(page, "/")
    page.keyboard.type(f"path = '{MARKUP}' AND task = 'age'")
    press(page, "Enter")
    page.wait_for_function("document.querySelector('#case h2').textContent.startsWith('age')")
    assert "script>.jpg" in page.locator("#case").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    press(page, "Escape", "?")
    assert page.locator("#keys").is_visible()
    assert serious_faults(page) == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_photo_that_was_moved_away_meanwhile_is_said_on_the_page(many, opened):
    photo = next(photo.path for photo in many.review.held_out.photos if photo.name == "p61/wear.jpg")
    photo.rename(photo.with_name("elsewhere.jpg"))
    try:
        page = opened(many.url)
        press(page, "/")
        page.keyboard.type("path = 'p61/wear.jpg' AND task = 'gender'")
        press(page, "Enter")
        page.wait_for_selector(".frame span")
        assert "neither the photo nor a crop" in page.locator(".in-question").inner_text()
        assert page.locator(".in-question img").count() == 2
    finally:
        photo.with_name("elsewhere.jpg").rename(photo)


def test_the_page_of_suspects_is_a_grid_that_fits_the_width(many, browser, tmp_path):
    printed = faceline("labels", "suspects", many.made.data, "--run", many.made.run, "--out", tmp_path)
    assert f"Next: faceline review {many.made.run}" in printed.stdout
    page = browser.new_page(color_scheme="dark")
    page.goto((tmp_path / "suspects.html").as_uri())
    for width, columns in ((390, 1), (1440, 4)):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        tops = page.evaluate("[...document.querySelectorAll('#task2 ~ .suspects article')].map((one) => one.offsetTop)")
        assert (len(tops), tops.count(tops[0])) == (60, columns)
    assert serious_faults(page) == []
    page.close()


def test_without_its_server_the_page_confirms_nothing(many, browser):
    page = browser.new_page()
    page.goto(many.url)
    page.wait_for_selector(".photos img")
    before = heading(page)
    page.route("**/decisions", lambda route: route.abort())
    press(page, "k")
    assert "Not saved: faceline review does not answer" in page.locator("#message").inner_text()
    assert heading(page) == before
    page.close()


def test_the_page_as_a_file_downloads_corrections_and_keeps_them_over_a_reload(many, opened, tmp_path):
    file = tmp_path / "page.html"
    query = "gender = male AND NOT right"
    saved = tmp_path / "corrections.jsonl"
    options = ["--query", query, "--top", 3, "--out", saved, "--static"]
    result = faceline("review", many.made.run, *options, file)
    assert "3 cases, the first of 30; --top and --task choose others" in result.stdout
    page = opened(file.as_uri(), color_scheme="dark")
    assert not page.locator("#query").is_visible()
    press(page, "f", "k")
    page.reload()
    page.wait_for_selector(".photos img")
    assert "1 of 1, 0 decided" in page.locator("#count").inner_text()
    press(page, "d", "u", "d")
    with page.expect_download() as waiting:
        press(page, "w")
    assert waiting.value.suggested_filename == saved.name
    waiting.value.save_as(saved)
    applied = json.loads(faceline("labels", "apply", saved, many.made.data, "--json").stdout.splitlines()[-1])
    assert applied["changed"] == {"gender": 6}
    assert sorted({str(change["corrected"]) for change in applied["changes"]}) == ["None", "female"]
    result = faceline("review", many.made.run, *options, tmp_path / "rest.html")
    assert "3 cases, the first of 27" in result.stdout
    assert f"3 are decided in {saved}." in result.stdout
