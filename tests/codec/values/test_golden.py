"""Every encoding of every server at hand is decoded to what that server says of the value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shaker.codec.values.decoder import PayloadDecoder, decode, payload_version
from shaker.codec.values.elements import Element
from shaker.errors import CorruptError, UnfaithfulError
from tests.support.splits import cut
from tests.support.value_content import agree, from_elements

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dump"))


def name(path: Path) -> str:
    """The name of a case."""
    return path.stem


def decoded(path: Path, step: int) -> list[Element]:
    """The elements of a file, fed in chunks of `step` bytes, 0 for all at once."""
    payload = path.read_bytes()
    chunks = cut(payload, list(range(0, len(payload), step))) if step else [payload]
    functions = path.stem.startswith("functions")
    return list(decode(chunks, version=payload_version(payload), functions=functions))


@pytest.mark.parametrize("step", [0, 1, 1000], ids=["whole", "byte-by-byte", "thousands"])
@pytest.mark.parametrize("path", GOLDEN, ids=name)
def test_content_is_what_the_server_says(path: Path, step: int) -> None:
    """The elements of a dump are what the server's own commands give, wherever the bytes are cut."""
    expected = json.loads(path.with_suffix(".json").read_text())
    found = json.loads(json.dumps(from_elements(decoded(path, step))))
    if path.stem.startswith("module"):
        assert (found["name"], found["type"]) == ("vectorset", "module")
    else:
        assert agree(found, expected), (found, expected)
        assert found.keys() == expected.keys()


@pytest.mark.parametrize("path", GOLDEN, ids=name)
def test_bytes_after_the_payload_are_refused(path: Path) -> None:
    """A payload with a byte too many is corrupt, and so is one cut short."""
    payload = path.read_bytes()
    functions = path.stem.startswith("functions")
    for damaged in (payload + b"\x00", payload[:-1], payload[:-11], payload[: len(payload) // 2]):
        decoder = PayloadDecoder(version=payload_version(payload), functions=functions)
        decoder.receive(damaged)
        with pytest.raises(UnfaithfulError):  # noqa: PT012
            while decoder.next_element():
                pass
            decoder.finish()


@pytest.mark.parametrize("path", GOLDEN, ids=name)
def test_damaged_bytes_never_surprise(path: Path) -> None:
    """Whatever byte is damaged, the answer is CorruptError or UnfaithfulError, never another one."""
    payload = path.read_bytes()
    functions = path.stem.startswith("functions")
    places = range(0, len(payload), max(1, len(payload) // 150))
    for place in places:
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[place] ^= change
            with pytest.raises((CorruptError, UnfaithfulError)):
                list(decode([bytes(damaged)], version=payload_version(payload), functions=functions))
