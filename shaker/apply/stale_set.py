"""The list of stale keys: in each database of the target a set of the keys there that a snapshot has not brought.

Every key of the target enters it before the first key of the snapshot is applied, and leaves it right behind the
request that restores it; the keys left at the end of the snapshot are stale. It lies in the database of its keys.
"""

from __future__ import annotations

from typing import Final

from shaker.apply.records import stale_key
from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun

# Keys in one request: the target does nothing else while it carries it out.
REQUEST_KEYS: Final = 1000


def list_keys(name: str, database: int, keys: list[bytes]) -> CommandRun:
    """Return the requests that enter `keys` in the list of their database."""
    return _part(database, [encode("SADD", stale_key(name), *some) for some in _chunks(keys)])


def restored_keys(name: str, keys: list[bytes]) -> list[bytes]:
    """Return the requests that take keys that a snapshot has brought off the list of the selected database."""
    return [encode("SREM", stale_key(name), *some) for some in _chunks(keys)]


def remove_keys(name: str, database: int, keys: list[bytes]) -> CommandRun:
    """Return the requests that remove stale `keys`, and take them off the list."""
    requests = [encode("UNLINK", *some) for some in _chunks(keys)]
    return _part(database, [*requests, *restored_keys(name, keys)])


def forget_keys(name: str, database: int) -> CommandRun:
    """Return the request that drops the list of a database; its keys stay."""
    return _part(database, [encode("UNLINK", stale_key(name))])


def _part(database: int, requests: list[bytes]) -> CommandRun:
    return CommandRun(database, b"".join(requests), len(requests))


def _chunks(keys: list[bytes]) -> list[list[bytes]]:
    return [keys[start : start + REQUEST_KEYS] for start in range(0, len(keys), REQUEST_KEYS)]
