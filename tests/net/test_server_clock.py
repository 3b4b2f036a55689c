"""The offset of a server's clock: from the quickest of the last answers, within half its round trip."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.errors import LinkError
from shaker.net.connection import ReplyError
from shaker.net.server_clock import MAX_ROUND_TRIP_SECONDS, ServerClock

pytestmark = pytest.mark.anyio


class Peer:
    """A server whose clock is ahead of the worker's by `ahead` seconds and whose answers take `seconds`."""

    def __init__(self, ahead: float = 2_000_000_000.0) -> None:
        self.ahead = ahead
        self.seconds = 0.0
        self.now = 100.0
        self.asked = 0
        self.answer: Any = None

    def clock(self) -> float:
        """The worker's own clock."""
        return self.now

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Answer TIME, read in the middle of the round trip unless `answer` is set."""
        assert arguments == ("TIME",)
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        self.now += self.seconds
        if self.answer is not None:
            return self.answer
        at = self.now - self.seconds / 2 + self.ahead
        return [b"%d" % int(at), b"%d" % round(at % 1 * 1e6)]


async def test_the_quickest_of_the_last_answers_counts() -> None:
    """A busy machine must not pass for a difference of clocks."""
    peer = Peer()
    clock = ServerClock(peer, peer.clock)
    assert await clock.offset() == pytest.approx(peer.ahead, abs=1e-3)
    peer.ahead += 5
    peer.seconds = 1.0

    assert await clock.offset() == pytest.approx(peer.ahead - 5, abs=1e-3)
    peer.seconds = 0.0
    for _ in range(8):
        found = await clock.offset()
    assert found == pytest.approx(peer.ahead, abs=1e-3)


async def test_an_answer_that_takes_too_long_says_nothing() -> None:
    """The server read its clock anywhere in between."""
    peer = Peer()
    peer.seconds = MAX_ROUND_TRIP_SECONDS + 0.1

    assert await ServerClock(peer, peer.clock).offset() is None


async def test_a_user_without_the_right_is_asked_once() -> None:
    """A second try would only fill the server's ACL LOG."""
    peer = Peer()
    peer.answer = ReplyError("NOPERM this user has no permissions")
    clock = ServerClock(peer, peer.clock)

    assert await clock.offset() is None
    assert await clock.offset() is None
    assert peer.asked == 1


@pytest.mark.parametrize("answer", [[b"5", b"0"], [b"2000000000", b"1000000"], [b"2000000000"], b"now"])
async def test_an_answer_that_is_no_present_time_is_refused(answer: Any) -> None:
    """The peer may be no Redis."""
    peer = Peer()
    peer.answer = answer
    with pytest.raises(LinkError) as caught:
        await ServerClock(peer, peer.clock).offset()
    assert caught.value.kind == "protocol"
