"""Chromium without a window, and one look at the page: what it shows, what it asks for, what it complains about."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from playwright.sync_api import Browser, Page, sync_playwright

# Nothing that a browser does besides showing a page: no updates, no services, no graphics processor.
FLAGS = (
    *("--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
)
T = TypeVar("T")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium with an empty profile; a missing one is an error, never a skipped test."""
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("chromium is missing; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


class Look:
    """One page, opened at `url`. `complaints` are the console's errors and warnings, `requests` what it asked."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page: Page = browser.new_page(**options)
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def text(self, selector: str) -> str:
        """Return the text that a person sees in an element, empty while it is hidden."""
        return self.page.locator(selector).inner_text()

    def number(self, selector: str) -> float:
        """Return the number that an element's text begins with, NaN if it is none."""
        word = self.text(selector).replace(",", "").split(" ")[0]
        try:
            return float(word)
        except ValueError:
            return float("nan")

    def shown(self, selector: str) -> bool:
        """Return whether a person sees the element."""
        return self.page.locator(selector).is_visible()

    def path(self, figure: str) -> str:
        """Return the line that is drawn in a figure."""
        return self.page.locator(f"{figure} path.line").get_attribute("d") or ""

    def wait(self, condition: Callable[[], T], what: str, seconds: float = 30.0) -> T:
        """Return the first true value of `condition`; AssertionError with what the page shows after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:g} s in vain for {what}; shown:\n{self.text('body')}")
            self.page.wait_for_timeout(50)
        return value

    def close(self) -> None:
        """Leave the page."""
        self.page.close()
