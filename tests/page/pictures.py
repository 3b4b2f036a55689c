"""The pictures of the page in the documents, made anew: `python -m tests.page.pictures` (a minute)."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from shaker.commands.sample import seed
from tests.page.browser import Look, chromium
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

WIDTH, HEIGHT = 1000, 900
LONGEST = 300_000  # milliseconds: no key of the load expires while somebody looks


def main() -> None:
    """Write docs/page-snapshot.png and docs/page-stream.png."""
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        source, target = stack.enter_context(Server()), stack.enter_context(Server())
        seed(source.client(), 40_000, shortest_expiry=LONGEST)
        slow = stack.enter_context(Proxy(source))
        slow.set("down", bandwidth=500_000)
        stack.enter_context(LoadProcess(source, rate=400, shortest_expiry=LONGEST))
        worker = stack.enter_context(Worker(slow.url, target, SHAKER_NAME="orders"))
        seen = Look(browser, f"http://127.0.0.1:{worker.port}/", viewport={"width": WIDTH, "height": HEIGHT})
        stack.callback(seen.close)
        seen.page.emulate_media(color_scheme="dark")
        seen.wait(lambda: seen.number("#snapshot-share") > 60, "most of the snapshot")
        picture(seen, "snapshot")
        slow.heal()
        worker.wait_state("streaming")
        # Half a minute with something to see in it: the load doubles, and the target stands still for a moment.
        seen.page.wait_for_timeout(10_000)
        with LoadProcess(source, seed=2, rate=600, shortest_expiry=LONGEST):
            seen.page.wait_for_timeout(8_000)
            target.pause()
            time.sleep(4)
            target.resume()
            seen.page.wait_for_timeout(8_000)
        seen.page.wait_for_timeout(10_000)
        seen.page.emulate_media(color_scheme="light")
        picture(seen, "stream")


def picture(seen: Look, name: str) -> None:
    """Write one picture of the page from its top to the curves."""
    path = ROOT / "docs" / f"page-{name}.png"
    curves = seen.page.locator(".curves").bounding_box()
    assert curves is not None
    bottom = curves["y"] + curves["height"] + 12
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom}
    path.write_bytes(seen.page.screenshot(animations="disabled", clip=clip))
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
