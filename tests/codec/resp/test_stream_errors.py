"""Errors of the replication stream."""

from __future__ import annotations

import pytest

from shaker.codec.resp.stream_errors import corrupt_stream, too_large


@pytest.mark.parametrize(
    ("buffer", "position", "expected"),
    [
        (b"..-ERR not now\r\n", 2, "the source sent an error inside the stream, at offset 52: 'ERR not now'"),
        (b"..-err", 2, "the stream of the source breaks the protocol at offset 52: byte 45"),
        (b"..", 2, "the stream of the source breaks the protocol at offset 52: byte -1"),
    ],
)
def test_a_corrupt_stream_names_the_offset(buffer: bytes, position: int, expected: str) -> None:
    found = str(corrupt_stream(buffer, position, 52))

    assert expected.replace("'", "") in found.replace("'", "").replace("-ERR", "ERR")


@pytest.mark.parametrize(
    ("begun", "name"),
    [(b"*3\r\n$3\r\nSET\r\n$999", "SET"), (b"*3\r\n$3\r\nS", "S"), (b"*3\r\n$3", "?"), (b"", "?")],
)
def test_a_command_that_is_too_large_is_named(begun: bytes, name: str) -> None:
    assert f"a {name} command at offset 7 needs 1000 bytes" in str(too_large(begun, 7, 1000))
    assert too_large(begun, 7, 1000).kind == "too_large"
