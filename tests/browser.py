"""A real browser for tests: headless Chromium that tells on every page, and axe, which looks for what some cannot use.

What a page writes to the console as an error, throws, or asks of another host fails the test that visited it. Chromium
itself writes a line for each answer of 400 and above, and for each request that the network did not carry: a test
that refuses something, or is offline, says so in `Visitor.expected`.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.test_http import Server

PHONE, DESK = 360, 1440
WIDTHS = (PHONE, DESK)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
ANSWERED = re.compile(r"Failed to load resource: the server responded with a status of (\d{3})")
UNREACHED = re.compile(r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED|FAILED|ABORTED)")
PATIENCE_MS = 15_000


@dataclass
class Visitor:
    """A person with a browser of their own: a context with its cookies, and what its pages did that they must not."""

    context: BrowserContext
    page: Page
    url: str
    expected: set[str] = field(default_factory=set)
    """Statuses that are refused on purpose, and "offline"."""
    wrong: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"thrown: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        answered = ANSWERED.search(message.text)
        if answered and answered[1] in self.expected:
            return
        if "offline" in self.expected and UNREACHED.search(message.text):
            return
        self.wrong.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        there = urlsplit(request.url)
        if there.scheme not in ("data", "blob") and there.netloc != urlsplit(self.url).netloc:
            self.wrong.append(f"asked another host: {request.url}")

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, key: str, to: str = "/console") -> Page:
        """As a person does: asked for a page, led to the sign-in, and from there to the page."""
        self.go(to)
        self.page.get_by_label("凭据密钥").fill(key)
        self.page.locator("main button[type=submit]").click()
        self.page.wait_for_url(lambda url: urlsplit(url).path == urlsplit(to).path)
        return self.page

    def accessible(self) -> None:
        """Axe finds nothing, and the page is not wider than the window."""
        found = breaches(self.page)
        assert found == [], (self.page.url, found)
        inner, scroll = self.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert scroll <= inner, f"{self.page.url} is {scroll} px wide in a window of {inner}"


def breaches(page: Page) -> list[str]:
    """What axe says against the page as it stands, in WCAG 2 AA's terms; its script is evaluated from outside the page,
    so that the page's own policy stands."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    options: dict[str, Any] = {"runOnly": {"type": "tag", "values": AXE_TAGS}, "resultTypes": ["violations"]}
    result = page.evaluate("options => axe.run(document, options)", options)
    assert result["passes"], "axe looked at nothing"
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in result["violations"] for node in one["nodes"][:3]
    ]  # fmt: skip


@dataclass
class Visitors:
    """Opens a browser for each person of a journey."""

    browser: Browser
    url: str
    all: list[Visitor] = field(default_factory=list)

    def come(self, width: int = DESK, key: str | None = None, to: str = "/console", **more: Any) -> Visitor:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, locale="zh-CN", timezone_id="Asia/Shanghai", **more
        )
        context.set_default_timeout(PATIENCE_MS)
        visitor = Visitor(context, context.new_page(), self.url)
        visitor.watch(visitor.page)
        self.all.append(visitor)
        if key is not None:
            visitor.sign_in(key, to)
        return visitor

    def leave(self) -> None:
        for visitor in self.all:
            visitor.context.close()

    def told_on(self) -> list[str]:
        return [wrong for visitor in self.all for wrong in visitor.wrong]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one file: its loop lives in this thread, where other files' tests have loops of their own."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium")
        pytest.skip("Chromium is not here (apt-get install chromium): no page was looked at")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visitors(browser: Browser, server: Server) -> Iterator[Visitors]:
    """People with browsers. At the end none of their pages has complained, thrown, or asked another host."""
    made = Visitors(browser, server.url)
    try:
        yield made
    finally:
        made.leave()
    wrong = made.told_on()
    assert wrong == [], wrong
