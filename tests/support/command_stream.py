"""Streams of commands for the tests of the reader that finds them: settings of the reader, and what to expect."""

from __future__ import annotations

import functools
import operator

import hiredis
from hypothesis import strategies as st

from shaker.codec.resp.command_events import Note, Plain, Special
from shaker.codec.resp.command_stream import StreamReader

START = 1_000_000_007
SPECIAL = frozenset((b"SELECT", b"PING"))
MARKER = b"shaker:"


some_special = st.sampled_from(([b"SELECT", b"3"], [b"select", b"12"], [b"PING"], [b"ping"], [b"pInG", b"x"]))


def feed(stream: StreamReader, pieces: list[bytes]) -> list[Plain | Special]:
    """Feed all the pieces and return what was found."""
    return [found for piece in pieces for found in stream.feed(piece)]


def parse(data: bytes) -> list[list[bytes]]:
    """The requests in `data`, read by hiredis."""
    oracle = hiredis.Reader(notEnoughData=Ellipsis)
    oracle.feed(data)
    found = []
    while (request := oracle.gets()) is not Ellipsis:
        found.append(request)
    return found


NOTED = {b"SET": Note(1, 4), b"RENAME": Note(2, 3), b"EXPIRE": Note(4, 3)}


noted_commands = st.sampled_from(
    (
        [b"SET", b"k", b"v", b"XX"],
        [b"sEt", b"k", b"v", b"PX", b"1"],
        [b"SET", b"shaker:k", b"v", b"XX"],
        [b"rename", b"a", b"b"],
        [b"RENAME", b"a"],
        [b"EXPIRE", b"k", b"9"],
        [b"expire", b"k", b"9", b"GT"],
    )
)


def bits_of(arguments: list[bytes]) -> int:
    """The bits of one command."""
    note = NOTED.get(arguments[0].upper())
    return note.bits if note is not None and len(arguments) >= note.least else 0


def all_bits(requests: list[list[bytes]]) -> int:
    """The bits of several commands."""
    return functools.reduce(operator.or_, map(bits_of, requests), 0)
