"""Whether a key holds the same value on both servers, from their replies at one barrier."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from shaker.codec.rdb.field_expiries import FOOTER_SIZE
from shaker.net.client import Request
from shaker.net.connection import ReplyError

LENGTHS: Final = {
    b"string": "STRLEN",
    b"list": "LLEN",
    b"set": "SCARD",
    b"zset": "ZCARD",
    b"hash": "HLEN",
    b"stream": "XLEN",
}
# Reads in a form that all versions share. Groups and field expiries are in the DUMP only.
READS: Final[dict[bytes, tuple[str, ...]]] = {
    b"string": ("GET",),
    b"list": ("LRANGE", "0", "-1"),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
    b"hash": ("HGETALL",),
}


class ComparedKey(NamedTuple):
    """A key and how it is compared: by DUMP; by reading it, once its type is known; or by length if `large`."""

    key: bytes
    kind: bytes = b""
    large: bool = False

    @property
    def requests(self) -> list[Request]:
        """The requests to both servers for the value."""
        if not self.kind:
            return [("DUMP", self.key)]
        if self.large:
            # Expired fields count until they are removed, which each server does in its own time.
            lengths = [] if self.kind == b"hash" else [(LENGTHS.get(self.kind, "TYPE"), self.key)]
            return [("TYPE", self.key), *lengths]
        name, *options = READS[self.kind]
        return [(name, self.key, *options)]

    def same(self, mine: list[Any], theirs: list[Any]) -> bool:
        """Whether both servers replied with the same value; False for any other type than `kind`."""
        if any(isinstance(reply, ReplyError) for reply in (*mine, *theirs)):
            return False
        if self.large:
            return mine == theirs
        one, other = mine[0], theirs[0]
        if not self.kind and isinstance(one, bytes) and isinstance(other, bytes):
            return one[:-FOOTER_SIZE] == other[:-FOOTER_SIZE]
        return bool(_meaning(self.kind, one) == _meaning(self.kind, other))


def _meaning(kind: bytes, reply: Any) -> Any:
    """Return the meaning of a reply: the order of members and the spelling of scores do not count."""
    if not isinstance(reply, list):
        return reply
    if kind == b"set":
        return frozenset(reply)
    if kind == b"hash":
        return dict(zip(reply[::2], reply[1::2], strict=True))
    if kind == b"zset":
        return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]
    return reply
