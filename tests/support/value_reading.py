"""One reader of values fed with bytes that are cut anywhere: its elements, and the bytes after the value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shaker.codec.values.buffer import Buffer, Incomplete
from shaker.codec.values.elements import Element
from shaker.codec.values.readers import Reader
from tests.support.splits import every_cut
from tests.support.value_content import Content, from_elements

TRAILING = b"\xfe\x01trailing"


class Read(NamedTuple):
    """What a reader made of its chunks."""

    elements: list[Element]
    finished: bool
    rest: bytes


def read(reader: Reader, chunks: Sequence[bytes]) -> Read:
    """Feed a reader as the decoder does."""
    buffer = Buffer()
    elements: list[Element] = []
    for chunk in chunks:
        buffer.add(chunk)
        while not reader.finished and buffer.ready():
            try:
                reader.read(buffer)
            except Incomplete:
                break
            finally:
                while (element := reader.take()) is not None:
                    elements.append(element)
    buffer.ready()
    return Read(elements, reader.finished, buffer.data[buffer.safe :])


def content(make: Callable[[], Reader], value: bytes) -> Content:
    """Return the content of a value, which must be the same whole, byte by byte and with bytes behind it."""
    whole = from_elements(read(make(), [value]).elements)
    for chunks in every_cut(value + TRAILING):
        found = read(make(), chunks)
        assert found.finished
        assert found.rest == TRAILING
        assert from_elements(found.elements) == whole
    for end in range(0, len(value), max(1, len(value) // 50)):
        cut = read(make(), [value[:end]])
        assert not cut.finished
    return whole
