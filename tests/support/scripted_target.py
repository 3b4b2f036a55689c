"""A target in memory that answers what a target's session sends, byte for byte as a server does.

It knows just these commands: strings, counters, lists and hashes as far as sessions and their tests need them. Tests
that are about the behaviour of Redis use a real server. `tests/apply/test_session_contract.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import hiredis

from shaker.errors import LinkError

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
NO_NUMBER = b"-ERR value is not an integer or out of range\r\n"
_INCOMPLETE: Any = object()

Value = bytes | list[bytes] | dict[bytes, bytes] | set[bytes]
Handler = Callable[[list[bytes]], bytes]


def number(value: int) -> bytes:
    """Return the reply that is a number."""
    return b":%d\r\n" % value


def bulk(value: bytes) -> bytes:
    """Return the reply that is a string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


class ScriptedTarget:
    """One server with one connection. `refused` maps a command's name to the error that it is answered with now."""

    def __init__(self, databases: int = 16) -> None:
        self.data: dict[int, dict[bytes, Value]] = {database: {} for database in range(databases)}
        self.refused: dict[bytes, bytes] = {}
        self.received = bytearray()
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._database = 0
        self._queue: list[list[bytes]] | None = None
        self._broken = False  # a command of the transaction was refused before EXEC
        self._handlers: dict[bytes, Handler] = {
            b"DEL": self._delete,
            b"EXISTS": lambda words: number(sum(key in self.keys for key in words[1:])),
            b"FLUSHALL": self._flush_all,
            b"GET": self._get,
            b"HSET": self._set_fields,
            b"INCR": self._increment,
            b"LPUSH": self._push,
            b"MSET": self._set_many,
            b"PING": lambda _: b"+PONG\r\n",
            b"RESTORE": self._restore,
            b"RPUSH": self._push,
            b"SADD": self._add,
            b"SELECT": self._select,
            b"SET": self._set,
            b"SREM": self._remove,
            b"UNLINK": self._delete,
        }

    @property
    def keys(self) -> dict[bytes, Value]:
        """The keys of the selected database."""
        return self.data[self._database]

    def send(self, data: bytes) -> bytes:
        """Take bytes of requests, cut anywhere; return the replies to those that are whole now."""
        self.received += data
        self._reader.feed(data)
        replies = []
        while (words := self._reader.gets()) is not _INCOMPLETE:
            replies.append(self._answer(words))
        return b"".join(replies)

    def _answer(self, words: list[bytes]) -> bytes:
        name = words[0].upper()
        if name == b"MULTI":
            self._queue, self._broken = [], False
            return OK
        if name == b"EXEC" and self._queue is not None:
            return self._execute(self._queue)
        error = self._error(words)
        if self._queue is None:
            return error or self._handlers[name](words)
        if error:
            self._broken = True
            return error
        self._queue.append(words)
        return QUEUED

    def _error(self, words: list[bytes]) -> bytes:
        """Return the error of a command that is refused as such, empty for none."""
        name = words[0].upper()
        if name in self.refused:
            return b"-%b\r\n" % self.refused[name]
        if name in self._handlers:
            return b""
        arguments = b"".join(b"'%b' " % word for word in words[1:])
        return b"-ERR unknown command '%b', with args beginning with: %b\r\n" % (words[0], arguments)

    def _execute(self, queue: list[list[bytes]]) -> bytes:
        broken, self._queue, self._broken = self._broken, None, False
        if broken:
            return b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        results = [self._handlers[words[0].upper()](words) for words in queue]
        return b"*%d\r\n" % len(results) + b"".join(results)

    def _select(self, words: list[bytes]) -> bytes:
        if int(words[1]) not in self.data:
            return b"-ERR DB index is out of range\r\n"
        self._database = int(words[1])
        return OK

    def _set(self, words: list[bytes]) -> bytes:
        self.keys[words[1]] = words[2]
        return OK

    def _set_many(self, words: list[bytes]) -> bytes:
        self.keys.update(zip(words[1::2], words[2::2], strict=True))
        return OK

    def _get(self, words: list[bytes]) -> bytes:
        value = self.keys.get(words[1])
        if value is None:
            return b"$-1\r\n"
        return bulk(value) if isinstance(value, bytes) else WRONG_TYPE

    def _restore(self, words: list[bytes]) -> bytes:
        """Keep the payload of a string as the string in it; of any other type as it is."""
        payload = words[3]
        self.keys[words[1]] = payload[2 : 2 + payload[1]] if payload[0] == 0 and payload[1] < 64 else payload
        return OK

    def _increment(self, words: list[bytes]) -> bytes:
        value = self.keys.get(words[1], b"0")
        if not isinstance(value, bytes):
            return WRONG_TYPE
        if not value.removeprefix(b"-").isdigit():
            return NO_NUMBER
        self.keys[words[1]] = b"%d" % (int(value) + 1)
        return number(int(value) + 1)

    def _push(self, words: list[bytes]) -> bytes:
        value = self.keys.setdefault(words[1], [])
        if not isinstance(value, list):
            return WRONG_TYPE
        for word in words[2:]:
            value.insert(0 if words[0].upper() == b"LPUSH" else len(value), word)
        return number(len(value))

    def _set_fields(self, words: list[bytes]) -> bytes:
        value = self.keys.setdefault(words[1], {})
        if not isinstance(value, dict):
            return WRONG_TYPE
        before = len(value)
        value.update(zip(words[2::2], words[3::2], strict=True))
        return number(len(value) - before)

    def _add(self, words: list[bytes]) -> bytes:
        value = self.keys.setdefault(words[1], set())
        if not isinstance(value, set):
            return WRONG_TYPE
        before = len(value)
        value.update(words[2:])
        return number(len(value) - before)

    def _remove(self, words: list[bytes]) -> bytes:
        value = self.keys.get(words[1], set())
        if not isinstance(value, set):
            return WRONG_TYPE
        removed = len(value.intersection(words[2:]))
        value.difference_update(words[2:])
        if not value:
            self.keys.pop(words[1], None)
        return number(removed)

    def _delete(self, words: list[bytes]) -> bytes:
        return number(sum(self.keys.pop(key, None) is not None for key in words[1:]))

    def _flush_all(self, words: list[bytes]) -> bytes:
        for keys in self.data.values():
            keys.clear()
        return OK


class ScriptedConnection:
    """A connection to a scripted target, with the methods of `shaker.net.connection.Connection` that links use.

    While `silent`, the target takes requests and answers none.
    """

    def __init__(self, target: ScriptedTarget) -> None:
        self.silent = False
        self._target = target
        self._replies = bytearray()
        self._arrived = anyio.Event()

    async def send(self, data: bytes) -> None:
        """Send bytes of requests."""
        await anyio.lowlevel.checkpoint()
        replies = self._target.send(data)
        if not self.silent:
            self._replies += replies
            self._arrived.set()

    async def receive(self, *, timeout: float | None = None) -> bytes:
        """Return the replies that have come; LinkError where none comes in time."""
        with anyio.move_on_after(timeout):
            while not self._replies:
                self._arrived = anyio.Event()
                await self._arrived.wait()
        if not self._replies:
            raise LinkError("silent", kind="timeout")
        data = bytes(self._replies)
        self._replies.clear()
        return data
