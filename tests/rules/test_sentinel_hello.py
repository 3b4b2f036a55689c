"""What the source's Sentinels publish about it does not reach the target; other messages do."""

from __future__ import annotations

from shaker.codec.resp.replies import encode
from shaker.rules.rule import Received
from shaker.rules.sentinel_hello import PUBLISHES, SentinelHello


def test_a_message_of_a_sentinel_is_left_out_uncounted() -> None:
    """Nobody has to know: it is no data."""
    run = Received(encode("PUBLISH", "__sentinel__:hello", "127.0.0.1,26379,..."), 1, PUBLISHES)

    assert SentinelHello().commands(run) == Received(b"", 0, 0)


def test_other_messages_pass_as_they_came() -> None:
    """Also those that only mention the channel."""
    for command in (
        ("PUBLISH", "news", "__sentinel__:hello"),
        ("PUBLISH", "__sentinel__:hello2", "x"),
        ("PUBLISH",),
    ):
        run = Received(encode(*command), 1, PUBLISHES)
        assert SentinelHello().commands(run) == run
