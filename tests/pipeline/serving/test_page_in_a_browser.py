"""The upload page as a browser shows it: Debian's Chromium, driven by Playwright, with a camera that is drawn."""

import time

import pytest

from tests.axe import serious_faults
from tests.pipeline.serving.stub import running
from tests.pipeline.serving.test_app import PHOTO, jpeg

pytestmark = pytest.mark.slow
MARKUP = '"><img src=x onerror=alert(1)>.jpg'


def opened(browser, url, **more):
    """The page, and what it logs and asks for elsewhere."""
    page, messages = browser.new_page(**more), []
    page.on("console", lambda message: "422" in message.text or "401" in message.text or messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: request.url.startswith((url, "blob:", "data:")) or messages.append(request.url))
    page.goto(url)
    return page, messages


def until(page, what):
    end = time.monotonic() + 20
    while not page.evaluate(what):
        assert time.monotonic() < end, what
        time.sleep(0.05)


def file(name, content=PHOTO):
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_photos_get_boxes_and_bars_and_names_stay_text(browser, width, scheme):
    with running() as port:
        url = f"http://127.0.0.1:{port}/"
        page, messages = opened(
            browser, url, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        page.set_input_files("#files", [file(MARKUP), file("wide.jpg", jpeg(900, 300)), file("no.jpg", b"no photo")])
        until(
            page, "document.querySelectorAll('.tags').length == 2 && document.querySelectorAll('.failed').length == 1"
        )
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert serious_faults(page) == []
        card = page.locator(".result", has_text=MARKUP)
        assert card.locator(".row").count() == 6
        assert "age: <30 (unsure)" in card.inner_text()
        assert "wear 75%" in card.locator(".tags").inner_text()
        for card in page.locator(".result:not(.failed)").all():
            image, face = card.locator("img").bounding_box(), card.locator(".face").bounding_box()
            assert face["x"] - image["x"] == pytest.approx(image["width"] / 4, abs=1)
            assert face["height"] == pytest.approx(image["height"] / 2, abs=1)
        assert "not an image" in page.locator(".failed").inner_text()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert messages == []
        page.close()


def test_photos_can_be_dropped_pasted_and_taken_with_the_camera(browser):
    with running() as port:
        page, messages = opened(browser, f"http://127.0.0.1:{port}/")
        for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
            page.evaluate(
                """([kind, field, bytes]) => {
                    const data = new DataTransfer();
                    data.items.add(new File([new Uint8Array(bytes)], kind + ".jpg", { type: "image/jpeg" }));
                    const made = kind === "drop" ? new DragEvent(kind, { dataTransfer: data, cancelable: true })
                        : new ClipboardEvent(kind, { clipboardData: data });
                    document.dispatchEvent(made);
                }""",
                [kind, field, list(PHOTO)],
            )
        page.click("#camera")
        until(page, "document.getElementById('video').videoWidth > 0")
        page.click("#take")
        until(page, "document.querySelectorAll('.tags').length == 3")
        names = page.locator("h2").all_inner_texts()
        assert sorted(names) == ["camera 1.jpg", "drop.jpg", "paste.jpg"]
        page.click("#close")
        assert not page.locator("#video").is_visible()
        assert messages == []
        page.close()


def test_the_token_comes_from_the_link_or_is_typed_and_leaves_the_address(browser):
    with running(token="right") as port:
        url = f"http://127.0.0.1:{port}/"
        page, _ = opened(browser, f"{url}#token=right")
        page.set_input_files("#files", [file("a.jpg")])
        until(page, "document.querySelectorAll('.tags').length == 1")
        assert page.url == url
        page.close()
        context = browser.new_context()
        page, messages = opened(context, url)
        page.set_input_files("#files", [file("a.jpg"), file("b.jpg")])
        for typed in ("wrong", "right"):
            page.locator("#token").wait_for()
            page.fill("#token", typed)
            page.click("#access button")
            time.sleep(0.2)
        until(page, "document.querySelectorAll('.tags').length == 2")
        assert messages == []
        context.close()
