"""What axe-core finds wrong with a page for people who do not see it, or not well."""

import pytest


def serious_faults(page):
    """The rules that a page in Playwright breaks, with the first element, if they are serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    found = axe.Axe().run(page).response
    assert found["passes"], "axe has not run"
    return [
        (fault["id"], fault["nodes"][0]["html"])
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
