"""Every encoding of every server at hand is decoded to what that server says of the value."""

from __future__ import annotations

import json

import pytest

from shaker.codec.values.decoder import decode
from shaker.errors import UnfaithfulError
from tests.codec.values.golden_files import CASES, GOLDEN, Golden
from tests.support.splits import cut
from tests.support.value_content import Content, agree, from_elements


def decoded(golden: Golden, chunks: list[bytes]) -> Content:
    """The content of a file that comes in chunks, as JSON has it."""
    elements = decode(chunks, version=golden.version, functions=golden.functions)
    found: Content = json.loads(json.dumps(from_elements(elements)))
    return found


@pytest.mark.parametrize("step", [0, 1, 1000], ids=["whole", "byte-by-byte", "thousands"])
@pytest.mark.parametrize("case", CASES)
def test_content_is_what_the_server_says(case: str, step: int) -> None:
    """The elements of a dump are what the server's own commands give, wherever the bytes are cut."""
    for golden in GOLDEN[case]:
        payload = golden.payload
        found = decoded(golden, cut(payload, list(range(0, len(payload), step))) if step else [payload])
        if found["type"] == "module":
            assert found["name"] == "vectorset"
        else:
            assert found.keys() == golden.content.keys()
            assert agree(found, golden.content), golden.server


@pytest.mark.parametrize("case", CASES)
def test_bytes_too_many_or_too_few_are_refused(case: str) -> None:
    """A payload with a byte too many is corrupt, and so is one cut short."""
    for golden in GOLDEN[case]:
        payload = golden.payload
        for damaged in (payload + b"\x00", payload[:-1], payload[:-11], payload[: len(payload) // 2]):
            with pytest.raises(UnfaithfulError):
                decoded(golden, [damaged])


@pytest.mark.parametrize("case", CASES)
def test_damaged_bytes_never_surprise(case: str) -> None:
    """Whatever byte is damaged, the answer is CorruptError or UnfaithfulError, never another one."""
    for golden in GOLDEN[case]:
        payload = golden.payload
        for place in range(0, len(payload), max(1, len(payload) // 40)):
            for change in (0x01, 0x80, 0xFF):
                damaged = bytearray(payload)
                damaged[place] ^= change
                with pytest.raises(UnfaithfulError):
                    decoded(golden, [bytes(damaged)])
