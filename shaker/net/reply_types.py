"""Reply validation: the peer may not be a Redis, so each reply is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shaker.errors import LinkError


def blob(reply: Any) -> bytes:
    """Return a reply that is a string; LinkError for any other type."""
    if not isinstance(reply, bytes):
        raise _strange("a string", reply)
    return reply


def number(reply: Any) -> int:
    """Return a reply that is a number, or a string of digits; LinkError for any other type."""
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) < 20:
        return int(reply)
    if not isinstance(reply, int):
        raise _strange("a number", reply)
    return reply


def array(reply: Any, length: int | None = None) -> list[Any]:
    """Return a reply that is an array, of `length` if that is given; LinkError for any other type."""
    if not isinstance(reply, list) or (length is not None and len(reply) != length):
        raise _strange("an array" if length is None else f"an array of {length}", reply)
    return reply


def milliseconds(reply: Any) -> int:
    """Return a reply to TIME as Unix time in milliseconds; LinkError for any other."""
    seconds, microseconds = map(number, array(reply, 2))
    return seconds * 1000 + microseconds // 1000


def record(reply: Any) -> dict[str, str]:
    """Return a reply of HGETALL as text; LinkError for any other type."""
    texts = [blob(part).decode("utf-8", "replace") for part in array(reply)]
    if len(texts) % 2:
        raise _strange("pairs", reply)
    return dict(zip(texts[::2], texts[1::2], strict=True))


def scan_page(reply: Any) -> tuple[bytes, list[bytes]]:
    """Return the cursor and the keys or members of a reply to SCAN or SSCAN; LinkError for any other."""
    cursor, found = array(reply, 2)
    return blob(cursor), blobs(found)


def blobs(reply: Any) -> list[bytes]:
    """Return a reply that is an array of strings; LinkError for any other."""
    return _all(reply, bytes, blob)


def numbers(replies: list[Any]) -> list[int]:
    """Return replies that are numbers; LinkError for any other."""
    return _all(replies, int, number)


def _all(reply: Any, kind: type, check: Callable[[Any], Any]) -> list[Any]:
    found = array(reply)
    # A look at the types of all costs a tenth of a call for each.
    return found if set(map(type, found)) <= {kind} else [check(each) for each in found]


def _strange(expected: str, reply: Any) -> LinkError:
    # The type only: the reply may hold a value.
    return LinkError(
        f"a reply is {type(reply).__name__} and not {expected}",
        hint="is something other than a Redis or Valkey at the address?",
        kind="protocol",
    )
