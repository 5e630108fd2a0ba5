"""A browser, a stage and a watched page for the tests of the pages. It knows no particular page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.web.browser import find
from tests.web.fixture import Serving, Stage

ARGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WATCH: Final = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""

Open = Callable[..., Page]

expect.set_options(timeout=30_000)  # a busy machine is no finding


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Not for the session: Playwright's loop would still run when tests come that have loops of their own.
    chromium = find()
    if chromium is None:
        pytest.fail("no browser: apt-get install chromium, or python -m tests.web.browser", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(headless=True, executable_path=chromium, args=list(ARGS))
        yield browser
        browser.close()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, heartbeat_s=0.5)


@pytest.fixture
def address(stage: Stage) -> Iterator[str]:
    with Serving(stage) as address:
        yield address


@pytest.fixture
def forgiven() -> list[str]:
    """Complaints that hold one of these words are expected by the test."""
    return []


@pytest.fixture
def opened(browser: Browser, address: str, forgiven: list[str]) -> Iterator[Open]:
    """Opens an address in a page of its own; at the end no page may have complained about anything."""
    complaints: list[str] = []
    pages: list[Page] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    def go(path: str, width: int = 420, height: int = 860) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        page.set_default_timeout(10_000)
        page.add_init_script(WATCH)
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(address + path)
        return page

    yield go
    for page in pages:
        complaints.extend(page.evaluate("window.violations"))
        page.close()
    assert [said for said in complaints if not any(word in said for word in forgiven)] == []
