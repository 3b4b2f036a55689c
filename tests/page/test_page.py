"""The page at `/` in Chromium, with a real worker between real servers (`make page-test`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from shaker.commands.sample import seed
from tests.page.browser import Look, chromium
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import Server, free_port
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
Looks = Callable[..., Look]

PASSWORD = "password-of-the-source"
VALUE = "a-value-of-the-source"
CURVES = ("#lag-bytes", "#lag-seconds", "#applied", "#received")
# What a page cannot keep Chromium from writing when nobody listens, or not any more, at the address that it asks.
NO_ANSWER = (
    "error: Failed to load resource: net::ERR_CONNECTION_",
    "error: Failed to load resource: net::ERR_EMPTY_",
)

# The least contrast of text and background that WCAG 2.2 wants, 1.4.3, over all that is shown.
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [red, green, blue] = parse(color).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((parse(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  let [least, where] = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((one, other) => other - one);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < least) [least, where] = [contrast, element.outerHTML.slice(0, 80)];
  }
  return [least, where];
}"""

COUNT_CHANGES = """() => {
  window.changes = [];
  const watch = new MutationObserver((found) => window.changes.push(...found.map((each) => each.target.nodeName)));
  for (const selector of ["header", ".sides", "#reasons", "#errors", "#gone"]) {
    const options = { childList: true, characterData: true, attributes: true, subtree: true };
    watch.observe(document.querySelector(selector), options);
  }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests: its start is the slowest part."""
    with chromium() as found:
        yield found


@pytest.fixture
def look(browser: Browser) -> Iterator[Looks]:
    """A function that opens a worker's page; at the end it must have asked its own worker only."""
    with ExitStack() as stack:

        def open_page(worker: Worker, **options: Any) -> Look:
            seen = Look(browser, f"http://127.0.0.1:{worker.port}/", **options)
            stack.callback(seen.close)
            stack.callback(lambda: check_requests(seen))
            return seen

        yield open_page


def check_requests(seen: Look) -> None:
    foreign = [url for url in seen.requests if not url.startswith((seen.url, "data:"))]
    assert foreign == []
    assert {seen.url + path for path in ("status", "history", "page.css", "page.js")} <= set(seen.requests)


def check_readable(seen: Look) -> None:
    """Enough contrast in both colour schemes, which differ, and nothing to scroll for sideways on a phone."""
    backgrounds = set()
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        backgrounds.add(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        least, where = seen.page.evaluate(CONTRAST)
        assert least >= 4.5, f"{scheme}: contrast {least:.2f} in {where}"
    assert len(backgrounds) == 2
    before = seen.page.viewport_size
    assert before is not None
    seen.page.set_viewport_size({"width": 360, "height": 740})
    content, window = seen.page.evaluate("[document.scrollingElement.scrollWidth, window.innerWidth]")
    assert content <= window
    seen.page.set_viewport_size(before)


def test_the_page_moves_while_data_moves(server: Servers, target: Server, worker: Workers, look: Looks) -> None:
    """Progress in a snapshot; then numbers and curves under load, in both colour schemes and on a phone."""
    source = server(requirepass=PASSWORD)
    seed(source.client(), 5000, shortest_expiry=300_000)
    source.client().set("key", VALUE)
    with Proxy(source) as proxy:
        proxy.set("down", bandwidth=50_000)
        running = worker(proxy.url, target, SHAKER_NAME="orders")
        seen = look(running)
        seen.wait(lambda: seen.text("#state") == "Snapshot", "the snapshot")
        assert "orders" in seen.text("h1")

        def progress() -> float:
            return float(seen.page.locator("#snapshot-progress").get_attribute("value") or 0)

        first = seen.wait(progress, "the progress")
        keys = seen.number("#snapshot-keys")
        seen.wait(lambda: first < progress() < 1 and seen.number("#snapshot-keys") > keys, "more progress")
        assert seen.text("#snapshot-share").endswith(" %")
        assert seen.text("#snapshot-left").endswith(" left")
        assert seen.text("#ready") == "not ready"
        proxy.heal()

        seen.wait(lambda: seen.text("#state") == "Streaming" and seen.text("#ready") == "ready", "the stream")
        assert not seen.shown("#snapshot-section")
        assert "5,001 keys" in seen.text("#counts")
        for side, port in (("source", proxy.port), ("target", target.port)):
            assert seen.text(f"#{side}-address") == f"127.0.0.1:{port}"
            assert seen.text(f"#{side}-server").startswith("Redis 7.0")
            assert seen.text(f"#{side}-connected") == "connected"

        with LoadProcess(source, rate=300, shortest_expiry=300_000):
            applied, paths = seen.number("#offset-applied"), [seen.path(figure) for figure in CURVES]
            seen.wait(lambda: seen.number("#offset-applied") > applied, "the applied offset to grow")
            seen.wait(lambda: seen.number("#applied .now") > 0, "commands per second")
            seen.wait(
                lambda: all(seen.path(figure) not in ("", old) for figure, old in zip(CURVES, paths, strict=True)),
                "all curves to move",
            )
            target.pause()
            seen.wait(lambda: "is behind" in seen.text("#meaning"), "the lag")
            assert seen.number("#lag-seconds .now") > 5
            assert seen.number("#lag-bytes .now") > 0
            target.resume()
            seen.wait(lambda: "is behind" not in seen.text("#meaning"), "the end of the lag")
            lag = seen.wait(lambda: seen.page.locator("#lag-bytes svg").get_attribute("aria-label"), "a label")
            assert lag.startswith("Lag in bytes, last minute: now ")
        plot = seen.page.locator("#applied .plot")
        plot.hover(position={"x": 1.0, "y": 5.0})
        assert not seen.shown("#applied .point")  # nothing was measured a minute ago
        width = plot.bounding_box()
        assert width is not None
        plot.hover(position={"x": width["width"] - 8, "y": 5.0})
        assert seen.shown("#applied .point")

    check_readable(seen)
    assert VALUE not in seen.page.content()
    assert PASSWORD not in seen.page.content()
    assert seen.complaints == []


def test_the_page_tells_why_it_is_not_ready(source: Server, target: Server, worker: Workers, look: Looks) -> None:
    """A target that is gone: state, reason and side; when it is back, none of that."""
    target.client().config_set("save", "3600 1")
    running = worker(source, target)
    seen = look(running)
    seen.wait(lambda: seen.text("#ready") == "ready", "the stream")
    assert not seen.shown("#reasons-section")

    target.stop()
    seen.wait(lambda: seen.text("#state") == "Paused", "the state")
    reason = f"no connection to the target 127.0.0.1:{target.port}"
    seen.wait(lambda: seen.text("#reasons").startswith(reason), "the reason")
    assert seen.text("#ready") == "not ready"
    assert seen.text("#target-connected") == "not connected"
    assert seen.text("#source-connected") == "connected"
    assert "connect" in seen.text("#errors")
    check_readable(seen)

    target.restart()
    seen.wait(lambda: seen.text("#ready") == "ready", "the target to be back")
    assert not seen.shown("#reasons-section")
    assert seen.text("#target-connected") == "connected"
    assert seen.complaints == []


def test_a_target_that_differs_is_red(source: Server, target: Server, worker: Workers, look: Looks) -> None:
    """A rejected command: diverged, in red, with what to do; on a phone the page is short."""
    target.client(db=2).set("list", "a string")
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="merge")
    seen = look(running)
    seen.wait(lambda: seen.text("#ready") == "ready", "the stream")

    source.client(db=2).rpush("list", "item")
    seen.wait(lambda: seen.text("#ready") == "diverged", "the difference")

    assert seen.page.locator("#verdict").get_attribute("data-kind") == "bad"
    assert seen.text("#meaning") == "The target differs from the source: see the reason and the fix below."
    assert seen.page.title().startswith("streaming, diverged")
    what, step = seen.text("#reasons li").splitlines()
    assert what.startswith("the target rejected 1 command, the last one: RPUSH")
    assert step == "Compare that key on both sides, and write it to the target or copy it again."
    check_readable(seen)
    assert seen.complaints == []


def test_the_page_is_short_on_a_phone(source: Server, target: Server, worker: Workers, look: Looks) -> None:
    """State, sides and curves take one screen and a half; the rest is there when it is asked for."""
    seen = look(worker(source, target), viewport={"width": 360, "height": 740})
    seen.wait(lambda: seen.text("#ready") == "ready", "the stream")

    height = seen.page.evaluate("document.scrollingElement.scrollHeight")
    assert height <= 740 * 1.5
    assert not seen.shown("#counts")
    seen.page.locator("#more summary").click()
    assert seen.shown("#counts")
    assert seen.page.evaluate("document.scrollingElement.scrollHeight") > height
    assert seen.complaints == []


def test_a_target_without_memory_is_reachable(
    server: Servers, source: Server, target: Server, worker: Workers, look: Looks
) -> None:
    """It answers, and says what is missing: nobody looks for a broken network."""
    running = worker(source, target)
    seen = look(running)
    seen.wait(lambda: seen.text("#ready") == "ready", "the stream")
    target.client().config_set("maxmemory", "1mb")

    with LoadProcess(source, rate=100, shortest_expiry=300_000):
        seen.wait(lambda: seen.text("#target-connected") == "reachable, out of memory", "the side")
    seen.wait(lambda: "Free memory on the target or raise its maxmemory" in seen.text("#reasons"), "the next step")
    target.client().config_set("maxmemory", "0")
    seen.wait(lambda: seen.text("#target-connected") == "connected", "the target to take writes")
    assert seen.complaints == []


def test_the_page_says_that_the_worker_is_gone(
    source: Server, target: Server, worker: Workers, look: Looks
) -> None:
    """What it showed stays and is marked as old; a new worker at the same address is taken up by itself."""
    running = worker(source, target, SHAKER_HEALTH__PORT=str(free_port()))
    seen = look(running)
    seen.wait(lambda: seen.text("#ready") == "ready", "the stream")
    assert not seen.shown("#gone")

    def points() -> int:
        return sum(map(seen.path("#lag-bytes").count, "ML"))

    # What stays the same is left alone, or it flickers and is read aloud once a second.
    seen.page.evaluate(COUNT_CHANGES)
    drawn = points()
    seen.wait(lambda: points() > drawn + 1, "a curve")
    assert seen.page.evaluate("window.changes") == []
    assert seen.complaints == []

    running.kill()
    seen.wait(lambda: seen.shown("#gone"), "the page to notice")
    before = points()
    assert seen.text("#gone").startswith("The worker does not answer.")
    assert seen.page.locator("#gone").get_attribute("role") == "alert"
    assert seen.text("#state") == "No answer"
    assert seen.text("#ready") == "not known"
    assert seen.text("#target-address") == f"127.0.0.1:{target.port}"
    assert seen.page.title() == "no answer · shaker"
    check_readable(seen)

    running.start()
    seen.wait(lambda: seen.text("#ready") == "ready", "the new worker")
    assert not seen.shown("#gone")
    # The new worker knows nothing of before: its curve goes on where that of the old one ended.
    seen.wait(lambda: points() > before, "the curve to grow")
    assert [complaint for complaint in seen.complaints if not complaint.startswith(NO_ANSWER)] == []


def test_the_policy_keeps_out_what_is_not_of_the_package(
    source: Server, target: Server, worker: Workers, look: Looks
) -> None:
    """An inline script and another origin are refused, and such a refusal would be seen by the other tests."""
    seen = look(worker(source, target))
    seen.wait(lambda: seen.shown("main"), "the page")
    assert seen.complaints == []

    seen.page.evaluate(
        "document.head.append(Object.assign(document.createElement('script'), { text: 'window.injected = 1' }))"
    )
    assert seen.page.evaluate("window.injected") is None
    seen.wait(lambda: seen.complaints, "the complaint")
    assert "Content Security Policy" in seen.complaints[0]
    with pytest.raises(Exception, match="Failed to fetch"):
        seen.page.evaluate(f"fetch('http://127.0.0.1:{free_port()}/')")
    assert any("connect-src" in complaint for complaint in seen.complaints)
    # Chromium refuses it before it asks: it is no request.


def test_the_page_steers_with_a_token(
    source: Server, target: Server, worker: Workers, look: Looks, tmp_path: Path
) -> None:
    """Proof and cutover are shown; buttons appear with a token, and a wrong one is refused."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    source.client().set("key", VALUE)
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    seen = look(running)
    seen.wait(lambda: seen.text("#cutover") == "possible", "the cutover to be possible")
    assert seen.text("#proof") == "not yet"
    assert not seen.shown("#buttons")
    seen.page.fill("#token", "wrong")
    seen.page.click("button[data-verb=verify]")
    seen.wait(lambda: "the token is wrong" in seen.text("#control-answer"), "the refusal")
    seen.page.fill("#token", "secret")
    seen.page.click("button[data-verb=verify]")
    seen.wait(lambda: seen.text("#control-answer") == "verify: taken", "the answer")
    seen.wait(lambda: seen.text("#proof").endswith(" ago"), "the proof", 30)
    check_readable(seen)
    seen.page.click("button[data-verb=abort]")
    seen.wait(lambda: "nothing is running" in seen.text("#control-answer"), "the reason")
    seen.page.on("dialog", lambda dialog: dialog.accept())
    seen.page.click("button[data-verb=cutover]")
    assert running.wait_ended() == 0
    assert source.client().config_get("min-replicas-to-write")["min-replicas-to-write"] == "1000000"


def test_without_a_token_file_there_are_no_buttons(
    source: Server, target: Server, worker: Workers, look: Looks
) -> None:
    """The page says what a cutover lacks."""
    seen = look(worker(source, target))
    seen.wait(lambda: "control.token_file is not set" in seen.text("#cutover-reasons"), "the reason")
    assert seen.text("#cutover") == "not possible"
    assert not seen.shown("#control-section")
