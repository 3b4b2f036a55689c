"""Rule: expiries in the stream are made absolute, given a margin or deferred.

A target that is a primary expires keys by its own clock, and the renewal of an expiry can arrive after it: the key
would be gone by then, or rebuilt by the next write. Every expiry therefore gets a margin. While the stream is behind,
one that is near is deferred further and its key reported, so that the caller can restore the source's expiry later.
While the target may expire a key before its renewal arrives, renewed keys are reported as doubtful, and so are keys
that a command makes of others: unless nothing expired on the target meanwhile, they have to be copied from the source.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

from shaker.codec.rdb.field_expiries import LAST_TIME
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import arguments_end, command_end, split
from shaker.rules.expiring_commands import (
    COMMAND_UNITS,
    COMPARISONS,
    CONDITIONS,
    DIFFERING,
    NOTED,
    SET_CONDITIONS,
    UNITS,
)
from shaker.rules.mset import SET

# Times that servers take are below this, in milliseconds; and how many digits are worth converting.
MAX_TIME: Final = 1 << 63
MAX_DIGITS: Final = 19
NEVER: Final = -MAX_TIME  # as `Times.near`: no expiry is deferred
# Ends of commands with a time in milliseconds of 13 digits (until the year 2286), and their lengths.
TIME: Final = b"$13\r\n"
PXAT: Final = b"$4\r\nPXAT\r\n" + TIME
SET_SIZE: Final = len(SET)
SET_UNTIL: Final = SET.replace(b"*3", b"*5")
PEXPIREAT: Final = b"*3\r\n$9\r\nPEXPIREAT\r\n"
EXPIRE_SIZE: Final = len(PEXPIREAT)
DIGITS_SIZE: Final = 15
FIRST_OF_14_DIGITS: Final = 10**13
TIME_SIZE: Final = len(TIME) + DIGITS_SIZE
PXAT_SIZE: Final = len(PXAT) + DIGITS_SIZE


class Times(NamedTuple):
    """The treatment of expiries now; Unix times and spans in milliseconds.

    Relative ones count from `written`. Those below `near` are deferred to `until` and their keys reported; all others
    get `margin` more. `late`: the target may expire a key before a renewal that the source has made already arrives.
    `passed`: it may have done so.
    """

    written: int
    near: int
    until: int
    margin: int
    late: bool
    passed: bool


class Rewritten(NamedTuple):
    """The commands that replace a run: as many, in the same order.

    `waiting` are the keys whose expiry was deferred. `copying` have to be copied from the source, and `elsewhere` the
    same in other databases, by number. `doubtful` have to be copied if the target expired anything lately.
    """

    data: bytes
    waiting: set[bytes]
    copying: set[bytes]
    doubtful: set[bytes]
    elsewhere: dict[int, set[bytes]]


def rewrite(data: bytes, times: Times, *, any_waiting: bool) -> Rewritten:
    """Return what becomes of whole commands; `any_waiting`: there are keys to be settled already.

    Commands that are no such commands, or cannot be read as such, stay as they are: the target judges them.
    """
    run = _Run(times, any_waiting)
    near, margin, late = times.near, times.margin, times.late
    set_key, expire, set_until = SET, PEXPIREAT, SET_UNTIL  # locals: compared with each command
    out: list[bytes] = []
    copied = position = before = 0
    size = len(data)
    while position < size:
        start = position
        begins = data[start : start + SET_SIZE]
        if begins == set_key:  # without an expiry: the one most often beside those with one
            position = arguments_end(data, start + SET_SIZE, 2)
            before = start
            continue
        # The two forms that nearly all come in, found by their first and last bytes, without a split.
        expires = data[start : start + EXPIRE_SIZE] == expire
        if expires:
            position = arguments_end(data, start + EXPIRE_SIZE, 2)
            usual = data[position - TIME_SIZE : position - DIGITS_SIZE] == TIME
        elif begins == set_until:
            position = arguments_end(data, start + SET_SIZE, 4)
            usual = data[position - PXAT_SIZE : position - DIGITS_SIZE] == PXAT
        else:
            position = command_end(data, start)
            usual = False
        if usual:
            digits = data[position - DIGITS_SIZE : position - 2]
            at = int(digits) if digits.isdigit() else near - 1
            if at >= near and at + margin < FIRST_OF_14_DIGITS:
                if late and expires:
                    key = data[start + EXPIRE_SIZE : position - TIME_SIZE]  # with its length
                    # A key that the command before has set without an expiry is there.
                    if data[before : before + SET_SIZE + len(key)] != set_key + key:
                        run.doubtful.add(key[key.index(b"\n") + 1 : -2])
                if margin:
                    out.append(data[copied : position - DIGITS_SIZE])
                    out.append(b"%d" % (at + margin))
                    copied = position - 2
                before = start
                continue
        before = start
        changed = _replacement(run, data[start:position])
        if changed:
            out.append(data[copied:start])
            out.append(changed)
            copied = position
    out.append(data[copied:])
    return Rewritten(b"".join(out), run.waiting, run.copying, run.doubtful, run.elsewhere)


def _replacement(run: _Run, command: bytes) -> bytes:
    """Return what replaces a command; empty where it stays."""
    argument = command.index(b"\r\n") + 2
    name = command[command.index(b"\n", argument) + 1 : arguments_end(command, argument, 1) - 2].upper()
    handler = _HANDLERS.get(name)
    if handler is None or int(command[1 : argument - 2]) < NOTED[name].least:
        return b""
    changed = handler(run, name, split(command))
    return b"" if changed is None else encode(*changed)


class _Run:
    """A run of commands on the way; each handler returns the arguments that replace a command, None for none."""

    def __init__(self, times: Times, any_waiting: bool) -> None:
        self.times = times
        self.any_waiting = any_waiting
        self.waiting: set[bytes] = set()
        self.copying: set[bytes] = set()
        self.doubtful: set[bytes] = set()
        self.elsewhere: dict[int, set[bytes]] = {}

    def time(self, reported: set[bytes], keys: list[bytes], text: bytes, unit: int, absolute: bool) -> bytes | None:
        """Return the absolute time in milliseconds for a time as sent; None where it cannot be read.

        Where it is deferred for a while, or not known well, `keys` enter `reported`: those with fields are copied.
        """
        digits = text.removeprefix(b"-")
        if not digits.isdigit() or len(digits) > MAX_DIGITS:
            return None
        at = int(text) * unit + (0 if absolute else self.times.written)
        if at >= MAX_TIME:
            return None
        if self.times.near != NEVER and not absolute:
            reported.update(keys)  # while behind, what it counts from is known roughly
        if at < self.times.near:
            reported.update(keys)
            return b"%d" % max(at, self.times.until)
        return b"%d" % max(at, min(at + self.times.margin, LAST_TIME if reported is self.copying else MAX_TIME - 1))

    def options(
        self, reported: set[bytes], keys: list[bytes], arguments: list[bytes], first: int
    ) -> list[bytes] | None:
        """Treat the time among the options from `first` on, and leave conditions out; None where all stays."""
        out = arguments[:first]
        position = first
        while position < len(arguments):
            option = arguments[position].upper()
            if option == b"FIELDS":
                break
            if option == b"KEEPTTL":
                for key in keys:
                    self.renewed(key)
            following = arguments[position + 1 : position + 2]
            position += 1
            if option in UNITS and following:
                time = self.time(reported, keys, following[0], *UNITS[option])
                if time is None:
                    return None
                out += (b"PXAT", time)
                position += 1
            elif option in COMPARISONS and following:
                position += 1
            elif option not in SET_CONDITIONS:
                out.append(arguments[position - 1])
        out += arguments[position:]
        return None if out == arguments else out

    def renewed(self, key: bytes) -> None:
        """Note a key whose value the command takes for granted."""
        if self.times.late:
            self.doubtful.add(key)

    def set(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        return self.options(self.waiting, [arguments[1]], arguments, 3)

    def getex(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        self.renewed(arguments[1])
        return self.options(self.waiting, [arguments[1]], arguments, 2)

    def msetex(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        count = arguments[1]
        if not count.isdigit() or len(count) > MAX_DIGITS or 2 + 2 * int(count) >= len(arguments):
            return None
        behind = 2 + 2 * int(count)
        return self.options(self.waiting, arguments[2:behind:2], arguments, behind)

    def set_fields(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        self.renewed(arguments[1])
        return self.options(self.copying, [arguments[1]], arguments, 2)

    def setex(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        time = self.time(self.waiting, [arguments[1]], arguments[2], *COMMAND_UNITS[name])
        return None if time is None else [b"SET", arguments[1], arguments[3], b"PXAT", time]

    def expire(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        self.renewed(arguments[1])
        time = self.time(self.waiting, [arguments[1]], arguments[2], *COMMAND_UNITS[name])
        return None if time is None else [b"PEXPIREAT", arguments[1], time]

    def expire_fields(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        self.renewed(arguments[1])
        time = self.time(self.copying, [arguments[1]], arguments[2], *COMMAND_UNITS[name])
        if time is None:
            return None
        first = 3
        while first < len(arguments) and arguments[first].upper() in CONDITIONS:
            first += 1
        conditions = [condition.upper() for condition in arguments[3:first]]
        if not conditions or len(arguments) <= first + 3:
            # One field is only sent if its condition was met. Of several, Redis sends those that met it, Valkey all.
            return [b"HPEXPIREAT", arguments[1], time, *arguments[first:]]
        if (b"GT" in conditions or b"LT" in conditions) and (self.times.margin or self.times.near != NEVER):
            self.copying.add(arguments[1])  # the expiry that they compare with may be later by another time
        return [b"HPEXPIREAT", arguments[1], time, *arguments[3:]]

    def persist(self, name: bytes, arguments: list[bytes]) -> None:
        self.renewed(arguments[1])

    def restore(self, name: bytes, arguments: list[bytes]) -> list[bytes] | None:
        if arguments[2] == b"0":
            return None
        absolute = any(argument.upper() == b"ABSTTL" for argument in arguments[4:])
        time = self.time(self.waiting, [arguments[1]], arguments[2], 1, absolute)
        if time is None:
            return None
        rest = arguments[4:] if absolute else [*arguments[4:], b"ABSTTL"]
        return [b"RESTORE", arguments[1], time, arguments[3], *rest]

    def make(self, name: bytes, arguments: list[bytes]) -> None:
        self.renewed(arguments[DIFFERING[name]])

    def store(self, name: bytes, arguments: list[bytes]) -> None:
        for option, key in pairwise(arguments[2:]):
            if option.upper() in (b"STORE", b"STOREDIST"):
                self.renewed(key)

    def rename(self, name: bytes, arguments: list[bytes]) -> None:
        if self.any_waiting or self.waiting or self.copying:
            self.copying.add(arguments[2])
        elif self.times.late:
            self.doubtful.add(arguments[2])

    def copy(self, name: bytes, arguments: list[bytes]) -> None:
        options = pairwise(arguments[3:])
        database = next((number for option, number in options if option.upper() == b"DB"), None)
        if database is None:
            self.rename(name, arguments)
        else:
            self._elsewhere(database, arguments[2])

    def move(self, name: bytes, arguments: list[bytes]) -> None:
        self._elsewhere(arguments[2], arguments[1])

    def _elsewhere(self, database: bytes, key: bytes) -> None:
        differing = self.times.late or self.any_waiting or bool(self.waiting) or bool(self.copying)
        if differing and database.isdigit() and len(database) < MAX_DIGITS:
            self.elsewhere.setdefault(int(database), set()).add(key)


_HANDLERS: Final[dict[bytes, Callable[[_Run, bytes, list[bytes]], list[bytes] | None]]] = {
    b"SET": _Run.set,
    b"GETEX": _Run.getex,
    b"SETEX": _Run.setex,
    b"PSETEX": _Run.setex,
    b"EXPIRE": _Run.expire,
    b"PEXPIRE": _Run.expire,
    b"EXPIREAT": _Run.expire,
    b"PEXPIREAT": _Run.expire,
    b"PERSIST": _Run.persist,
    b"HPERSIST": _Run.persist,
    b"RESTORE": _Run.restore,
    b"MSETEX": _Run.msetex,
    b"HEXPIRE": _Run.expire_fields,
    b"HPEXPIRE": _Run.expire_fields,
    b"HEXPIREAT": _Run.expire_fields,
    b"HPEXPIREAT": _Run.expire_fields,
    b"HSETEX": _Run.set_fields,
    b"HGETEX": _Run.set_fields,
    b"RENAME": _Run.rename,
    b"RENAMENX": _Run.rename,
    b"COPY": _Run.copy,
    b"MOVE": _Run.move,
    b"SORT": _Run.store,
    b"GEORADIUS": _Run.store,
    b"GEORADIUSBYMEMBER": _Run.store,
    **dict.fromkeys(DIFFERING, _Run.make),
}
