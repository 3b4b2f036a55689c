"""The elements of the replication stream."""

from __future__ import annotations

from typing import NamedTuple


class Plain(NamedTuple):
    """A run of whole ordinary commands as they came; `end_offset` is the replication offset behind the last.

    Transactions of ordinary commands that came whole are in it without what framed them. `noted` are the bits of
    all noted commands among them. `prefix` is what each of them lacks at its beginning; empty where they are whole.
    """

    data: bytes
    commands: int
    end_offset: int
    noted: int = 0
    prefix: bytes = b""


class Note(NamedTuple):
    """Bits to set on runs that hold a command, if it has `least` arguments, its name included."""

    bits: int
    least: int


class Special(NamedTuple):
    """One command that needs a look: its name in upper case, its arguments (name first), its bytes as they came."""

    name: bytes
    arguments: list[bytes]
    data: bytes
    end_offset: int


class Fragment(NamedTuple):
    """Bytes of one huge ordinary command, the `first` or `last` of them or between.

    The first one carries the `arguments` that lie whole in it, and how many there will be, as `total`. `end_offset`
    is the replication offset behind the last whole command: behind this one for its last fragment. `longest` is the
    length of the longest argument that begins in it, in bytes; `marked` are the arguments, with their indexes, that
    begin with the marker and end in it.
    """

    arguments: list[bytes]
    data: bytes
    first: bool
    last: bool
    end_offset: int
    longest: int = 0
    marked: tuple[tuple[int, bytes], ...] = ()
    total: int = 0


Piece = Plain | Special | Fragment
