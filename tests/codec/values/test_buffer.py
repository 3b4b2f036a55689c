"""Bytes that wait to be decoded: whole elements are taken, half of one goes back to the last safe place."""

from __future__ import annotations

import pytest

from shaker.codec.values.buffer import Buffer, Incomplete
from shaker.errors import CorruptError, UnfaithfulError
from tests.support.rdb_bytes import length, saved_string, string
from tests.support.splits import every_cut

STRINGS = [b"", b"a", b"x" * 63, b"y" * 64, b"z" * 20_000, b"5", b"-300", b"70000"]


def strings(chunks: list[bytes]) -> tuple[list[bytes], Buffer]:
    """All strings that the chunks hold, each taken as soon as it is whole."""
    buffer, found = Buffer(), []
    for chunk in chunks:
        buffer.add(chunk)
        while buffer.ready():
            try:
                found.append(buffer.string())
            except Incomplete:
                break
            buffer.commit()
    return found, buffer


def test_strings_are_taken_wherever_the_bytes_are_cut() -> None:
    """Whole, byte by byte and at random places; of the string that is not whole, nothing is taken."""
    data = b"".join(map(saved_string, STRINGS))
    for chunks in every_cut(data):
        assert strings(chunks)[0] == STRINGS
    for chunks in every_cut(data + string(b"half of it")[:-4]):
        found, buffer = strings(chunks)
        assert found == STRINGS
        assert buffer.waiting() == 7


def test_a_long_string_is_looked_at_again_only_when_it_is_whole() -> None:
    """The bytes that are missing are known: until they are there, the buffer is not ready."""
    buffer = Buffer()
    whole = string(b"x" * 1000)
    buffer.add(whole[:10])
    assert buffer.ready()
    with pytest.raises(Incomplete):
        buffer.string()
    buffer.add(whole[10:-1])
    assert not buffer.ready()
    buffer.add(whole[-1:])
    assert buffer.ready()
    assert buffer.string() == b"x" * 1000


@pytest.mark.parametrize("value", [0, 63, 64, 16383, 16384, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_lengths_of_every_form(value: int) -> None:
    """Nothing is taken before the last byte of a length is there."""
    buffer = Buffer()
    data = length(value)
    for byte in data[:-1]:
        buffer.add(bytes([byte]))
        if buffer.ready():
            with pytest.raises(Incomplete):
                buffer.length()
    buffer.add(data[-1:] + b"rest")
    assert buffer.ready()
    assert buffer.length() == value
    assert buffer.raw(4) == b"rest"


def test_numbers_of_fixed_size() -> None:
    """Bytes and signed times."""
    buffer = Buffer()
    buffer.add(b"\x07" + (-5).to_bytes(8, "little", signed=True))
    assert buffer.ready()
    assert (buffer.byte(), buffer.milliseconds()) == (7, -5)
    for take in (buffer.byte, buffer.milliseconds):
        with pytest.raises(Incomplete):
            take()


@pytest.mark.parametrize("header", [b"\x82", b"\xbf"])
def test_a_length_of_no_form_is_refused(header: bytes) -> None:
    """For a string, too."""
    for take in (Buffer.length, Buffer.string):
        buffer = Buffer()
        buffer.add(header + bytes(10))
        assert buffer.ready()
        with pytest.raises(CorruptError):
            take(buffer)


@pytest.mark.parametrize("data", [string(b"12345678")[:5], b"\xc3" + length(3) + length(8) + b"\x07"])
def test_a_string_above_the_limit_is_refused_by_its_header(data: bytes) -> None:
    """As soon as its length is known: its bytes are not waited for."""
    limit = Buffer(max_string=2)
    limit.add(data)
    assert limit.ready()
    with pytest.raises(UnfaithfulError, match="limit of 2 bytes"):
        limit.string()
