"""Keys that a run of commands may have changed: they are compared where it is not known whether it succeeded."""

from __future__ import annotations

from collections.abc import Container
from itertools import pairwise
from typing import Final

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import command_end, split
from shaker.rules.command_table import CommandTable

# The argument with the number of keys, and the step from one key to the next after it.
NUMBERED: Final[dict[bytes, tuple[int, int]]] = {
    b"EVAL": (2, 1),
    b"EVALSHA": (2, 1),
    b"FCALL": (2, 1),
    b"MSETEX": (1, 2),
}
# Commands whose key positions depend on their arguments, and that change their first key, or one in an option.
FIRST_CHANGES: Final = frozenset(
    (b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE", b"SORT", b"GEORADIUS", b"GEORADIUSBYMEMBER")
)
STORES: Final = frozenset((b"STORE", b"STOREDIST"))
# Without an effect on data.
SILENT: Final = frozenset((b"PUBLISH", b"SPUBLISH", b"SCRIPT"))
TO_DELETE: Final = b"#!lua name=%s\nredis.register_function('to_delete_%s', function() end)"
MAX_NUMBER: Final = 9  # digits of a database or a number of keys


class Touched:
    """Keys by database; `whole` are databases of which any key may have changed, `everything` means all of them.

    `again` are commands that have an effect beside keys, by database, in a form that can be repeated.
    """

    def __init__(self, table: CommandTable) -> None:
        self.keys: dict[int, set[bytes]] = {}
        self.whole: set[int] = set()
        self.everything = False
        self.again: list[tuple[int, bytes]] = []
        self._table = table

    def add(
        self,
        database: int,
        data: bytes,
        names: Container[bytes] | None = None,
        spreading: set[bytes] | None = None,
    ) -> None:
        """Add what whole commands in a database may have changed; with `names`, upper case, only those.

        With `spreading` only commands that have one of these keys as an argument; it gets the keys that they change.
        """
        start = 0
        while start < len(data):
            end = command_end(data, start)
            arguments = split(data[start:end])
            counts = names is None or arguments[0].upper() in names
            if counts and (spreading is None or not spreading.isdisjoint(arguments[1:])):
                self._add(database, arguments)
                if spreading is not None:
                    spreading.update(self.keys.get(database, ()))
            start = end

    def add_huge(self, database: int, name: bytes, key: bytes | None) -> None:
        """Add a command of which no more is known than its name and first key."""
        if key is not None and self._table.has_one_key(name):
            self._touch(database, [key])
        else:
            self.whole.add(database)

    @property
    def databases(self) -> set[int]:
        """The databases that are touched."""
        return {*self.keys, *self.whole, *(database for database, _ in self.again)}

    def settle(self, unknown: int, database: int) -> None:
        """Let the keys that were added for database `unknown` be those of `database`."""
        if unknown in self.keys:
            self.keys.setdefault(database, set()).update(self.keys.pop(unknown))
        if unknown in self.whole:
            self.whole.remove(unknown)
            self.whole.add(database)
        self.again = [(database if number == unknown else number, request) for number, request in self.again]

    def _add(self, database: int, arguments: list[bytes]) -> None:
        name = arguments[0].upper()
        if name in SILENT or name.decode("latin-1") not in self._table:
            return  # a command that the target does not know was left out, and counted as rejected
        if name == b"FUNCTION":
            self._add_function(database, arguments)
        elif name == b"FLUSHALL":
            self.everything = True
        elif name == b"SWAPDB":
            self.whole.update(map(_number, arguments[1:3]))
        else:
            keys = self._keys(name, arguments)
            if keys is None:
                self.whole.add(database)
            else:
                self._touch(database, keys)
            self._add_elsewhere(name, arguments)

    def _add_function(self, database: int, arguments: list[bytes]) -> None:
        """Add a change of function libraries, in a form that has its effect with any libraries on the target.

        A deletion fails without the library, so that it comes behind one of the same name.
        """
        kind = arguments[1].upper() if len(arguments) > 1 else b""
        if kind == b"LOAD":
            self.again.append((database, encode(b"FUNCTION", b"LOAD", b"REPLACE", arguments[-1])))
        elif kind == b"RESTORE":
            policy = b"FLUSH" if arguments[-1].upper() == b"FLUSH" else b"REPLACE"
            self.again.append((database, encode(b"FUNCTION", b"RESTORE", arguments[2], policy)))
        elif kind == b"FLUSH":
            self.again.append((database, encode(b"FUNCTION", b"FLUSH")))
        elif kind == b"DELETE":
            self.again.append(
                (database, encode(b"FUNCTION", b"LOAD", b"REPLACE", TO_DELETE % (arguments[2], arguments[2])))
            )
            self.again.append((database, encode(b"FUNCTION", b"DELETE", arguments[2])))

    def _keys(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        """Return the keys that a command may change, None where they are not known."""
        if name in NUMBERED:
            at, step = NUMBERED[name]
            count = _number(arguments[at]) if len(arguments) > at else 0
            # A script that is given no key may write to any.
            return arguments[at + 1 : at + 1 + count * step : step] or None
        if name in FIRST_CHANGES:
            options = pairwise(arguments[2:])
            return [*arguments[1:2], *(key for option, key in options if option.upper() in STORES)]
        indexes = self._table.key_indexes(arguments)
        return [arguments[index] for index in indexes] if indexes else None

    def _add_elsewhere(self, name: bytes, arguments: list[bytes]) -> None:
        """Add a key that a command makes in another database."""
        if name == b"MOVE" and len(arguments) > 2:
            self._touch(_number(arguments[2]), arguments[1:2])
        elif name == b"COPY":
            for option, database in pairwise(arguments[3:]):
                if option.upper() == b"DB":
                    self._touch(_number(database), arguments[2:3])

    def _touch(self, database: int, keys: list[bytes]) -> None:
        if keys:
            self.keys.setdefault(database, set()).update(keys)


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) <= MAX_NUMBER else 0
